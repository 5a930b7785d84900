//! The files of an import: their formats, and their rows in order.

use super::failures::{bad_row, unreadable};
use super::interrupt;
use crate::args::{EmptyField, FileFormat, ImportArgs, Quote, TypeOf};
use crate::exit::{Exit, Failure};
use anyhow::{Context, Result};
use hotread_proto::{Code, ErrorBody, Put};
use hotread_store::import::{
    At, Columns, Delimiter, Detector, Empty, Format, ImportError, Input, Kind, Options, RowReason,
    Rows, check_arrays,
};
use indicatif::ProgressBar;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Interval at which an interruption is checked for while no input arrives.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
/// Bytes of a file by which JSON is detected if no name tells the format: enough for most first lines.
const TOLD_BYTES: usize = 64 << 10;

/// Origin of a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    file: usize,
    at: At,
    /// Number of the row among those of all files, from 1.
    pub(super) number: u64,
}

/// A row, good or bad.
pub(super) type FileRow = (Origin, Result<Put, RowReason>);

/// A file that cannot be read any further.
pub(super) struct Broken {
    pub(super) name: String,
    pub(super) error: ImportError,
}

struct Source {
    name: String,
    path: PathBuf,
    options: Options,
    /// Size in bytes of a file that can be read twice.
    size: Option<u64>,
    /// Set if the first line begins with `#`, and no comments were named.
    may_have_comments: bool,
    /// Set if the text is one object with an array of objects, which was taken for a line of NDJSON.
    may_be_array: bool,
    /// The opened input, until it is read.
    input: Option<Input<'static>>,
}

/// All files, in their order.
pub(super) struct Files {
    sources: Vec<Source>,
    bar: ProgressBar,
    /// Index of the current file.
    file: usize,
    rows: Option<Rows<'static>>,
    number: u64,
    /// The first row, which was read ahead.
    first: Option<FileRow>,
}

impl Files {
    /// Opens all files, and determines the format of each. `bar` shows the bytes that are read.
    pub(super) fn open(args: &ImportArgs, bar: &ProgressBar) -> Result<Self> {
        let mut named = HashSet::new();
        if let Some(twice) = args.key.iter().find(|name| !named.insert(*name)) {
            let message = format!("--key names {twice:?} twice; name it once");
            return Err(Failure::usage(message).into());
        }
        let stdin = args.files.iter().filter(|path| is_stdin(path)).count();
        if stdin > 1 {
            return Err(Failure::usage("stdin can be read once; give `-` once").into());
        }
        let open = |path: &PathBuf| {
            let name = match is_stdin(path) {
                true => "stdin".to_owned(),
                false => path.display().to_string(),
            };
            let file = checked(path)?;
            let meta = file.metadata().with_context(|| cannot_read(path))?;
            let size = (meta.is_file() && !is_stdin(path)).then_some(meta.len());
            let input = input(file, args, bar);
            let mut input = input.map_err(|error| unreadable(&error, &name, ""))?;
            let options = options(args, path, &name, &mut input)?;
            let text = input.sample(TOLD_BYTES).map_err(ImportError::Io);
            let text = text.map_err(|error| unreadable(&error, &name, ""))?;
            Ok(Source {
                name,
                path: path.clone(),
                may_have_comments: args.comment.is_none() && text.starts_with(b"#"),
                may_be_array: options.format == Format::Ndjson && is_one_with_objects(text),
                options,
                // A regular file is opened again, so its sample is not lost.
                input: size.is_none().then_some(input),
                size,
            })
        };
        let sources: Result<Vec<_>> = args.files.iter().map(open).collect();
        bar.set_position(0);
        Ok(Self {
            sources: sources?,
            bar: bar.clone(),
            file: 0,
            rows: None,
            number: 0,
            first: None,
        })
    }

