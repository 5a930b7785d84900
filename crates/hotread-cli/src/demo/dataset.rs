//! What is in the table: the records that come with the command, or a file of the user's.

use crate::args::{FileFormat, Kind, ShowArgs};
use crate::exit::Failure;
use anyhow::{Context, Result};
use clap::ValueEnum;
use hotread_client::{Client, Record, Scan};
use hotread_proto::{Code, Key, TableName, Value};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where they are from, and under which licence: `data/README.md`.
const VENDORS: &str = include_str!("../../data/vendors.csv");
/// Records that are asked for at a time.
const PAGE: usize = 1_000;

/// Where the records come from.
pub(super) struct Source {
    pub(super) table: TableName,
    /// For people.
    pub(super) name: String,
    file: PathBuf,
    key: Option<String>,
    format: Option<FileFormat>,
    shipped: bool,
}

impl Source {
    pub(super) fn choose(args: &ShowArgs, dir: &Path) -> Result<Self> {
        if let Some(file) = &args.data {
            return Ok(Self {
                table: TableName::new("demo")?,
                name: file.display().to_string(),
                file: file.clone(),
                key: args.key.clone(),
                format: args.format,
                shipped: false,
            });
        }
        let file = dir.join("vendors.csv");
        std::fs::write(&file, VENDORS)
            .with_context(|| format!("{} cannot be written", file.display()))?;
        Ok(Self {
            table: TableName::new("vendors")?,
            name: "who made a network card: prefixes of hardware addresses, and their vendors"
                .to_owned(),
            file,
            key: Some("prefix".to_owned()),
            format: None,
            shipped: true,
        })
    }

    /// How a user imports them; the file's name alone.
    pub(super) fn import(&self) -> String {
        let file = self.file.file_name().unwrap_or_default();
        let key = self.key.as_ref();
        let key = key.map_or(String::new(), |key| format!(" --key {key}"));
        let format = self.format();
        let format = format.map_or(String::new(), |format| format!(" --format {format}"));
        format!(
            "hotread import {} {}{key}{format}",
            self.table,
            file.display()
        )
    }

    fn format(&self) -> Option<String> {
        let format = self.format.as_ref()?.to_possible_value()?;
        Some(format.get_name().to_owned())
    }

    /// The arguments that import them.
    pub(super) fn import_args(&self, db: &Path) -> Vec<OsString> {
        let mut args: Vec<OsString> = ["import", "--json", "--db"].map(Into::into).into();
        args.push(db.into());
        if let Some(key) = &self.key {
            args.extend(["--key".into(), key.into()]);
        }
        if let Some(format) = self.format() {
            args.extend(["--format".into(), format.into()]);
        }
        args.extend([
            "--".into(),
            self.table.as_str().into(),
            self.file.clone().into(),
        ]);
        args
    }
}

/// The records as they were in the beginning.
pub(super) struct Records {
    pub(super) keys: Vec<Key>,
    /// Of the keys, in their order.
    pub(super) values: Vec<Value>,
    pub(super) kind: Kind,
    /// A value that is none of this kind.
    pub(super) poison: Value,
}

impl Records {
    pub(super) async fn load(client: &Client, source: &Source) -> Result<Self> {
        let records = all(client, &source.table).await?;
        let mut keys = Vec::with_capacity(records.len());
        let mut values = Vec::with_capacity(records.len());
        for record in &records {
            keys.push(Key::new(record.key())?);
            values.push(Value::parse(record.value())?);
        }
        let kind = match source.shipped {
            true => Kind::Vendor,
            false => kind(&values).map_err(|what| {
                let message = format!(
                    "{}: {what}; give a file whose values are all objects, or all strings, and so \
                     on, so that there is a value which the workers' type refuses",
                    source.name
                );
                Failure::new(Code::InvalidValue, message)
            })?,
        };
        let poison: &[u8] = match kind {
            Kind::Vendor => br#"{"vendor":404}"#,
            Kind::Object => br#""poison""#,
            _ => br#"{"poison":true}"#,
        };
        let poison = Value::parse(poison)?;
        Ok(Self {
            keys,
            values,
            kind,
            poison,
        })
    }
}

/// All records of a table, as the server has them.
pub(super) async fn all(client: &Client, table: &TableName) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    let mut scan = Scan {
        limit: PAGE,
        ..Scan::default()
    };
    loop {
        let page = client.scan(table.as_str(), &scan).await?;
        scan.epoch = Some(page.position.epoch);
        records.extend(page.records);
        match page.next {
            Some(next) => scan.after = Some(next),
            None => return Ok(records),
        }
    }
}

/// What all values are, or why that cannot be said.
fn kind(values: &[Value]) -> Result<Kind, String> {
    let mut kinds = values.iter().map(|value| match value.as_bytes().first() {
        Some(b'{') => Ok(Kind::Object),
        Some(b'"') => Ok(Kind::Text),
        Some(b'[') => Ok(Kind::List),
        Some(b't' | b'f') => Ok(Kind::Switch),
        Some(b'n') => Err("a value is null".to_owned()),
        _ => Ok(Kind::Number),
    });
    let first = kinds.next().ok_or("there are no records in it")??;
    for kind in kinds {
        if kind? != first {
            return Err("its values are of different kinds".to_owned());
        }
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_records_are_what_their_description_says() {
        let mut lines = VENDORS.lines();
        assert_eq!(lines.next(), Some("prefix,vendor"));
        let prefixes: Vec<_> = lines.filter_map(|line| line.split(',').next()).collect();
        assert_eq!(prefixes.len(), 5_000);
        assert!(prefixes.is_sorted_by(|a, b| a < b), "each prefix once");
        assert!(VENDORS.len() < 300_000);
    }

    #[test]
    fn values_must_be_of_one_kind() {
        let of = |texts: &[&str]| {
            let values: Vec<_> = texts
                .iter()
                .map(|text| Value::parse(text.as_bytes()).unwrap())
                .collect();
            kind(&values)
        };
        for (text, expected) in [
            ("{}", Kind::Object),
            ("\"\"", Kind::Text),
            ("[]", Kind::List),
            ("false", Kind::Switch),
            ("-1", Kind::Number),
        ] {
            assert_eq!(of(&[text, text]), Ok(expected));
        }
        assert!(of(&["1", "{}"]).unwrap_err().contains("different"));
        assert!(of(&["null"]).unwrap_err().contains("null"));
        assert!(of(&[]).unwrap_err().contains("no records"));
    }
}
