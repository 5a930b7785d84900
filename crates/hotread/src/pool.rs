//! The copies, and how far each has come. Used only by the holder of the right to apply.

use std::ptr::NonNull;

use crate::HotReadState;
use crate::log::Log;
use crate::node::Node;
use crate::registry::Registry;

/// Copies at most: one bit each in a word, and memory for that many states.
pub const MAX_COPIES: usize = 64;

/// Updates that readers already see and that the log keeps for a copy that a stalled reader
/// holds. A copy further behind is cloned anew when it comes free, so that the log stays bounded.
pub(crate) const MAX_LAG_UPDATES: u64 = if cfg!(any(loom, shuttle, test)) {
    8
} else {
    65_536
};

/// Publications that an extra copy sits out before it is dropped. Cloning a large state costs
/// about as much as some thousand updates, so dropping at once would clone over and over.
pub(crate) const SPARE_PUBLICATIONS: u32 = if cfg!(any(loom, shuttle, test)) {
    4
} else {
    1024
};

pub(crate) enum Content {
    /// Has applied every batch below this position of the log.
    Live { position: u64 },
    /// A value left too far behind to catch up: to be dropped and cloned anew.
    Abandoned,
    /// No value.
    Empty,
}

pub(crate) struct Copy<T> {
    pub(crate) node: NonNull<Node<T>>,
    pub(crate) content: Content,
    /// Not published, and seen in no slot since: stays true until it is published again,
    /// because readers take only what is published.
    pub(crate) free: bool,
    /// Publications since this copy was last of use.
    pub(crate) idle: u32,
}

impl<T> Copy<T> {
    pub(crate) fn position(&self) -> Option<u64> {
        match self.content {
            Content::Live { position } => Some(position),
            Content::Abandoned | Content::Empty => None,
        }
    }
}

pub(crate) struct Pool<T: HotReadState> {
    pub(crate) copies: Vec<Copy<T>>,
    /// Index of the published copy, which is always live.
    pub(crate) published: usize,
    pub(crate) generation: u64,
    pub(crate) log: Log<T>,
    /// The last sequence number that reached the log.
    pub(crate) taken: u64,
    pub(crate) max_copies: usize,
    /// The last `HotRead` is gone: nothing will be applied any more.
    pub(crate) closed: bool,
}

impl<T: HotReadState> Pool<T> {
    pub(crate) fn new(max_copies: usize) -> Self {
        Self {
            copies: Vec::with_capacity(2),
            published: 0,
            generation: 0,
            log: Log::new(),
            taken: 0,
            max_copies,
            closed: false,
        }
    }

    /// Adds a node without a value.
    pub(crate) fn add(&mut self) -> usize {
        self.copies.push(Copy {
            node: Node::allocate(),
            content: Content::Empty,
            free: true,
            idle: 0,
        });
        self.copies.len() - 1
    }

    pub(crate) fn published_node(&self) -> NonNull<Node<T>> {
        self.copies[self.published].node
    }

    /// The position up to which batches are visible.
    #[inline]
    pub(crate) fn visible(&self) -> u64 {
        self.copies[self.published]
            .position()
            .unwrap_or(self.log.end())
    }

    pub(crate) fn live(&self) -> usize {
        self.copies
            .iter()
            .filter(|copy| copy.position().is_some())
            .count()
    }

    /// The free live copy that lacks least.
    #[inline]
    pub(crate) fn most_advanced_free(&self) -> Option<usize> {
        self.copies
            .iter()
            .enumerate()
            .filter(|(_, copy)| copy.free)
            .filter_map(|(index, copy)| {
                Some((copy.position()?, std::cmp::Reverse(copy.idle), index))
            })
            .max()
            .map(|(_, _, index)| index)
    }

    /// A free copy whose value must be made anew.
    pub(crate) fn free_without_value(&self) -> Option<usize> {
        self.copies
            .iter()
            .position(|copy| copy.free && copy.position().is_none())
    }

    /// How far the other live copies have come at least: what lies below, only `index` lacks.
    pub(crate) fn others_position(&self, index: usize) -> u64 {
        self.copies
            .iter()
            .enumerate()
            .filter(|&(other, _)| other != index)
            .filter_map(|(_, copy)| copy.position())
            .min()
            .unwrap_or(u64::MAX)
    }

    /// Marks as free every copy that is neither published nor named by a slot.
    pub(crate) fn scan(&mut self, registry: &Registry) {
        let mut unseen = 0_u64;
        for (index, copy) in self.copies.iter().enumerate() {
            if index != self.published && !copy.free {
                unseen |= 1 << index;
            }
        }
        if unseen == 0 {
            return;
        }
        registry.scan(|held| {
            let mut rest = unseen;
            while rest != 0 {
                let index = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                if self.copies[index].node.as_ptr().cast() == held {
                    unseen &= !(1 << index);
                    break;
                }
            }
            unseen != 0
        });
        while unseen != 0 {
            let index = unseen.trailing_zeros() as usize;
            unseen &= unseen - 1;
            self.copies[index].free = true;
        }
    }

    /// Visible updates that a copy at `position` lacks. Rejected numbers count as well.
    pub(crate) fn lag(&self, position: u64) -> u64 {
        match (self.log.get(position), self.log.get(self.visible())) {
            (Some(missing), Some(unseen)) => unseen.first - missing.first,
            (Some(missing), None) => self.taken + 1 - missing.first,
            (None, _) => 0,
        }
    }
}
