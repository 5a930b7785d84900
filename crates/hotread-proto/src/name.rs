//! Names of tables, keys, categories, transactions and authors, and notes. They are checked on
//! construction, so that no other code has to check them.

use crate::strict::parsed;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::{Borrow, Cow};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest table name, in bytes: names appear in URLs, file names of exports and metric labels.
pub const MAX_TABLE_NAME_BYTES: usize = 64;
/// Longest key, in bytes: keys appear in URLs, where percent-encoding may triple their length, and
/// which proxies cut at a few thousand bytes.
pub const MAX_KEY_BYTES: usize = 512;
/// Longest category, in bytes.
pub const MAX_CATEGORY_BYTES: usize = 64;
/// Longest transaction id, in bytes: room for a UUID with a prefix.
pub const MAX_TXN_ID_BYTES: usize = 64;
/// Longest actor, in bytes: the length of the longest token name.
pub const MAX_ACTOR_BYTES: usize = 64;
/// Longest note, in bytes: a sentence or two, or a subject line with a link. A note is stored and
/// sent with each transaction.
pub const MAX_NOTE_BYTES: usize = 512;

/// Reason for refusing a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// The name is empty.
    #[error("the {what} is empty; give at least one character")]
    Empty {
        /// Kind of the name: `key`, `table name`, …
        what: &'static str,
    },
    /// The name exceeds its limit.
    #[error("the {what} has {bytes} bytes; at most {max} are allowed")]
    TooLong {
        /// Kind of the name.
        what: &'static str,
        /// Length of the name, in bytes.
        bytes: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// The name is not UTF-8.
    #[error("the {what} is not UTF-8 (byte {at}); encode it before it is used as a name")]
    NotUtf8 {
        /// Kind of the name.
        what: &'static str,
        /// Offset of the first invalid byte.
        at: usize,
    },
    /// The name contains a control character.
    #[error("the {what} contains the control character U+{code:04X} at byte {at}; remove it")]
    Control {
        /// Kind of the name.
        what: &'static str,
        /// Code point of the character.
        code: u32,
        /// Offset of the character, in bytes.
        at: usize,
    },
    /// The key is `.` or `..`, which URLs resolve away.
    #[error("a key cannot be `.` or `..`, which URLs resolve away; choose another")]
    Dots,
    /// The name is malformed.
    #[error("the {what} {name:?} is not of the form {form}; use only those characters")]
    Form {
        /// Kind of the name.
        what: &'static str,
        /// The rejected name, with control characters escaped.
        name: String,
        /// Required form, as a regular expression.
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

/// Checks a line of text: 1 to `max` bytes without control characters.
fn line(what: &'static str, text: &str, max: usize) -> Result<(), InvalidName> {
    length(what, text.as_bytes(), max)?;
    // Nearly all names are ASCII and need no decoding.
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

/// Checks a text of 1 to `max` bytes, each of which must be allowed at its place.
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

/// Implements what all names share: access as `&str`, parsing, and a string in JSON.
macro_rules! text {
    ($name:ident) => {
        impl $name {
            /// Returns the text.
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
    /// If the name does not match `[a-z0-9][a-z0-9_-]{0,63}`.
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
/// Keys are compared and ordered by their bytes, so two Unicode normal forms of one text are two
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

    /// Like [`new`](Self::new), from bytes that may not be text.
    ///
    /// # Errors
    /// Same as [`new`](Self::new); also if the bytes are not UTF-8.
    pub fn from_bytes(key: &[u8]) -> Result<Self, InvalidName> {
        Self::new(utf8("key", key, MAX_KEY_BYTES)?)
    }

    /// Returns `true` if the key can be a segment of a URL's path: no segment of it, between
    /// slashes, is empty, `.` or `..`. A proxy that decodes and normalizes a path would turn
    /// `a/../b` into `b`, and the path of one record into that of another.
    #[must_use]
    pub fn is_tidy(&self) -> bool {
        let mut segments = self.0.split('/');
        segments.all(|segment| !matches!(segment, "" | "." | ".."))
    }

    /// Checks the form of a key.
    pub(crate) fn check(key: &str) -> Result<(), InvalidName> {
        line("key", key, MAX_KEY_BYTES)?;
        match key {
            "." | ".." => Err(InvalidName::Dots),
            _ => Ok(()),
        }
    }
}

/// A record's category: 1 to 64 bytes of UTF-8 without control characters. Defaults to `general`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Category(Cow<'static, str>);
text!(Category);

impl Category {
    /// The default category.
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

    /// Checks the form of a category.
    pub(crate) fn check(category: &str) -> Result<(), InvalidName> {
        line("category", category, MAX_CATEGORY_BYTES)
    }
}

impl Default for Category {
    fn default() -> Self {
        Self::GENERAL
    }
}

/// A transaction id, which makes a retry harmless: 1 to 64 printable ASCII characters without
/// spaces.
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

/// The author of a transaction: the name of a token or of a program. 1 to 64 bytes of UTF-8 without
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

/// The reason for a transaction, in its author's words: a line of 1 to 512 bytes of UTF-8 without
/// control characters. Cheap to clone.
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

    /// Like [`new`](Self::new), from bytes that may not be text.
    ///
    /// # Errors
    /// Same as [`new`](Self::new); also if the bytes are not UTF-8.
    pub fn from_bytes(note: &[u8]) -> Result<Self, InvalidName> {
        Self::new(utf8("note", note, MAX_NOTE_BYTES)?)
    }
}

/// Returns the bytes of actor and note.
pub(crate) fn said_bytes(actor: Option<&Actor>, note: Option<&Note>) -> usize {
    actor.map_or(0, |actor| actor.as_str().len()) + note.map_or(0, |note| note.as_str().len())
}
