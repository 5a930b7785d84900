//! JSON Schema, which restricts the values of a table.
//!
//! A schema is a program of another author, so its cost is bounded before it runs: [`graph`] counts the
//! most steps that it takes. A schema without a bound is refused when it is stored, and a value that
//! would take too many steps is refused when it is checked.

mod graph;

use crate::error::CommitError;
use crate::options::TableInfo;
use graph::Graph;
use hotread_proto::{Key, TableName, Value};
use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value as Json;

/// Largest schema, in bytes: several times the largest common ones.
const MAX_SCHEMA_BYTES: usize = 256 << 10;
/// Largest compiled regular expression, in bytes: Unicode classes with small counts fit, and matching
/// takes at most tens of nanoseconds for each byte of text.
const MAX_PATTERN_SIZE: usize = 2 << 20;
/// Maximum memory, in bytes for each thread, that a regular expression caches while it runs.
const MAX_PATTERN_CACHE: usize = 1 << 20;
/// Maximum number of steps that the check of one value may take: a few tenths of a second.
const MAX_STEPS: u64 = 40_000_000;
/// Maximum number of steps for which a violation is located, which takes up to a hundred times as long as the
/// check.
const MAX_EXPLAINED: u64 = 400_000;
/// Maximum number of steps for each 16 bytes of a value with which a check takes no longer than parsing the
/// value.
const QUICK_STEPS: u64 = 64;

/// A compiled schema.
#[derive(Debug)]
pub(crate) struct Schema {
    validator: Validator,
    graph: Graph,
}

impl Schema {
    /// Compiles a schema of bounded cost. Patterns run in linear time; references to other documents
    /// are refused.
    pub(crate) fn compile(schema: &Value) -> Result<Self, String> {
        let bytes = schema.as_bytes().len();
        if bytes > MAX_SCHEMA_BYTES {
            return Err(format!(
                "it has {bytes} bytes; at most {MAX_SCHEMA_BYTES} are allowed"
            ));
        }
        let schema: Json = schema.to().map_err(|e| e.to_string())?;
        let graph = Graph::of(&schema)?;
        let patterns = PatternOptions::regex()
            .size_limit(MAX_PATTERN_SIZE)
            .dfa_size_limit(MAX_PATTERN_CACHE);
        let validator = jsonschema::options()
            .with_pattern_options(patterns)
            .should_validate_formats(true)
            .build(&schema)
            .map_err(|e| wrong_part(&e))?;
        Ok(Self { validator, graph })
    }

    /// Returns `true` if checking a value takes no longer than parsing it.
    pub(crate) fn is_quick(&self) -> bool {
        self.graph.most_steps() <= QUICK_STEPS
    }

    /// Checks the value of a record. The error is that of a commit.
    pub(crate) fn check_record(
        &self,
        table: &TableName,
        is_sealed: bool,
        key: &Key,
        value: &Value,
    ) -> Result<(), CommitError> {
        self.check(value, is_sealed)
            .map_err(|(path, reason)| CommitError::Schema {
                table: table.clone(),
                key: key.clone(),
                path,
                reason,
            })
    }

    /// Checks a value. The error is the place and reason of a violation, without quoting the value. For
    /// a secret value, names of its members are not quoted either, only the schema's own words.
    pub(crate) fn check(&self, value: &Value, secret: bool) -> Result<(), (String, String)> {
        let value: Json = value.to().map_err(|e| (String::new(), e.to_string()))?;
        let steps = self.graph.steps(&value);
        if steps > MAX_STEPS {
            let reason = format!(
                "checking it might take {steps} steps, and at most {MAX_STEPS} are allowed; split \
                 the value, or give the table a simpler schema"
            );
            return Err((String::new(), reason));
        }
        if self.validator.is_valid(&value) {
            return Ok(());
        }
        if steps > MAX_EXPLAINED {
            let reason = "it violates the schema, and is too large to say where";
            return Err((String::new(), reason.to_owned()));
        }
        self.validator.validate(&value).map_err(|e| {
            if secret {
                let rule = e.schema_path();
                return (String::new(), format!("it violates {rule} of the schema"));
            }
            (
                e.instance_path().to_string(),
                e.masked_with("the value").to_string(),
            )
        })
    }
}

/// Describes the part of a schema that is not one of a JSON Schema. Schemas are no secret.
fn wrong_part(error: &ValidationError<'_>) -> String {
    const SHOWN: usize = 64;
    let path = error.instance_path().to_string();
    if path.is_empty() {
        return error.to_string();
    }
    match error.kind() {
        // Its message names the rules of JSON Schema rather than the part.
        ValidationErrorKind::AnyOf { .. } => {
            let part: String = error.instance().to_string().chars().take(SHOWN).collect();
            format!("{part} at {path} cannot be used")
        }
        _ => format!("{error} (at {path})"),
    }
}

/// Schema of a table, for programs that check values without committing them.
#[derive(Debug)]
pub struct TableSchema {
    table: TableName,
    is_sealed: bool,
    schema: Schema,
}

impl TableSchema {
    /// Compiles the schema of a table. Returns `None` if the table has no schema.
    ///
    /// # Errors
    /// With [`CommitError::UnusableSchema`] if the schema cannot be used; a commit to the table fails with the same
    /// error.
    pub fn of(info: &TableInfo) -> Result<Option<Self>, CommitError> {
        let Some(schema) = &info.options.schema else {
            return Ok(None);
        };
        let table = info.name.clone();
        match Schema::compile(schema) {
            Ok(schema) => Ok(Some(Self {
                table,
                is_sealed: info.options.sealed,
                schema,
            })),
            Err(reason) => Err(CommitError::UnusableSchema { table, reason }),
        }
    }

    /// Checks a value in the same way as a commit to the table.
    ///
    /// # Errors
    /// With [`CommitError::Schema`] if the value does not fit.
    pub fn check(&self, key: &Key, value: &Value) -> Result<(), CommitError> {
        self.schema
            .check_record(&self.table, self.is_sealed, key, value)
    }
}

#[cfg(test)]
mod tests;
