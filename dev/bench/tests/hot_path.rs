//! Guards the hot path: `HotReadHandle::current()` on an unchanged copy stays a load, a compare and
//! a return. Also counts the instructions of `queue_update`, so that growth is noticed.
//!
//! A release build of `src/bin/hot_path.rs` runs under valgrind's callgrind, once with N and once
//! with 2N calls: the difference is the cost of the calls, since constant parts cancel. The same runs
//! give the addresses that were executed within the function; objdump disassembles them, and
//! no instruction may lock, fence, swap or call. Planted variants prove that all checks work. The
//! instructions are those of x86-64.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Instructions that `current()` may execute on an unchanged copy, its return included.
///
/// On x86-64 it takes six: load the address of the shared data, load the held pointer, load the published one,
/// compare, branch, return. One more is the compiler's leeway.
const CURRENT_AT_MOST: u64 = 7;

/// Instructions by which `current()` may exceed the bare dereference of an `Arc` (three today).
const OVER_BARE_ARC_AT_MOST: f64 = 4.0;

/// Instructions that `queue_update` of a 64-byte struct may execute with one quiescent handle and
/// no other thread: both applications, the scan of the slots, and the test's loop, which makes
/// the update. It takes 242 today; the rest is the compiler's leeway.
const UPDATE_AT_MOST: f64 = 270.0;

/// Instructions by which an update of one key of a map may exceed the same two inserts under one lock. It
/// takes 168 today; the rest is the compiler's leeway.
const MAP_OVER_TWO_MAPS_AT_MOST: f64 = 200.0;

/// Calls that are counted: enough for their mean. Each takes fifty times as long under valgrind.
const CALLS: u64 = 20_000;

#[test]
fn current_on_an_unchanged_copy_is_a_few_plain_instructions() {
    let current = inspect("current");
    let bare = inspect("bare_arc");
    let cache = inspect("arc_swap_cache");
    println!(
        "instructions a call: current {} (with the loop {:.1}), bare Arc {} ({:.1}), \
         arc_swap::Cache {} ({:.1})\n{}",
        current.own(),
        current.with_loop,
        bare.own(),
        bare.with_loop,
        cache.own(),
        cache.with_loop,
        current.listing()
    );
    let complaints = current.complaints();
    assert!(
        complaints.is_empty(),
        "{complaints:?}\n{}",
        current.listing()
    );
    let over_bare = current.with_loop - bare.with_loop;
    assert!(
        over_bare <= OVER_BARE_ARC_AT_MOST,
        "current() takes {over_bare:.1} instructions more than a bare Arc\n{}",
        current.listing()
    );
    assert!(
        current.with_loop <= cache.with_loop + 1.0,
        "current() takes {:.1} instructions a call, arc_swap::Cache {:.1}",
        current.with_loop,
        cache.with_loop
    );
}

/// Asserts that the complaints of an inspection contain a word of each of these lists.
fn assert_noticed(variant: &str, words: &[&[&str]]) {
    let planted = inspect(variant);
    let complaints = planted.complaints().join("\n");
    for words in words {
        let named = words.iter().any(|word| complaints.contains(word));
        assert!(named, "{words:?}: {complaints}\n{}", planted.listing());
    }
}

#[test]
fn a_planted_reference_count_is_noticed() {
    assert_noticed("planted_arc_clone", &[&["lock"], &["at most"]]);
}

#[test]
fn a_planted_fence_is_noticed() {
    assert_noticed("planted_fence", &[&["mfence", "lock"]]);
}

#[test]
fn a_planted_swap_is_noticed() {
    assert_noticed("planted_swap", &[&["xchg"]]);
}

#[test]
fn a_planted_call_is_noticed() {
    assert_noticed("planted_call", &[&["call"]]);
}

#[test]
fn planted_plain_work_is_noticed_by_the_count() {
    let planted = inspect("planted_work");
    let complaints = planted.complaints();
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(complaints[0].contains("at most"), "{complaints:?}");
    assert!(planted.with_loop > inspect("current").with_loop + 1.5);
}

#[test]
fn an_update_executes_no_more_instructions_than_it_did() {
    let ours = instructions("update");
    println!(
        "instructions an update: {ours:.1} (at most {UPDATE_AT_MOST}), two copies under a lock \
         {:.1}, left-right {:.1}, hotread 0.1.2 {:.1}",
        instructions("two_copies_update"),
        instructions("left_right_update"),
        instructions("published_update"),
    );
    assert!(
        ours <= UPDATE_AT_MOST,
        "queue_update takes {ours:.1} instructions, at most {UPDATE_AT_MOST} are allowed"
    );
}

