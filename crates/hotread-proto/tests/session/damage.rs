//! What a bad proxy, or a machine with bad memory, does to a server's frames.

use hotread_proto::session::frame::ServerFrame;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Damage {
    /// A transaction, or a piece of one, does not come. (Of a lost `snapshot_end` nothing could tell,
    /// and a connection that loses whole messages is none; this one is to try the checks.)
    Lost,
    /// A frame comes twice.
    Twice,
    /// Half a frame comes.
    Torn,
    /// A value is another than was hashed.
    Value,
    /// A digest is another than the server has.
    Digest,
    /// A record, or what became of one, is left out.
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

    /// Can whoever keeps no records notice that it happened to this frame? Not if a piece of a
    /// transaction is lost or doubled, and the last one comes.
    pub fn shows_without_records(self, text: &str) -> bool {
        match self {
            Self::Lost | Self::Twice => !text.ends_with("\"more\":true}}"),
            Self::Torn | Self::Value => true,
            Self::Digest | Self::LeftOut => false,
        }
    }

    /// What comes instead of the frame; `None`: it is not of a kind to which this happens.
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
        // A deletion may have been of nothing.
        ServerFrame::Txn(mut txn) => {
            let put = |op: &hotread_proto::ChangeOp| matches!(op, hotread_proto::ChangeOp::Put(_));
            let at = txn.ops.iter().position(put)?;
            txn.ops.to_mut().remove(at);
            Some(ServerFrame::Txn(txn).encode())
        }
        _ => None,
    }
}
