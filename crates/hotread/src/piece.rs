//! A piece of maintenance: who asks for it, and what it leaves.

/// Who asks for maintenance.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    User,
    /// It must not wait for another thread.
    Hasty,
    /// It sees to what is left by itself.
    Maintainer,
}

/// What one piece of maintenance has left.
pub(crate) enum Left {
    Nothing,
    /// Another thread is applying, and will look again.
    Busy,
    /// More than one piece.
    More,
    /// Something is not visible, because readers hold every copy that could take it.
    Blocked,
    /// Everything is visible, but readers hold a copy that lacks some of it.
    HeldBack,
    /// Something is not visible, because `Clone` panicked.
    NoClone,
}
