//! Entity tags, `"epoch-seq"`: requests that apply to one state only.
//!
//! A tag identifies the state of a record, independently of its form on the wire. Therefore the forms that
//! proxies give a tag when they compress an answer are accepted: `W/"epoch-seq"` (nginx, Cloudflare) and
//! `"epoch-seq-gzip"` (Apache).

use crate::access::one;
use crate::error::Failure;
use axum::http::{HeaderMap, HeaderName, header};
use hotread_proto::Position;

/// Conditional headers that a route supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conditions {
    None,
    /// `If-None-Match` with entity tags: skips the answer if the caller has this state.
    Cached,
    /// `If-Match` with one entity tag or `*`, `If-None-Match: *`: only if the record has that state,
    /// exists, or is absent.
    Record,
    /// `If-Match` with one entity tag or `*`.
    Existing,
}

/// Condition of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// No condition.
    None,
    /// The record was last changed at this position.
    Is(Position),
    /// A condition that cannot hold: the tag is not one of this server.
    IsImpossible,
    /// The record is absent.
    Absent,
    /// The record is present.
    Present,
    /// The state is none of these.
    Not(Vec<Position>),
    /// `If-None-Match: *`: the caller counts as having any state.
    NotAny,
}

impl Condition {
    /// Reads the condition from the headers. An unsupported conditional header is an error, because
    /// ignoring it would change the request's meaning.
    pub(super) fn read(headers: &HeaderMap, understood: Conditions) -> Result<Self, Failure> {
        let cached = understood == Conditions::Cached;
        let is = matches!(understood, Conditions::Record | Conditions::Existing);
        let is_not = matches!(understood, Conditions::Record | Conditions::Cached);
        for (name, is_understood) in [
            (header::IF_MATCH, is),
            (header::IF_NONE_MATCH, is_not),
            (header::IF_UNMODIFIED_SINCE, cached),
            (header::IF_RANGE, cached),
        ] {
            if !is_understood && headers.contains_key(&name) {
                return Err(Failure::bad_request(format!(
                    "{name} is not supported here, and ignoring it would change the request's \
                     meaning; omit it"
                )));
            }
        }
        if cached {
            // A condition of a cache is optional: an unreadable one costs no more than an answer.
            return Ok(Self::cached(headers));
        }
        let value = |name: HeaderName| {
            one(headers, &name)
                .map_err(|()| Failure::bad_request(format!("{name} must be given once, as text")))
        };
        let wrong = |message| Err(Failure::bad_request(message));
        match (value(header::IF_MATCH)?, value(header::IF_NONE_MATCH)?) {
            (None, None) => Ok(Self::None),
            (Some("*"), None) => Ok(Self::Present),
            (Some(tag), None) if tag.contains(',') => wrong(
                "If-Match takes `*` or one entity tag here, as it was answered: \"epoch-seq\"",
            ),
            (Some(tag), None) => Ok(parse(tag).map_or(Self::IsImpossible, Self::Is)),
            (None, Some("*")) => Ok(Self::Absent),
            (None, Some(_)) => {
                wrong("If-None-Match can only be `*` here, for a record that is not there")
            }
            (Some(_), Some(_)) => {
                wrong("If-Match and If-None-Match exclude each other; omit one of them")
            }
        }
    }

    fn cached(headers: &HeaderMap) -> Self {
        let mut tags = Vec::new();
        for value in headers.get_all(header::IF_NONE_MATCH) {
            // This server's tags have no commas.
            for tag in value.to_str().unwrap_or("").split(',') {
                match tag.trim() {
                    "*" => return Self::NotAny,
                    tag => tags.extend(parse(tag)),
                }
            }
        }
        Self::Not(tags)
    }

    /// Returns `true` if the caller already has this state.
    pub(super) fn has(&self, at: Position) -> bool {
        match self {
            Self::Not(tags) => tags.contains(&at),
            Self::NotAny => true,
            _ => false,
        }
    }
}