#[test]
fn an_update_of_a_map_costs_few_instructions_but_its_inserts() {
    let (ours, limit) = (instructions("map_update"), instructions("two_maps_update"));
    println!(
        "instructions an update of a key: {ours:.1}, the two inserts under one lock {limit:.1}, \
         left-right {:.1}, hotread 0.1.2 {:.1}",
        instructions("left_right_map_update"),
        instructions("published_map_update"),
    );
    let over = ours - limit;
    assert!(
        over <= MAP_OVER_TWO_MAPS_AT_MOST,
        "an update of a map takes {over:.1} instructions more than its inserts under a lock, at \
         most {MAP_OVER_TWO_MAPS_AT_MOST} are allowed"
    );
}

#[test]
fn a_planted_allocation_in_an_update_is_noticed_by_the_count() {
    let planted = instructions("planted_update_allocation");
    assert!(planted > UPDATE_AT_MOST, "only {planted:.1} instructions");
}

/// Instructions of one call, including the loop around it and its callees.
fn instructions(variant: &str) -> f64 {
    let runs = [CALLS, 2 * CALLS].map(|calls| callgrind(variant, calls, "").0);
    (runs[1] - runs[0]) as f64 / CALLS as f64
}

/// Executed instructions of one function.
struct Inspection {
    /// Instructions a call, including the loop around it and its callees.
    with_loop: f64,
    /// The function's instructions that were executed on each call: address and text.
    executed: BTreeMap<u64, String>,
    /// The whole function.
    all: BTreeMap<u64, String>,
}

impl Inspection {
    /// Instructions of the function itself on each call.
    fn own(&self) -> u64 {
        self.executed.len() as u64
    }

    /// Reasons against this as a hot path; empty if there are none.
    fn complaints(&self) -> Vec<String> {
        let mut complaints: Vec<String> = self
            .executed
            .values()
            .filter(|text| is_forbidden(text))
            .map(|text| format!("executes `{text}` on each call"))
            .collect();
        if self.own() > CURRENT_AT_MOST {
            complaints.push(format!(
                "executes {} instructions on each call, at most {CURRENT_AT_MOST} are allowed",
                self.own()
            ));
        }
        complaints
    }

    /// The function's code, with a mark on the instructions that each call executes.
    fn listing(&self) -> String {
        let line = |(address, text): (&u64, &String)| {
            let executed = self.executed.contains_key(address);
            let mark = if executed { '*' } else { ' ' };
            format!("{mark} {address:x}: {text}\n")
        };
        self.all.iter().map(line).collect()
    }
}

/// Locked and fencing instructions, swaps (which lock by themselves) and calls.
fn is_forbidden(text: &str) -> bool {
    if text == "xchg %ax,%ax" {
        // A two-byte nop.
        return false;
    }
    let mut words = text.split_whitespace();
    words.any(|word| {
        [
            "lock", "call", "callq", "mfence", "lfence", "sfence", "cpuid", "syscall",
        ]
        .contains(&word)
            || word.starts_with("xchg")
            || word.starts_with("cmpxchg")
            || word.starts_with("xadd")
    })
}

fn inspect(variant: &str) -> Inspection {
    let symbol = format!("hot_path_{variant}");
    let (once, _) = callgrind(variant, CALLS, &symbol);
    let (twice, counts) = callgrind(variant, 2 * CALLS, &symbol);
    let all = disassemble(&symbol);
    let executed: BTreeMap<u64, String> = counts
        .into_iter()
        .filter(|(_, count)| *count >= 2 * CALLS - 16)
        .map(|(address, _)| {
            let text = all.get(&address).unwrap_or_else(|| {
                panic!("callgrind saw {address:x} in {symbol}, objdump did not: {all:x?}")
            });
            (address, text.clone())
        })
        .collect();
    assert!(
        !executed.is_empty(),
        "{symbol} was not executed on each call"
    );
    Inspection {
        with_loop: (twice - once) as f64 / CALLS as f64,
        executed,
        all,
    }
}

/// Instructions of a whole run, and the number of executions of each address of one function.
fn callgrind(variant: &str, calls: u64, symbol: &str) -> (u64, BTreeMap<u64, u64>) {
    let out = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    let output = tool("valgrind", "valgrind")
        .args([
            "--tool=callgrind",
            "--dump-instr=yes",
            "--compress-strings=no",
        ])
        .args(["--compress-pos=no", "--separate-threads=no"])
        .arg(format!("--callgrind-out-file={}", out.path().display()))
        .arg(binary())
        .args([variant, &calls.to_string()])
        .output()
        .expect("valgrind was just found");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "valgrind failed:\n{said}");
    let profile = std::fs::read_to_string(out.path()).expect("valgrind wrote its profile");
    (total(&profile), counts_of(&profile, symbol))
}

/// The number of executed instructions, from a callgrind profile.
fn total(profile: &str) -> u64 {
    let line = profile.lines().find_map(|line| {
        line.strip_prefix("totals: ")
            .or_else(|| line.strip_prefix("summary: "))
    });
    let count = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    count.expect("a callgrind profile has a total")
}

