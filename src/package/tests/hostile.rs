//! Archives made by an attacker.

use super::rawzip::{self, CRC, FLAGS, METHOD, Member, PACKED, Raw, SIZE, archive, deflate, extra};
use super::*;

#[track_caller]
fn refuses(raw: &Raw, words: &str) {
    refused(Scratch::new().unzip(&raw.bytes, &layout()), words);
}

/// Two members; tests corrupt the second one.
fn pair() -> Raw {
    archive(&[Member::file("honest", "x"), Member::deflated("liar", "hello hello hello")], b"")
}

#[test]
fn names_are_refused_never_repaired() {
    let table: [(&[u8], &str); 9] = [
        (b"/etc/passwd", "member /etc/passwd: its name is absolute"),
        (b"../x", "member ../x: its name has . or .."),
        (b"a/../../x", "member a/../../x"),
        (b"", "its name is empty"),
        (b"..", "member .."),
        (b"a\0b", "control character"),
        (b"a\n2026-01-01T00:00:00Z INFO deployed", "member a\\n2026"),
        (b"\xff\xfe", "not UTF-8"),
        (b".repo-deploy-1234", "are ours"),
    ];
    for (name, words) in table {
        refuses(&archive(&[Member::file("honest", "x"), Member::file(name, "x")], b""), words);
    }
    refuses(&archive(&[Member::dir("/")], b""), "absolute");
    refuses(&archive(&[Member::dir("//")], b""), "absolute");
    for host in [0, 10, 11, 14, 19] {
        let from_elsewhere = Member { host, ..Member::file("a\\b", "x") };
        refuses(&archive(&[from_elsewhere], b""), "member a\\\\b: its name has a backslash in it and is not from Unix");
    }
    refuses(&archive(&[Member::file(".", "x")], b""), "member .: its name has . or ..");
    let host = Member { host: 0, ..Member::file("grüße", "x") };
    refuses(&archive(&[host], b""), "member grüße: its name is not ASCII and not marked as UTF-8");
    refuses(&archive(&[Member::dir("a/../")], b""), "member a/..: ");
    refuses(&archive(&[Member::file("n".repeat(60_000), "x")], b""), "longer than 1024 bytes");
    refuses(&archive(&[Member::file(vec!["d"; 65].join("/"), "x")], b""), "more than 64 directories deep");
}

#[test]
fn members_that_need_the_same_place_are_refused() {
    let file = |name: &str| Member::file(name, "x");
    let table: [(&[Member], &str); 6] = [
        (&[file("a"), file("b"), file("a")], "member a: it is there twice"),
        (&[file("a"), file("./a")], "member a: it is there twice"),
        (&[Member::dir("a/"), file("a")], "member a: it is there twice"),
        (&[file("a"), file("a/b")], "member a/b: it lies in a, which is no directory"),
        (&[Member::link("a", "/etc"), file("a/passwd")], "member a/passwd: it lies in a, which is no directory"),
        (&[file("a/passwd"), Member::link("a", "/etc")], "member a/passwd: it lies in a, which is no directory"),
    ];
    for (members, words) in table {
        refuses(&archive(members, b""), words);
    }
}

#[test]
fn links_that_lead_out_are_refused() {
    let table: [(&[Member], &str); 9] = [
        (&[Member::link("l", "/etc/passwd")], "member l: a link to /etc/passwd, which is absolute"),
        (&[Member::link("l", "..")], "member l: a link to .., which leads outside"),
        (&[Member::link("d/l", "../../x")], "leads outside"),
        (&[Member::link("l", "d/../../x")], "leads outside"),
        (&[Member::link("l", "")], "no possible target"),
        (&[Member::link("l", "a\0b")], "no possible target"),
        (&[Member::link("l", "x".repeat(4096))], "member l: it is a link with a text of more than 4095 bytes"),
        (
            &[Member::link("a", "d"), Member::link("b", "a/../../x"), Member::dir("d/")],
            "member b: a link to a/../../x, which leads outside",
        ),
        (&[Member::link("b", "a/x"), Member::link("a", "b/y")], "more than 40 links, or in a circle"),
    ];
    for (members, words) in table {
        refuses(&archive(members, b""), words);
    }
    let none = Layout { symlinks: Links::Refuse, ..layout() };
    let raw = archive(&[Member::file("a", "x"), Member::link("l", "a")], b"");
    refused(Scratch::new().unzip(&raw.bytes, &none), "member l: it is a symbolic link (symlinks = inside");
}

