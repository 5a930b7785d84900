//! JSON Schema: what a table's values must look like.

use hotread_proto::Value;
use jsonschema::{PatternOptions, Validator};

/// A schema, ready to check values.
#[derive(Debug)]
pub(crate) struct Schema(Validator);

impl Schema {
    /// Compiles a schema. Patterns run in linear time; references to other documents are refused.
    pub(crate) fn compile(schema: &Value) -> Result<Self, String> {
        let schema: serde_json::Value = schema.to().map_err(|e| e.to_string())?;
        jsonschema::options()
            .with_pattern_options(PatternOptions::regex())
            .should_validate_formats(true)
            .build(&schema)
            .map(Self)
            .map_err(|e| e.to_string())
    }

    /// Where and why a value does not fit, without quoting it. Of a secret one, names of members are
    /// not quoted either: only the schema's own words are.
    pub(crate) fn check(&self, value: &Value, secret: bool) -> Result<(), (String, String)> {
        let value: serde_json::Value = value.to().map_err(|e| (String::new(), e.to_string()))?;
        self.0.validate(&value).map_err(|e| {
            if secret {
                let rule = e.schema_path();
                return (String::new(), format!("it does not meet {rule} of it"));
            }
            (
                e.instance_path().to_string(),
                e.masked_with("the value").to_string(),
            )
        })
    }
}
