//! `hotread token`: who may use a server.

use super::{Mode, Session};
use crate::args::{FormatArgs, TokenCmd};
use crate::output::Out;
use anyhow::Result;
use hotread_proto::{TableName, Timestamp};
use hotread_store::{Role, TokenInfo};
use serde::Serialize;
use std::time::SystemTime;

pub(super) fn run(session: &Session, command: TokenCmd, out: &mut Out) -> Result<()> {
    match command {
        TokenCmd::Create {
            name,
            role,
            tables,
            expires_at,
            ttl,
        } => {
            let after = |ttl| Timestamp::from(SystemTime::now()).saturating_add(ttl);
            let expires_at = expires_at.or_else(|| ttl.map(after));
            create(session, &name, role, tables, expires_at, out)
        }
        TokenCmd::List(format) => list(session, format, out),
        TokenCmd::Revoke { id } => revoke(session, &id, out),
    }
}

fn create(
    session: &Session,
    name: &str,
    role: Role,
    tables: Vec<TableName>,
    expires_at: Option<Timestamp>,
    out: &mut Out,
) -> Result<()> {
    #[derive(Serialize)]
    struct Created<'a> {
        #[serde(flatten)]
        info: &'a TokenInfo,
        secret: &'a str,
    }

    let tables = (!tables.is_empty()).then_some(tables);
    let access = session.tables(Mode::Create)?;
    let created = access.create_token(name, role, tables, expires_at)?;
    if session.json() {
        return out.json(&Created {
            info: &created.info,
            secret: &created.secret,
        });
    }
    let id = &created.info.id;
    session.note(&format!(
        "token {id} was created; this is its secret, which is not kept and cannot be shown again"
    ));
    out.line(&created.secret)
}

/// Columns of CSV.
const COLUMNS: &[&str] = &["id", "name", "role", "tables", "created_at", "expires_at"];

fn list(session: &Session, format: FormatArgs, out: &mut Out) -> Result<()> {
    let list = session.list(format, COLUMNS)?;
    let tokens = session.tables(Mode::Read)?.tokens()?;
    if let Some(mut list) = list {
        list.rows(&tokens, out)?;
        return list.end(out);
    }
    if tokens.is_empty() {
        session.note("there are no tokens; a server answers everybody on its own machine");
        return Ok(());
    }
    let rows = tokens.iter().map(|token| {
        let tables = token.tables.as_ref().map_or("all".to_owned(), |tables| {
            let names: Vec<_> = tables.iter().map(TableName::as_str).collect();
            names.join(", ")
        });
        vec![
            token.id.clone(),
            token.name.clone(),
            token.role.to_string(),
            tables,
            token.created_at.to_string(),
            token
                .expires_at
                .map_or("never".to_owned(), |at| at.to_string()),
        ]
    });
    out.table(
        &["ID", "NAME", "ROLE", "TABLES", "CREATED", "EXPIRES"],
        rows.collect(),
    )
}

fn revoke(session: &Session, id: &str, out: &mut Out) -> Result<()> {
    let revoked = session.tables(Mode::Write)?.revoke_token(id)?;
    if session.json() {
        return out.json(&revoked);
    }
    out.line(&format!("token {id} of {} was revoked", revoked.name))
}
