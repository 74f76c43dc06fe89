//! What the linker leaves out of the release binary, about 400 KB of 3 MB. Only for musl: that is the one that is shipped.
//!
//! A panic aborts, so nothing ever reads the tables that unwinding needs; those of the C start-up files stay, because
//! their code refers to them. Addresses that are filled in at the start of a position-independent program are listed in
//! the short form (RELR) that musl reads since 1.2.4; older linkers pass the option over.

use std::env;
use std::fs;
use std::path::Path;

const DISCARD: &str = "SECTIONS { /DISCARD/ : { \
    *(EXCLUDE_FILE(*crtbegin*.o *crtend*.o) .eh_frame) \
    *(.gcc_except_table .gcc_except_table.*) } }\n\
    INSERT BEFORE .text;\n";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let says = |name: &str| env::var(name).unwrap_or_default();
    if says("CARGO_CFG_TARGET_ENV") != "musl" || says("PROFILE") != "release" {
        return;
    }
    let script = Path::new(&says("OUT_DIR")).join("discard.ld");
    if let Err(e) = fs::write(&script, DISCARD) {
        println!("cargo:warning=cannot write {}: {e}: the binary gets larger", script.display());
        return;
    }
    // rust-lld is the linker itself; gcc has to be told that an argument is the linker's.
    let is_gcc = !says("RUSTC_LINKER").contains("lld");
    let script = script.display().to_string();
    for argument in [["-z", "pack-relative-relocs"], ["-T", &script]] {
        let argument = if is_gcc { format!("-Wl,{}", argument.join(",")) } else { argument.concat() };
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