    /// Returns the size of all files together, if it is known.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.sources.iter().map(|source| source.size).sum()
    }

    /// Checks that objects of JSON have one array that can be the rows; files are read once for that. Of a
    /// pipe, the beginning is checked.
    pub(super) fn check_arrays(&mut self, args: &ImportArgs) -> Result<()> {
        let hidden = ProgressBar::hidden();
        for source in &mut self.sources {
            if source.options.format != Format::Json {
                continue;
            }
            let checked = match &mut source.input {
                Some(input) => input
                    .beginning()
                    .map_err(ImportError::Io)
                    .and_then(|beginning| check_arrays(beginning, &source.options)),
                None => reopen(&source.path, args, &hidden)
                    .and_then(|input| check_arrays(input, &source.options)),
            };
            checked.map_err(|error| unreadable(&error, &source.name, ""))?;
        }
        Ok(())
    }

    /// Detects the types of columns; files are read once for that.
    pub(super) fn tell_types(&mut self, args: &ImportArgs) -> Result<()> {
        let (named, others_are_text) = given_types(&args.types)?;
        let fields = |source: &&mut Source| source.options.format == Format::Fields;
        if others_are_text && named.is_empty() || !self.sources.iter_mut().any(|s| fields(&s)) {
            return Ok(());
        }
        let mut detector = Detector::new(named.clone());
        let hidden = ProgressBar::hidden();
        for source in self.sources.iter_mut().filter(fields) {
            let told = match &mut source.input {
                Some(input) => detector.sample(input, &source.options),
                None => reopen(&source.path, args, &hidden)
                    .and_then(|input| detector.read(input, &source.options)),
            };
            told.map_err(|error| unreadable(&error, &source.name, ""))?;
        }
        let told = detector.finish();
        let mut types = told.map_err(|error| Failure::usage(format!("--types: {error}")))?;
        if others_are_text {
            types.retain(|column, _| named.contains_key(column));
        }
        for source in self.sources.iter_mut().filter(fields) {
            source.options.types.clone_from(&types);
        }
        self.bar.set_position(0);
        Ok(())
    }

    /// Reads the first row ahead; returns `true` if there are no rows.
    ///
    /// # Errors
    /// If the row is bad, unless bad rows are skipped.
    pub(super) fn check_first(&mut self, args: &ImportArgs) -> Result<bool> {
        let first = self.next(args);
        let first = first.map_err(|broken| unreadable(&broken.error, &broken.name, ""))?;
        if let Some((origin, Err(reason))) = &first
            && !args.skip_bad
            && args.skip_rows == 0
        {
            return Err(bad_row(reason, *origin, self, "nothing was imported"));
        }
        self.first = first;
        Ok(self.first.is_none())
    }

    /// Returns the next row, good or bad.
    pub(super) fn next(&mut self, args: &ImportArgs) -> Result<Option<FileRow>, Broken> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        while let Some(source) = self.sources.get_mut(self.file) {
            let broken = |error| Broken {
                name: source.name.clone(),
                error,
            };
            let rows = match &mut self.rows {
                Some(rows) => rows,
                rows => {
                    let opened = match source.input.take() {
                        Some(input) => Ok(input),
                        None => reopen(&source.path, args, &self.bar),
                    };
                    let read = opened.and_then(|input| Rows::new(input, &source.options));
                    rows.insert(read.map_err(broken)?)
                }
            };
            let Some(row) = rows.next_row().map_err(broken)? else {
                self.rows = None;
                self.file += 1;
                continue;
            };
            self.number += 1;
            let (at, row) = match row {
                Ok(row) => (row.at, Ok(row.put)),
                Err(error) => (error.at, Err(error.reason)),
            };
            let origin = Origin {
                file: self.file,
                at,
                number: self.number,
            };
            return Ok(Some((origin, row)));
        }
        Ok(None)
    }

    /// Describes the place of a row; human-readable.
    pub(super) fn place(&self, origin: Origin) -> String {
        format!("{}, {}", self.sources[origin.file].name, origin.at)
    }

    /// Returns `true` if lines of the row's file may be comments.
    pub(super) fn may_have_comments(&self, origin: Origin) -> bool {
        self.sources[origin.file].may_have_comments
    }

    /// Returns `true` if the row may be an object around the rows.
    pub(super) fn may_be_array(&self, origin: Origin) -> bool {
        self.sources[origin.file].may_be_array
    }

    /// Returns a bad row with its place.
    pub(super) fn bad(&self, origin: Origin, message: String) -> Bad {
        let At { line, item } = origin.at;
        Bad {
            file: self.sources[origin.file].name.clone(),
            line,
            item,
            message,
        }
    }

    /// Returns the names of the files; human-readable.
    pub(super) fn names(&self) -> String {
        match &self.sources[..] {
            [only] => only.name.clone(),
            all => format!("{} files", all.len()),
        }
    }
}

/// Returns `true` if the text is one object, a member of which is an array of objects.
fn is_one_with_objects(text: &[u8]) -> bool {
    let members: serde_json::Result<BTreeMap<String, serde_json::Value>> =
        serde_json::from_slice(text);
    let mut arrays = members.iter().flat_map(BTreeMap::values);
    arrays.any(|member| member.get(0).is_some_and(serde_json::Value::is_object))
}

/// Returns the types that are given for columns, and `true` if all other columns are text.
fn given_types(types: &[TypeOf]) -> Result<(BTreeMap<String, Kind>, bool)> {
    let (mut named, mut others) = (BTreeMap::new(), None);
    for given in types {
        let twice = match given {
            TypeOf::Column(column, kind) => named
                .insert(column.clone(), *kind)
                .map(|_| format!("names the column {column:?} twice; name it once")),
            all => others
                .replace(all)
                .map(|_| "says text or auto twice; say it once".to_owned()),
        };
        if let Some(twice) = twice {
            return Err(Failure::usage(format!("--types {twice}")).into());
        }
    }
    Ok((named, others == Some(&TypeOf::Text)))
}

