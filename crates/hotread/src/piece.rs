//! A piece of maintenance: its caller, and the work that it leaves.

/// The caller of maintenance.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    User,
    /// Must not wait for another thread.
    Hasty,
    /// Continues with remaining work on its own.
    Maintainer,
}

/// Work left after one piece of maintenance.
pub(crate) enum Left {
    Nothing,
    /// Another thread is applying and will look again.
    Busy,
    /// Work for more than one piece.
    More,
    /// An update is not visible, because readers hold every copy that could take it.
    Blocked,
    /// Every update is visible, but readers hold a copy that lacks some of them.
    HeldBack,
    /// An update is not visible, because `Clone` panicked.
    NoClone,
}
