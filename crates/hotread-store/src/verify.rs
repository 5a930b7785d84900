//! Checking a database from one end to the other.

use crate::error::{ReadError, StorageError};
use crate::options::TableInfo;
use crate::rows::{self, RECORD_COLUMNS, signed};
use crate::seal::SealError;
use crate::store::Store;
use crate::table::{self, OpenTable, Standing, TableRow};
use crate::token;
use crate::wal::{self, WalDamage};
use hotread_proto::{Digest, Hasher};
use rusqlite::{Connection, params};
use serde::Serialize;

/// Most problems that are reported.
const MAX_PROBLEMS: usize = 100;

/// What a check has found.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// What is wrong, in words; at most 100. Empty: all is well.
    pub problems: Vec<String>,
    /// Commits in the write-ahead log that do not count. A problem if it is certain that they were
    /// acknowledged.
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
    /// A digest of keys and values alone, without sequence numbers: tables with the same content
    /// have the same one. `None` if the values could not be read.
    pub content: Option<Digest>,
    /// Whether values were checked against their hashes. Not those of sealed tables without the
    /// passphrase.
    pub checked: bool,
}

impl Store {
    /// Checks the database: SQLite's own integrity check; of each table the number and the hashes
    /// of its records, the digest, the history without gaps, and of sealed tables every seal.
    ///
    /// Reads everything, in one read transaction.
    ///
    /// # Errors
    /// If the database cannot be read at all, or the passphrase is not that of a sealed table (without
    /// one, what is sealed is left unchecked). What is wrong with the database is in the report.
    pub fn verify(&self) -> Result<Report, ReadError> {
        let mut db = self.location().reader()?;
        let txn = db.transaction()?;
        let mut report = Report::of(&txn, |table| self.unseal(table))?;
        let scanned = wal::scan_live(self.location());
        report.wal = scanned.map_err(StorageError::from)?;
        if let Some(damage) = report.wal.filter(|damage| damage.certain) {
            report.problem(format!("{damage}; acknowledged transactions are lost"));
        }
        Ok(report)
    }
}

impl Report {
    /// Of all there is in the database. `unseal` opens a sealed table, or says why it cannot.
    pub(crate) fn of(
        db: &Connection,
        unseal: impl Fn(&OpenTable) -> Result<(), SealError>,
    ) -> Result<Self, ReadError> {
        let mut report = Self {
            problems: Vec::new(),
            wal: None,
            tables: Vec::new(),
        };
        {
            let sql = format!("PRAGMA integrity_check({MAX_PROBLEMS})");
            let mut statement = db.prepare(&sql)?;
            let mut rows = statement.query([])?;
            loop {
                match rows.next() {
                    Ok(Some(row)) => {
                        let line: String = row.get(0)?;
                        if line != "ok" {
                            passing(&line)?;
                            report.problem(line);
                        }
                    }
                    Ok(None) => break,
                    Err(e) => {
                        report.damage("", e.into())?;
                        break;
                    }
                }
            }
        }
        if let Err(e) = token::check(db) {
            report.damage("tokens: ", e.into())?;
        }
        let tables = match table::read_all(db) {
            Ok(tables) => tables,
            Err(e) => {
                report.damage("", e.into())?;
                return Ok(report);
            }
        };
        for row in tables {
            let info = row.info();
            // Without the passphrase there is still much to check; with a wrong one it is wrong.
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

    /// Notes what an error says of the database. One that says nothing of it, such as that of a disk that
    /// does not answer at the moment, ends the check.
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

/// Fails if a line of SQLite's check is about reading that failed, and not about what was read.
fn passing(line: &str) -> Result<(), StorageError> {
    let code = line.split_once("error code").and_then(|(_, rest)| {
        let rest = rest.trim_start_matches([' ', '=']);
        let digits = rest.find(|c: char| !c.is_ascii_digit());
        rest[..digits.unwrap_or(rest.len())].parse::<i32>().ok()
    });
    // An extended code has the kind of error in its last byte. A page number beyond the file's end is
    // reported in other words than a page that cannot be read.
    match code.map(|code| code & 0xff) {
        None if line.contains("failed to get page") => Err(StorageError::Io {
            detail: line.to_owned(),
        }),
        None | Some(rusqlite::ffi::SQLITE_CORRUPT | rusqlite::ffi::SQLITE_OK) => Ok(()),
        Some(_) => Err(StorageError::Io {
            detail: line.to_owned(),
        }),
    }
}

/// Checks a table; gives the digest of its content if its values can be read.
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
    {
        let sql = if readable {
            format!("SELECT {RECORD_COLUMNS} FROM records r WHERE r.table_id = ?1 ORDER BY r.key")
        } else {
            "SELECT key, seq, updated_at, hash FROM records WHERE table_id = ?1".to_owned()
        };
        let (values, hasher) = (table.values(), table.hasher());
        let mut statement = db.prepare(&sql)?;
        let mut rows = statement.query([table.id])?;
        while let Some(row) = rows.next()? {
            records += 1;
            digest = digest.with(hotread_proto::ItemHash(rows::read_wide(row, 3)?));
            let key: String = row.get(0).map_err(StorageError::from)?;
            if rows::read_count(row, 1)? > head.position.seq {
                report.problem(format!("table {name}: {key:?} is of the future"));
            }
            if !readable {
                continue;
            }
            match rows::read_record(row, &values) {
                Ok(record) => {
                    if !record.verify(&hasher) {
                        report.problem(format!("table {name}: the hash of {key:?} is wrong"));
                    }
                    content = content.with(Hasher::PLAIN.item(&key, 0, record.value()));
                }
                Err(e) => report.damage(&format!("table {name}: {key:?}: "), e)?,
            }
        }
    }
    if records != head.records {
        let said = head.records;
        report.problem(format!(
            "table {name}: it has {records} records, and should have {said}"
        ));
    }
    if digest != head.digest {
        report.problem(format!(
            "table {name}: the digest of its records is not the table's"
        ));
    }
    check_history(db, table, head, *floor, readable, report)?;
    if table.options.search {
        let sql = "SELECT count(*) FROM search_rows WHERE table_id = ?1";
        let indexed: i64 = db.query_row(sql, [table.id], |row| row.get(0))?;
        if indexed != signed(records) {
            report.problem(format!(
                "table {name}: its search index has {indexed} of {records} records"
            ));
        }
    }
    Ok(readable.then_some(content))
}

fn check_history(
    db: &Connection,
    table: &OpenTable,
    head: &hotread_proto::Head,
    floor: u64,
    readable: bool,
    report: &mut Report,
) -> Result<(), ReadError> {
    let name = &table.name;
    let sql = format!(
        "SELECT {} FROM changes WHERE {} ORDER BY place",
        rows::CHANGE_COLUMNS,
        rows::CHANGES_OF_TABLE
    );
    let mut statement = db.prepare(&sql)?;
    let mut rows = statement.query(params![table.id])?;
    let mut next = floor;
    while let Some(row) = rows.next()? {
        let seq = rows::read_count(row, 0)?;
        if seq != next {
            report.problem(format!(
                "table {name}: the history has seq {seq} in place of {next}"
            ));
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
    }
    if next != head.position.seq + 1 {
        let last = head.position.seq;
        report.problem(format!("table {name}: the history ends before seq {last}"));
    }
    Ok(())
}
