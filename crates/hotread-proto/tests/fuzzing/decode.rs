//! Any text as a frame of either end: a frame that can be read survives a round trip, and what
//! people see of it is one short line.

use hotread_proto::session::MAX_REASON_BYTES;
use hotread_proto::session::frame::{ClientFrame, ServerFrame};

pub fn decode(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(frame) = ClientFrame::decode(text) {
        if let ClientFrame::Nack(nack) = &frame {
            is_one_short_line(&nack.reason);
        }
        if frame != ClientFrame::Unknown {
            assert_eq!(ClientFrame::decode(&frame.encode()), Ok(frame));
        }
    }
    match ServerFrame::decode(text) {
        Ok(ServerFrame::Unknown) => {}
        Ok(frame) => {
            match &frame {
                ServerFrame::Reset(reset) => is_one_short_line(&reset.reason),
                ServerFrame::Goodbye(goodbye) => is_one_short_line(&goodbye.reason),
                ServerFrame::Error(body) => is_one_short_line(&body.message),
                _ => {}
            }
            let written = frame.encode();
            let again = ServerFrame::decode(&written).expect("what was written can be read");
            assert_eq!(again.encode(), written);
        }
        Err(bad) => is_one_short_line(&bad.reason),
    }
}

fn is_one_short_line(text: &str) {
    assert!(
        text.len() <= MAX_REASON_BYTES && !text.chars().any(char::is_control),
        "{text:?}"
    );
}
