//! Keys of one or more parts.

use super::RowReason;
use super::options::Options;
use hotread_proto::Key;

/// The parts of the key of a row.
pub(super) struct Keys {
    /// Numbers of the columns or members, from 0.
    parts: Vec<usize>,
    separator: String,
}

impl Keys {
    pub(super) fn new(options: &Options, parts: Vec<usize>) -> Self {
        Self {
            parts,
            separator: options.key_separator.clone(),
        }
    }

    /// Returns `true` if the column or member is part of the key.
    pub(super) fn have(&self, part: usize) -> bool {
        self.parts.contains(&part)
    }

    /// Returns the key of a row with these parts. Only the last part may contain the separator, so that
    /// two keys are equal only if their parts are.
    pub(super) fn join<T: AsRef<str>>(
        &self,
        text: impl Fn(&usize) -> Result<T, RowReason>,
    ) -> Result<Key, RowReason> {
        if let [only] = &self.parts[..] {
            return Ok(Key::new(text(only)?.as_ref())?);
        }
        let mut key = String::new();
        for (at, part) in self.parts.iter().enumerate() {
            let text = text(part)?;
            key.push_str(text.as_ref());
            if at + 1 < self.parts.len() {
                let clear = !self.separator.is_empty() && !text.as_ref().contains(&self.separator);
                if !clear {
                    let separator = self.separator.clone();
                    return Err(RowReason::Separator { separator });
                }
                key.push_str(&self.separator);
            }
        }
        Ok(Key::new(&key)?)
    }
}