#[test]
fn accepted_links_never_resolve_outside() {
    let mut dice = Dice(3);
    let (mut made, mut turned_away) = (0, 0);
    for _ in 0..400 {
        const PARTS: [&str; 6] = ["..", "a", "b", "c", ".", "d"];
        let mut path = || (0..=dice.roll(4)).map(|_| PARTS[dice.roll(6)]).collect::<Vec<_>>().join("/");
        let members: Vec<_> =
            [("a/l", path()), ("b", path()), ("a/d/m", path()), ("c", path())].map(|(n, t)| Member::link(n, t)).into();
        let scratch = Scratch::new();
        if scratch.unzip(&archive(&members, b"").bytes, &layout()).is_err() {
            turned_away += 1;
            continue;
        }
        let top = fs::canonicalize(scratch.path("staging")).unwrap();
        for member in &members {
            let path = top.join(std::str::from_utf8(&member.name).unwrap());
            if let Ok(place) = fs::canonicalize(path) {
                assert!(place.starts_with(&top), "{members:?}");
                made += 1;
            }
        }
    }
    assert!(made > 20 && turned_away > 20, "{made} {turned_away}");
}

#[test]
fn what_is_no_file_directory_or_link_is_refused() {
    for kind in [0o010_644, 0o020_644, 0o060_644, 0o140_644, 0o050_000, 0o170_000] {
        refuses(
            &archive(&[Member::file("x", "").mode(kind)], b""),
            "member x: it is neither file nor directory nor link",
        );
    }
    // Info-ZIP makes a file of a link with this bit.
    for bits in 0..16 {
        let raw = archive(&[Member::file("x", ""), Member::link("l", "x")], b"");
        let raw = raw.clone().put16(raw.central[1] + 36, bits);
        match bits & 4 {
            0 => assert!(Scratch::new().unzip(&raw.bytes, &layout()).is_ok(), "{bits}"),
            _ => refuses(&raw, "member l: it is a link to some readers"),
        }
    }
    let table = [
        (Member::file("d", "").mode(0o40_755), "its name does not end in /"),
        (Member::dir("l/").mode(0o120_777), "by its mode it is a link"),
        (Member::dir("p/").mode(0o010_644), "neither file nor directory nor link"),
        (Member { host: 0, ..Member::link("l", "x") }, "a link to some readers and a file to others"),
    ];
    for (member, words) in table {
        refuses(&archive(&[member], b""), words);
    }
}

#[test]
fn headers_that_disagree_are_refused() {
    let raw = pair();
    let (local, central) = (raw.local[1], raw.central[1]);
    let table = [
        (raw.clone().put16(local + 6, 8), "member liar"),
        (raw.clone().put16(central + 8, 8), "member liar"),
        (raw.clone().put16(local + 8, 0), "member liar"),
        (raw.clone().put16(central + 10, 0), "member liar"),
        (raw.clone().put32(local + 14, 1), "member liar"),
        (raw.clone().put32(central + 16, 1), "member liar"),
        (raw.clone().put32(local + 18, 1), "member liar"),
        (raw.clone().put32(central + 20, 1), "member liar"),
        (raw.clone().put32(local + 22, 1), "member liar"),
        (raw.clone().put32(central + 24, 1), "member liar"),
        (raw.clone().put(local + 30, b"LIAR"), "member liar"),
        (raw.clone().put(central + 46, b"LIAR"), "member LIAR"),
        (raw.clone().put(local, b"PK\x03\x05"), "member liar"),
        (raw.clone().put32(central + 42, 1), "member liar"),
        (raw.clone().put32(central + 42, u32::MAX), "member liar"),
        (raw.clone().put16(local + 26, 5), "member liar"),
        (raw.clone().put16(local + 6, 1 << 6), "member liar: its two headers have different flags"),
        (raw.put16(local + 28, 9), "member liar"),
    ];
    for (raw, words) in table {
        refuses(&raw, words);
    }
    let named = archive(&[Member::file("grün", "x")], b"");
    refuses(&named.clone().put16(named.local[0] + 6, 1 << 11), "member grün: its two headers have different flags");
}

