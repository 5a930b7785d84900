//! Maintenance as a future, for programs that have a runtime.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc as StdArc;
use std::task::{Context, Poll};

use crate::piece::Left;
use crate::sync::barrier;
use crate::tending::{Tending, When};
use crate::watch::Leader;

/// Future that maintains a state while it is polled; see
/// [`HotRead::maintenance`](crate::HotRead::maintenance).
#[must_use = "futures do nothing unless awaited"]
pub struct Maintenance {
    tending: StdArc<Tending>,
    number: Option<u64>,
    leader: Option<StdArc<Leader>>,
}

impl Maintenance {
    pub(crate) fn new(tending: &StdArc<Tending>) -> Self {
        Self {
            tending: StdArc::clone(tending),
            number: None,
            leader: None,
        }
    }
}

impl Future for Maintenance {
    type Output = ();

    /// Applies updates, at most one bounded piece.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.tending.is_retired() {
            return Poll::Ready(());
        }
        let waker = context.waker();
        this.number = Some(this.tending.register_task(this.number, waker.clone()));
        let Some(tended) = this.tending.tended() else {
            return Poll::Ready(());
        };
        if let Some(leader) = this.leader.take() {
            tended.pass_lead(&leader);
        }
        this.tending.begin();
        match tended.piece() {
            Left::More => waker.wake_by_ref(),
            Left::Blocked | Left::HeldBack => {
                let leader = Leader::task(waker.clone());
                if tended.lead(&leader) {
                    let certain = barrier::heavy();
                    match tended.piece() {
                        Left::Blocked | Left::HeldBack if certain => {}
                        Left::Nothing | Left::Busy => {
                            tended.pass_lead(&leader);
                        }
                        _ => waker.wake_by_ref(),
                    }
                    this.leader = Some(leader);
                }
            }
            Left::Nothing | Left::Busy | Left::NoClone => {}
        }
        Poll::Pending
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.tending.unregister_task(number);
        }
        if let (Some(leader), Some(tended)) = (self.leader.take(), self.tending.tended())
            && !tended.pass_lead(&leader)
        {
            self.tending.schedule(When::Now);
        }
    }
}

impl fmt::Debug for Maintenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Maintenance")
    }
}
