//! Checks of the contract of your own [`HotReadState`].
//!
//! ```
//! use hotread::{HotReadState, testing::check_contract};
//!
//! #[derive(Clone, Default, PartialEq, Debug)]
//! struct Limits { per_second: Vec<(String, u32)> }
//!
//! impl HotReadState for Limits {
//!     type Action = (String, u32);
//!     fn apply_update(&mut self, (user, limit): &Self::Action) {
//!         self.per_second.retain(|(known, _)| known != user);
//!         self.per_second.push((user.clone(), *limit));
//!     }
//! }
//!
//! let updates = vec![("ada".to_owned(), 10), ("bob".to_owned(), 5), ("ada".to_owned(), 20)];
//! check_contract(Limits::default(), updates, |a, b| a == b).unwrap();
//! ```

use std::fmt;

use crate::HotReadState;

/// A violation of the contract of [`HotReadState`], and the update at which it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// A fresh clone differs from its original.
    Clone {
        /// Number of updates that had been applied to the original.
        after: usize,
    },
    /// The same update made two equal states differ.
    Nondeterministic {
        /// Index of the update.
        update: usize,
    },
    /// `apply_owned` and `apply_update` had different effects.
    Owned {
        /// Index of the update.
        update: usize,
    },
    /// An update of one copy changed another.
    Shared {
        /// Index of the update.
        update: usize,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Clone { after } => write!(
                f,
                "a clone made after {after} updates differs from its original"
            ),
            Violation::Nondeterministic { update } => write!(
                f,
                "update {update} made two equal copies differ: `apply_update` must depend on \
                 nothing but the state and the update"
            ),
            Violation::Owned { update } => write!(
                f,
                "for update {update}, `apply_owned` and `apply_update` have different results"
            ),
            Violation::Shared { update } => write!(
                f,
                "update {update} of one copy changed another: clones must not share what \
                 updates mutate"
            ),
        }
    }
}

impl std::error::Error for Violation {}

/// Applies `updates` to several copies in the ways that [`HotRead`](crate::HotRead) does, and
/// checks with `same` after each update that the copies agree.
///
/// There are four copies: one receives every update by `apply_update`; a second receives the same a
/// step later; one receives each update by `apply_owned`; and one is cloned from the first before
/// each update. `same` must compare what readers can see: usually `|a, b| a == b`.
///
/// Costs four applications, two clones and five comparisons for each update.
///
/// # Errors
///
/// The first [`Violation`] found. A check that passes is evidence rather than proof: give it
/// updates that reach every branch, in more than one order.
pub fn check_contract<T: HotReadState>(
    initial: T,
    updates: impl IntoIterator<Item = T::Action>,
    same: impl Fn(&T, &T) -> bool,
) -> Result<(), Violation> {
    let mut first = initial;
    let mut second = first.clone();
    let mut owned = first.clone();
    if !same(&first, &second) || !same(&first, &owned) {
        return Err(Violation::Clone { after: 0 });
    }
    for (index, update) in updates.into_iter().enumerate() {
        let before = first.clone();
        if !same(&before, &first) {
            return Err(Violation::Clone { after: index });
        }
        let mut fresh = first.clone();
        first.apply_update(&update);
        if !same(&before, &second) || !same(&before, &fresh) {
            return Err(Violation::Shared { update: index });
        }
        second.apply_update(&update);
        fresh.apply_update(&update);
        if !same(&first, &second) || !same(&first, &fresh) {
            return Err(Violation::Nondeterministic { update: index });
        }
        owned.apply_owned(update);
        if !same(&first, &owned) {
            return Err(Violation::Owned { update: index });
        }
    }
    Ok(())
}
