//! Random sequences of calls against a model of plain maps: after each call, the store, its live tables,
//! its history and its subscribers must agree with the maps.

use crate::common::{Scratch, category, put};
use crate::model_world::World;
use hotread_proto::{Category, Put, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeMap;

const TABLES: [&str; 3] = ["t0", "t1", "t2"];
pub(super) const KEYS: [&str; 12] = [
    "a",
    "a/",
    "a/1",
    "a/2",
    "a/20",
    "a0",
    "b",
    "ä",
    "\u{10ffff}",
    "k k",
    "%",
    "\u{fffd}",
];
pub(super) const CATEGORIES: [&str; 3] = ["general", "one", "two"];

#[derive(Debug, Clone)]
pub(super) struct NewCell {
    pub(super) key: usize,
    /// `None` deletes the record.
    value: Option<u8>,
    category: usize,
    expiry: u8,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Create {
        search: bool,
        short: bool,
    },
    Drop,
    Commit {
        cells: Vec<NewCell>,
        conditions: Vec<(usize, u8)>,
        id: Option<u8>,
    },
    Again,
    Replace {
        cells: Vec<NewCell>,
        id: Option<u8>,
    },
    Handle,
    Follow {
        back: u64,
    },
    Scan {
        prefix: usize,
        after: Option<usize>,
        category: Option<usize>,
        limit: usize,
    },
    Search {
        word: u8,
        prefix: bool,
        category: Option<usize>,
    },
    Reopen,
}

fn cells(up_to: usize) -> impl Strategy<Value = Vec<NewCell>> {
    let cell = (
        0..KEYS.len(),
        prop::option::weighted(0.8, 0..20_u8),
        0..3_usize,
        0..12_u8,
    )
        .prop_map(|(key, value, category, expiry)| NewCell {
            key,
            value,
            category,
            expiry,
        });
    prop::collection::vec(cell, 1..up_to)
}

fn step() -> impl Strategy<Value = Step> {
    let id = || prop::option::weighted(0.3, 0..4_u8);
    prop_oneof![
        2 => any::<(bool, bool)>().prop_map(|(search, short)| Step::Create { search, short }),
        1 => Just(Step::Drop),
        12 => (cells(6), prop::collection::vec((0..KEYS.len(), 0..4_u8), 0..3), id())
            .prop_map(|(cells, conditions, id)| Step::Commit { cells, conditions, id }),
        2 => Just(Step::Again),
        3 => (cells(10), id()).prop_map(|(cells, id)| Step::Replace { cells, id }),
        2 => Just(Step::Handle),
        2 => (0..40_u64).prop_map(|back| Step::Follow { back }),
        3 => (0..5_usize, prop::option::of(0..KEYS.len()), prop::option::of(0..4_usize), 0..6_usize)
            .prop_map(|(prefix, after, category, limit)| Step::Scan { prefix, after, category, limit }),
        2 => (0..6_u8, any::<bool>(), prop::option::of(0..4_usize))
            .prop_map(|(word, prefix, category)| Step::Search { word, prefix, category }),
        1 => Just(Step::Reopen),
    ]
}

fn words(value: u8) -> [String; 2] {
    [format!("w{}", value % 5), format!("w{}", value / 5)]
}

pub(super) fn long_ago() -> Timestamp {
    Timestamp::from_millis(1_000).unwrap()
}

pub(super) fn new_put(cell: &NewCell) -> Option<Put> {
    let value = cell.value?;
    let [one, two] = words(value);
    let mut put = put(
        KEYS[cell.key],
        &format!(r#"{{"{one}": ["{two}", {value}]}}"#),
    );
    put.category = category(CATEGORIES[cell.category]);
    put.expires_at = match cell.expiry {
        0 => Some(Timestamp::MAX),
        1 => Some(long_ago()),
        _ => None,
    };
    Some(put)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 32,
        failure_persistence: None,
        max_shrink_iters: 300,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_store_is_a_map_that_remembers(
        steps in prop::collection::vec((0..TABLES.len(), step()), 20..120),
    ) {
        let mut world = World { scratch: Scratch::new(), store: None, tables: BTreeMap::new() };
        world.open();
        world.step(TABLES[0], &Step::Create { search: true, short: false });
        world.step(TABLES[1], &Step::Create { search: false, short: true });
        for (table, step) in &steps {
            let table = TABLES[*table];
            world.step(table, step);
            world.check(table);
        }
        let report = world.store().verify().unwrap();
        prop_assert_eq!(&report.problems, &[""; 0]);
        prop_assert_eq!(report.tables.len(), world.tables.len());
        world.open();
        for table in TABLES {
            if let Some(model) = world.tables.get_mut(table) {
                model.handle = None;
                model.following = None;
            }
            world.check(table);
        }
    }
}

/// The default category is `general`.
#[test]
fn the_first_category_is_the_one_without_a_name() {
    assert_eq!(Category::GENERAL.as_str(), CATEGORIES[0]);
}
