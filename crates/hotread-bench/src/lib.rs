//! HotRead beside its peers, in one run.
