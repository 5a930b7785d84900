//! Roles and descriptions of tokens. The store knows the tokens themselves.

use crate::name::TableName;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Access that a token grants; each role includes the previous ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Read and follow tables.
    Read,
    /// Change records.
    Write,
    /// Create and drop tables; a token that is not limited to some tables also manages tokens.
    Admin,
}

impl Role {
    /// All roles, the least powerful first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// Returns the role as it is written in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = ParseRoleError;

    fn from_str(text: &str) -> Result<Self, ParseRoleError> {
        let role = Self::ALL.into_iter().find(|role| role.as_str() == text);
        role.ok_or(ParseRoleError)
    }
}

/// A text that is not a [`Role`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a role; give `read`, `write` or `admin`")]
#[non_exhaustive]
pub struct ParseRoleError;

/// Description of a token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// Public identifier, by which the token is listed and revoked: 8 hexadecimal digits.
    pub id: String,
    /// Human-readable name of the holder: `[A-Za-z0-9._-]{1,64}`. Several tokens may have the same
    /// name, so that a new token can replace an old one.
    pub name: String,
    /// Access that the token grants.
    pub role: Role,
    /// Names of the tables that the token is limited to, whether they exist or not; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<Vec<TableName>>,
    /// Creation time.
    pub created_at: Timestamp,
    /// Expiry time; `None` for a token that is valid until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl TokenInfo {
    /// Returns `true` if the token has expired at the time `now`.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// Returns `true` if the token permits operations of this role on this table, or, without a
    /// table, on the store as a whole.
    #[must_use]
    pub fn allows(&self, table: Option<&TableName>, role: Role) -> bool {
        let here = match (&self.tables, table) {
            (None, _) => true,
            (Some(tables), Some(table)) => tables.contains(table),
            (Some(_), None) => false,
        };
        here && self.role >= role
    }
}

/// A new token with its secret, which is disclosed only here.
#[derive(Clone, Serialize, Deserialize)]
pub struct NewToken {
    /// Description of the token.
    #[serde(flatten)]
    pub info: TokenInfo,
    /// Secret: `hr_` and 64 hexadecimal digits.
    pub secret: String,
}

/// Omits the secret.
impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewToken")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_allows_its_role_and_less_in_its_tables_alone() {
        let table = |name| TableName::new(name).unwrap();
        let mut info = TokenInfo {
            id: "0123abcd".to_owned(),
            name: "api".to_owned(),
            role: Role::Write,
            tables: None,
            created_at: Timestamp::EPOCH,
            expires_at: None,
        };
        assert!(info.allows(None, Role::Read) && info.allows(Some(&table("a")), Role::Write));
        assert!(!info.allows(Some(&table("a")), Role::Admin));
        info.tables = Some(vec![table("a")]);
        assert!(info.allows(Some(&table("a")), Role::Write));
        assert!(!info.allows(Some(&table("b")), Role::Read) && !info.allows(None, Role::Read));
    }

    #[test]
    fn roles_are_read_as_they_are_written() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        assert_eq!("Admin".parse::<Role>(), Err(ParseRoleError));
    }

    #[test]
    fn a_secret_is_sent_and_not_shown() {
        let json = r#"{"id":"0123abcd","name":"api","role":"read","created_at":"1970-01-01T00:00:00.000Z","secret":"hr_x"}"#;
        let token: NewToken = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&token).unwrap(), json);
        assert!(!format!("{token:?}").contains("hr_x"));
    }
}
