//! Keys of one or more parts.

use super::RowReason;
use super::options::Options;
use hotread_proto::Key;

/// What makes the key of a row.
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

    /// Is this one part of the key?
    pub(super) fn have(&self, part: usize) -> bool {
        self.parts.contains(&part)
    }

    /// The key of a row that has these parts. No part but the last has the separator in it: so two keys
    /// are the same only if their parts are.
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
