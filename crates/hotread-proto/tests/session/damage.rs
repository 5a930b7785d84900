//! Damage to a server's frames by a bad proxy, or by a machine with bad memory.

use hotread_proto::session::frame::ServerFrame;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Damage {
    /// A transaction, or a piece of one, is lost. (The loss of a `snapshot_end` could not be
    /// detected, and no real connection loses whole messages; this kind of damage tests the
    /// checks.)
    Lost,
    /// A frame arrives twice.
    Twice,
    /// Half a frame arrives.
    Torn,
    /// A value differs from the one that was hashed.
    Value,
    /// A digest differs from the server's.
    Digest,
    /// A record or an operation is missing.
    LeftOut,
}

impl Damage {
    pub const ALL: [Self; 6] = [
        Self::Lost,
        Self::Twice,
        Self::Torn,
        Self::Value,
        Self::Digest,
        Self::LeftOut,
    ];

    /// Returns `true` if a client without records can detect the damage to this frame: not if a
    /// piece of a transaction is lost or doubled, and the last one arrives.
    pub fn shows_without_records(self, text: &str) -> bool {
        match self {
            Self::Lost | Self::Twice => !text.ends_with("\"more\":true}}"),
            Self::Torn | Self::Value => true,
            Self::Digest | Self::LeftOut => false,
        }
    }

    /// Returns the frames that replace this one; `None` if the damage does not apply to its kind.
    pub fn apply(self, text: &str) -> Option<Vec<String>> {
        let kind = |name: &str| text.starts_with(&format!("{{\"{name}\""));
        let records = kind("txn") || kind("snapshot");
        let digest = kind("txn") || kind("snapshot_end") || kind("heartbeat");
        match self {
            Self::Lost => kind("txn").then(Vec::new),
            Self::Twice => Some(vec![text.to_owned(); 2]),
            Self::Torn => Some(vec![
                text[..text.floor_char_boundary(text.len() / 2)].to_owned(),
            ]),
            Self::Value => {
                let (good, bad) = ("\"value\":\"fine-", "\"value\":\"fake-");
                (records && text.contains(good)).then(|| vec![text.replacen(good, bad, 1)])
            }
            Self::Digest => {
                let start = text.find("\"digest\":\"").filter(|_| digest)? + "\"digest\":\"".len();
                let other = if text[start..].starts_with('0') {
                    "1"
                } else {
                    "0"
                };
                let mut text = text.to_owned();
                text.replace_range(start..=start, other);
                Some(vec![text])
            }
            Self::LeftOut => leave_out(text).map(|text| vec![text]),
        }
    }
}

fn leave_out(text: &str) -> Option<String> {
    match ServerFrame::decode(text).ok()? {
        ServerFrame::Snapshot(mut part) if !part.records.is_empty() => {
            part.records.to_mut().pop();
            Some(ServerFrame::Snapshot(part).encode())
        }
        // A deletion may have had no effect.
        ServerFrame::Txn(mut txn) => {
            let put = |op: &hotread_proto::ChangeOp| matches!(op, hotread_proto::ChangeOp::Put(_));
            let at = txn.ops.iter().position(put)?;
            txn.ops.to_mut().remove(at);
            Some(ServerFrame::Txn(txn).encode())
        }
        _ => None,
    }
}
