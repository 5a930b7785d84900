//! Content of a request: the query, the headers about its body, and the body.

use crate::access::one;
use crate::error::Failure;
use crate::limits::{BODY_GRACE, Budget, Held, MIN_BODY_RATE};
use crate::options::Options;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, header};
use futures_util::StreamExt;
use hotread_proto::limits::MAX_TXN_OPS;
use hotread_proto::{Code, TxnId};
use percent_encoding::percent_decode_str;
use std::borrow::Cow;
use std::str::FromStr;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Size in bytes from which JSON is parsed on a blocking thread: about a millisecond.
pub(super) const INLINE: usize = 64 << 10;
/// Steps in which the memory held for an arriving body grows, in bytes.
const STEP: usize = 256 << 10;

/// Memory of a parsed object in addition to its text, in bytes: as requested, record and operation.
const OBJECT_COST: usize = 400;
/// Memory of a parsed body's text, for each byte: as requested, and as records and history.
const TEXT_COST: usize = 2;

/// Body that a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    Nothing,
    /// JSON of at most this many bytes.
    Json(usize),
    /// Optional JSON of at most this many bytes.
    Perhaps(usize),
    /// JSON of as many bytes as the options allow.
    Replacement,
}

impl Takes {
    /// Returns the size of the largest body, in bytes.
    pub(super) fn most(self, options: &Options) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Json(max) | Self::Perhaps(max) => max,
            Self::Replacement => options.max_replace_body_bytes,
        }
    }
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Checks that every `%` begins an escape. Different programs read others in different ways.
pub(super) fn check_escapes(text: &str) -> Result<(), Failure> {
    let is_escape = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if text.split('%').skip(1).all(is_escape) {
        return Ok(());
    }
    let message = "a `%` in the URL is not followed by two hexadecimal digits; write `%25`";
    Err(Failure::bad_request(message))
}

/// Parameters of the query, each of which occurs at most once.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(&'static str, String)>);

impl Query {
    pub(super) fn parse(text: &str, known: &'static [&'static str]) -> Result<Self, Failure> {
        check_escapes(text)?;
        let mut query = Self::default();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = decode(name)?;
            let known = known.iter().find(|known| **known == name);
            let name = *known.ok_or_else(|| {
                // Enough of the name to find it.
                let name: String = name.chars().take(64).collect();
                let message = format!("the query has no parameter {name:?} here; omit it");
                Failure::bad_request(message)
            })?;
            if query.get(name).is_some() {
                let message = format!("the query has the parameter {name} twice");
                return Err(Failure::bad_request(message));
            }
            query.0.push((name, decode(value)?));
        }
        Ok(query)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Parses a parameter.
    pub(crate) fn read<T: FromStr>(&self, name: &str) -> Result<Option<T>, Failure>
    where
        Failure: From<T::Err>,
    {
        Ok(self.get(name).map(str::parse).transpose()?)
    }

    /// Returns `limit`, from 1 to `max`.
    pub(super) fn limit(&self, default: usize, max: usize) -> Result<usize, Failure> {
        let Some(text) = self.get("limit") else {
            return Ok(default);
        };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(limit) if digits && (1..=max).contains(&limit) => Ok(limit),
            _ => {
                let message = format!("limit must be a number from 1 to {max}");
                Err(Failure::bad_request(message))
            }
        }
    }
}

/// Decodes escapes, and `+` as a space, as forms write it.
fn decode(text: &str) -> Result<String, Failure> {
    let text = match text.contains('+') {
        true => Cow::Owned(text.replace('+', " ")),
        false => Cow::Borrowed(text),
    };
    let decoded = percent_decode_str(&text).decode_utf8();
    let message = "the query is not UTF-8 when it is decoded; encode it before";
    let decoded = decoded.map_err(|_| Failure::bad_request(message))?;
    Ok(decoded.into_owned())
}

