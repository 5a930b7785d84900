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

/// Visible updates that the other copy may get together with the next publication rather than
/// at once. Spares small updates a second pass; a large batch is not kept in memory for it.
pub(crate) const DEFERRED_UPDATES: usize = if cfg!(any(loom, shuttle, test)) {
    1
} else {
    64
};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Has applied every batch of the log below its position.
    Live,
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
    /// Of the first batch of the log that a live copy lacks.
    pub(crate) position: u64,
}

impl<T> Copy<T> {
    pub(crate) fn is_live(&self) -> bool {
        self.content == Content::Live
    }
}

pub(crate) struct Pool<T: HotReadState> {
    pub(crate) copies: Vec<Copy<T>>,
    /// Index of the published copy, which is always live.
    pub(crate) published: usize,
    /// Copies that are live.
    pub(crate) live: usize,
    pub(crate) generation: u64,
    pub(crate) log: Log<T>,
    /// The last sequence number that reached the log.
    pub(crate) taken: u64,
    pub(crate) max_copies: usize,
    /// A copy was given up: the log may hold what nobody lacks.
    pub(crate) prune_due: bool,
    /// A batch was rejected: more may be settled than the last publication said.
    pub(crate) settle_due: bool,
    /// `Queue::blocked_since` or `Queue::no_clone` is set.
    pub(crate) noted: bool,
    /// The last `HotRead` is gone: nothing will be applied any more.
    pub(crate) closed: bool,
}

impl<T: HotReadState> Pool<T> {
    pub(crate) fn new(max_copies: usize) -> Self {
        Self {
            copies: Vec::with_capacity(2),
            published: 0,
            live: 0,
            generation: 0,
            log: Log::new(),
            taken: 0,
            max_copies,
            prune_due: false,
            settle_due: false,
            noted: false,
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
            position: 0,
        });
        self.copies.len() - 1
    }

    pub(crate) fn published_node(&self) -> NonNull<Node<T>> {
        self.copies[self.published].node
    }

    /// The position up to which batches are visible.
    #[inline]
    pub(crate) fn visible(&self) -> u64 {
        self.copies[self.published].position
    }

    /// Ends a copy's being live, if it was: it lacks nothing of the log any more.
    pub(crate) fn retire(&mut self, index: usize, content: Content) {
        let copy = &mut self.copies[index];
        if copy.is_live() {
            self.live -= 1;
            self.prune_due = true;
        }
        copy.content = content;
    }

    /// The free live copy that lacks least; of equals the one used last.
    #[inline]
    pub(crate) fn most_advanced_free(&self) -> Option<usize> {
        let mut best: Option<usize> = None;
        for (index, copy) in self.copies.iter().enumerate() {
            if copy.free
                && copy.is_live()
                && best.is_none_or(|best| {
                    let best = &self.copies[best];
                    copy.position > best.position
                        || (copy.position == best.position && copy.idle < best.idle)
                })
            {
                best = Some(index);
            }
        }
        best
    }

    /// A free copy whose value must be made anew.
    pub(crate) fn free_without_value(&self) -> Option<usize> {
        self.copies
            .iter()
            .position(|copy| copy.free && !copy.is_live())
    }

    /// How far the other live copies have come at least: what lies below, only `index`, which is
    /// not the published copy, lacks.
    #[inline]
    pub(crate) fn others_position(&self, index: usize) -> u64 {
        if self.copies.len() == 2 {
            // The other one is the published.
            self.visible()
        } else {
            self.least_position(Some(index))
        }
    }

    /// The least position of the live copies, except one.
    pub(crate) fn least_position(&self, except: Option<usize>) -> u64 {
        let mut least = u64::MAX;
        for (index, copy) in self.copies.iter().enumerate() {
            if Some(index) != except && copy.is_live() && copy.position < least {
                least = copy.position;
            }
        }
        least
    }

    /// Marks as free every copy that is neither published nor named by a slot.
    #[inline]
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
