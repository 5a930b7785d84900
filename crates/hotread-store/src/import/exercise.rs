//! Reads arbitrary bytes as files of rows, and checks the invariants. Used by the tests of this module,
//! and by the fuzz targets, which include this file and therefore restrict it to public names.

use super::{
    At, Columns, Delimiter, Detector, Empty, Format, ImportError, Input, Options, RowError, Rows,
    check_arrays,
};
use std::io::{self, Read};

/// Reads the bytes in all formats. The first byte selects the options.
pub fn rows(data: &[u8]) {
    csv(data);
    ndjson(data);
    json(data);
}

/// Reads the bytes as fields. The bits of the first byte select: 0 a semicolon, 1 comments, 2 no
/// header, 3 short reads, 4 blanks, 5 flexible rows without empty members, 6 two keys that are kept, 7
/// detected types.
pub fn csv(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else {
        return;
    };
    let chosen = |bit: u8| choice >> bit & 1 == 1;
    let mut options = Options::new(Format::Fields).key("key");
    options.delimiter = Some(match (chosen(4), chosen(0)) {
        (true, _) => Delimiter::Blanks,
        (_, true) => Delimiter::Byte(b';'),
        (_, false) => Delimiter::Byte(b','),
    });
    options.comment = chosen(1).then(|| "#".to_owned());
    if chosen(2) {
        options.columns = Columns::Named(["key", "ä\"", ""].map(str::to_owned).to_vec());
    }
    if chosen(5) {
        (options.flexible, options.trim) = (true, true);
        options.empty = Empty::Missing;
    }
    if chosen(6) {
        (options, options.keep_key) = (options.clone().key("a"), true);
    }
    if chosen(7) {
        let mut detector = Detector::new(options.types.clone());
        let told = Input::new(data, None).and_then(|input| detector.read(input, &options));
        if told.is_ok() {
            options.types = detector.finish().expect("no type was given");
        }
    }
    same_however_it_is_read(data, &options, chosen(3));
}

/// Reads the bytes as newline-delimited JSON. The bits of the first byte select: 0 short reads, 1 the
/// key `a`.
pub fn ndjson(data: &[u8]) {
    json_as(data, Format::Ndjson);
}

/// Reads the bytes as JSON, with the same bits, and 2: the array of the member `rows`.
pub fn json(data: &[u8]) {
    json_as(data, Format::Json);
}

fn json_as(data: &[u8], format: Format) {
    if let Some((&choice, data)) = data.split_first() {
        let mut options = Options::new(format);
        if choice & 2 > 0 {
            options = options.key("a");
        }
        options.member = (choice & 4 > 0).then(|| "rows".to_owned());
        let checked = Input::new(data, None).and_then(|input| check_arrays(input, &options));
        let read = same_however_it_is_read(data, &options, choice & 1 == 1);
        let is_late = |fatal: &String| {
            let late = [
                "the object has a second array",
                "the object has the array",
                "there is more text",
            ];
            late.iter().any(|text| fatal.contains(text))
        };
        if read.fatal.as_ref().is_some_and(is_late) {
            assert!(checked.is_err(), "it is found before the rows");
        }
    }
}

/// A file's rows as text, and its end.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    rows: Vec<Result<(At, hotread_proto::Put), RowError>>,
    fatal: Option<String>,
}

fn same_however_it_is_read(data: &[u8], options: &Options, short: bool) -> Outcome {
    let whole = read(data, options);
    if short {
        let pieces = Pieces { data, size: 1 };
        assert_eq!(read(pieces, options), whole);
    }
    whole
}

fn read(input: impl Read, options: &Options) -> Outcome {
    let mut outcome = Outcome {
        rows: Vec::new(),
        fatal: None,
    };
    let rows = Input::new(input, None).and_then(|input| Rows::new(input, options));
    let result = rows.and_then(|mut rows| {
        let result = collect(&mut rows, &mut outcome);
        assert!(matches!(rows.next_row(), Ok(None)), "the end is the end");
        result
    });
    outcome.fatal = result.err().map(|e| e.to_string());
    outcome
}

fn collect(rows: &mut Rows<'_>, outcome: &mut Outcome) -> Result<(), ImportError> {
    let mut last = At::line(0);
    while let Some(row) = rows.next_row()? {
        let at = row.as_ref().map_or_else(|e| e.at, |row| row.at);
        assert!(at > last, "each row is behind the one before it");
        last = at;
        if let Err(e) = &row {
            let text = e.to_string();
            assert!(!text.contains(char::is_control), "{text:?}");
            assert!(text.len() < 1_000, "{} bytes", text.len());
        }
        outcome.rows.push(row.map(|row| (row.at, row.put)));
    }
    Ok(())
}

/// A reader that returns at most `size` bytes at once.
pub(super) struct Pieces<'a> {
    pub(super) data: &'a [u8],
    pub(super) size: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let size = self.size.min(out.len());
        self.data.read(&mut out[..size])
    }
}
