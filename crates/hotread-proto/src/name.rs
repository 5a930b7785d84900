//! Names of tables, keys, categories and transactions, and what is said of a transaction: checked when
//! they are made, so that nothing further along has to check them again.

use crate::strict::parsed;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::{Borrow, Cow};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest table name, in bytes: it stands in URLs, file names of exports and metric labels.
pub const MAX_TABLE_NAME_BYTES: usize = 64;
/// Longest key, in bytes: it stands in URLs, which proxies cut at some thousands of bytes, and
/// percent-encoding may triple it.
pub const MAX_KEY_BYTES: usize = 512;
/// Longest category, in bytes.
pub const MAX_CATEGORY_BYTES: usize = 64;
/// Longest transaction id, in bytes: room for a UUID with a prefix.
pub const MAX_TXN_ID_BYTES: usize = 64;
/// Longest actor, in bytes: that of a token's name.
pub const MAX_ACTOR_BYTES: usize = 64;
/// Longest note, in bytes: a sentence or two, or a subject line with a link. It is kept and sent with
/// each transaction.
pub const MAX_NOTE_BYTES: usize = 512;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// There is nothing in it.
    #[error("the {what} is empty; give at least one character")]
    Empty {
        /// What was being named: `key`, `table name`, …
        what: &'static str,
    },
    /// It is longer than allowed.
    #[error("the {what} has {bytes} bytes; at most {max} are allowed")]
    TooLong {
        /// What was being named.
        what: &'static str,
        /// Its length, in bytes.
        bytes: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// It is not UTF-8.
    #[error("the {what} is not UTF-8 (byte {at}); encode it before it is used as a name")]
    NotUtf8 {
        /// What was being named.
        what: &'static str,
        /// Offset of the first byte that does not fit.
        at: usize,
    },
    /// It has a control character.
    #[error("the {what} has the control character U+{code:04X} at byte {at}; remove it")]
    Control {
        /// What was being named.
        what: &'static str,
        /// The character's code point.
        code: u32,
        /// Its offset, in bytes.
        at: usize,
    },
    /// It is `.` or `..`, which URLs resolve away.
    #[error("a key cannot be `.` or `..`, which URLs resolve away; choose another")]
    Dots,
    /// It does not have the form that is asked for.
    #[error("the {what} {name:?} is not of the form {form}; use only those characters")]
    Form {
        /// What was being named.
        what: &'static str,
        /// What was given, control characters escaped.
        name: String,
        /// The form, as a regular expression.
        form: &'static str,
    },
}

fn length(what: &'static str, text: &[u8], max: usize) -> Result<(), InvalidName> {
    match text.len() {
        0 => Err(InvalidName::Empty { what }),
        bytes if bytes > max => Err(InvalidName::TooLong { what, bytes, max }),
        _ => Ok(()),
    }
}

fn utf8<'a>(what: &'static str, bytes: &'a [u8], max: usize) -> Result<&'a str, InvalidName> {
    length(what, bytes, max)?;
    std::str::from_utf8(bytes).map_err(|e| InvalidName::NotUtf8 {
        what,
        at: e.valid_up_to(),
    })
}

/// One line of text: 1 to `max` bytes without control characters.
fn line(what: &'static str, text: &str, max: usize) -> Result<(), InvalidName> {
    length(what, text.as_bytes(), max)?;
    // All but the rare name needs no decoding.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Ok(());
    }
    match text.char_indices().find(|(_, c)| c.is_control()) {
        Some((at, c)) => Err(InvalidName::Control {
            what,
            code: c.into(),
            at,
        }),
        None => Ok(()),
    }
}

/// Text of 1 to `max` bytes, each of which is allowed at its place.
fn form(
    what: &'static str,
    text: &str,
    max: usize,
    form: &'static str,
    allowed: impl Fn(usize, u8) -> bool,
) -> Result<(), InvalidName> {
    length(what, text.as_bytes(), max)?;
    if text.bytes().enumerate().all(|(at, byte)| allowed(at, byte)) {
        return Ok(());
    }
    Err(InvalidName::Form {
        what,
        name: text.escape_debug().collect(),
        form,
    })
}

/// What all names share: text, read as a `&str`, parsed from one, and a string in JSON.
macro_rules! text {
    ($name:ident) => {
        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }
        impl TryFrom<&str> for $name {
            type Error = InvalidName;
            fn try_from(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                parsed(deserializer, "a string")
            }
        }
    };
}

/// A table's name: `[a-z0-9][a-z0-9_-]{0,63}`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName(Arc<str>);
text!(TableName);

impl TableName {
    /// # Errors
    /// If the name does not have the form `[a-z0-9][a-z0-9_-]{0,63}`.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let allowed = |at, byte| {
            matches!(byte, b'a'..=b'z' | b'0'..=b'9') || (at > 0 && matches!(byte, b'_' | b'-'))
        };
        let shape = "[a-z0-9][a-z0-9_-]{0,63}";
        form("table name", name, MAX_TABLE_NAME_BYTES, shape, allowed)?;
        Ok(Self(name.into()))
    }
}

