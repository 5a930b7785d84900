//! Lists for programs: one JSON array, a JSON object on each line, or CSV. All three are made of the
//! rows' JSON.

use super::Out;
use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;

/// Indentation of a level of JSON, in spaces.
const INDENT: usize = 2;

/// Format of a list for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    /// One array.
    Json,
    /// An object on each line.
    Ndjson,
    /// The named members of each row, under a heading.
    Csv,
}

/// A list that is being printed. Its rows are JSON objects.
pub(crate) struct List {
    format: Machine,
    pretty: bool,
    columns: &'static [&'static str],
    begun: bool,
}

impl List {
    /// Starts a list. With `pretty`, JSON is indented. `columns` are the members that become the columns
    /// of CSV.
    pub(crate) fn new(format: Machine, pretty: bool, columns: &'static [&'static str]) -> Self {
        Self {
            format,
            pretty,
            columns,
            begun: false,
        }
    }

    pub(crate) fn is_csv(&self) -> bool {
        self.format == Machine::Csv
    }

    pub(crate) fn row(&mut self, row: &impl Serialize, out: &mut Out) -> Result<()> {
        let json = to_json(row)?;
        let begun = std::mem::replace(&mut self.begun, true);
        match self.format {
            Machine::Ndjson => {
                out.part(&self.indented(&json))?;
                out.text("\n")
            }
            Machine::Json => {
                out.text(if begun { ",\n" } else { "[\n" })?;
                out.part(&self.indented(&json))
            }
            Machine::Csv => {
                if !begun {
                    out.line(&self.columns.join(","))?;
                }
                let members: HashMap<String, &RawValue> =
                    serde_json::from_str(&json).context("a row is not an object")?;
                let cells = self.columns.iter().map(|column| {
                    let member = members.get(*column);
                    member.map_or(Ok("".into()), |value| cell(column, value.get()))
                });
                let cells: Vec<_> = cells.collect::<Result<_>>()?;
                out.line(&cells.join(","))
            }
        }
    }

    /// Prints several rows.
    pub(crate) fn rows<'a, T: Serialize + 'a>(
        &mut self,
        rows: impl IntoIterator<Item = &'a T>,
        out: &mut Out,
    ) -> Result<()> {
        rows.into_iter().try_for_each(|row| self.row(row, out))
    }

    /// Ends the list. An array that is never ended stays open, so that a partial list is not valid JSON.
    pub(crate) fn end(self, out: &mut Out) -> Result<()> {
        match (self.format, self.begun) {
            (Machine::Json, true) => out.text("\n]\n"),
            (Machine::Json, false) => out.text("[]\n"),
            (Machine::Csv, false) => out.line(&self.columns.join(",")),
            _ => Ok(()),
        }
    }

    fn indented<'a>(&self, json: &'a str) -> Cow<'a, str> {
        match self.pretty {
            true => pretty(json).into(),
            false => json.into(),
        }
    }
}

/// Returns the JSON of an answer.
pub(crate) fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).context("the answer cannot be written as JSON")
}

/// Returns a field of CSV: JSON for the column `value`, as in an export; the text for other strings.
fn cell(column: &str, json: &str) -> Result<String> {
    let text: Cow<'_, str> = match column != "value" && json.starts_with('"') {
        true => serde_json::from_str::<String>(json)
            .context("a member is not a string")?
            .into(),
        false => json.into(),
    };
    Ok(match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.into_owned(),
    })
}

/// Indents compact JSON; numbers and strings stay as they are.
pub(crate) fn pretty(json: &str) -> String {
    let mut text = String::with_capacity(json.len() * 2);
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let mut chars = json.chars().peekable();
    let line = |text: &mut String, depth: usize| {
        text.push('\n');
        text.extend(std::iter::repeat_n(' ', depth * INDENT));
    };
    while let Some(c) = chars.next() {
        if quoted {
            text.push(c);
            (quoted, escaped) = (escaped || c != '"', !escaped && c == '\\');
            continue;
        }
        match c {
            '{' | '[' => {
                text.push(c);
                if let Some(&end @ ('}' | ']')) = chars.peek() {
                    text.push(end);
                    chars.next();
                    continue;
                }
                depth += 1;
                line(&mut text, depth);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut text, depth);
                text.push(c);
            }
            ',' => {
                text.push(c);
                line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            c => {
                quoted = c == '"';
                text.push(c);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indented_json_keeps_its_digits_and_strings() {
        let json = r#"{"a":[1.0,9007199254740993,{}],"b":"x\"{,:\\","c":[],"d":{"e":null}}"#;
        let expected = r#"{
  "a": [
    1.0,
    9007199254740993,
    {}
  ],
  "b": "x\"{,:\\",
  "c": [],
  "d": {
    "e": null
  }
}"#;
        assert_eq!(pretty(json), expected);
        assert_eq!(pretty("\"a,b\""), "\"a,b\"");
    }

    #[test]
    fn fields_are_quoted_where_they_need_to_be() {
        for (column, json, field) in [
            ("key", r#""a""#, "a"),
            ("key", r#""a,\"b""#, "\"a,\"\"b\""),
            ("value", r#""a""#, "\"\"\"a\"\"\""),
            ("value", "1.0", "1.0"),
            ("seq", "7", "7"),
        ] {
            assert_eq!(cell(column, json).unwrap(), field);
        }
    }
}
