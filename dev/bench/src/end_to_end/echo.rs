//! A plain WebSocket server that echoes messages: the cost of one round trip
//! by itself.

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::process::{Failure, Role};

/// The role's name.
pub(super) const ROLE: &str = "echo";

/// Runs a child: prints its address, and serves one connection.
pub(super) fn main((): ()) -> Result<(), Failure> {
    super::runtime().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let mut socket = tokio_tungstenite::accept_async(socket).await?;
        // The client drops the connection when it is done.
        while let Some(Ok(message)) = socket.next().await {
            socket.send(message).await?;
        }
        Ok(())
    })
}

/// A connection to an echo in another process.
pub(super) struct Echo {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    message: Message,
    _process: Role,
}

impl Echo {
    /// Starts the process and connects. The message has the length of a change's frame.
    pub(super) async fn start() -> Result<Self, Failure> {
        let mut process = Role::start(ROLE, ());
        let url = format!("ws://{}", process.hear());
        let connecting = tokio_tungstenite::connect_async_with_config(url, None, true);
        let (socket, _) = connecting.await?;
        Ok(Self {
            socket,
            message: Message::text("x".repeat(FRAME_BYTES)),
            _process: process,
        })
    }

    /// Sends the message and waits for its echo.
    pub(super) async fn round_trip(&mut self) -> Result<(), Failure> {
        self.socket.send(self.message.clone()).await?;
        self.socket.next().await.ok_or("the echo is gone")??;
        Ok(())
    }
}

/// Approximate length of a frame with one put.
pub(super) const FRAME_BYTES: usize = 400;