/// The number of executions of each address of a function, from an uncompressed callgrind profile.
fn counts_of(profile: &str, symbol: &str) -> BTreeMap<u64, u64> {
    let mut counts = BTreeMap::new();
    let (mut inside, mut after_calls) = (false, false);
    for line in profile.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            inside = name == symbol;
        } else if line.starts_with("calls=") {
            // The next line holds the inclusive cost of the call, not an instruction's own.
            after_calls = true;
        } else if let Some(rest) = line.strip_prefix("0x") {
            let mut fields = rest.split_whitespace();
            let address = fields
                .next()
                .and_then(|text| u64::from_str_radix(text, 16).ok());
            let count = fields.next_back().and_then(|text| text.parse::<u64>().ok());
            if let (true, false, Some(address), Some(count)) = (inside, after_calls, address, count)
            {
                *counts.entry(address).or_insert(0) += count;
            }
            after_calls = false;
        }
    }
    counts
}

/// The instructions of one function by address, from objdump.
fn disassemble(symbol: &str) -> BTreeMap<u64, String> {
    let output = tool("objdump", "binutils")
        .args(["--no-show-raw-insn", &format!("--disassemble={symbol}")])
        .arg(binary())
        .output()
        .expect("objdump was just found");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let instructions: BTreeMap<u64, String> = text.lines().filter_map(instruction).collect();
    assert!(
        !instructions.is_empty(),
        "objdump does not find {symbol}:\n{text}"
    );
    instructions
}

/// `  12ab:   mov    (%rdi),%rax` as address and instruction.
fn instruction(line: &str) -> Option<(u64, String)> {
    let (address, text) = line.split_once(':')?;
    let address = u64::from_str_radix(address.trim(), 16).ok()?;
    let words: Vec<&str> = text.split_whitespace().collect();
    (!words.is_empty()).then(|| (address, words.join(" ")))
}

/// A required program.
fn tool(name: &str, package: &str) -> Command {
    let found = Command::new(name)
        .arg("--version")
        .output()
        .is_ok_and(|o| o.status.success());
    assert!(
        found,
        "`{name}` is needed to inspect the hot path and cannot be run; install it \
         (Debian: apt-get install {package})"
    );
    Command::new(name)
}

/// The release build of the program, made by the first test that needs it.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let output = Command::new(env!("CARGO"))
            .args(["build", "--release", "--package", "hotread-bench"])
            .args(["--bin", "hotread-hot-path", "--message-format=json"])
            .args(["--no-default-features", "--features", "hot-path"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            // Distributed builds are optimised across crates; fat LTO would take longer.
            .env("CARGO_PROFILE_RELEASE_LTO", "thin")
            // Flags of the build under test (coverage, sanitizers) are not those of a release.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .output()
            .expect("cargo runs this test, so it can be run");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the release build failed:\n{said}");
        let messages = String::from_utf8_lossy(&output.stdout).into_owned();
        messages
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|message| message["target"]["name"] == "hotread-hot-path")
            .find_map(|message| message["executable"].as_str().map(PathBuf::from))
            .expect("cargo built the program")
    })
}

#[test]
fn a_missing_tool_is_an_error_that_says_what_to_install() {
    let caught = std::panic::catch_unwind(|| tool("hotread-no-such-tool", "some-package"));
    let message = caught.expect_err("there is no such tool");
    let message = message.downcast_ref::<String>().expect("a formatted panic");
    assert!(
        message.contains("apt-get install some-package"),
        "{message}"
    );
}

#[test]
fn profiles_and_disassembly_are_read_correctly() {
    let profile = "fn=other\n0x10 1 5\nfn=f\n0x20 7 3\n0x22 7 3\ncalls=3 0x10 0\n0x22 7 99\n0x24 8 3\n\
                   fn=other\n0x20 1 100\nfn=f\n0x20 7 2\ntotals: 1234\n";
    assert_eq!(total(profile), 1234);
    let counts: Vec<_> = counts_of(profile, "f").into_iter().collect();
    assert_eq!(counts, [(0x20, 5), (0x22, 3), (0x24, 3)]);
    assert_eq!(
        instruction("   12ab:\tlock incq (%rax)  "),
        Some((0x12ab, "lock incq (%rax)".into()))
    );
    assert_eq!(instruction("0000000000001000 <f>:"), None);
    for text in "lock incq (%rax);mfence;xchg %rax,(%rdi);call 10 <f>;call *%rax".split(';') {
        assert!(is_forbidden(text), "{text}");
    }
    for text in "xchg %ax,%ax;mov (%rdi),%rax;cmp %rax,0x8(%rdi);jne 20 <block>;ret".split(';') {
        assert!(!is_forbidden(text), "{text}");
    }
}
