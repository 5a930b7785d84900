//! Reads any bytes as files of rows and checks what must hold whatever they are. For the tests here
//! and for the fuzz targets, which include this file: so it names nothing but what is public.

use super::{CsvOptions, Format, ImportError, RowError, Rows};
use std::io::{self, Read};

/// As all formats. The first byte chooses what can be chosen.
pub fn rows(data: &[u8]) {
    csv(data);
    ndjson(data);
}

/// As CSV. The bits of the first byte choose: 0 a semicolon, 1 comments, 2 no header, 3 short reads.
pub fn csv(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else {
        return;
    };
    let chosen = |bit: u8| choice >> bit & 1 == 1;
    let options = CsvOptions {
        delimiter: if chosen(0) { b';' } else { b',' },
        comment: chosen(1).then_some(b'#'),
        columns: chosen(2).then(|| ["key", "ä\"", ""].map(str::to_owned).to_vec()),
        ..CsvOptions::new("key")
    };
    same_however_it_is_read(data, &Format::Csv(options), chosen(3));
}

/// As newline-delimited JSON. The lowest bit of the first byte chooses short reads.
pub fn ndjson(data: &[u8]) {
    if let Some((&choice, data)) = data.split_first() {
        same_however_it_is_read(data, &Format::Ndjson, choice & 1 == 1);
    }
}

/// A file's rows as text, and how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    rows: Vec<Result<(u64, hotread_proto::Put), RowError>>,
    fatal: Option<String>,
}

fn same_however_it_is_read(data: &[u8], format: &Format, short: bool) {
    let whole = read(data, data.len(), format);
    if short {
        let pieces = Pieces { data, size: 1 };
        assert_eq!(read(pieces, data.len(), format), whole);
    }
}

fn read(input: impl Read, bytes: usize, format: &Format) -> Outcome {
    let mut outcome = Outcome {
        rows: Vec::new(),
        fatal: None,
    };
    let result = Rows::new(input, format.clone()).and_then(|mut rows| {
        let result = collect(&mut rows, bytes, &mut outcome);
        assert!(matches!(rows.next_row(), Ok(None)), "the end is the end");
        result
    });
    outcome.fatal = result.err().map(|e| e.to_string());
    outcome
}

fn collect<R: Read>(
    rows: &mut Rows<R>,
    bytes: usize,
    outcome: &mut Outcome,
) -> Result<(), ImportError> {
    let (mut line, mut read) = (0, rows.bytes_read());
    while let Some(row) = rows.next_row()? {
        let of_row = row.as_ref().map_or_else(|e| e.line, |row| row.line);
        assert!(of_row > line, "each row begins on a line of its own");
        assert!(
            of_row <= bytes as u64 + 1,
            "there are no more lines than bytes"
        );
        assert!(rows.bytes_read() > read, "each row has at least a byte");
        (line, read) = (of_row, rows.bytes_read());
        if let Err(e) = &row {
            let text = e.to_string();
            assert!(!text.contains(char::is_control), "{text:?}");
            assert!(text.len() < 1_000, "{} bytes", text.len());
        }
        outcome.rows.push(row.map(|row| (row.line, row.put)));
    }
    assert_eq!(rows.bytes_read(), bytes as u64, "all of it was read");
    Ok(())
}

/// A reader that hands out no more than `size` bytes at once.
struct Pieces<'a> {
    data: &'a [u8],
    size: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let size = self.size.min(out.len());
        self.data.read(&mut out[..size])
    }
}