#[test]
fn what_only_special_readers_know_is_refused() {
    refuses(&pair().both16(1, FLAGS, 1), "member liar: it is encrypted");
    for bit in [5, 6, 13] {
        refuses(&pair().both16(1, FLAGS, 1 << bit), "member liar: its flags 0x");
    }
    let raw = pair();
    refuses(&raw.clone().put16(raw.central[1] + 6, 63), "member liar: it needs a reader of version 6.3");
    let label = Member { host: 0, mode: 0, ..Member::file("label", "") };
    let raw = archive(&[Member::file("a", "x"), label], b"");
    refuses(&raw.clone().put(raw.central[1] + 38, &[8]), "member label: it is a volume label");
    for method in [1, 6, 9, 12, 14, 93, 95, 98, 99] {
        refuses(&pair().both16(1, METHOD, method), &format!("member liar: it is packed by method {method}"));
    }
}

#[test]
fn extra_fields_with_two_meanings_are_refused() {
    let with = |extra: Vec<u8>| archive(&[Member { extra, ..Member::file("liar", "x") }], b"");
    let mut path = vec![1];
    path.extend_from_slice(&rawzip::crc(b"liar").to_le_bytes());
    path.extend_from_slice(b"../x");
    refuses(&with(extra(0x7075, &path)), "member liar: it has a second, different name");
    refuses(&with([extra(1, &[0; 16]), extra(1, &[0; 16])].concat()), "member liar: it has its sizes twice");
    // In the local header only.
    let times = with(extra(0x5455, &[1, 1, 2, 3, 4]));
    let at = times.data[0] - 9;
    refuses(&times.put(at, &[1, 0, 200, 0]), "member liar: its extra fields are damaged");
    refuses(&with(vec![0x55, 0x54, 9, 0, 1]), "member liar: its extra fields are damaged");
}

#[test]
fn sizes_and_checksums_are_exact() {
    let long = "hello hello hello";
    let packed = deflate(long.as_bytes());
    let liar = |packed: Vec<u8>, content: &str| {
        archive(
            &[Member::file("honest", "x"), Member { packed: Some(packed), ..Member::deflated("liar", content) }],
            b"",
        )
    };
    refuses(&pair().both32(1, CRC, 7), "member liar: its content does not match its checksum");
    refuses(&pair().both32(1, SIZE, 16), "member liar: it has more than the 16 bytes it announces");
    refuses(&pair().both32(1, SIZE, 18), "member liar: it has 17 bytes and announces 18");
    refuses(&pair().both32(1, SIZE, 0), "member liar: it has more than the 0 bytes");
    for more in [1, 2, 3, 8191, 8192, 70_000] {
        let trailing = [packed.clone(), vec![0x55; more]].concat();
        refuses(&liar(trailing, long), &format!("member liar: {more} bytes follow the end of its compressed data"));
    }
    for cut in 0..packed.len() {
        refuses(&liar(packed[..cut].to_vec(), long), "member liar: its compressed data breaks off");
    }
    refuses(&liar(vec![0x07], ""), "member liar: its compressed data is damaged");
    refuses(&liar(b"garbage, not deflate".to_vec(), long), "member liar");
    let stored = |raw: Raw| raw.both32(0, SIZE, 2);
    refuses(&stored(pair()), "member honest: it is stored, but its two sizes differ");
    // If a member consists of two deflate streams, the second one is not content.
    refuses(&liar([packed.clone(), packed].concat(), long), "bytes follow the end");
}

/// `raw` with `bytes` inserted at `at`, and the offsets behind it adjusted.
fn insert(raw: &Raw, at: usize, bytes: &[u8]) -> Raw {
    let mut all = raw.bytes.clone();
    all.splice(at..at, bytes.iter().copied());
    let by = |place: usize| if place >= at { place + bytes.len() } else { place };
    let moved = |places: &[usize]| places.iter().map(|place| by(*place)).collect::<Vec<_>>();
    let mut out = Raw {
        bytes: all,
        local: moved(&raw.local),
        data: moved(&raw.data),
        central: moved(&raw.central),
        end: by(raw.end),
    };
    for (local, central) in out.local.clone().into_iter().zip(out.central.clone()) {
        out = out.put32(central + 42, u32::try_from(local).unwrap());
    }
    let (end, directory) = (out.end, out.central[0]);
    out.put32(end + 16, u32::try_from(directory).unwrap())
}

