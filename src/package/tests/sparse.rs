//! Sparse files in a tar, as GNU writes them in four ways.

use super::tar::{file, gives, hard_link, member, pax, put, refuses, tar};
use super::*;

/// A file of 20,000 bytes with two pieces, in each of GNU's formats.
fn sparse() -> (Vec<Vec<u8>>, String) {
    let mut content = vec![b'\0'; 20_000];
    content[4096..4101].copy_from_slice(b"hello");
    content[9000..9003].copy_from_slice(b"end");
    let number = |n: u64| format!("{n:011o}\0");
    let old = put(b'S', "s", "helloend", |h| {
        h[257..265].copy_from_slice(b"ustar  \0");
        let map = [4096, 5, 9000, 3, 20_000, 0].map(number).concat();
        h[386..386 + map.len()].copy_from_slice(map.as_bytes());
        h[483..495].copy_from_slice(number(20_000).as_bytes());
    });
    let first = pax(&[
        ("GNU.sparse.size", "20000"),
        ("GNU.sparse.numblocks", "2"),
        ("GNU.sparse.offset", "4096"),
        ("GNU.sparse.numbytes", "5"),
        ("GNU.sparse.offset", "9000"),
        ("GNU.sparse.numbytes", "3"),
    ]);
    let second = pax(&[
        ("GNU.sparse.size", "20000"),
        ("GNU.sparse.numblocks", "2"),
        ("GNU.sparse.map", "4096,5,9000,3"),
        ("GNU.sparse.name", "s"),
    ]);
    let third = pax(&[
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "s"),
        ("GNU.sparse.realsize", "20000"),
    ]);
    let mut in_front = b"2\n4096\n5\n9000\n3\n".to_vec();
    in_front.resize(512, 0);
    in_front.extend_from_slice(b"helloend");
    let members = vec![
        old,
        [first, file("s", "helloend")].concat(),
        [second, file("GNUSparseFile.1/s", "helloend")].concat(),
        [third, member(b'0', "GNUSparseFile.1/s", in_front)].concat(),
    ];
    (members, String::from_utf8(content).unwrap())
}

#[test]
fn sparse_files_get_their_holes_back() {
    let (formats, content) = sparse();
    for member in formats {
        gives(&[member.clone(), file("z", "after")], &[&format!("f 644 s {content}"), "f 644 z after"]);
        let bytes = tar(&[member, hard_link("t", "s")]);
        let scratch = Scratch::new();
        assert!(scratch.unzip(&bytes, &Layout { max_unpacked: 40_000, ..layout() }).is_ok());
        refused(scratch.unzip(&bytes, &Layout { max_unpacked: 39_999, ..layout() }), "max-unpacked");
    }
    // A map that continues in a further block.
    let pieces: Vec<u64> = (0..20).flat_map(|n| [n * 10, 1]).collect();
    let numbers: String = pieces.iter().map(|n| format!("{n:011o}\0")).collect();
    let (head, tail) = numbers.as_bytes().split_at(96);
    let mut bytes = put(b'S', "s", "x".repeat(20), |h| {
        h[257..265].copy_from_slice(b"ustar  \0");
        h[386..482].copy_from_slice(head);
        h[482] = 1;
        h[483..495].copy_from_slice(b"00000000400\0");
    });
    let mut block = tail.to_vec();
    block.resize(512, 0);
    bytes.splice(512..512, block);
    let mut content = "x\0\0\0\0\0\0\0\0\0".repeat(20);
    content.push_str(&"\0".repeat(56));
    gives(&[bytes], &[&format!("f 644 s {content}")]);
}

#[test]
fn maps_that_make_no_sense_are_refused() {
    let sparse = |map: &str, size: &str| {
        [pax(&[("GNU.sparse.size", size), ("GNU.sparse.map", map)]), file("s", "helloend")].concat()
    };
    for (map, size) in [
        ("4096,5,9000,4", "20000"),
        ("4096,5,9000,3", "9002"),
        ("9000,5,4096,3", "20000"),
        ("0,5,4,3", "20000"),
        ("4096,5,9000", "20000"),
        ("0,18446744073709551615,1,9", "18446744073709551615"),
        ("", "20000"),
        ("a,b", "20000"),
    ] {
        refuses(&[sparse(map, size)], "damaged");
    }
    let in_front = |map: &str, realsize: &str| {
        let head = pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", realsize)]);
        let mut bytes = map.as_bytes().to_vec();
        bytes.resize(512, 0);
        bytes.extend_from_slice(b"hello");
        [head, member(b'0', "s", bytes)].concat()
    };
    gives(&[in_front("1\n0\n5\n", "5")], &["f 644 s hello"]);
    for (map, size) in
        [("2\n0\n5\n", "5"), ("1\n0\n6\n", "6"), ("x\n", "5"), ("999999999999999999999999\n", "5"), ("1\n0\n5\n", "4")]
    {
        refuses(&[in_front(map, size), file("z", "")], "member s: its map is damaged");
    }
    let version = pax(&[("GNU.sparse.major", "2"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "5")]);
    refuses(&[version, file("s", "hello")], "member s: its map is damaged, and it is a sparse file");
    let directory = pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.realsize", "5")]);
    refuses(&[directory, member(b'5', "d", "")], "its map is damaged");
    refuses(&[pax(&[("GNU.sparse.what", "1")]), file("f", "x")], "a pax header is damaged");
    refuses(&[pax(&[("GNU.sparse.numbytes", "1")]), file("f", "x")], "a pax header is damaged");
}
