//! A connection to the server's end of a session.

use crate::client::Client;
use futures_util::{SinkExt, StreamExt};
use hotread_proto::session::{MAX_CLIENT_FRAME_BYTES, MAX_SERVER_FRAME_BYTES, SUBPROTOCOL};
use hotread_proto::{Code, ErrorBody, TableName};
use std::pin::Pin;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// Bytes that are read at once, and written at once.
const BUFFER: usize = 64 << 10;
/// A frame of ours is small. If the connection does not take one for so long, it is lost.
const SEND_WITHIN: Duration = Duration::from_secs(10);

type Socket = WebSocketStream<TcpStream>;
type Opening = Pin<Box<dyn Future<Output = Result<Socket, Lost>> + Send>>;

/// The connection as it is now.
pub(crate) enum Wire {
    Closed,
    Opening(Opening),
    Open(Box<Socket>),
}

/// What came.
pub(crate) enum Came {
    Open,
    Text(Utf8Bytes),
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum Lost {
    /// The server said why.
    Refused(ErrorBody),
    /// The connection broke, or there was none.
    Broken(String),
}

impl Wire {
    pub(crate) fn open(client: &Client, table: &TableName) -> Self {
        Self::Opening(Box::pin(open(client.clone(), table.clone())))
    }

    /// The next thing that comes; nothing ever comes from a closed one. May be dropped and called
    /// again. After an error it is closed.
    pub(crate) async fn next(&mut self) -> Result<Came, Lost> {
        let came = match self {
            Self::Closed => std::future::pending().await,
            Self::Opening(opening) => opening.await.map(|socket| {
                *self = Self::Open(Box::new(socket));
                Came::Open
            }),
            Self::Open(socket) => text(socket).await.map(Came::Text),
        };
        if came.is_err() {
            *self = Self::Closed;
        }
        came
    }

    /// Sends a frame. After an error it is closed.
    pub(crate) async fn send(&mut self, frame: String) -> Result<(), Lost> {
        let Self::Open(socket) = self else {
            return Ok(());
        };
        let sent = match timeout(SEND_WITHIN, socket.send(Message::text(frame))).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the server takes nothing any more".to_owned(),
        };
        *self = Self::Closed;
        Err(Lost::Broken(sent))
    }
}

async fn text(socket: &mut Socket) -> Result<Utf8Bytes, Lost> {
    loop {
        let why = match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(text),
            // Pings are answered below this.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
            Some(Ok(Message::Binary(_))) => "the server sent a frame that is no text".to_owned(),
            Some(Ok(Message::Close(_))) | None => "the server closed the connection".to_owned(),
            Some(Err(error)) => error.to_string(),
        };
        return Err(Lost::Broken(why));
    }
}

async fn open(client: Client, table: TableName) -> Result<Socket, Lost> {
    let broken = |error: &dyn std::fmt::Display| Lost::Broken(error.to_string());
    let inner = &client.0;
    let path = format!("/v1/tables/{table}/sync");
    let request = inner.address.ws(&path).into_client_request();
    let mut request = request.map_err(|error| broken(&error))?;
    let headers = request.headers_mut();
    let protocol = HeaderValue::from_static(SUBPROTOCOL);
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    if let Some(authorization) = &inner.authorization {
        headers.insert(header::AUTHORIZATION, authorization.clone());
    }
    let stream = TcpStream::connect(inner.address.target()).await;
    let stream = stream.map_err(|error| broken(&error))?;
    stream.set_nodelay(true).map_err(|error| broken(&error))?;
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_write_buffer_size(2 * BUFFER + MAX_CLIENT_FRAME_BYTES)
        .max_message_size(Some(MAX_SERVER_FRAME_BYTES))
        .max_frame_size(Some(MAX_SERVER_FRAME_BYTES));
    match client_async_with_config(request, stream, Some(config)).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(answer)) => {
            let body = answer.body().as_deref().unwrap_or_default();
            Err(refusal(answer.status(), body))
        }
        Err(error) => Err(broken(&error)),
    }
}

/// What an answer means that is not the beginning of a session. Its body may not be there whole.
fn refusal(status: StatusCode, body: &[u8]) -> Lost {
    if let Ok(body) = serde_json::from_slice(body) {
        return Lost::Refused(body);
    }
    let (code, message) = match status {
        StatusCode::UNAUTHORIZED => (Code::Unauthenticated, "the server wants a valid token"),
        StatusCode::FORBIDDEN => (
            Code::Forbidden,
            "the token does not allow to follow this table",
        ),
        StatusCode::NOT_FOUND => (Code::UnknownTable, "the server has no such table"),
        _ => return Lost::Broken(format!("the server answered {status}")),
    };
    Lost::Refused(ErrorBody::new(code, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_what_its_body_says_and_else_what_its_status_says() {
        let body = br#"{"code":"RATE_LIMITED","message":"slow down"}"#;
        let lost = refusal(StatusCode::TOO_MANY_REQUESTS, body);
        assert!(matches!(lost, Lost::Refused(body) if body.code == Code::RateLimited));
        let lost = refusal(StatusCode::NOT_FOUND, b"{\"code\":\"UNKN");
        assert!(matches!(lost, Lost::Refused(body) if body.code == Code::UnknownTable));
        let lost = refusal(StatusCode::BAD_GATEWAY, b"<html>");
        assert!(matches!(lost, Lost::Broken(_)));
    }
}
