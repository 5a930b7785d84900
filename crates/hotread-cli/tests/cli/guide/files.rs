//! The files that pages show are those of the repository.

use super::page::{blocks, guide, pages, root};
use std::collections::BTreeSet;

/// Languages of blocks. Those that are run or compared elsewhere are among them.
const LANGUAGES: [&str; 13] = [
    "bash",
    "console",
    "diff",
    "dockerfile",
    "haproxy",
    "ini",
    "mermaid",
    "nginx",
    "rust",
    "sh",
    "text",
    "toml",
    "yaml",
];

/// The lines of `new` that `old` does not have, and those of `old` that `new` does not have, in their order.
fn difference(old: &str, new: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    assert_eq!(old.len(), new.len(), "lines are changed, and none added");
    let pairs = old.iter().zip(&new).filter(|(old, new)| old != new);
    pairs
        .map(|(old, new)| format!("-{old}\n+{new}\n"))
        .collect()
}

#[test]
fn pages_show_the_files_as_they_are() {
    let mut shown = BTreeSet::new();
    for name in pages() {
        for block in blocks(&guide(&name)) {
            assert!(
                LANGUAGES.contains(&&*block.info),
                "{name}: a block of {:?}, which nothing checks",
                block.info
            );
            let words: Vec<_> = block
                .mark
                .as_deref()
                .unwrap_or_default()
                .split(' ')
                .collect();
            match words[..] {
                ["file:", file] => {
                    assert_eq!(block.text, guide(file), "{name}: {file}");
                    shown.insert(file.to_owned());
                }
                ["diff:", old, new] => {
                    assert_eq!(
                        block.text,
                        difference(&guide(old), &guide(new)),
                        "{name}: {new}"
                    );
                    shown.insert(new.to_owned());
                }
                _ => {}
            }
        }
    }
    for folder in ["deploy", "tutorial"] {
        for file in std::fs::read_dir(root().join("docs/guide").join(folder)).unwrap() {
            let file = format!("{folder}/{}", file.unwrap().file_name().to_str().unwrap());
            assert!(shown.contains(&file), "no page shows {file}");
        }
    }
}

#[test]
fn the_tutorials_dependencies_are_those_of_the_workspace() {
    let workspace: toml::Table =
        toml::from_str(&std::fs::read_to_string(root().join("Cargo.toml")).unwrap()).unwrap();
    let repository = workspace["workspace"]["package"]["repository"]
        .as_str()
        .unwrap();
    let mut names = BTreeSet::new();
    for block in blocks(&guide("tutorial.md")) {
        if block.info != "toml" {
            continue;
        }
        let manifest: toml::Table = toml::from_str(&block.text).unwrap();
        for (name, dependency) in manifest["dependencies"].as_table().unwrap() {
            names.insert(name.clone());
            if let Some(git) = dependency.get("git") {
                assert_eq!(git.as_str(), Some(repository));
                assert!(root().join("crates").join(name).is_dir(), "{name}");
            }
        }
    }
    let programs =
        ["embedded", "served", "follow"].map(|name| guide(&format!("tutorial/{name}.rs")));
    for (krate, used) in [
        ("hotread-store", "hotread_store"),
        ("hotread-client", "hotread_client"),
        ("serde", "serde::"),
        ("tokio", "tokio::"),
    ] {
        assert!(
            programs.iter().any(|program| program.contains(used)),
            "{used}"
        );
        assert!(names.remove(krate), "{krate}");
    }
    assert!(names.is_empty(), "{names:?}");
}