#[test]
fn bytes_that_belong_to_no_member_are_never_read() {
    let raw = pair();
    let scratch = Scratch::new();
    let expected = scratch.unzip(&raw.bytes, &layout()).unwrap();
    let hidden = &archive(&[Member::file("hidden", "x")], b"").bytes[..37];
    for at in [0, raw.local[1], raw.central[0]] {
        let gap = insert(&raw, at, hidden);
        assert_eq!(scratch.unzip(&gap.bytes, &layout()).unwrap(), expected, "{at}");
    }
    // A stub that the offsets do not account for; one contains a second end, too.
    let wide = archive(&[Member { wide: true, ..Member::file("honest", "x") }], b"").bytes;
    let expected_wide = scratch.unzip(&wide, &layout()).unwrap();
    for stub in [&b"#!/bin/sh\nexit\n"[..], &[0; 70_000], &raw.bytes] {
        assert_eq!(scratch.unzip(&[stub, &raw.bytes].concat(), &layout()).unwrap(), expected);
        assert_eq!(scratch.unzip(&[stub, &wide].concat(), &layout()).unwrap(), expected_wide);
    }
    refuses(&insert(&raw, raw.end, b"PK\x01\x02 not counted"), "its directory is damaged");
    let lost = Raw { bytes: raw.bytes[1..].to_vec(), ..raw.clone() };
    refuses(&lost, "its directory is not where its end says: bytes of it are lost");
}

#[test]
fn descriptors_are_not_read() {
    for size in [12, 16, 20, 24] {
        let raw = archive(&[Member::deflated("a", "hello hello hello").described(size), Member::file("b", "")], b"");
        let scratch = Scratch::new();
        let expected = scratch.unzip(&raw.bytes, &layout()).unwrap();
        for at in raw.local[1] - size..raw.local[1] {
            let mut raw = raw.clone();
            raw.bytes[at] ^= 0x10;
            assert_eq!(scratch.unzip(&raw.bytes, &layout()).unwrap(), expected, "{at}");
        }
    }
}

#[test]
fn members_that_overlap_are_refused() {
    let raw = pair();
    let twice = raw.clone().put32(raw.central[1] + 42, 0).put(raw.central[1] + 46, b"copy");
    refuses(&twice, "member copy");
    // Into the directory.
    let directory = archive(&[Member::file("liar", "x"), Member::file("b", "y")], b"");
    let reach = u32::try_from(directory.bytes.len()).unwrap();
    let far = directory.clone().both32(1, SIZE, reach).both32(1, PACKED, reach);
    refuses(&far, "member b: it overlaps the next member or the directory");
    let near = directory.both32(0, SIZE, 20).both32(0, PACKED, 20);
    refuses(&near, "member liar: it overlaps the next member");
}

#[test]
fn a_bomb_of_quoted_headers_is_refused() {
    // Each member's deflate begins with a stored block that quotes the header of the next one: n headers, one kernel.
    let kernel = deflate(&vec![b'a'; 1 << 20]);
    let header = |name: u8, packed: usize, size: usize, crc: u32| {
        let mut out = b"PK\x03\x04\x14\0\0\0\x08\0\x21\x6a\x76\x5b".to_vec();
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&u32::try_from(packed).unwrap().to_le_bytes());
        out.extend_from_slice(&u32::try_from(size).unwrap().to_le_bytes());
        out.extend_from_slice(&[1, 0, 0, 0, name]);
        out
    };
    let mut body = kernel;
    let mut content = vec![b'a'; 1 << 20];
    let mut bytes: Vec<u8> = Vec::new();
    let mut members = Vec::new();
    for name in (b'a'..=b'h').rev() {
        let head = header(name, body.len(), content.len(), rawzip::crc(&content));
        members.push((name, body.len(), content.len(), rawzip::crc(&content), head.len()));
        bytes = [head.clone(), body.clone()].concat();
        let length = u16::try_from(head.len()).unwrap();
        let quote = [&[0][..], &length.to_le_bytes(), &(!length).to_le_bytes()].concat();
        content = [head, content].concat();
        body = [quote, bytes.clone()].concat();
    }
    let directory = bytes.len();
    let mut start = 0;
    for (name, packed, size, crc, head) in members.iter().rev() {
        let mut record = b"PK\x01\x02\x14\x03".to_vec();
        record.extend_from_slice(&header(*name, *packed, *size, *crc)[4..30]);
        record.extend_from_slice(&[0; 10]);
        record.extend_from_slice(&u32::try_from(start).unwrap().to_le_bytes());
        record.push(*name);
        assert_eq!(record.len(), 47);
        bytes.extend_from_slice(&record);
        start += head + 5;
    }
    let size = bytes.len() - directory;
    bytes.extend_from_slice(b"PK\x05\x06\0\0\0\0\x08\0\x08\0");
    bytes.extend_from_slice(&u32::try_from(size).unwrap().to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(directory).unwrap().to_le_bytes());
    bytes.extend_from_slice(&[0, 0]);
    let scratch = Scratch::new();
    // Python unpacks the bomb, or reports the overlap too: the refusal is not caused by a mistake in this test.
    if needs(&["python3"]) {
        let path = scratch.path("bomb.zip");
        fs::write(&path, &bytes).unwrap();
        let script =
            "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); print(sum(len(z.read(i)) for i in z.infolist()))";
        let python = std::process::Command::new("python3").args(["-c", script]).arg(&path).output().unwrap();
        let told = String::from_utf8_lossy(&python.stdout).trim().parse::<u64>();
        let complaint = String::from_utf8_lossy(&python.stderr);
        assert!(told.is_ok_and(|n| n > 8 << 20) || complaint.contains("verlap"), "{complaint}");
    }
    refused(scratch.unzip(&bytes, &layout()), "member a: it overlaps the next member or the directory");
}

