//! Records the compiler's version for the report and, with the feature `liburcu`, builds the C shim.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = env::var_os("RUSTC").expect("cargo sets RUSTC for build scripts");
    let version = Command::new(rustc)
        .arg("--version")
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .unwrap_or_else(|| "rustc of unknown version".into());
    println!(
        "cargo::rustc-env=HOTREAD_BENCH_RUSTC={}",
        version.trim().split(" (").next().unwrap_or_default()
    );

    #[cfg(feature = "liburcu")]
    {
        println!("cargo::rerun-if-changed=src/peers/urcu_shim.c");
        cc::Build::new()
            .file("src/peers/urcu_shim.c")
            .warnings(true)
            .compile("hotread_bench_urcu");
        println!("cargo::rustc-link-lib=urcu-qsbr");
        println!("cargo::rustc-link-lib=urcu-common");
    }
}
