//! Compressed files: gzip and zstd, recognized by their first bytes. Decompressed data is streamed, so
//! that a small file with much content takes no more memory than another.

use super::ImportError;
use super::input::Input;
use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::error::Error as StdError;
use std::io::{self, BufRead, BufReader, Read};

/// First bytes of formats that are not decompressed, and their names.
const UNREAD: [(&[u8], &str); 4] = [
    (b"\xfd7zXZ\0", "xz"),
    (b"PK\x03\x04", "zip"),
    (b"BZh91AY&SY", "bzip2"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
];

/// Returns the reader, decompressed if necessary.
pub(super) fn decompress<'a>(mut reader: Input<'a>) -> Result<Box<dyn Read + 'a>, ImportError> {
    let start = reader.sample(10)?;
    if let Some((_, format)) = UNREAD.iter().find(|(first, _)| start.starts_with(first)) {
        return Err(ImportError::Compressed { format });
    }
    Ok(match start {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(BufReader::new(reader))),
        // A frame, or one after data of another program.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            Box::new(Zstd::new(BufReader::new(reader))?)
        }
        _ => Box::new(reader),
    })
}

/// All frames of a file. Each may require a window of 100 MiB, more than `zstd --ultra -22` does
/// without `--long`.
struct Zstd<R> {
    reader: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> Zstd<R> {
    fn new(reader: R) -> io::Result<Self> {
        /// The header of an empty frame.
        const EMPTY: [u8; 6] = [0x28, 0xb5, 0x2f, 0xfd, 0x20, 0];

        let mut decoder = FrameDecoder::new();
        // The decoder limits the window of every frame but the first, so the first one is empty.
        decoder.init(&EMPTY[..]).map_err(io::Error::other)?;
        Ok(Self {
            reader,
            decoder,
            in_frame: false,
        })
    }

    /// Begins the next frame. Returns `false` if there is none.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.reader.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.reader) {
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let own = &mut self.reader.by_ref().take(u64::from(length));
                    io::copy(own, &mut io::sink())?;
                }
                begun => {
                    begun.map_err(undecodable)?;
                    self.in_frame = true;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.in_frame && !self.begin()? {
                return Ok(0);
            }
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(out);
            }
            if !self.decoder.is_finished() {
                let some = BlockDecodingStrategy::UptoBlocks(1);
                let decoded = self.decoder.decode_blocks(&mut self.reader, some);
                decoded.map_err(undecodable)?;
                continue;
            }
            let sum = self.decoder.get_checksum_from_data();
            if sum.is_some() && sum != self.decoder.get_calculated_checksum() {
                return Err(damaged("the checksum differs"));
            }
            self.in_frame = false;
        }
    }
}

/// Returns the error for data that cannot be decoded. The decoder's own message shows its structures.
fn undecodable(error: impl StdError + 'static) -> io::Error {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(error) = cause {
        let ended = |error: &io::Error| error.kind() == io::ErrorKind::UnexpectedEof;
        if error.downcast_ref().is_some_and(ended) {
            return damaged("the data ends too early; check that the file is complete");
        }
        cause = error.source();
    }
    damaged("the data is damaged")
}

fn damaged(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("zstd: {error}"))
}
