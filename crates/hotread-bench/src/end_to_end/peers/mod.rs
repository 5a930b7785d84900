//! Servers and clients of the peers, as their users would run them: Debian's packages with their
//! defaults but for what the module says, on the loopback, with files on the same disk.

pub(super) mod etcd;
pub(super) mod nats;
pub(super) mod redis;
