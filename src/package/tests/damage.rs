//! A small archive with every kind of member, damaged at every offset: the damage is refused or has no effect.

use super::rawzip::{Member, Raw, archive, extra};
use super::*;

/// The contents are impossible as link texts: if a flipped mode bit turns a file into a link, it is refused.
fn small() -> Raw {
    let times = extra(0x5455, &[1, 1, 2, 3, 4]);
    let members = [
        Member::dir("d/"),
        Member { extra: times, ..Member::deflated("d/packed", "\nsame same same same same same\n") },
        Member::file("d/stored", "/absolute\n").mode(0o100_755),
        Member::link("link", "d/stored"),
        Member::deflated("streamed", "/streamed /streamed").described(16),
    ];
    archive(&members, b"a comment")
}

/// Whether `at` is in a part of a ZIP without a second copy: the mode, and so the kind, of a member.
fn is_mode(raw: &Raw, at: usize) -> bool {
    raw.central.iter().any(|record| (record + 40..record + 42).contains(&at))
}

/// The tree without modes.
fn contents(tree: &Tree) -> Vec<(&[u8], &[u8])> {
    tree.iter().map(|(path, node)| (&path[..], &node.content[..])).collect()
}

fn damaged_is_refused_or_the_same(raw: &Raw, bytes: &[u8], at: usize, scratch: &Scratch, whole: &Tree) -> bool {
    match scratch.unzip(bytes, &layout()) {
        Err(e) => {
            assert!(matches!(e.kind(), Kind::Refused), "byte {at}: {e}");
            assert!(!e.to_string().contains(|c: char| c.is_control()), "byte {at}: {e}");
            false
        }
        Ok(tree) if is_mode(raw, at) => {
            assert_eq!(contents(&tree), contents(whole), "byte {at}");
            true
        }
        Ok(tree) => {
            assert_eq!(&tree, whole, "byte {at}");
            true
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    let raw = small();
    let scratch = Scratch::new();
    for length in 0..raw.bytes.len() {
        refused(scratch.unzip(&raw.bytes[..length], &layout()), "");
        refused(scratch.unzip(&raw.bytes[length + 1..], &layout()), "");
    }
}

#[test]
fn every_flipped_bit_is_refused_or_changes_nothing() {
    let raw = small();
    let scratch = Scratch::new();
    let whole = scratch.unzip(&raw.bytes, &layout()).unwrap();
    let mut accepted = 0;
    for at in 0..raw.bytes.len() {
        for bit in 0..8 {
            let mut bytes = raw.bytes.clone();
            bytes[at] ^= 1 << bit;
            accepted += usize::from(damaged_is_refused_or_the_same(&raw, &bytes, at, &scratch, &whole));
        }
    }
    // Versions, DOS attributes, times, comments: some flips are accepted, but few.
    let all = raw.bytes.len() * 8;
    assert!(accepted > 100 && accepted < all / 3, "{accepted} of {all}");
}

#[test]
fn every_byte_set_to_extremes_is_refused_or_changes_nothing() {
    let raw = small();
    let scratch = Scratch::new();
    let whole = scratch.unzip(&raw.bytes, &layout()).unwrap();
    for at in 0..raw.bytes.len() {
        for value in [0, 0x7f, 0x80, 0xff] {
            let mut bytes = raw.bytes.clone();
            bytes[at] = value;
            damaged_is_refused_or_the_same(&raw, &bytes, at, &scratch, &whole);
        }
    }
}

#[test]
fn every_missing_or_doubled_byte_is_refused_or_changes_nothing() {
    let raw = small();
    let scratch = Scratch::new();
    let whole = scratch.unzip(&raw.bytes, &layout()).unwrap();
    for at in 0..raw.bytes.len() {
        let mut less = raw.bytes.clone();
        less.remove(at);
        refused(scratch.unzip(&less, &layout()), "");
        let mut more = raw.bytes.clone();
        more.insert(at, more[at]);
        damaged_is_refused_or_the_same(&raw, &more, at, &scratch, &whole);
    }
}
