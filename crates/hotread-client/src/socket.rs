//! The client's end of a session's connection.

use crate::endpoint::Endpoint;
use crate::http::answered;
use crate::lent::Lent;
use crate::servers::Server;
use crate::tls::{TlsError, tls_error};
use futures_util::{SinkExt, StreamExt};
use hotread_proto::session::{MAX_CLIENT_FRAME_BYTES, MAX_SERVER_FRAME_BYTES, SUBPROTOCOL};
use hotread_proto::{Code, ErrorBody, TableName};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// Bytes per read and write.
const BUFFER: usize = 64 << 10;
/// Longest time to send a frame, all of which are small; after that the connection counts as lost.
const SEND_WITHIN: Duration = Duration::from_secs(10);
/// Largest body of an answer other than a session, in bytes: an error has a message of one line.
const MAX_REFUSAL_BYTES: usize = 64 << 10;
/// Longest wait for the rest of such an answer; a later one is ignored.
const REFUSAL_WITHIN: Duration = Duration::from_secs(2);

type Socket = WebSocketStream<Lent>;
type Opening = Pin<Box<dyn Future<Output = Result<Socket, Lost>> + Send>>;

/// Bytes of a frame that show that the rest is on its way: as many as arrive in a second over the slowest
/// link that must work, or fewer.
const PART_BYTES: u64 = 1 << 10;

/// Current state of the connection.
pub(crate) enum Wire {
    Closed,
    Opening(Opening),
    /// An open socket, and the number of bytes received when [`is_heard`](Self::is_heard) was last called.
    Open(Box<Socket>, u64),
}

/// Reason there is no connection.
#[derive(Debug)]
pub(crate) enum Lost {
    /// The server's reason for its refusal.
    Refused(ErrorBody),
    /// Failure of the connection, or of the attempt to open it.
    Broken(String),
}

impl<E: std::error::Error + 'static> From<E> for Lost {
    fn from(error: E) -> Self {
        // The reason of TLS says what to do, without the words of those who passed it on.
        let tls = tls_error(&error);
        Self::Broken(tls.map_or_else(|| error.to_string(), |tls| tls.to_string()))
    }
}

impl Wire {
    /// Opens a connection to one of the servers.
    pub(crate) fn open(endpoint: &Arc<Endpoint>, at: usize, table: &TableName) -> Self {
        Self::Opening(Box::pin(open(endpoint.clone(), at, table.clone())))
    }

    /// Waits for the next frame, or returns `None` once the connection is open. A closed connection never
    /// resolves. Cancel safe. After an error the connection is closed.
    pub(crate) async fn next(&mut self) -> Result<Option<Utf8Bytes>, Lost> {
        let came = match self {
            Self::Closed => std::future::pending().await,
            Self::Opening(opening) => opening.await.map(|socket| {
                *self = Self::Open(Box::new(socket), 0);
                None
            }),
            Self::Open(socket, _) => text(socket).await.map(Some),
        };
        if came.is_err() {
            *self = Self::Closed;
        }
        came
    }

    /// Returns `true` if bytes have arrived since the last call, even if they are only a part of a frame.
    pub(crate) fn is_heard(&mut self) -> bool {
        let Self::Open(socket, before) = self else {
            return false;
        };
        let received = socket.get_ref().received();
        let heard = received - *before >= PART_BYTES;
        if heard {
            *before = received;
        }
        heard
    }

    /// Sends a frame. After an error the connection is closed.
    pub(crate) async fn send(&mut self, frame: String) -> Result<(), Lost> {
        let Self::Open(socket, _) = self else {
            return Ok(());
        };
        let lost = match timeout(SEND_WITHIN, socket.send(Message::text(frame))).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.into(),
            Err(_) => Lost::Broken("the server no longer receives".to_owned()),
        };
        *self = Self::Closed;
        Err(lost)
    }
}

async fn text(socket: &mut Socket) -> Result<Utf8Bytes, Lost> {
    loop {
        let why = match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(text),
            // The WebSocket library answers pings.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
            Some(Ok(Message::Binary(_))) => "the server sent a frame that is not text".to_owned(),
            Some(Ok(Message::Close(_))) | None => "the server closed the connection".to_owned(),
            Some(Err(error)) => return Err(error.into()),
        };
        return Err(Lost::Broken(why));
    }
}

/// Opens a session. If the token is refused and a new one is available, retries once with the new one.
async fn open(endpoint: Arc<Endpoint>, at: usize, table: TableName) -> Result<Socket, Lost> {
    let server = endpoint.servers.get(at);
    let credentials = &endpoint.credentials;
    let token = || {
        let token = credentials.current();
        token.map_err(|error| Lost::Refused(error.body()))
    };
    let used = token()?;
    match greet(server, &table, used.as_ref()).await {
        Err(Lost::Refused(body))
            if body.code == Code::Unauthenticated && credentials.renew(used.as_ref()) =>
        {
            greet(server, &table, token()?.as_ref()).await
        }
        // Another server may have no TLS; without another, it is a failure for good.
        Err(Lost::Refused(body))
            if body.code == Code::TlsFailed && endpoint.servers.count() > 1 =>
        {
            Err(Lost::Broken(TlsError::TlsServer.to_string()))
        }
        other => other,
    }
}

