//! Records of the demo: those that come with the command, or a file of the user's.

use super::process::{DB, Process};
use super::protocol::Kind;
use crate::args::ShowArgs;
use crate::exit::{Exit, Failure};
use anyhow::{Context, Result};
use clap::ValueEnum;
use hotread_client::{Client, Record, Scan};
use hotread_proto::{Code, Key, Value};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Records that come with the command. `data/README.md` names their source and licence.
const VENDORS: &str = include_str!("../../data/vendors.csv");
/// Description of these records.
const NAME: &str = "who made a network card: prefixes of hardware addresses, and their vendors";
/// Maximum number of records of one request.
const PAGE: usize = 1_000;

/// Source of the records.
pub(super) struct Source {
    pub(super) table: &'static str,
    /// Description for people.
    pub(super) name: String,
    file: PathBuf,
    /// Options of `hotread import`.
    options: Vec<String>,
    /// Type of the values, if it is known.
    kind: Option<Kind>,
}

impl Source {
    pub(super) fn choose(args: &ShowArgs, dir: &Path) -> Result<Self> {
        let Some(file) = &args.data else {
            let file = dir.join("vendors.csv");
            std::fs::write(&file, VENDORS)
                .with_context(|| format!("{} cannot be written", file.display()))?;
            return Ok(Self {
                table: "vendors",
                name: NAME.to_owned(),
                file,
                options: vec!["--key".to_owned(), "prefix".to_owned()],
                kind: Some(Kind::Vendor),
            });
        };
        let format = args.format.and_then(|format| format.to_possible_value());
        let format = format.map(|format| format.get_name().to_owned());
        let options = [("--key", args.key.clone()), ("--format", format)].into_iter();
        let options = options.filter_map(|(name, value)| Some([name.to_owned(), value?]));
        Ok(Self {
            table: "demo",
            name: file.display().to_string(),
            file: file.clone(),
            options: options.flatten().collect(),
            kind: None,
        })
    }

    /// Returns the command that imports the records, with the name of the file alone.
    pub(super) fn command(&self) -> String {
        let file = Path::new(self.file.file_name().unwrap_or_default());
        let command = format!("hotread import {} {}", self.table, file.display());
        [&[command], &self.options[..]].concat().join(" ")
    }

    /// Runs the import.
    pub(super) async fn import(&self, dir: &Path) -> Result<()> {
        let mut args = ["import", "--json", "--db"].map(OsString::from).to_vec();
        args.push(dir.join(DB).into());
        args.extend(self.options.iter().map(Into::into));
        args.extend(["--".into(), self.table.into(), self.file.clone().into()]);
        // No time limit, since the file may be large; ctrl-C ends the import.
        match Process::start("import", dir, &args)?.end().await? {
            Some(error) => Err(Failure::with(Exit::Error, error).into()),
            None => Ok(()),
        }
    }
}

/// The records in their initial state.
pub(super) struct Records {
    pub(super) keys: Vec<Key>,
    /// Values of the keys, in the same order.
    pub(super) values: Vec<Value>,
    pub(super) kind: Kind,
    /// A value of another kind than these.
    pub(super) poison: Value,
}

impl Records {
    pub(super) async fn load(client: &Client, source: &Source) -> Result<Self> {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for record in all(client, source.table).await? {
            keys.push(Key::new(record.key())?);
            values.push(Value::parse(record.value())?);
        }
        let kind = source.kind.map_or_else(|| kind(&values), Ok).map_err(|what| {
            let message = format!(
                "{}: {what}; give a file whose values are all objects, or all strings, and so on, so \
                 that there is a value which the workers' type refuses",
                source.name
            );
            Failure::new(Code::InvalidValue, message)
        })?;
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

/// Fetches all records of a table from the server.
pub(super) async fn all(client: &Client, table: &str) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    let mut scan = Scan {
        limit: PAGE,
        ..Scan::default()
    };
    loop {
        let page = client.scan(table, &scan).await?;
        scan.epoch = Some(page.position.epoch);
        records.extend(page.records);
        scan.after = page.next;
        if scan.after.is_none() {
            return Ok(records);
        }
    }
}

/// Returns the kind that all values have in common, or the reason there is none.
fn kind(values: &[Value]) -> Result<Kind, &'static str> {
    let kind = |value: &Value| match value.as_bytes().first() {
        Some(b'{') => Ok(Kind::Object),
        Some(b'"') => Ok(Kind::Text),
        Some(b'[') => Ok(Kind::List),
        Some(b't' | b'f') => Ok(Kind::Switch),
        Some(b'n') => Err("a value is null"),
        _ => Ok(Kind::Number),
    };
    let kinds = values.iter().map(kind).collect::<Result<Vec<_>, _>>()?;
    let first = *kinds.first().ok_or("there are no records in it")?;
    match kinds.iter().all(|kind| *kind == first) {
        true => Ok(first),
        false => Err("its values are of different kinds"),
    }
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
            let values = texts.iter().map(|text| Value::parse(text.as_bytes()));
            kind(&values.collect::<Result<Vec<_>, _>>().unwrap())
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