/// A record's key: 1 to 512 bytes of UTF-8 without control characters, not `.` or `..`.
///
/// Keys are compared and ordered as bytes: what looks the same in two Unicode normal forms is two
/// keys.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Box<str>);
text!(Key);

impl Key {
    /// # Errors
    /// If the key is empty, longer than [`MAX_KEY_BYTES`], has control characters, or is `.` or `..`.
    pub fn new(key: &str) -> Result<Self, InvalidName> {
        Self::check(key)?;
        Ok(Self(key.into()))
    }

    /// As [`new`](Self::new), from bytes that may not be text.
    ///
    /// # Errors
    /// As [`new`](Self::new), and if the bytes are not UTF-8.
    pub fn from_bytes(key: &[u8]) -> Result<Self, InvalidName> {
        Self::new(utf8("key", key, MAX_KEY_BYTES)?)
    }

    /// Whether the key can be a segment of a URL's path: none of its own segments, between slashes, is
    /// empty, `.` or `..`. A proxy that decodes a path and tidies it up makes `b` of `a/../b`, and the
    /// path of another record of its path.
    #[must_use]
    pub fn is_tidy(&self) -> bool {
        let mut segments = self.0.split('/');
        segments.all(|segment| !matches!(segment, "" | "." | ".."))
    }

    /// Has it the form of a key?
    pub(crate) fn check(key: &str) -> Result<(), InvalidName> {
        line("key", key, MAX_KEY_BYTES)?;
        match key {
            "." | ".." => Err(InvalidName::Dots),
            _ => Ok(()),
        }
    }
}

/// What a record is filed under: 1 to 64 bytes of UTF-8 without control characters. `general` unless
/// one is given.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Category(Cow<'static, str>);
text!(Category);

impl Category {
    /// The category of records that were given none.
    pub const GENERAL: Self = Self(Cow::Borrowed("general"));

    /// # Errors
    /// If it is empty, longer than [`MAX_CATEGORY_BYTES`], or has control characters.
    pub fn new(category: &str) -> Result<Self, InvalidName> {
        if category == "general" {
            return Ok(Self::GENERAL);
        }
        Self::check(category)?;
        Ok(Self(category.to_owned().into()))
    }

    /// Has it the form of a category?
    pub(crate) fn check(category: &str) -> Result<(), InvalidName> {
        line("category", category, MAX_CATEGORY_BYTES)
    }
}

impl Default for Category {
    fn default() -> Self {
        Self::GENERAL
    }
}

/// Names a transaction, so that trying it again does it once: 1 to 64 printable ASCII characters
/// without spaces.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxnId(Box<str>);
text!(TxnId);

impl TxnId {
    /// # Errors
    /// If it is empty, longer than [`MAX_TXN_ID_BYTES`], or has other characters than `!` to `~`.
    pub fn new(id: &str) -> Result<Self, InvalidName> {
        let allowed = |_, byte: u8| byte.is_ascii_graphic();
        let shape = "[!-~]{1,64}";
        form("transaction id", id, MAX_TXN_ID_BYTES, shape, allowed)?;
        Ok(Self(id.into()))
    }
}

/// The author of a transaction: a token's name, or that of a program. 1 to 64 bytes of UTF-8 without
/// control characters. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Actor(Arc<str>);
text!(Actor);

impl Actor {
    /// # Errors
    /// If it is empty, longer than [`MAX_ACTOR_BYTES`], or has control characters.
    pub fn new(actor: &str) -> Result<Self, InvalidName> {
        line("actor", actor, MAX_ACTOR_BYTES)?;
        Ok(Self(actor.into()))
    }
}

/// The reason for a transaction, in its author's words: 1 to 512 bytes of UTF-8 without control
/// characters, so one line. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Note(Arc<str>);
text!(Note);

impl Note {
    /// # Errors
    /// If it is empty, longer than [`MAX_NOTE_BYTES`], or has control characters.
    pub fn new(note: &str) -> Result<Self, InvalidName> {
        line("note", note, MAX_NOTE_BYTES)?;
        Ok(Self(note.into()))
    }

    /// As [`new`](Self::new), from bytes that may not be text.
    ///
    /// # Errors
    /// As [`new`](Self::new), and if the bytes are not UTF-8.
    pub fn from_bytes(note: &[u8]) -> Result<Self, InvalidName> {
        Self::new(utf8("note", note, MAX_NOTE_BYTES)?)
    }
}

/// Bytes of what is said of a transaction.
pub(crate) fn said_bytes(actor: Option<&Actor>, note: Option<&Note>) -> usize {
    actor.map_or(0, |actor| actor.as_str().len()) + note.map_or(0, |note| note.as_str().len())
}