async fn greet(
    server: &Server,
    table: &TableName,
    authorization: Option<&HeaderValue>,
) -> Result<Socket, Lost> {
    let url = server
        .address
        .url("ws", &format!("/v1/tables/{table}/sync"));
    let mut request = url.into_client_request()?;
    let headers = request.headers_mut();
    let protocol = HeaderValue::from_static(SUBPROTOCOL);
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    if let Some(authorization) = authorization {
        headers.insert(header::AUTHORIZATION, authorization.clone());
    }
    let stream = server.connector.connect().await?;
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_write_buffer_size(2 * BUFFER + MAX_CLIENT_FRAME_BYTES)
        .max_message_size(Some(MAX_SERVER_FRAME_BYTES))
        .max_frame_size(Some(MAX_SERVER_FRAME_BYTES));
    let (lent, mut comes_back) = Lent::new(stream);
    match client_async_with_config(request, lent, Some(config)).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(answer)) => {
            let (parts, body) = answer.into_parts();
            let mut body = body.unwrap_or_default();
            if let Ok(stream) = comes_back.try_recv() {
                rest(&parts.headers, &mut body, stream).await;
            }
            Err(refusal(parts.status, &body))
        }
        Err(error) => Err(error.into()),
    }
}

/// Reads the rest of an answer; the handshake returns only the bytes that arrived together with its head.
async fn rest(headers: &HeaderMap, body: &mut Vec<u8>, stream: impl AsyncRead + Unpin) {
    let length = headers.get(header::CONTENT_LENGTH);
    let length: Option<usize> = length.and_then(|length| length.to_str().ok()?.parse().ok());
    // An answer without a length, such as a chunked one, ends when no more bytes arrive.
    let wanted = length.unwrap_or(MAX_REFUSAL_BYTES).min(MAX_REFUSAL_BYTES);
    let missing = wanted.saturating_sub(body.len());
    let mut stream = stream.take(missing as u64);
    // An incomplete answer counts as none.
    let _ = timeout(REFUSAL_WITHIN, stream.read_to_end(body)).await;
}

/// Returns the meaning of an answer that does not begin a session. The answer of a proxy has an unknown
/// meaning, and counts as a broken connection.
fn refusal(status: StatusCode, body: &[u8]) -> Lost {
    // Skips the framing of chunks.
    let begins = body.iter().position(|byte| *byte == b'{').unwrap_or(0);
    let ends = body.iter().rposition(|byte| *byte == b'}');
    let object = ends.and_then(|ends| body.get(begins..=ends));
    match answered(object.unwrap_or_default()) {
        Some(body) => Lost::Refused(body),
        None => Lost::Broken(format!(
            "the answer is {status}, but not from a HotRead server"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_rest_of_an_answer_is_read_as_far_as_its_length_says() {
        let mut headers = HeaderMap::new();
        let mut body = b"{\"co".to_vec();
        headers.insert(header::CONTENT_LENGTH, 8.into());
        rest(&headers, &mut body, &b"de\"}HTTP/1.1"[..]).await;
        assert_eq!(body, b"{\"code\"}");
        let mut chunked = b"8\r\n{\"co".to_vec();
        rest(&HeaderMap::new(), &mut chunked, &b"de\"}\r\n0\r\n\r\n"[..]).await;
        assert_eq!(chunked, b"8\r\n{\"code\"}\r\n0\r\n\r\n");
        headers.insert(header::CONTENT_LENGTH, usize::MAX.into());
        let endless = tokio::io::repeat(b' ');
        rest(&headers, &mut body, endless).await;
        assert_eq!(body.len(), MAX_REFUSAL_BYTES);
    }

    #[test]
    fn only_the_servers_own_words_refuse_a_session() {
        let body = br#"{"code":"RATE_LIMITED","message":"slow down"}"#;
        let lost = refusal(StatusCode::TOO_MANY_REQUESTS, body);
        assert!(matches!(lost, Lost::Refused(body) if body.code == Code::RateLimited));
        let chunked = b"2d\r\n{\"code\":\"UNKNOWN_TABLE\",\"message\":\"none\"}\r\n0\r\n\r\n";
        let lost = refusal(StatusCode::NOT_FOUND, chunked);
        assert!(matches!(lost, Lost::Refused(body) if body.code == Code::UnknownTable));
        for (status, body) in [
            (StatusCode::NOT_FOUND, &b"{\"code\":\"UNKN"[..]),
            (StatusCode::FORBIDDEN, &b"<html>"[..]),
            (StatusCode::BAD_GATEWAY, &b""[..]),
        ] {
            assert!(matches!(refusal(status, body), Lost::Broken(_)), "{status}");
        }
    }
}
