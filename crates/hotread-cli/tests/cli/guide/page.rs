//! Pages of Markdown, and their fenced blocks.

use std::path::{Path, PathBuf};

/// A fenced block.
#[derive(Debug)]
pub(super) struct Block {
    /// The word after the fence.
    pub(super) info: String,
    pub(super) text: String,
    /// The comment between the block before it and this one.
    pub(super) mark: Option<String>,
}

/// The root of the repository.
pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A file of docs/guide.
pub(super) fn guide(name: &str) -> String {
    let path = root().join("docs/guide").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of the pages of docs/guide.
pub(super) fn pages() -> Vec<String> {
    let files = std::fs::read_dir(root().join("docs/guide")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".md")).collect();
    names.sort();
    names
}

/// The fenced blocks of a page.
pub(super) fn blocks(page: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut mark = None;
    let mut open: Option<Block> = None;
    for line in page.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some("")) => found.extend(open.take()),
            (Some(block), _) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, Some(info)) => {
                open = Some(Block {
                    info: info.to_owned(),
                    text: String::new(),
                    mark: mark.take(),
                });
            }
            (None, None) => {
                let comment = line.strip_prefix("<!-- ");
                if let Some(comment) = comment.and_then(|it| it.strip_suffix(" -->")) {
                    mark = Some(comment.to_owned());
                }
            }
        }
    }
    assert!(open.is_none(), "a block is not closed: {open:?}");
    found
}

/// The cells of the rows of a page's tables.
pub(super) fn rows(page: &str) -> impl Iterator<Item = Vec<&str>> {
    page.lines().filter_map(|line| {
        let line = line.strip_prefix("| ")?.strip_suffix(" |")?;
        Some(line.split(" | ").map(str::trim).collect())
    })
}
