//! What the tests of this crate share.
#![allow(dead_code, reason = "each test file uses a part of it")]

use hotread_proto::{Category, Key, Put, TableName, Value};
use hotread_store::Store;
use std::path::PathBuf;
use tempfile::TempDir;

/// A directory with a database in it, gone at the end of the test.
pub struct Scratch(TempDir);

impl Scratch {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> PathBuf {
        self.file("test.db")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn open(&self) -> Store {
        Store::open(self.path()).unwrap()
    }
}

pub fn name(text: &str) -> TableName {
    TableName::new(text).unwrap()
}

pub fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

pub fn category(text: &str) -> Category {
    Category::new(text).unwrap()
}

pub fn value(json: &str) -> Value {
    Value::parse(json.as_bytes()).unwrap()
}

pub fn put(name: &str, json: &str) -> Put {
    Put::new(key(name), value(json))
}