/// Returns the transaction id of the header.
pub(super) fn idempotency_key(headers: &HeaderMap, known: bool) -> Result<Option<TxnId>, Failure> {
    // Where the key is not supported, a repetition is harmless anyway, or the answer tells of it.
    if !known {
        return Ok(None);
    }
    let text = one(headers, &IDEMPOTENCY_KEY).map_err(|()| {
        let message = "Idempotency-Key must be given once, as printable ASCII";
        Failure::new(Code::InvalidName, message)
    })?;
    Ok(text.map(TxnId::new).transpose()?)
}

/// Checks the body by its headers: that the route takes one, of this type and size.
pub(super) fn check_body(
    headers: &HeaderMap,
    takes: Takes,
    options: &Options,
) -> Result<(), Failure> {
    let length = content_length(headers)?;
    let unsupported = |message| Err(Failure::new(Code::UnsupportedMediaType, message));
    let max = takes.most(options);
    match (takes, body_length(headers) == Some(0)) {
        (Takes::Json(_) | Takes::Replacement, true) => Err(Failure::missing_body()),
        (Takes::Nothing | Takes::Perhaps(_), true) => Ok(()),
        (Takes::Nothing, false) => Err(Failure::bad_request("this route takes no body; omit it")),
        _ if !is_plain(headers) => {
            unsupported("the body is encoded, as with gzip; send it as it is")
        }
        _ if !is_json(headers) => {
            unsupported("bodies are JSON in UTF-8; send it with `Content-Type: application/json`")
        }
        _ if length.is_some_and(|length| length > max as u64) => Err(too_large(max)),
        _ => Ok(()),
    }
}

/// Returns the length of the body, in bytes; `None`: it is unknown.
pub(super) fn body_length(headers: &HeaderMap) -> Option<u64> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return None;
    }
    content_length(headers).ok().map(Option::unwrap_or_default)
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    let bad = || Failure::bad_request("Content-Length is not a number");
    let text = one(headers, &header::CONTENT_LENGTH).map_err(|()| bad())?;
    text.map(|text| text.parse().map_err(|_| bad())).transpose()
}

/// Returns `true` if the body is not encoded, except in chunks by `Transfer-Encoding`.
fn is_plain(headers: &HeaderMap) -> bool {
    let only = |name, allowed: &str| {
        let mut values = headers.get_all(name).iter();
        values.all(|value| value.as_bytes().eq_ignore_ascii_case(allowed.as_bytes()))
    };
    only(header::CONTENT_ENCODING, "identity") && only(header::TRANSFER_ENCODING, "chunked")
}

/// Returns `true` if the body is declared as JSON, in no other encoding than UTF-8. Other parameters have no
/// meaning.
fn is_json(headers: &HeaderMap) -> bool {
    let Ok(Some(kind)) = one(headers, &header::CONTENT_TYPE) else {
        return false;
    };
    let mut parts = kind.split(';').map(str::trim);
    let is_json = parts
        .next()
        .is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    is_json
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, charset)) if name.trim().eq_ignore_ascii_case("charset") => charset
                .trim()
                .trim_matches('"')
                .eq_ignore_ascii_case("utf-8"),
            _ => true,
        })
}

fn too_large(max: usize) -> Failure {
    let message = format!("the body is larger than {max} bytes; send less at once");
    Failure::new(Code::TooLarge, message)
}

/// Returns the memory that a body takes once it is parsed: many small records take many times their text.
pub(super) fn parsed(bytes: &[u8], takes: Takes) -> usize {
    let objects = match takes {
        Takes::Replacement => elements(bytes),
        _ => bytes
            .iter()
            .filter(|byte| **byte == b'{')
            .take(MAX_TXN_OPS)
            .count(),
    };
    TEXT_COST * bytes.len() + OBJECT_COST * objects
}

/// Counts the objects in arrays of the outermost object, which the parser turns into records. For text that
/// is not JSON the result is at least the number that the parser sees before it fails.
fn elements(bytes: &[u8]) -> usize {
    /// Depth of an object within an array within the outermost object.
    const DEPTH: usize = 2;
    let (mut depth, mut found) = (0_usize, 0);
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => {
                // To the end of the string, over escapes.
                while let Some(byte) = rest.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => drop(rest.next()),
                        _ => {}
                    }
                }
            }
            b'{' | b'[' => {
                found += usize::from(*byte == b'{' && depth == DEPTH);
                depth += 1;
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    found
}

