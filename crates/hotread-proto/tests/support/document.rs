//! Parser of `docs/wire.md`: its code blocks, tables and headings.

#![allow(dead_code, reason = "each test uses its part")]

/// The document's text.
pub fn text() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/wire.md");
    std::fs::read_to_string(path).unwrap()
}

/// Element of the document, as far as the tests need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A heading, without its marks.
    Heading(String),
    /// A code block: its info string and its text.
    Block(String, String),
    /// A table: its rows of cells, beginning with the header.
    Table(Vec<Vec<String>>),
}

/// Returns the elements of the document in order.
pub fn items() -> Vec<Item> {
    let text = text();
    let mut items = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(kind) = line.strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            items.push(Item::Block(kind.trim().to_owned(), block.join("\n")));
        } else if let Some(heading) = line.strip_prefix('#') {
            items.push(Item::Heading(heading.trim_matches(['#', ' ']).to_owned()));
        } else if line.starts_with('|') {
            let mut rows = vec![cells(line)];
            while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
                rows.push(cells(row));
            }
            // The delimiter row.
            rows.remove(1);
            items.push(Item::Table(rows));
        }
    }
    items
}

fn cells(line: &str) -> Vec<String> {
    let inside = line.trim_start_matches('|').trim_end_matches('|');
    inside
        .split('|')
        .map(|cell| cell.trim().to_owned())
        .collect()
}

/// Returns the code blocks with this info string.
pub fn blocks(kind: &str) -> Vec<String> {
    let block = |item| match item {
        Item::Block(found, text) if found == kind => Some(text),
        _ => None,
    };
    items().into_iter().filter_map(block).collect()
}

/// Returns the rows of all tables whose header begins with these cells, without the headers.
pub fn rows(head: &[&str]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for item in items() {
        if let Item::Table(rows) = item
            && rows[0].iter().zip(head).all(|(cell, head)| cell == head)
        {
            found.extend(rows.into_iter().skip(1));
        }
    }
    assert!(!found.is_empty(), "no table {head:?}");
    found
}