#[test]
fn bombs_stop_at_the_limits() {
    let zeros = vec![0; 20 << 20];
    let bomb = archive(&[Member::deflated("zeros", &zeros)], b"");
    let limited = Layout { max_unpacked: 1 << 20, ..layout() };
    let scratch = Scratch::new();
    refused(scratch.unzip(&bomb.bytes, &limited), "member zeros: with it the content is over max-unpacked = 1.0 MiB");
    assert_eq!(tree(&scratch.path("staging")).len(), 0);
    // The same, but announcing a small size.
    let liar = bomb.both32(0, SIZE, 1000);
    refused(scratch.unzip(&liar.bytes, &limited), "member zeros: it has more than the 1000 bytes it announces");
    assert!(tree(&scratch.path("staging")).values().all(|n| n.content.len() <= 1000));
}

#[test]
fn counts_that_lie_cost_nothing() {
    let raw = archive(&[Member { wide: true, ..Member::file("a", "x") }], b"");
    let end64 = raw.end - 20 - 56;
    let many = |n: u64| raw.clone().put(end64 + 24, &n.to_le_bytes()).put(end64 + 32, &n.to_le_bytes());
    refuses(&many(10_000_000), "it holds 10000000 members, more than max-files = 200000");
    refuses(&many(u64::MAX), "more than max-files");
    let generous = Layout { max_files: u64::MAX, ..layout() };
    for n in [2, 10_000_000, u64::MAX] {
        refused(Scratch::new().unzip(&many(n).bytes, &generous), "its directory is");
    }
    let limited = Layout { max_files: 2, ..layout() };
    let deep = archive(&[Member::file("a/b/c", "x")], b"");
    refused(Scratch::new().unzip(&deep.bytes, &limited), "max-files = 2");
    refuses(&raw.clone().put(end64 + 24, &[0; 8]).put(end64 + 32, &[0; 8]), "holds more than its members");
}

#[test]
fn ends_that_readers_search_for_are_refused() {
    let raw = pair();
    let end = raw.end;
    let with = |bytes: Vec<u8>| Raw { bytes, ..raw.clone() };
    // The rest of a truncated file may end in an archive that was its member.
    let member = [b"the file that it is in".as_slice(), &raw.bytes].concat();
    refuses(&with([member.as_slice(), b"x"].concat()), "it may be a member of one that was cut off");
    refuses(&raw.clone().put16(end + 20, 1), "its end is cut off");
    let far = [raw.bytes.as_slice(), &[b'x'; 65_536]].concat();
    refuses(&with(far), "it begins like one but has no end");
    for field in [4, 6, 8] {
        refuses(&raw.clone().put16(end + field, 1), "several disks");
    }
    refuses(&raw.clone().put16(end + 8, 1).put16(end + 10, 1), "its directory holds more than its members");
    refuses(&raw.clone().put16(end + 8, 3).put16(end + 10, 3), "its directory is");
    refuses(&raw.clone().put32(end + 12, 5), "its directory is too short");
    refuses(&raw.clone().put32(end + 16, 5), "member honest: it has no local header");
    refuses(&raw.clone().put32(end + 16, u32::MAX), "its directory is not where its end says");
    // A second end in the comment of the first one.
    let other = archive(&[Member::file("other", "y")], b"");
    let both = archive(&[Member::file("a", "x")], &other.bytes);
    refuses(&both, "it has two ends, one in the comment of the other");
    let end_only = archive(&[Member::file("a", "x")], &raw.bytes[raw.end..]);
    refuses(&end_only, "it has two ends");
    let stray = archive(&[Member::file("a", "x")], b"PK\x05\x06 and then some more than a record");
    refuses(&stray, "its end is cut off");
}

