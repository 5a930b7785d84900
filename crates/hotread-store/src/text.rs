//! Text for the full-text index: the indexed text of a record, and the query of a search. The index
//! itself, an FTS5 table, is kept elsewhere.

use std::collections::HashSet;

/// Maximum text of a record that is indexed, in bytes, before characters are separated. The index takes
/// about as much space again as the text. The largest value has a megabyte of text at most, unless it
/// is all escapes.
pub(crate) const MAX_SEARCH_BYTES: usize = 1 << 20;
/// Maximum number of words of a search: each is a walk through the index.
pub(crate) const MAX_QUERY_WORDS: usize = 32;
/// Longest word of a search, in bytes; the rest is cut off. As long as the longest key.
pub(crate) const MAX_QUERY_WORD_BYTES: usize = 512;

/// Replaces `out` by the searchable text of a record: the key, then all strings and names of members of
/// the value, decoded, and numbers, `true` and `false` as they are written, a line each. Truncated
/// after [`MAX_SEARCH_BYTES`]. The value should be JSON; of other bytes some words are indexed. Costs a
/// pass over the value, and an allocation for each string with escapes.
pub(crate) fn search_text(key: &str, value: &[u8], out: &mut String) {
    out.clear();
    push(key, out);
    let mut rest = value;
    while let Some(&first) = rest.first()
        && out.len() < MAX_SEARCH_BYTES
    {
        let bytes = match first {
            b'"' => string(rest, out),
            b'{' | b'}' | b'[' | b']' | b':' | b',' | b' ' | b'\t' | b'\n' | b'\r' => 1,
            _ => {
                let ends = |byte: &u8| matches!(byte, b'"' | b',' | b']' | b'}' | b':' | b' ');
                let bytes = rest.iter().position(ends).unwrap_or(rest.len());
                match std::str::from_utf8(&rest[..bytes]) {
                    Ok(word) if word != "null" => push(word, out),
                    _ => {}
                }
                bytes
            }
        };
        rest = &rest[bytes..];
    }
}

/// Indexes the string at the beginning of `json`, and returns its length.
fn string(json: &[u8], out: &mut String) -> usize {
    let mut escapes = false;
    let mut at = 1;
    let end = loop {
        match memchr::memchr2(b'"', b'\\', &json[at..]) {
            Some(found) if json[at + found] == b'"' => break at + found + 1,
            // The next character belongs to the escape, whatever it is.
            Some(found) if at + found + 2 <= json.len() => {
                escapes = true;
                at += found + 2;
            }
            _ => return json.len(),
        }
    };
    let quoted = &json[..end];
    if !escapes {
        if let Ok(text) = std::str::from_utf8(&quoted[1..end - 1]) {
            push(text, out);
        }
    } else if let Ok(text) = serde_json::from_slice::<String>(quoted) {
        push(&text, out);
    }
    end
}

/// Adds a line, truncated to the space that is left.
fn push(text: &str, out: &mut String) {
    let room = MAX_SEARCH_BYTES.saturating_sub(out.len() + 1);
    let text = cut(text, room);
    if text.is_empty() {
        return;
    }
    if !out.is_empty() {
        out.push('\n');
    }
    separate(text, out);
}

/// Adds text in the form for the index: without NUL, at which SQLite's functions for text stop, and
/// with blanks around each character of a script without spaces, so that the character is a word by
/// itself.
fn separate(text: &str, out: &mut String) {
    // Most text is ASCII, of which only NUL is replaced.
    if text.is_ascii() && memchr::memchr(0, text.as_bytes()).is_none() {
        return out.push_str(text);
    }
    separate_chars(text, out);
}

/// Does the work of [`separate`] for any text, character by character.
fn separate_chars(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '\0' => out.push(' '),
            c if is_unspaced(c) => out.extend([' ', c, ' ']),
            c => out.push(c),
        }
    }
}

/// Returns `true` if a character is Han, Hiragana or Katakana: the tokenizer would take a sentence of
/// them for one word.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{ff66}'..='\u{ff9f}'
        | '\u{20000}'..='\u{3ffff}')
}

