//! The standard collections as states: each change does on every copy what the collection's own
//! method does.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use hotread::{HotRead, VecUpdate, WaitError};

/// The same calls on both kinds of map.
macro_rules! map_test {
    ($name:ident, $map:ident) => {
        #[test]
        fn $name() {
            let hot = HotRead::new($map::<u64, String>::new());
            let all = |hot: &HotRead<$map<u64, String>>| {
                // Twice, so that both copies are read.
                let mut twice = [0, 1].map(|_| {
                    hot.remove(u64::MAX);
                    let mut all: Vec<_> = hot.snapshot().into_iter().collect();
                    all.sort();
                    all
                });
                assert_eq!(twice[0], twice[1], "the copies differ");
                std::mem::take(&mut twice[0])
            };
            for key in 0..4 {
                assert!(hot.insert(key, "a".into()).published);
            }
            hot.insert(0, "b".into());
            assert!(hot.remove(1).published);
            hot.remove(77);
            assert!(hot.modify(2, |value| value.push('c')).published);
            assert!(hot.modify(77, |value| value.push('c')).published);
            let expected = [(0, "b"), (2, "ac"), (3, "a")];
            assert_eq!(
                all(&hot),
                expected.map(|(key, value)| (key, value.to_owned()))
            );
            hot.retain(|key, value| {
                value.push('d');
                *key != 3
            });
            let expected = [(0, "bd"), (2, "acd")];
            assert_eq!(
                all(&hot),
                expected.map(|(key, value)| (key, value.to_owned()))
            );
            assert!(hot.clear().published);
            assert!(all(&hot).is_empty());
        }
    };
}

map_test!(a_hash_map_takes_the_usual_changes, HashMap);
map_test!(a_btree_map_takes_the_usual_changes, BTreeMap);

macro_rules! set_test {
    ($name:ident, $set:ident) => {
        #[test]
        fn $name() {
            let hot = HotRead::new($set::<u64>::new());
            let all = |hot: &HotRead<$set<u64>>| {
                let twice = [0, 1].map(|_| {
                    hot.remove(u64::MAX);
                    hot.snapshot()
                });
                assert_eq!(twice[0], twice[1], "the copies differ");
                let mut all: Vec<_> = twice[0].iter().copied().collect();
                all.sort();
                all
            };
            for key in [3, 1, 2, 3] {
                assert!(hot.insert(key).published);
            }
            assert_eq!(all(&hot), [1, 2, 3]);
            hot.remove(2);
            hot.remove(77);
            assert_eq!(all(&hot), [1, 3]);
            hot.retain(|key| *key > 1);
            assert_eq!(all(&hot), [3]);
            hot.clear();
            assert!(all(&hot).is_empty());
        }
    };
}

set_test!(a_hash_set_takes_the_usual_changes, HashSet);
set_test!(a_btree_set_takes_the_usual_changes, BTreeSet);

#[test]
fn an_equal_element_takes_the_place_of_the_one_before() {
    /// Compared by its first field.
    #[derive(Clone, Debug)]
    struct Entry(u64, u64);
    impl PartialEq for Entry {
        fn eq(&self, other: &Self) -> bool {
            self.0 == other.0
        }
    }
    impl Eq for Entry {}
    impl PartialOrd for Entry {
        fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Entry {
        fn cmp(&self, other: &Self) -> std::cmp::Ordering {
            self.0.cmp(&other.0)
        }
    }
    let hot = HotRead::new(BTreeSet::new());
    hot.insert(Entry(1, 1));
    hot.insert(Entry(1, 2));
    assert_eq!(hot.read(|set| set.first().map(|entry| entry.1)), Some(2));
}

#[test]
fn a_vec_takes_the_usual_changes() {
    let hot = HotRead::new(Vec::<u64>::new());
    for value in 1..=4 {
        assert!(hot.push(value).published);
    }
    hot.set(0, 10);
    hot.queue_updates([VecUpdate::Insert(1, 20), VecUpdate::Remove(2)]);
    assert_eq!(hot.snapshot(), [10, 20, 3, 4]);
    hot.retain(|value| *value != 3);
    assert_eq!(hot.snapshot(), [10, 20, 4]);
    hot.queue_update(VecUpdate::Truncate(2));
    assert_eq!(hot.snapshot(), [10, 20]);
    hot.clear();
    assert!(hot.snapshot().is_empty());
}

#[test]
fn an_index_out_of_range_rejects_its_batch() {
    let hot = HotRead::new(vec![1]);
    let batch = [VecUpdate::Push(2), VecUpdate::Set(5, 0)];
    let call = std::panic::AssertUnwindSafe(|| hot.queue_updates(batch));
    assert!(std::panic::catch_unwind(call).is_err());
    assert_eq!(hot.snapshot(), [1]);
    assert_eq!(
        hot.wait_published(1, Duration::ZERO),
        Err(WaitError::Rejected)
    );
    assert!(hot.push(2).published);
}