/// A bad row that was skipped.
#[derive(Debug, Serialize)]
pub(super) struct Bad {
    file: String,
    line: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<u64>,
    message: String,
}

impl std::fmt::Display for Bad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (line, item) = (self.line, self.item);
        write!(f, "{}, {}: {}", self.file, At { line, item }, self.message)
    }
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read {}", path.display())
}

/// Opens a file that was named on the command line.
fn checked(path: &Path) -> Result<File> {
    if is_stdin(path) {
        let stdin = io::stdin().as_fd().try_clone_to_owned();
        return Ok(stdin.with_context(|| cannot_read(path))?.into());
    }
    let file = File::open(path).map_err(|error| {
        let code = match error.kind() {
            io::ErrorKind::NotFound => Code::NoSuchFile,
            _ => Code::BadRequest,
        };
        let message = format!("{}: {error}; check the path", cannot_read(path));
        Failure::with(Exit::Error, ErrorBody::new(code, message))
    })?;
    if file.metadata().is_ok_and(|meta| meta.is_dir()) {
        let message = format!("{}: it is a directory; give a file", cannot_read(path));
        return Err(Failure::new(Code::BadRequest, message).into());
    }
    Ok(file)
}

/// Opens a file again.
fn reopen(
    path: &Path,
    args: &ImportArgs,
    bar: &ProgressBar,
) -> Result<Input<'static>, ImportError> {
    input(File::open(path)?, args, bar)
}

fn input(file: File, args: &ImportArgs, bar: &ProgressBar) -> Result<Input<'static>, ImportError> {
    let bar = bar.clone();
    Input::new(Reader { file, bar }, args.encoding)
}

/// A file whose reads end at a signal.
struct Reader {
    file: File,
    bar: ProgressBar,
}

impl Read for Reader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if interrupt::came() {
                return Err(io::Error::other("interrupted"));
            }
            let mut polled = [PollFd::new(&self.file, PollFlags::IN)];
            match poll(&mut polled, Some(&LOOK)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => break,
                Err(error) => return Err(error.into()),
            }
        }
        let bytes = self.file.read(out)?;
        self.bar.inc(bytes as u64);
        Ok(bytes)
    }
}

/// Returns the options with which a file is read.
fn options(args: &ImportArgs, path: &Path, name: &str, input: &mut Input<'_>) -> Result<Options> {
    let named = Format::of_name(path);
    let tab = Some(Delimiter::Byte(b'\t'));
    let (format, delimiter) = match (args.format, named) {
        (Some(FileFormat::Csv), Some(named @ (Format::Fields, _))) => named,
        (Some(FileFormat::Csv), _) => (Format::Fields, None),
        (Some(FileFormat::Tsv), _) => (Format::Fields, tab),
        (Some(FileFormat::Ndjson), _) => (Format::Ndjson, None),
        (Some(FileFormat::Json), _) => (Format::Json, None),
        (None, Some(named)) => named,
        (None, None) if args.of_fields().is_some() => (Format::Fields, None),
        (None, None) if args.member.is_some() => (Format::Json, None),
        (None, None) => {
            let text = input.sample(TOLD_BYTES).map_err(ImportError::Io);
            let text = text.map_err(|error| unreadable(&error, name, ""))?;
            let is_empty = text.is_empty();
            let told = Format::of_text(text).ok_or_else(|| {
                Failure::usage(match is_empty {
                    true => format!("{name} is empty; give --format ndjson if no rows are meant"),
                    false => format!(
                        "the format of {name} cannot be detected from its name or beginning; \
                         give --format csv, tsv, ndjson or json"
                    ),
                })
            });
            (told?, None)
        }
    };
    let wrong = match (format, &args.member) {
        (Format::Fields | Format::Ndjson, Some(_)) => Some(("--member", "JSON", "json")),
        (Format::Fields, None) => None,
        _ => args.of_fields().map(|option| (option, "CSV", "csv")),
    };
    if let Some((option, of, format)) = wrong {
        let message =
            format!("{option} is for {of}, and {name} is not; omit it, or give --format {format}");
        return Err(Failure::usage(message).into());
    }
    Ok(Options {
        key: args.key.clone(),
        key_separator: args.key_separator.clone(),
        keep_key: args.keep_key,
        member: args.member.clone(),
        delimiter: args.delimiter.or(delimiter),
        quote: args.quote.map_or(Some(b'"'), |Quote(quote)| quote),
        comment: args.comment.clone(),
        columns: match &args.columns {
            Some(names) => Columns::Named(names.clone()),
            None if args.no_header => Columns::Numbered,
            None => Columns::FirstRow,
        },
        flexible: args.flexible,
        trim: args.trim,
        empty: match args.empty {
            None | Some(EmptyField::Text) => Empty::Text,
            Some(EmptyField::Null) => Empty::Null,
            Some(EmptyField::Missing) => Empty::Missing,
        },
        ..Options::new(format)
    })
}