/// Returns the first characters of a text that fit into this number of bytes.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// Converts a user's input to an expression for FTS5's `MATCH` that is never a syntax error. It matches
/// records that contain all the words, which white space separates. A word that ends in `*` matches all
/// words with that prefix; quotes, parentheses, `AND` and `NEAR` are words or parts of words; the
/// characters of a word in Han, Hiragana or Katakana must be adjacent. A word counts once, and only the
/// first [`MAX_QUERY_WORDS`] words count. Returns `None` if there is no word.
pub(crate) fn fts_query(user: &str) -> Option<String> {
    let mut query = String::new();
    let words = user
        // SQLite reads the expression up to the first NUL.
        .split(|c: char| c.is_whitespace() || c == '\0')
        .map(|word| (word.trim_end_matches('*'), word.ends_with('*')))
        .filter(|(word, _)| !word.is_empty())
        .map(|(word, is_prefix)| (cut(word, MAX_QUERY_WORD_BYTES), is_prefix));
    // Each word is a walk through the index, which ignores case.
    let mut known = HashSet::new();
    let words = words.filter(|(word, is_prefix)| known.insert((word.to_lowercase(), *is_prefix)));
    for (word, is_prefix) in words.take(MAX_QUERY_WORDS) {
        // Adjacent words are joined by an AND that leaves out words without a letter or digit.
        if !query.is_empty() {
            query.push(' ');
        }
        query.push('"');
        separate(&word.replace('"', "\"\""), &mut query);
        query.push('"');
        if is_prefix {
            query.push('*');
        }
    }
    (!query.is_empty()).then_some(query)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rusqlite::Connection;

    fn text(key: &str, value: &str) -> String {
        let mut out = "what was there".to_owned();
        search_text(key, value.as_bytes(), &mut out);
        out
    }

    #[test]
    fn words_are_taken_decoded_from_all_parts_of_a_value() {
        let all = r#"{"näme":["a b",1.50,-2e9,true,false,null,"",{}],"x":{"y":"z"}}"#;
        let escapes = r#"["a\"b\\","\u00e4\ud83d\ude00","a\tb","\u0000"]"#;
        let deep = format!("{}\"word\"{}", "[".repeat(100_000), "]".repeat(100_000));
        for (value, words) in [
            (all, "k\nnäme\na b\n1.50\n-2e9\ntrue\nfalse\nx\ny\nz"),
            ("9007199254740993", "k\n9007199254740993"),
            ("null", "k"),
            (escapes, "k\na\"b\\\nä\u{1f600}\na\tb\n "),
            (&deep, "k\nword"),
        ] {
            assert_eq!(text("k", value), words);
        }
    }

    #[test]
    fn no_more_than_the_limit_is_indexed() {
        for word in ["ab", "ä", "\u{1f600}"] {
            let long = format!("[\"{0}\",\"{0}\"]", word.repeat(MAX_SEARCH_BYTES));
            let text = text("k", &long);
            assert!(text.len() <= MAX_SEARCH_BYTES);
            assert!(text.len() > MAX_SEARCH_BYTES - 8);
        }
        let numbers = format!("[{}0]", "1,".repeat(MAX_SEARCH_BYTES));
        assert!(text("k", &numbers).len() <= MAX_SEARCH_BYTES);
    }

    #[test]
    fn words_are_quoted_one_by_one() {
        for (user, query) in [
            ("one", Some(r#""one""#)),
            (" one\ttwo\u{2003}three\n", Some(r#""one" "two" "three""#)),
            ("on* **", Some(r#""on"*"#)),
            ("a*b**", Some(r#""a*b"*"#)),
            (r#"say "hi""#, Some(r#""say" """hi""""#)),
            ("AND (NEAR", Some(r#""AND" "(NEAR""#)),
            ("a\0b", Some(r#""a" "b""#)),
            ("x设备*", Some(r#""x 设  备 "*"#)),
            ("w* W* w w* ww*", Some(r#""w"* "w" "ww"*"#)),
            ("", None),
            (" * ", None),
            ("\0", None),
        ] {
            assert_eq!(fts_query(user).as_deref(), query, "{user:?}");
        }
        let many: String = (0..1_000).map(|n| format!("w{n} ")).collect();
        let many = fts_query(&many).unwrap();
        assert_eq!(many.split(' ').count(), MAX_QUERY_WORDS);
        let long = fts_query(&"ä".repeat(1_000)).unwrap();
        assert_eq!(long.len(), MAX_QUERY_WORD_BYTES + 2);
    }

    fn index(records: &[(&str, &str)]) -> Connection {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE VIRTUAL TABLE words USING fts5(text)")
            .unwrap();
        for (n, (key, value)) in records.iter().enumerate() {
            db.execute(
                "INSERT INTO words (rowid, text) VALUES (?1, ?2)",
                (i64::try_from(n).unwrap(), text(key, value)),
            )
            .unwrap();
        }
        db
    }

    fn matches(db: &Connection, query: &str) -> rusqlite::Result<Vec<i64>> {
        db.prepare_cached("SELECT rowid FROM words WHERE words MATCH ?1 ORDER BY rowid")?
            .query_map([query], |row| row.get(0))?
            .collect()
    }

    #[test]
    fn searches_find_what_they_name() {
        let db = index(&[
            (
                "000000",
                r#"{"name":"XEROX CORPORATION","tags":["a\u0000b","NEAR"]}"#,
            ),
            ("000393", r#"{"name":"Apple, Inc.","limit":1.50}"#),
            ("0003ff", r#"{"name":"Microsoft \"Corp\""}"#),
            (
                "0003fg",
                r#"{"name":"网络设备有限公司","in":"東京のネットワーク"}"#,
            ),
        ]);
        for (user, found) in [
            ("xerox", &[0][..]),
            ("name", &[0, 1, 2, 3]),
            ("设备", &[3]),
            ("备设", &[]),
            ("公司 网络", &[3]),
            ("ネット", &[3]),
            ("设*", &[3]),
            ("corp*", &[0, 2]),
            ("corp", &[2]),
            ("0003*", &[1, 2, 3]),
            ("apple inc", &[1]),
            ("apple microsoft", &[]),
            ("apple --- inc", &[1]),
            ("inc.", &[1]),
            ("1.50", &[1]),
            ("near", &[0]),
            ("b", &[0]),
            ("\"corp\"", &[2]),
            ("text:apple", &[]),
            ("---", &[]),
        ] {
            let query = fts_query(user).unwrap();
            assert_eq!(matches(&db, &query).unwrap(), found, "{user:?} {query}");
        }
    }

    proptest! {
        #[test]
        fn ascii_text_is_added_as_character_by_character(
            text in prop_oneof!["[\u{0}-\u{7f}]{0,40}", "[ -~]{0,40}", "(?s:[a\u{0}ä设ネ]|.){0,40}"],
        ) {
            let (mut whole, mut by_chars) = ("before".to_owned(), "before".to_owned());
            separate(&text, &mut whole);
            separate_chars(&text, &mut by_chars);
            prop_assert_eq!(whole, by_chars);
        }

        #[test]
        fn no_search_is_a_syntax_error(
            users in prop::collection::vec("(?s:[\"*(){}:^+\\-, \u{0}aORND]|.){0,40}", 64),
        ) {
            let db = index(&[("a", "\"b OR c\"")]);
            for user in users {
                if let Some(query) = fts_query(&user) {
                    let found = matches(&db, &query);
                    prop_assert!(found.is_ok(), "{:?} {:?} {:?}", user, query, found);
                }
            }
        }

        #[test]
        fn any_bytes_can_be_indexed(value in prop::collection::vec(
            prop_oneof![Just(b'"'), Just(b'\\'), Just(b'['), Just(b','), any::<u8>()], 0..64,
        )) {
            let mut out = String::new();
            search_text("k", &value, &mut out);
            prop_assert!(out.starts_with('k') && out.len() <= 1 + 4 * value.len());
        }

        #[test]
        fn each_word_of_a_value_is_found(words in prop::collection::vec("[a-z0-9äöñ\\\\\"]{1,8}", 1..8)) {
            let value = serde_json::to_string(&words).unwrap();
            let db = index(&[("key", &value)]);
            for word in &words {
                if word.contains(char::is_alphanumeric) {
                    let query = fts_query(word).unwrap();
                    prop_assert_eq!(matches(&db, &query).unwrap(), [0], "{}", query);
                }
            }
        }
    }
}
