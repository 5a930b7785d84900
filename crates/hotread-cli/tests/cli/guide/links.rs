//! Every relative link of the repository's documents leads somewhere.

use super::page::root;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The lines of a document that are not code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    })
}

/// A paragraph without its code spans.
fn without_code(text: &str) -> String {
    text.split('`').step_by(2).collect::<Vec<_>>().join("")
}

/// Targets of the links of a document: `[text](target)` and `[name]: target`.
fn targets(text: &str) -> Vec<String> {
    let lines: Vec<_> = prose(text).collect();
    // A link may be broken over two lines, and so may code, but not over paragraphs.
    let whole = lines.join("\n");
    let whole: String = whole.split("\n\n").map(without_code).collect();
    let inline = whole
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'));
    let mut found: Vec<_> = inline.map(|(target, _)| target.to_owned()).collect();
    for line in lines {
        if let Some((_, target)) = line
            .strip_prefix('[')
            .and_then(|line| line.split_once("]: "))
        {
            found.push(target.to_owned());
        }
    }
    found
}

/// The anchors that GitHub makes of a document's headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for line in prose(text).filter(|line| line.starts_with('#')) {
        let heading = line.trim_start_matches('#');
        let Some(heading) = heading.strip_prefix(' ') else {
            continue;
        };
        // Of a link, only its text.
        let mut plain = String::new();
        let mut rest = heading;
        while let Some((before, after)) = rest.split_once("](") {
            plain.push_str(before);
            rest = after.split_once(')').map_or("", |(_, after)| after);
        }
        plain.push_str(rest);
        let kept = plain.trim().to_lowercase();
        let kept: String = kept
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let times = seen.entry(kept.clone()).or_default();
        found.insert(match *times {
            0 => kept,
            times => format!("{kept}-{times}"),
        });
        *times += 1;
    }
    found
}

/// The documents below a folder that are part of the repository.
fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap_or_default();
        if path.is_dir() {
            if name != "target" && (!name.starts_with('.') || name == ".ci") {
                documents(&path, found);
            }
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut found = Vec::new();
    documents(&root(), &mut found);
    let mut broken = Vec::new();
    let mut links = 0;
    for document in &found {
        let text = std::fs::read_to_string(document).unwrap();
        for target in targets(&text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            links += 1;
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let to = match path {
                "" => document.clone(),
                path => document.parent().unwrap().join(path),
            };
            let is_there = match anchor {
                "" => to.exists(),
                anchor => {
                    std::fs::read_to_string(&to).is_ok_and(|text| anchors(&text).contains(anchor))
                }
            };
            if !is_there {
                broken.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(links > 100, "{links} links in {} documents", found.len());
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn anchors_are_those_of_github() {
    let text = "# A *b* `c`: d – e\n## [x](y) z\n## [x](y) z\n```\n# no\n```\n#no\n";
    let expected = ["a-b-c-d--e", "x-z", "x-z-1"].map(str::to_owned);
    assert_eq!(anchors(text), BTreeSet::from(expected));
    let text = "[a](b#c) `[d](e)` [f\ng](h)\n[i]: j\n";
    assert_eq!(targets(text), ["b#c", "h", "j"]);
}