#[test]
fn ends_in_64_bits_do_not_contradict_the_others() {
    let raw = archive(&[Member { wide: true, ..Member::file("a", "x") }], b"");
    let (end, locator, wide) = (raw.end, raw.end - 20, raw.end - 76);
    assert!(raw.bytes[locator..].starts_with(b"PK\x06\x07") && raw.bytes[wide..].starts_with(b"PK\x06\x06"));
    let words = "its two end records (ZIP64) contradict each other";
    for (field, value) in [(8, 7), (10, 7), (4, 7), (6, 7)] {
        refuses(&raw.clone().put16(end + field, value), words);
    }
    for field in [12, 16] {
        refuses(&raw.clone().put32(end + field, 7), words);
    }
    refuses(&raw.clone().put32(locator + 8, 7), words);
    refuses(&raw.clone().put32(wide + 4, 45), words);
    refuses(&raw.clone().put(wide, b"PK\x06\x05"), words);
    for field in [16, 20] {
        refuses(&raw.clone().put32(wide + field, 1), "several disks");
    }
    refuses(&raw.clone().put32(wide + 24, 2), "several disks");
    refuses(&raw.clone().put32(locator + 4, 1), "several disks");
    refuses(&raw.clone().put32(locator + 16, 2), "several disks");
    refuses(&raw.clone().put32(wide + 40, 1), words);
    // Without its locator, the numbers that refer to ZIP64 are taken literally.
    refuses(&raw.put(locator, b"PK\x06\x08"), "");
}

#[test]
fn what_is_no_zip_is_told_what_it_looks_like() {
    let scratch = Scratch::new();
    let table: [(&[u8], &str); 4] = [
        (b"", "https://host/app.zip is no ZIP and no tar.gz: it is empty"),
        (
            b"<!DOCTYPE html><title>Sign in</title>",
            "https://host/app.zip is no ZIP and no tar.gz: it begins like an HTML page",
        ),
        (b"\x1f\x8b\x08\0\0\0\0\0", "https://host/app.zip: its compressed data breaks off"),
        (&pair().bytes[..60], "https://host/app.zip is no ZIP and no tar.gz: it begins like one but has no end"),
    ];
    for (bytes, words) in table {
        refused(scratch.unzip(bytes, &layout()), words);
    }
    refuses(&archive(&[], b""), "there is nothing in it");
}

#[test]
fn limits_of_time_and_room_are_our_failure_not_the_inputs() {
    let scratch = Scratch::new();
    let path = scratch.path("archive");
    fs::write(&path, pair().bytes).unwrap();
    let staging = scratch.path("staging");
    fs::create_dir(&staging).unwrap();
    let artifact = Artifact {
        revision: Revision::new("1"),
        validators: Validators::default(),
        content: Content::Archive(File::open(&path).unwrap()),
        crc: None,
        name: "/srv/app.zip".into(),
    };
    let verified = unasked(artifact);
    let late = unpack(&verified, Some(&Dir::open(&staging).unwrap()), None, &layout(), Deadline::after(Duration::ZERO))
        .unwrap_err();
    assert_eq!(
        (late.kind(), late.to_string()),
        (Kind::Failed, "cannot unpack /srv/app.zip: unpacking took longer than timeout".into())
    );
    // A file in the way is not repo-deploy's, and is not touched.
    fs::write(staging.join("liar"), "mine").unwrap();
    let deadline = Deadline::after(Duration::from_secs(600));
    let taken = unpack(&verified, Some(&Dir::open(&staging).unwrap()), None, &layout(), deadline).unwrap_err();
    assert_eq!(taken.kind(), Kind::Failed);
    assert!(taken.to_string().starts_with("cannot unpack /srv/app.zip: cannot create liar: "), "{taken}");
    assert_eq!(fs::read(staging.join("liar")).unwrap(), b"mine");
}
