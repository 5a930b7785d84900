//! The copies, and the progress of each. Accessed only by the holder of the right to apply.

use std::ptr::NonNull;
use std::time::Duration;

use crate::HotReadState;
use crate::log::{Batch, Log};
use crate::node::Node;
use crate::registry::Registry;

/// Maximum number of copies: one bit each in a word, and memory for that number of states.
pub const MAX_COPIES: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Has applied every batch of the log below its position.
    Live,
    /// A value too far behind to catch up; to be dropped and cloned again.
    Abandoned,
    /// No value.
    Empty,
}

pub(crate) struct StateCopy<T> {
    pub(crate) node: NonNull<Node<T>>,
    pub(crate) content: Content,
    /// Not published, and seen in no slot since: stays true until the copy is published again,
    /// because readers take only the published copy.
    pub(crate) free: bool,
    /// Publications since this copy was last used. Saturates.
    pub(crate) idle: u32,
    /// Position of the first batch of the log that a live copy lacks.
    pub(crate) position: u64,
    /// Sequence number of the last update that a live copy has.
    pub(crate) seq: u64,
}

impl<T> StateCopy<T> {
    #[inline]
    pub(crate) fn is_live(&self) -> bool {
        self.content == Content::Live
    }
}

pub(crate) struct Copies<T: HotReadState> {
    pub(crate) all: Vec<StateCopy<T>>,
    /// Index of the published copy, which is always live.
    pub(crate) published: usize,
    /// Number of live copies.
    pub(crate) live: usize,
    pub(crate) generation: u64,
    pub(crate) log: Log<T>,
    /// The last sequence number that reached the log.
    pub(crate) taken: u64,
    pub(crate) max_copies: usize,
    /// The batch at this position panicked: the batches below it are published first, so that they
    /// are not applied a third time if another batch panics.
    pub(crate) sound_until: u64,
    /// Duration of the last clone.
    pub(crate) clone_time: Option<Duration>,
    /// Time for one piece of work, in the last application of many updates.
    pub(crate) update_time: Option<Duration>,
    /// Conditions left from earlier turns.
    pub(crate) unusual: Unusual,
}

/// Conditions that keep an update from the straight path, as bits, so that one comparison covers
/// all.
#[derive(Default)]
pub(crate) struct Unusual(u8);

impl Unusual {
    /// A copy was retired: the log may hold batches that no copy lacks.
    pub(crate) const PRUNE_DUE: u8 = 1;
    /// A batch was rejected: more updates may be settled than the last publication recorded.
    pub(crate) const SETTLE_DUE: u8 = 2;
    /// A publication that did not succeed is noted in the queue.
    pub(crate) const NOTED: u8 = 4;
    /// The last `HotRead` is gone: no update will be applied any longer.
    pub(crate) const CLOSED: u8 = 8;

