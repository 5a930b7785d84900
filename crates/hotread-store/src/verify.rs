//! Verification of a whole database.

use crate::error::{ReadError, StorageError};
use crate::options::TableInfo;
use crate::rows::{self, CHANGE_COLUMNS, CHANGES_OF_TABLE, RECORD_COLUMNS, signed};
use crate::seal::SealError;
use crate::store::Store;
use crate::table::{self, OpenTable, Standing, TableRow};
use crate::token;
use crate::wal::{self, WalDamage};
use hotread_proto::{Digest, Hasher, Head, ItemHash};
use rusqlite::Connection;
use serde::Serialize;

/// Maximum number of problems that are reported.
const MAX_PROBLEMS: usize = 100;

/// The result of a verification.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Descriptions of the problems, at most 100. Empty if the database is intact.
    pub problems: Vec<String>,
    /// Commits in the write-ahead log that SQLite skips. A problem if they were certainly acknowledged.
    pub wal: Option<WalDamage>,
    /// The tables that could be read.
    pub tables: Vec<VerifiedTable>,
}

/// A table that was checked.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct VerifiedTable {
    /// The table.
    #[serde(flatten)]
    pub info: TableInfo,
    /// A digest of keys and values alone, without sequence numbers: equal for tables with the same
    /// content. `None` if the values could not be read.
    pub content: Option<Digest>,
    /// Set if values were checked against their hashes, which is impossible for sealed tables without
    /// the passphrase.
    pub checked: bool,
}

impl Store {
    /// Checks the database: SQLite's own integrity check; of each table the number and the hashes of
    /// its records, the digest, and the history without gaps; and of sealed tables every seal.
    ///
    /// Reads everything, in one read transaction.
    ///
    /// # Errors
    /// If the database cannot be read at all, or the passphrase is not that of a sealed table (without
    /// a passphrase, sealed content is left unchecked). Problems of the database are in the report.
    pub fn verify(&self) -> Result<Report, ReadError> {
        let mut db = self.0.at.reader()?;
        let txn = db.transaction()?;
        let mut report = Report::of(&txn, |table| self.unseal(table))?;
        let scanned = wal::scan_live(&self.0.at);
        report.wal = scanned.map_err(StorageError::from)?;
        if let Some(damage) = report.wal.filter(|damage| damage.certain) {
            report.problem(format!("{damage}; acknowledged transactions are lost"));
        }
        Ok(report)
    }
}

impl Report {
    /// Verifies the whole database. `unseal` opens a sealed table, or returns the reason it cannot.
    pub(crate) fn of(
        db: &Connection,
        unseal: impl Fn(&OpenTable) -> Result<(), SealError>,
    ) -> Result<Self, ReadError> {
        let mut report = Self {
            problems: Vec::new(),
            wal: None,
            tables: Vec::new(),
        };
        let sql = format!("PRAGMA integrity_check({MAX_PROBLEMS})");
        let mut statement = db.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows
            .next()
            .or_else(|e| report.damage("", e.into()).map(|()| None))?
        {
            let line: String = row.get(0)?;
            if line != "ok" {
                passing(&line)?;
                report.problem(line);
            }
        }
        if let Err(e) = token::read_all(db) {
            report.damage("tokens: ", e.into())?;
        }
        let tables = table::read_all(db).or_else(|e| {
            report.damage("", e.into())?;
            Ok::<_, ReadError>(Vec::new())
        })?;
        for row in tables {
            let info = row.info();
            // Without a passphrase most checks are still possible; a wrong one is an error.
            let readable = match unseal(&row.table) {
                Ok(()) => true,
                Err(SealError::NoPassphrase) => false,
                Err(source @ SealError::WrongPassphrase) => {
                    let table = info.name;
                    return Err(ReadError::Seal { table, source });
                }
                Err(e) => {
                    report.problem(format!("table {}: {e}", info.name));
                    false
                }
            };
            let (content, checked) = match check(db, &row, readable, &mut report) {
                Ok(content) => (content, readable),
                Err(e) => {
                    report.damage(&format!("table {}: ", info.name), e)?;
                    (None, false)
                }
            };
            report.tables.push(VerifiedTable {
                info,
                content,
                checked,
            });
        }
        Ok(report)
    }

    /// Records the problem that an error shows. An error without relation to the content of the
    /// database, such as that of an unresponsive disk, ends the verification.
    fn damage(&mut self, what: &str, error: ReadError) -> Result<(), ReadError> {
        match error {
            ReadError::Storage(StorageError::Corrupt { .. }) | ReadError::Seal { .. } => {
                self.problem(format!("{what}{error}"));
                Ok(())
            }
            error => Err(error),
        }
    }