/// Reads a body, as long as it arrives fast enough to be worth the memory.
pub(super) async fn receive(
    budget: &Budget,
    body: Body,
    max: usize,
) -> Result<(Vec<u8>, Held), Failure> {
    let began = Instant::now();
    let mut held = budget.take(0)?;
    let mut room = 0;
    let mut bytes = Vec::new();
    let mut body = body.into_data_stream();
    loop {
        let allowed = Duration::from_secs(bytes.len() as u64 / MIN_BODY_RATE);
        let data = timeout_at(began + BODY_GRACE + allowed, body.next()).await;
        let data = data.map_err(|_| {
            let message = "the body arrives too slowly; send it without pauses";
            Failure::new(Code::Timeout, message)
        })?;
        let Some(data) = data else { break };
        let message = "the body ended too early, or is not encoded as it says";
        let data = data.map_err(|_| Failure::bad_request(message))?;
        let wanted = bytes.len() + data.len();
        if wanted > max {
            return Err(too_large(max));
        }
        if wanted > room {
            // Doubling, as vectors grow, keeps the number of steps logarithmic.
            room = wanted.max(2 * room).max(STEP);
            held.resize(room)?;
        }
        bytes.extend_from_slice(&data);
    }
    held.resize(bytes.len())?;
    Ok((bytes, held))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Who;
    use crate::limits::Budgets;
    use axum::http::HeaderValue;
    use futures_util::stream;

    const KNOWN: &[&str] = &["prefix", "limit"];

    fn code(query: &str) -> Code {
        Query::parse(query, KNOWN).unwrap_err().body().code
    }

    #[test]
    fn queries_are_decoded_once() {
        let query = Query::parse("prefix=a%2Fb+c%2b%25&&limit=5", KNOWN).unwrap();
        assert_eq!(query.get("prefix"), Some("a/b c+%"));
        assert_eq!(query.limit(1, 10).unwrap(), 5);
        let query = Query::parse("prefix", KNOWN).unwrap();
        assert_eq!(query.get("prefix"), Some(""));
        assert_eq!(query.get("limit"), None);
        assert_eq!(query.limit(7, 10).unwrap(), 7);
    }

    #[test]
    fn a_body_is_json_in_utf_8() {
        let is_json = |kind: &'static str| {
            let kind = (header::CONTENT_TYPE, HeaderValue::from_static(kind));
            super::is_json(&HeaderMap::from_iter([kind]))
        };
        for kind in [
            "application/json",
            "Application/JSON ; charset=UTF-8",
            "application/json;charset=\"utf-8\"",
            "application/json; version=1",
        ] {
            assert!(is_json(kind), "{kind}");
        }
        for kind in [
            "",
            "text/json",
            "application/json5",
            "application/json; charset=latin1",
            "application/json; version=1; Charset = utf-16",
            "text/plain; charset=utf-8",
        ] {
            assert!(!is_json(kind), "{kind}");
        }
    }

    #[test]
    fn what_a_query_should_not_have_is_an_error() {
        for query in [
            "other=1",
            "Prefix=a",
            "prefix=a&prefix=a",
            "prefix=%zz",
            "prefix=%f",
            "prefix=%ff",
            "%70refix=a&prefix=b",
            "=",
        ] {
            assert_eq!(code(query), Code::BadRequest, "{query}");
        }
        let beyond = format!("{}0", u64::MAX);
        for limit in ["0", "11", "-1", "+1", "1.0", "x", "", &beyond] {
            let query = Query::parse(&format!("limit={}", limit.replace('+', "%2B")), KNOWN);
            assert!(query.unwrap().limit(1, 10).is_err(), "{limit}");
        }
    }

    fn dripping(bytes: usize, every: Duration, times: usize) -> Body {
        Body::from_stream(stream::unfold(times, move |left| async move {
            tokio::time::sleep(every).await;
            let next = left.checked_sub(1)?;
            Some((Ok::<_, std::io::Error>(vec![b'x'; bytes]), next))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_may_take_as_long_as_it_is_worth() {
        let budget = Budgets::new(128 << 20).of(Who::Token(1));
        let second = Duration::from_secs(1);
        let slow = dripping(2 * MIN_BODY_RATE as usize, second, 100);
        let (bytes, _held) = receive(&budget, slow, usize::MAX).await.unwrap();
        assert_eq!(bytes.len(), 200 * MIN_BODY_RATE as usize);

        let too_slow = dripping(MIN_BODY_RATE as usize / 2, second, 100);
        let began = Instant::now();
        let failure = receive(&budget, too_slow, usize::MAX).await.err().unwrap();
        assert_eq!(failure.body().code, Code::Timeout);
        assert!(began.elapsed() < 3 * BODY_GRACE, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_body_takes_no_more_memory_than_there_is() {
        let budget = Budgets::new(2 << 20).of(Who::Token(1));
        let body = || dripping(64 << 10, Duration::ZERO, 24);
        let failure = receive(&budget, body(), usize::MAX).await.err().unwrap();
        assert_eq!(failure.body().code, Code::TooLarge, "it never fits");
        let held = budget.take(512 << 10).unwrap();
        let half = dripping(64 << 10, Duration::ZERO, 12);
        let failure = receive(&budget, half, usize::MAX).await.err().unwrap();
        assert_eq!(failure.body().code, Code::Busy, "it does not fit now");
        drop(held);
        let failure = receive(&budget, body(), 100 << 10).await.err().unwrap();
        assert_eq!(failure.body().code, Code::TooLarge);
        assert!(budget.take(1 << 20).is_ok(), "all of it was given back");
    }

    #[test]
    fn records_are_counted_and_not_what_is_in_their_values() {
        for (body, count) in [
            (r#"{"records":[]}"#, 0),
            (
                r#"{"records":[{"key":"a","value":{"b":[{},{}]}},{"key":"{"}]}"#,
                2,
            ),
            (
                r#"{"id":"\"[{","records":[{"key":"\\","value":"[{"},{}]}"#,
                2,
            ),
            (r#"{"records":[{"key":"a"#, 1),
            ("}}]{[{}{}", 2),
        ] {
            assert_eq!(elements(body.as_bytes()), count, "{body}");
        }
    }

    #[test]
    fn what_is_encoded_or_no_json_is_not_taken_for_what_it_is_not() {
        let with = |name: HeaderName, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            (is_plain(&headers), is_json(&headers))
        };
        let (plain, neither, json) = ((true, false), (false, false), (true, true));
        assert!(is_plain(&HeaderMap::new()) && !is_json(&HeaderMap::new()));
        for (name, value, is) in [
            (header::CONTENT_ENCODING, "identity", plain),
            (header::CONTENT_ENCODING, "gzip", neither),
            (header::CONTENT_ENCODING, "br", neither),
            (header::CONTENT_ENCODING, "identity, gzip", neither),
            (header::CONTENT_ENCODING, "", neither),
            (header::CONTENT_ENCODING, "x", neither),
            (header::TRANSFER_ENCODING, "Chunked", plain),
            (header::TRANSFER_ENCODING, "gzip, chunked", neither),
            (header::CONTENT_TYPE, "application/json", json),
            (
                header::CONTENT_TYPE,
                "Application/JSON; charset=utf-8",
                json,
            ),
            (header::CONTENT_TYPE, "text/plain", plain),
            (header::CONTENT_TYPE, "application/jsonp", plain),
            (header::CONTENT_TYPE, "application/json2", plain),
            (header::CONTENT_TYPE, "text/plain;application/json", plain),
            (
                header::CONTENT_TYPE,
                "application/x-www-form-urlencoded",
                plain,
            ),
            (header::CONTENT_TYPE, "", plain),
        ] {
            assert_eq!(with(name.clone(), value), is, "{name}: {value}");
        }
    }
}
