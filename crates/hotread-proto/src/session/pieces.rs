//! Assembly of a transaction that is sent in several frames.

use super::trouble::{Trouble, protocol, within};
use crate::evaluate::ChangeOp;

/// The pieces of a transaction that have arrived so far.
#[derive(Debug, Default)]
pub(super) struct Pieces(Option<Begun>);

#[derive(Debug)]
struct Begun {
    from: u64,
    to: u64,
    ops: Vec<ChangeOp>,
    bytes: usize,
}

impl Pieces {
    /// Returns `true` if some pieces have arrived and others have not.
    pub(super) fn are_open(&self) -> bool {
        self.0.is_some()
    }

    /// Discards the pieces that have arrived.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    /// Adds a piece, and returns all operations if it is the last one. Several pieces have at most
    /// `max` bytes of keys, categories and values.
    pub(super) fn add(
        &mut self,
        (from, to): (u64, u64),
        ops: Vec<ChangeOp>,
        more: bool,
        max: usize,
    ) -> Result<Option<Vec<ChangeOp>>, Trouble> {
        if self.0.is_none() && !more {
            return Ok(Some(ops));
        }
        let begun = self.0.get_or_insert(Begun {
            from,
            to,
            ops: Vec::new(),
            bytes: 0,
        });
        if (begun.from, begun.to) != (from, to) {
            return Err(protocol("the pieces of two transactions are mixed"));
        }
        begun.bytes += ops.iter().map(ChangeOp::size).sum::<usize>();
        within(begun.bytes, max)?;
        begun.ops.extend(ops);
        if more {
            return Ok(None);
        }
        Ok(self.0.take().map(|begun| begun.ops))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Key;

    #[test]
    fn pieces_of_one_transaction_come_out_together_within_a_bound() {
        let mut pieces = Pieces::default();
        // Adds deletions of these keys, and returns the keys of a complete transaction.
        let mut add = |number, keys: &[&str], more| {
            let ops = keys
                .iter()
                .map(|key| ChangeOp::delete(Key::new(key).unwrap()));
            let out = pieces.add((number, number), ops.collect(), more, 3)?;
            Ok::<_, Trouble>(out.map(|ops| ops.iter().map(|op| op.key().to_owned()).collect()))
        };
        let all = |keys: &[&str]| {
            Ok(Some(
                keys.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ))
        };
        assert_eq!(add(5, &["long"], false), all(&["long"]));
        assert_eq!(add(6, &["b"], true), Ok(None));
        assert_eq!(add(6, &["a"], false), all(&["b", "a"]));
        assert_eq!(add(7, &["aa"], true), Ok(None));
        assert!(matches!(add(8, &["b"], false), Err(Trouble::Protocol(_))));
        assert!(matches!(add(7, &["bb"], true), Err(Trouble::Refused(_))));
    }
}