    fn problem(&mut self, problem: String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }
}

/// Fails if a line of SQLite's check reports a failed read instead of damaged content.
fn passing(line: &str) -> Result<(), StorageError> {
    let code = line.split_once("error code").and_then(|(_, rest)| {
        let rest = rest.trim_start_matches([' ', '=']);
        let digits = rest.find(|c: char| !c.is_ascii_digit());
        rest[..digits.unwrap_or(rest.len())].parse::<i32>().ok()
    });
    // The last byte of an extended code is the kind of error. A page number beyond the file's end has
    // another message than a page that cannot be read.
    match code.map(|code| code & 0xff) {
        None if line.contains("failed to get page") => Err(StorageError::io(line)),
        None | Some(rusqlite::ffi::SQLITE_CORRUPT | rusqlite::ffi::SQLITE_OK) => Ok(()),
        Some(_) => Err(StorageError::io(line)),
    }
}

/// Checks a table. Returns the digest of its content if its values can be read.
fn check(
    db: &Connection,
    row: &TableRow,
    readable: bool,
    report: &mut Report,
) -> Result<Option<Digest>, ReadError> {
    let TableRow { table, standing } = row;
    let Standing { head, floor, .. } = standing;
    let name = &table.name;
    let (mut digest, mut content, mut records) = (Digest::EMPTY, Digest::EMPTY, 0);
    let sql = match readable {
        true => {
            format!("SELECT {RECORD_COLUMNS} FROM records r WHERE r.table_id = ?1 ORDER BY r.key")
        }
        false => "SELECT key, seq, updated_at, hash FROM records WHERE table_id = ?1".to_owned(),
    };
    let (values, hasher) = (table.values(), table.hasher());
    rows::each::<ReadError>(db, &sql, [table.id], |row| {
        records += 1;
        digest = digest.with(ItemHash(rows::read_wide(row, 3)?));
        let key: String = row.get(0)?;
        if rows::read_count(row, 1)? > head.position.seq {
            report.problem(format!("table {name}: {key:?} is beyond the head"));
        }
        if !readable {
            return Ok(());
        }
        match rows::read_record(row, &values) {
            Ok(record) => {
                if !record.verify(&hasher) {
                    report.problem(format!("table {name}: the hash of {key:?} is wrong"));
                }
                content = content.with(Hasher::PLAIN.item(&key, 0, record.value()));
                Ok(())
            }
            Err(e) => report.damage(&format!("table {name}: {key:?}: "), e),
        }
    })?;
    let mut problem = |what: String| report.problem(format!("table {name}: {what}"));
    if records != head.records {
        let said = head.records;
        problem(format!("it has {records} records, and should have {said}"));
    }
    if digest != head.digest {
        problem("the digest of its records is not the table's".to_owned());
    }
    check_history(db, table, head, *floor, readable, report)?;
    if table.options.search {
        let sql = "SELECT count(*) FROM search_rows WHERE table_id = ?1";
        let indexed: i64 = db.query_row(sql, [table.id], |row| row.get(0))?;
        if indexed != signed(records) {
            let what = format!("its search index contains {indexed} of {records} records");
            report.problem(format!("table {name}: {what}"));
        }
    }
    Ok(readable.then_some(content))
}

fn check_history(
    db: &Connection,
    table: &OpenTable,
    head: &Head,
    floor: u64,
    readable: bool,
    report: &mut Report,
) -> Result<(), ReadError> {
    let name = &table.name;
    let sql =
        format!("SELECT {CHANGE_COLUMNS} FROM changes WHERE {CHANGES_OF_TABLE} ORDER BY place");
    let mut next = floor;
    rows::each::<ReadError>(db, &sql, [table.id], |row| {
        let seq = rows::read_count(row, 0)?;
        if seq != next {
            let what = format!("the history has seq {seq} instead of {next}");
            report.problem(format!("table {name}: {what}"));
        }
        next = seq + 1;
        if seq == head.position.seq && rows::read_wide(row, 2)? != head.digest.0 {
            report.problem(format!(
                "table {name}: the history ends with another digest"
            ));
        }
        if readable && let Err(e) = rows::read_change(row, head.position.epoch, &table.values()) {
            report.damage(&format!("table {name}: seq {seq} of the history: "), e)?;
        }
        Ok(())
    })?;
    if next != head.position.seq + 1 {
        let last = head.position.seq;
        report.problem(format!("table {name}: the history ends before seq {last}"));
    }
    Ok(())
}
