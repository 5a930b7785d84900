//! A transaction that comes in several frames, until all of them are there.

use crate::evaluate::ChangeOp;

/// The pieces of a transaction that have come so far.
#[derive(Debug, Default)]
pub(super) struct Pieces(Option<Begun>);

#[derive(Debug)]
struct Begun {
    from: u64,
    to: u64,
    ops: Vec<ChangeOp>,
    bytes: usize,
}

/// Why a piece cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadPiece {
    /// It belongs to another transaction than those before it.
    Mixed,
    /// All of them together have more bytes than may come.
    TooLarge,
}

impl Pieces {
    /// Are there some, and others still to come?
    pub(super) fn are_open(&self) -> bool {
        self.0.is_some()
    }

    /// Throws away what has come.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    /// Takes a piece, and gives all operations out if it is the last one. Several pieces have at most
    /// `max` bytes of keys, categories and values.
    pub(super) fn add(
        &mut self,
        (from, to): (u64, u64),
        ops: Vec<ChangeOp>,
        more: bool,
        max: usize,
    ) -> Result<Option<Vec<ChangeOp>>, BadPiece> {
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
            return Err(BadPiece::Mixed);
        }
        begun.bytes += ops.iter().map(ChangeOp::size).sum::<usize>();
        if begun.bytes > max {
            return Err(BadPiece::TooLarge);
        }
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

    /// Adds deletions of these keys, and says which come out.
    fn add(
        pieces: &mut Pieces,
        number: u64,
        keys: &[&str],
        more: bool,
    ) -> Result<Option<Vec<String>>, BadPiece> {
        let ops = keys
            .iter()
            .map(|key| ChangeOp::delete(Key::new(key).unwrap()));
        let out = pieces.add((number, number), ops.collect(), more, 3)?;
        Ok(out.map(|ops| ops.iter().map(|op| op.key().to_owned()).collect()))
    }

    #[test]
    fn all_pieces_come_out_together_in_their_order() {
        let mut pieces = Pieces::default();
        assert_eq!(add(&mut pieces, 4, &["b"], true), Ok(None));
        assert!(pieces.are_open());
        let all = add(&mut pieces, 4, &["a"], false);
        assert_eq!(all, Ok(Some(vec!["b".to_owned(), "a".to_owned()])));
        assert!(!pieces.are_open());
        let whole = add(&mut pieces, 5, &["long"], false);
        assert_eq!(whole, Ok(Some(vec!["long".to_owned()])));
    }

    #[test]
    fn two_transactions_are_not_mixed_and_pieces_are_bounded_together() {
        let mut pieces = Pieces::default();
        assert_eq!(add(&mut pieces, 4, &["aa"], true), Ok(None));
        assert_eq!(add(&mut pieces, 5, &["b"], false), Err(BadPiece::Mixed));
        assert_eq!(add(&mut pieces, 4, &["bb"], true), Err(BadPiece::TooLarge));
    }
}
