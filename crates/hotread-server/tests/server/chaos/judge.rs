//! Committed transactions, and the check that replicas show nothing else.

use std::collections::BTreeMap;

/// The content of the table: numbers by keys.
pub(crate) type Content = BTreeMap<String, u64>;

/// A stretch of the table's history. A new one begins when the past of the table changes.
#[derive(Debug, Clone)]
pub(crate) struct Era {
    epoch: String,
    /// Content and position at its beginning.
    content: Content,
    seq: u64,
    /// Acknowledged writes: a key and its number, by transaction.
    acked: BTreeMap<u64, (String, u64)>,
}

/// All eras, oldest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger(Vec<Era>);

/// A state that a replica showed.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) epoch: String,
    pub(crate) seq: u64,
    pub(crate) content: Content,
}

impl Era {
    /// Returns the first transaction, not before `not_before`, after which the table had this content.
    fn find(&self, wanted: &Content, not_before: u64) -> Option<u64> {
        let mut content = self.content.clone();
        let first = (self.seq >= not_before && content == *wanted).then_some(self.seq);
        first.or_else(|| {
            let mut changes = self.acked.iter();
            changes.find_map(|(&seq, (key, number))| {
                content.insert(key.clone(), *number);
                (seq >= not_before && content == *wanted).then_some(seq)
            })
        })
    }

    /// Returns the table after a transaction; `None` if the table never had that state.
    fn at(&self, seq: u64) -> Option<Content> {
        let mut content = self.content.clone();
        let later = seq.checked_sub(self.seq)?;
        let changes = self.acked.range(..=seq);
        let mut count = 0;
        for (_, (key, number)) in changes {
            content.insert(key.clone(), *number);
            count += 1;
        }
        (count == later).then_some(content)
    }
}

impl Ledger {
    /// Begins an era with this content.
    pub(crate) fn begin(&mut self, epoch: String, seq: u64, content: Content) {
        self.0.push(Era {
            epoch,
            content,
            seq,
            acked: BTreeMap::new(),
        });
    }

    pub(crate) fn ack(&mut self, epoch: &str, seq: u64, key: &str, number: u64) {
        let era = self.0.last_mut().unwrap();
        assert_eq!(era.epoch, epoch, "acknowledged in another epoch");
        let twice = era.acked.insert(seq, (key.to_owned(), number));
        assert_eq!(twice, None, "{seq} was acknowledged twice");
    }

    pub(crate) fn acked(&self) -> usize {
        self.0.iter().map(|era| era.acked.len()).sum()
    }

    /// Checks that the table has everything that was acknowledged, and nothing else.
    pub(crate) fn judge_table(&self, table: &Seen) -> Result<(), String> {
        let era = self.0.last().unwrap();
        let last = era.acked.keys().next_back().copied().unwrap_or(era.seq);
        if (table.seq, &table.epoch) != (last, &era.epoch) {
            return Err(format!(
                "it is at {}, and {last} was acknowledged",
                table.seq
            ));
        }
        match era.at(last) == Some(table.content.clone()) {
            true => Ok(()),
            false => Err(format!(
                "it is another table than what was acknowledged: {table:?}"
            )),
        }
    }

    /// Checks that all states that a replica showed, one after another, are states that the table had,
    /// and never go back. The content is read after the position, so it may be newer, but not older.
    pub(crate) fn judge_replica(&self, all: &[Seen]) -> Result<(), String> {
        let mut at = (0, 0);
        for seen in all {
            let found = (at.0..self.0.len()).find_map(|n| {
                let not_before = if n == at.0 { at.1 } else { 0 };
                let seq = self.0[n].find(&seen.content, not_before.max(self.said(n, seen)))?;
                Some((n, seq))
            });
            at = found.ok_or_else(|| format!("after {at:?}: {seen:?}"))?;
        }
        Ok(())
    }

    /// Returns the reported position, if it is certainly of this era, and not of an earlier one with the
    /// same epoch.
    fn said(&self, era: usize, seen: &Seen) -> u64 {
        let first = self.0.iter().position(|era| era.epoch == seen.epoch);
        if first == Some(era) { seen.seq } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(of: &[(&str, u64)]) -> Content {
        of.iter().map(|(key, n)| ((*key).to_owned(), *n)).collect()
    }

    fn seen(epoch: &str, seq: u64, of: &[(&str, u64)]) -> Seen {
        Seen {
            epoch: epoch.to_owned(),
            seq,
            content: content(of),
        }
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.begin("one".into(), 0, Content::new());
        ledger.ack("one", 1, "a", 1);
        ledger.ack("one", 3, "a", 2);
        ledger.ack("one", 2, "b", 1);
        ledger
    }

    #[test]
    fn the_judge_finds_lost_and_invented_writes() {
        let ledger = ledger();
        let whole = [("a", 2), ("b", 1)];
        assert!(ledger.judge_table(&seen("one", 3, &whole)).is_ok());
        for wrong in [
            seen("one", 2, &[("a", 1), ("b", 1)]),
            seen("one", 3, &[("a", 1), ("b", 1)]),
            seen("one", 3, &[("a", 2)]),
            seen("one", 4, &whole),
            seen("two", 3, &whole),
        ] {
            assert!(ledger.judge_table(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_judge_finds_replicas_that_go_back_or_show_what_never_was() {
        let mut ledger = ledger();
        let (first, third) = (
            seen("one", 1, &[("a", 1)]),
            seen("one", 3, &[("a", 2), ("b", 1)]),
        );
        let right = [first.clone(), first.clone(), third.clone()];
        assert!(ledger.judge_replica(&right).is_ok());
        assert!(
            ledger
                .judge_replica(&[third.clone(), first.clone()])
                .is_err()
        );
        assert!(
            ledger
                .judge_replica(&[seen("one", 2, &[("b", 1)])])
                .is_err()
        );
        assert!(
            ledger
                .judge_replica(&[seen("one", 2, &[("a", 2), ("b", 2)])])
                .is_err()
        );
        let older = [seen("one", 2, &[("a", 1)])];
        assert!(ledger.judge_replica(&older).is_err(), "older than it says");
        let newer = [seen("one", 0, &[("a", 1)])];
        assert!(ledger.judge_replica(&newer).is_ok());
        // The table's past changes; then the state may go back, once.
        ledger.begin("one".into(), 1, content(&[("a", 1)]));
        ledger.ack("one", 2, "a", 9);
        let other = seen("one", 2, &[("a", 9)]);
        assert!(
            ledger
                .judge_replica(&[third.clone(), first, other.clone()])
                .is_ok()
        );
        assert!(ledger.judge_replica(&[other, third]).is_err());
    }
}
