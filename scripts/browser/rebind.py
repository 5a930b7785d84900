"""Imitates DNS rebinding for a browser: one origin, which is first a page and then another server.

    rebind.py PAGE HOST:PORT

Listens on 127.0.0.1 and prints the port, serves PAGE as /page.html, prints requests for /found,
and forwards every other connection to the server unchanged, with the page's own name as its Host.
"""

import asyncio
import sys

page, target = sys.argv[1:]
host, port = target.rsplit(":", 1)


async def copy(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


async def serve(reader, writer):
    head = await reader.readuntil(b"\r\n\r\n")
    path = head.split(b" ")[1].decode()
    if path.startswith(("/page.html", "/found", "/favicon.ico")):
        print(f'"GET {path} HTTP/1.1"', flush=True)
        body = open(page, "rb").read() if path.startswith("/page") else b""
        answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        writer.write(answer % len(body) + body)
        await writer.drain()
        writer.close()
        return
    back, forth = await asyncio.open_connection(host, int(port))
    # One request per connection, since the next one may be for the page.
    if b"upgrade: websocket" not in head.lower():
        head = head.replace(b"Connection: keep-alive", b"Connection: close")
    forth.write(head)
    await asyncio.gather(copy(reader, forth), copy(back, writer), return_exceptions=True)


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(f"rebinding at port {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


asyncio.run(main())