/// Names of codings that proxies append to a tag.
const CODINGS: [&str; 4] = ["gzip", "br", "zstd", "deflate"];

/// Parses `"epoch-seq"`, in exactly one form apart from the changes of proxies.
fn parse(tag: &str) -> Option<Position> {
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    let (epoch, rest) = tag.strip_prefix('"')?.strip_suffix('"')?.split_once('-')?;
    let seq = match rest.split_once('-') {
        Some((seq, coding)) if CODINGS.contains(&coding) => seq,
        Some(_) => return None,
        None => rest,
    };
    format!("{epoch}:{seq}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotread_proto::{Code, Epoch};

    const TAG: &str = "\"00c0ffee00c0ffee-42\"";
    const AT: Position = Position {
        epoch: Epoch(0x00c0_ffee_00c0_ffee),
        seq: 42,
    };

    fn read(understood: Conditions, headers: &[(HeaderName, &str)]) -> Result<Condition, Code> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value.parse().unwrap());
        }
        Condition::read(&map, understood).map_err(|failure| failure.body().code)
    }

    #[test]
    fn what_is_not_understood_is_not_passed_over() {
        use Conditions::{Cached, Existing, None, Record};
        let (is, not) = (header::IF_MATCH, header::IF_NONE_MATCH);
        for (understood, name, value) in [
            (None, &is, TAG),
            (None, &not, "*"),
            (None, &header::IF_UNMODIFIED_SINCE, "x"),
            (Cached, &is, TAG),
            (Record, &is, "\"a\", \"b\""),
            (Record, &not, TAG),
            (Record, &header::IF_UNMODIFIED_SINCE, "x"),
            (Existing, &not, "*"),
        ] {
            let read = read(understood, &[(name.clone(), value)]);
            assert_eq!(read, Err(Code::BadRequest), "{understood:?} {name} {value}");
        }
        let both = [(is.clone(), TAG), (not, "*")];
        assert_eq!(read(Record, &both), Err(Code::BadRequest));
        let twice = [(is.clone(), TAG), (is, TAG)];
        assert_eq!(read(Record, &twice), Err(Code::BadRequest));
    }

    #[test]
    fn tags_have_one_form() {
        let is = |tag| read(Conditions::Record, &[(header::IF_MATCH, tag)]).unwrap();
        assert_eq!(is("*"), Condition::Present);
        for tag in [
            TAG,
            "W/\"00c0ffee00c0ffee-42\"",
            "\"00c0ffee00c0ffee-42-gzip\"",
            "W/\"00c0ffee00c0ffee-42-br\"",
        ] {
            assert_eq!(is(tag), Condition::Is(AT), "{tag}");
        }
        for tag in [
            "00c0ffee00c0ffee-42",
            "w/\"00c0ffee00c0ffee-42\"",
            "\"00c0ffee00c0ffee-42-\"",
            "\"00c0ffee00c0ffee-42-43\"",
            "\"00c0ffee00c0ffee-42-gzip-gzip\"",
            "\"*\"",
            "\"00C0FFEE00c0ffee-42\"",
            "\"00c0ffee00c0ffee:42\"",
            "\"42\"",
            "\"",
            "",
        ] {
            assert_eq!(is(tag), Condition::IsImpossible, "{tag}");
        }
    }

    #[test]
    fn a_cache_may_have_several_states() {
        let not = |value| read(Conditions::Cached, &[(header::IF_NONE_MATCH, value)]).unwrap();
        assert!(not(TAG).has(AT));
        assert!(not("W/\"00c0ffee00c0ffee-42\"").has(AT));
        assert!(not("\"00c0ffee00c0ffee-42-gzip\"").has(AT));
        assert!(not("\"other\", \"00c0ffee00c0ffee-42\"").has(AT));
        assert!(not("*").has(AT));
        assert!(!not("\"00c0ffee00c0ffee-41\"").has(AT));
        assert!(!not("\"other\"").has(AT));
        assert!(!read(Conditions::Cached, &[]).unwrap().has(AT));
    }
}
