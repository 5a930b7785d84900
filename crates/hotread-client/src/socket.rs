//! A connection to the server's end of a session.

use crate::client::Client;
use crate::lent::Lent;
use futures_util::{SinkExt, StreamExt};
use hotread_proto::session::{MAX_CLIENT_FRAME_BYTES, MAX_SERVER_FRAME_BYTES, SUBPROTOCOL};
use hotread_proto::{Code, ErrorBody, TableName};
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// Bytes that are read at once, and written at once.
const BUFFER: usize = 64 << 10;
/// A frame of ours is small. If the connection does not take one for so long, it is lost.
const SEND_WITHIN: Duration = Duration::from_secs(10);
/// Most bytes of an answer that is no session: an error has a message of one line.
const MAX_REFUSAL_BYTES: usize = 64 << 10;
/// The rest of such an answer comes within this time, or is done without.
const REFUSAL_WITHIN: Duration = Duration::from_secs(2);

type Socket = WebSocketStream<Lent>;
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
        Err(error) => Err(broken(&error)),
    }
}

/// Reads what is missing of an answer: the handshake gives what came together with its head.
async fn rest(headers: &HeaderMap, body: &mut Vec<u8>, stream: impl AsyncRead + Unpin) {
    let length = headers.get(header::CONTENT_LENGTH);
    let length: Option<usize> = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let wanted = length.unwrap_or_default().min(MAX_REFUSAL_BYTES);
    let missing = wanted.saturating_sub(body.len());
    let mut stream = stream.take(missing as u64);
    // If it does not come, the status has to do.
    let _ = timeout(REFUSAL_WITHIN, stream.read_to_end(body)).await;
}

/// What an answer means that is not the beginning of a session.
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

    #[tokio::test]
    async fn the_rest_of_an_answer_is_read_as_far_as_its_length_says() {
        let mut headers = HeaderMap::new();
        let mut body = b"{\"co".to_vec();
        rest(&headers, &mut body, &b"de\"}"[..]).await;
        assert_eq!(body, b"{\"co", "nobody says how much is missing");
        headers.insert(header::CONTENT_LENGTH, 8.into());
        rest(&headers, &mut body, &b"de\"}HTTP/1.1"[..]).await;
        assert_eq!(body, b"{\"code\"}");
        headers.insert(header::CONTENT_LENGTH, usize::MAX.into());
        let endless = tokio::io::repeat(b' ');
        rest(&headers, &mut body, endless).await;
        assert_eq!(body.len(), MAX_REFUSAL_BYTES);
    }

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
