//! `hotread token`: tokens, which give access to a server.

use super::{Mode, Session, from_now};
use crate::args::{FormatArgs, TokenCmd};
use crate::exit;
use crate::output::Out;
use anyhow::Result;
use hotread_proto::{Code, TableName, TokenInfo};
use hotread_store::Store;

pub(super) fn run(session: &Session, command: TokenCmd, out: &mut Out) -> Result<()> {
    match command {
        TokenCmd::Create {
            name,
            role,
            tables,
            expires_at,
            ttl,
        } => {
            let expires_at = expires_at.or_else(|| ttl.map(from_now));
            let only = (!tables.is_empty()).then_some(tables);
            if session.begins() {
                Store::check_first_token(&name, role, only.clone(), expires_at)?;
            }
            let tables = session.tables(Mode::Create)?;
            let created = tables.create_token(&name, role, only, expires_at)?;
            for table in created.info.tables.iter().flatten() {
                match tables.table(table) {
                    Err(error) if exit::body(&error).code == Code::UnknownTable => {
                        session.note(&format!(
                            "there is no table {table} yet; the token is for it once it is created"
                        ))
                    }
                    _ => {}
                }
            }
            session.note(&format!(
                "token {} was created; this is its secret, which is not kept and cannot be shown again",
                created.info.id
            ));
            session.answer(&created, &created.secret, out)
        }
        TokenCmd::List(format) => list(session, format, out),
        TokenCmd::Revoke { id } => {
            let revoked = session.tables(Mode::Write)?.revoke_token(&id)?;
            let line = format!("token {id} of {} was revoked", revoked.name);
            session.answer(&revoked, &line, out)
        }
    }
}

/// Columns of CSV.
const COLUMNS: &[&str] = &["id", "name", "role", "tables", "created_at", "expires_at"];

fn list(session: &Session, format: FormatArgs, out: &mut Out) -> Result<()> {
    let list = session.list(format, COLUMNS)?;
    let tokens = session.tables(Mode::Read)?.tokens()?;
    let row = |token: &TokenInfo| {
        let tables = token.tables.as_ref().map_or("all".to_owned(), |tables| {
            let names: Vec<_> = tables.iter().map(TableName::as_str).collect();
            names.join(", ")
        });
        let expires = token
            .expires_at
            .map_or("never".to_owned(), |at| at.to_string());
        vec![
            token.id.clone(),
            token.name.clone(),
            token.role.to_string(),
            tables,
            token.created_at.to_string(),
            expires,
        ]
    };
    let none = "there are no tokens; a server answers every program on its machine";
    let heading = ["ID", "NAME", "ROLE", "TABLES", "CREATED", "EXPIRES"];
    session.print(list, &tokens, none, &heading, row, out)
}