    #[inline]
    pub(crate) fn is_nothing(&self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub(crate) fn is_only(&self, bit: u8) -> bool {
        self.0 == bit
    }

    pub(crate) fn has(&self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    pub(crate) fn set(&mut self, bit: u8, value: bool) {
        self.0 = self.0 & !bit | if value { bit } else { 0 };
    }

    /// Unsets a bit, and returns `true` if it was set.
    pub(crate) fn take(&mut self, bit: u8) -> bool {
        let was = self.has(bit);
        self.set(bit, false);
        was
    }
}

impl<T: HotReadState> Copies<T> {
    pub(crate) fn new(max_copies: usize) -> Self {
        Self {
            all: Vec::with_capacity(2),
            published: 0,
            live: 0,
            generation: 0,
            log: Log::new(),
            taken: 0,
            max_copies,
            sound_until: 0,
            clone_time: None,
            update_time: None,
            unusual: Unusual::default(),
        }
    }

    /// Adds a node without a value.
    pub(crate) fn add(&mut self) -> usize {
        self.all.push(StateCopy {
            node: Node::allocate(),
            content: Content::Empty,
            free: true,
            idle: 0,
            position: 0,
            seq: 0,
        });
        self.all.len() - 1
    }

    /// Adds a batch to the log.
    #[inline]
    pub(crate) fn append(&mut self, batch: Batch<T>) {
        self.taken = batch.last();
        self.log.push(batch);
    }

    /// Marks a copy whose node was just filled as live, at this position.
    pub(crate) fn revive(&mut self, index: usize, position: u64, seq: u64) {
        let copy = &mut self.all[index];
        copy.content = Content::Live;
        copy.position = position;
        copy.seq = seq;
        copy.idle = 0;
        self.live += 1;
    }

    pub(crate) fn published_node(&self) -> NonNull<Node<T>> {
        self.all[self.published].node
    }

    /// Position up to which batches are visible.
    #[inline]
    pub(crate) fn visible(&self) -> u64 {
        self.all[self.published].position
    }

    /// The last number below a position: a copy there has applied, or passed as rejected, all
    /// updates up to it.
    #[inline]
    pub(crate) fn settled_at(&self, position: u64) -> u64 {
        match self.log.get(position) {
            Some(next) => next.first - 1,
            None => self.taken,
        }
    }

    /// Marks a copy as no longer live, so that the log need not keep batches for it.
    pub(crate) fn retire(&mut self, index: usize, content: Content) {
        let copy = &mut self.all[index];
        if copy.is_live() {
            self.live -= 1;
            self.unusual.set(Unusual::PRUNE_DUE, true);
        }
        copy.content = content;
    }

    /// Returns the free live copy that lacks least; of equals, the one used last.
    #[inline]
    pub(crate) fn most_advanced_free(&self) -> Option<usize> {
        let mut best: Option<usize> = None;
        for (index, copy) in self.all.iter().enumerate() {
            if copy.free
                && copy.is_live()
                && best.is_none_or(|best| {
                    let best = &self.all[best];
                    copy.position > best.position
                        || (copy.position == best.position && copy.idle < best.idle)
                })
            {
                best = Some(index);
            }
        }
        best
    }

    /// Returns a free copy whose value must be made first.
    pub(crate) fn free_without_value(&self) -> Option<usize> {
        self.all
            .iter()
            .position(|copy| copy.free && !copy.is_live())
    }

    /// Returns a copy for a value that exists already: one without a value, or else the one that
    /// lacks most, or an additional one.
    pub(crate) fn free_for_replacement(&mut self) -> Option<usize> {
        self.free_without_value()
            .or_else(|| {
                let free = self.all.iter().enumerate().filter(|(_, copy)| copy.free);
                free.min_by_key(|(_, copy)| copy.position)
                    .map(|(index, _)| index)
            })
            .or_else(|| (self.all.len() < self.max_copies).then(|| self.add()))
    }

    /// Least position of the other live copies: only `index`, which is not the published copy, lacks
    /// the batches below it.
    #[inline]
    pub(crate) fn others_position(&self, index: usize) -> u64 {
        if self.all.len() == 2 {
            // The other copy is the published one.
            self.visible()
        } else {
            self.least_position(Some(index))
        }
    }

    /// Returns `true` if the first batch that this copy lacks is the first of the log, no other
    /// copy lacks it, and moving it into this copy is better than applying it by reference.
    #[inline]
    pub(crate) fn can_move_front(&self, index: usize) -> bool {
        let position = self.all[index].position;
        // Moving an update out of the log only costs, if the update owns nothing that could be
        // moved.
        let moves = || {
            std::mem::needs_drop::<T::Action>()
                || self.log.get(position).is_some_and(Batch::is_replacement)
        };
        position == self.log.start() && position < self.others_position(index) && moves()
    }

    /// Least position of the live copies, except one.
    pub(crate) fn least_position(&self, except: Option<usize>) -> u64 {
        let mut least = u64::MAX;
        for (index, copy) in self.all.iter().enumerate() {
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
        for (index, copy) in self.all.iter().enumerate() {
            if index != self.published && !copy.free {
                unseen |= 1 << index;
            }
        }
        if unseen == 0 {
            return;
        }
        registry.scan(|slot| {
            let held = slot.held.load(crate::sync::atomic::Ordering::Acquire);
            let mut rest = unseen;
            while rest != 0 {
                let index = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                if self.all[index].node.as_ptr().cast() == held {
                    unseen &= !(1 << index);
                    break;
                }
            }
            unseen != 0
        });
        while unseen != 0 {
            let index = unseen.trailing_zeros() as usize;
            unseen &= unseen - 1;
            self.all[index].free = true;
        }
    }

    /// Returns `true` if a reader holds a copy that lacks a visible update.
    pub(crate) fn is_held_back(&self) -> bool {
        let visible = self.visible();
        self.all.iter().enumerate().any(|(index, copy)| {
            index != self.published
                && !copy.free
                && match copy.content {
                    Content::Live => copy.position < visible,
                    Content::Abandoned => true,
                    Content::Empty => false,
                }
        })
    }

    /// Returns `true` if some copy lacks a visible update, or has to be made again.
    pub(crate) fn is_behind(&self) -> bool {
        let visible = self.visible();
        let lacks = |copy: &StateCopy<T>| copy.is_live() && copy.position < visible;
        self.live < 2 || self.all.iter().any(lacks)
    }

    /// Number of visible updates that a copy at `position` lacks. Rejected numbers count as well.
    pub(crate) fn lag(&self, position: u64) -> u64 {
        let visible = self.settled_at(self.visible());
        match self.log.get(position) {
            Some(missing) => (visible + 1).saturating_sub(missing.first),
            None => 0,
        }
    }
}
