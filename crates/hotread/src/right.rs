//! The word of the right to apply: two bits, and the number of the last update.

/// Bit of `Shared::right`: a thread holds the right to apply.
pub(crate) const APPLYING: u64 = 1;
/// Bit of `Shared::right`: another caller found it held, and the holder must look at the queue
/// before it gives up the right. Set and cleared under the queue's lock only.
pub(crate) const AGAIN: u64 = 2;
/// Sequence numbers have 62 bits: at a billion updates a second, they suffice for 146 years.
pub(crate) const SEQ_SHIFT: u32 = 2;

/// The word of `Shared::right` for a caller that takes the right with `len` sequence numbers.
pub(crate) struct Next {
    pub(crate) word: u64,
    /// The first of the numbers.
    pub(crate) seq: u64,
}

/// Returns `None` if another thread holds the right.
#[inline]
pub(crate) fn next_right(right: u64, len: u64) -> Option<Next> {
    (right & APPLYING == 0).then(|| Next {
        word: (right + (len << SEQ_SHIFT)) | APPLYING,
        seq: (right >> SEQ_SHIFT) + 1,
    })
}
