//! Archives as honest tools write them.

use super::rawzip::{FLAGS, Member, Raw, archive, extra};
use super::*;
use crate::model::Owner;

#[track_caller]
fn gives(members: &[Member], expected: &[&str]) {
    let tree = Scratch::new().unzip(&archive(members, b"").bytes, &layout()).unwrap();
    assert_eq!(lines(&tree), expected);
}

#[test]
fn files_directories_and_links_are_laid_out() {
    let members = [
        Member::dir("bin/"),
        Member::file("bin/run", "#!/bin/sh\n").mode(0o100_755),
        Member::deflated("etc/app/main.cf", "key = value\n".repeat(3)),
        Member::link("etc/current", "app/main.cf"),
        Member::file("empty", ""),
        Member::deflated("empty too", ""),
    ];
    gives(
        &members,
        &[
            "d 755 bin",
            "f 755 bin/run #!/bin/sh\n",
            "f 644 empty ",
            "f 644 empty too ",
            "d 755 etc",
            "d 755 etc/app",
            "f 644 etc/app/main.cf key = value\nkey = value\nkey = value\n",
            "l etc/current -> app/main.cf",
        ],
    );
}

#[test]
fn modes_become_644_or_755() {
    let table = [(0, 644), (0o100_000, 644), (0o100_600, 644), (0o100_666, 644), (0o104_644, 644), (0o106_755, 755)];
    for (mode, expected) in
        table.into_iter().chain([(0o100_777, 755), (0o100_001, 755), (0o100_010, 755), (0o111, 755)])
    {
        gives(&[Member::file("f", "x").mode(mode)], &[&format!("f {expected} f x")]);
    }
    for mode in [0, 0o40_000, 0o40_700, 0o40_777, 0o41_777, 0o42_755] {
        gives(&[Member::dir("d/").mode(mode)], &["d 755 d"]);
    }
}

#[test]
fn host_0_without_a_mode_is_an_ordinary_file() {
    gives(&[Member { host: 0, mode: 0, ..Member::file("f", "x") }], &["f 644 f x"]);
    gives(&[Member { host: 0, mode: 0, ..Member::dir("d/") }], &["d 755 d"]);
}

#[test]
fn names_in_utf8_need_no_flag() {
    gives(&[Member::file("grüße/日本", "x")], &["d 755 grüße", "f 644 grüße/日本 x"]);
    gives(&[Member { flags: 1 << 11, ..Member::file("grüße", "x") }], &["f 644 grüße x"]);
    let mut path = vec![1];
    path.extend_from_slice(&rawzip::crc("grüße".as_bytes()).to_le_bytes());
    path.extend_from_slice("grüße".as_bytes());
    gives(&[Member { extra: extra(0x7075, &path), ..Member::file("grüße", "x") }], &["f 644 grüße x"]);
}

#[test]
fn what_every_reader_passes_over_is_passed_over() {
    // The top, a dot in front, and a repeated directory.
    let dots = [
        Member::dir("./"),
        Member::dir("./d/"),
        Member::file("././d/a", "x"),
        Member::file("d/./b", "y"),
        Member::dir("d/"),
        Member::file(".", "").mode(0o040_755),
    ];
    gives(&dots, &["d 755 d", "f 644 d/a x", "f 644 d/b y"]);
    // The mode of a file, or content, with the name of a directory.
    let odd = [
        Member::dir("m/").mode(0o100_644),
        Member::dir("n/").mode(0o177_777),
        Member { content: b"x".to_vec(), ..Member::dir("d/") },
    ];
    gives(&odd, &["d 755 d", "d 755 m", "d 755 n"]);
    gives(&[Member::dir("a//"), Member::file("a//b/.//c", "x")], &["d 755 a", "d 755 a/b", "f 644 a/b/c x"]);
    gives(&[Member::file("srv-my\\x2dapp.mount", "x")], &["f 644 srv-my\\x2dapp.mount x"]);
}

#[test]
fn versions_flags_and_extra_fields_that_say_nothing_are_passed_over() {
    let raw = archive(&[Member::deflated("a", "hello")], b"");
    let (local, central) = (raw.local[0], raw.central[0]);
    let scratch = Scratch::new();
    let gives = |raw: &Raw| assert_eq!(lines(&scratch.unzip(&raw.bytes, &layout()).unwrap()), ["f 644 a hello"]);
    // p7zip stores the number of its system in the upper byte, in one header or in both.
    gives(&raw.clone().put16(central + 6, 0x0314).put16(local + 4, 0x0314));
    gives(&raw.clone().put16(central + 6, 0x0314));
    for bit in [1, 2, 4, 7, 8, 9, 10, 11, 12, 14, 15] {
        gives(&raw.clone().both16(0, FLAGS, 1 << bit));
        gives(&raw.clone().put16(central + 8, 1 << bit));
    }
    gives(&raw.clone().put(central + 38, &[8]));
    gives(&raw.clone().put16(central + 34, 1)); // one disk, says the end
    gives(&raw.put32(local + 10, 7));
    let mut other = vec![1, 7, 7, 7, 7];
    other.extend_from_slice(b"other");
    for field in [
        extra(1, b""),
        extra(1, &[7; 16]),
        extra(1, &[7; 3]),
        [extra(1, b""), extra(1, &[7; 16])].concat(),
        extra(0x7075, b""),
        extra(0x7075, &other),
        vec![0; 10],
    ] {
        gives(&archive(&[Member { extra: field, ..Member::file("a", "hello") }], b""));
    }
}

#[test]
fn data_descriptors_of_every_shape_are_read() {
    for size in [12, 16, 20, 24] {
        let members = [
            Member::deflated("a", "hello hello hello").described(size),
            Member::file("b", "stored").described(size),
            Member::deflated("c", "").described(size),
        ];
        gives(&members, &["f 644 a hello hello hello", "f 644 b stored", "f 644 c "]);
    }
}

#[test]
fn zip64_is_read() {
    let wide = |m: Member| Member { wide: true, ..m };
    let members =
        [wide(Member::deflated("a", "hello")), Member::file("b", "x"), wide(Member::file("c", "y").described(24))];
    gives(&members, &["f 644 a hello", "f 644 b x", "f 644 c y"]);
}

#[test]
fn comments_timestamps_and_padding_mean_nothing() {
    let times =
        [extra(0x5455, &[3, 1, 2, 3, 4, 5, 6, 7, 8]), extra(0x7875, &[1, 4, 0, 0, 0, 0, 4, 0, 0, 0, 0])].concat();
    let padded = [extra(0xcafe, b""), vec![0; 3]].concat();
    let members = [
        Member { extra: times, comment: b"PK\x01\x02 in a comment".to_vec(), ..Member::file("a", "x") },
        Member { extra: padded, ..Member::deflated("b", "y") },
    ];
    for comment in [&b""[..], b"0123456789abcdef0123456789abcdef01234567", &[b'c'; 65_535]] {
        let tree = Scratch::new().unzip(&archive(&members, comment).bytes, &layout()).unwrap();
        assert_eq!(lines(&tree), ["f 644 a x", "f 644 b y"]);
    }
}

#[test]
fn what_follows_the_end_is_no_content() {
    for comment in [&b""[..], b"\0\0 a comment \0\0"] {
        let whole = archive(&[Member::deflated("a", "x")], comment);
        // The padding of a tape, and a line that a server appends.
        let padded = [&whole.bytes, [0; 10_240].as_slice()].concat();
        let more = [&whole.bytes, b"\r\n<!-- served in 3 ms -->".as_slice()].concat();
        for bytes in [padded, more] {
            assert_eq!(lines(&Scratch::new().unzip(&bytes, &layout()).unwrap()), ["f 644 a x"]);
        }
    }
}

#[test]
fn an_archive_in_an_archive_is_content() {
    let inner = archive(&[Member::file("../x", "evil")], b"").bytes;
    let tree = Scratch::new().unzip(&archive(&[Member::file("inner.zip", &inner)], b"").bytes, &layout()).unwrap();
    assert_eq!(tree[&b"inner.zip"[..]].content, inner);
}

#[test]
fn members_may_be_listed_in_any_order() {
    let raw = archive(&[Member::file("a", "1"), Member::deflated("b", "2"), Member::dir("c/")], b"");
    let mut records: Vec<_> = raw.central.iter().chain([&raw.end]).collect();
    records.dedup();
    let mut shuffled = raw.bytes[..raw.central[0]].to_vec();
    for pair in records.windows(2).rev() {
        shuffled.extend_from_slice(&raw.bytes[*pair[0]..*pair[1]]);
    }
    shuffled.extend_from_slice(&raw.bytes[raw.end..]);
    assert_ne!(shuffled, raw.bytes);
    let tree = Scratch::new().unzip(&shuffled, &layout()).unwrap();
    assert_eq!(lines(&tree), ["f 644 a 1", "f 644 b 2", "d 755 c"]);
}

#[test]
fn contents_larger_than_every_buffer_come_out_whole() {
    let mut dice = Dice(7);
    let mut noise: Vec<u8> = (0..700_000).map(|_| u8::try_from(dice.roll(256)).unwrap()).collect();
    noise.extend(vec![0; 1_500_000]);
    noise.extend((0..300_000).map(|i| u8::try_from(i % 251).unwrap()));
    let members = [
        Member::deflated("deflated", &noise).described(16),
        Member::file("small", "x"),
        Member::file("stored", &noise),
        // Stored blocks inside deflate, one of them empty.
        Member {
            packed: Some(vec![0, 0, 0, 0xff, 0xff, 1, 2, 0, 0xfd, 0xff, b'h', b'i']),
            ..Member::deflated("blocks", "hi")
        },
    ];
    let tree = Scratch::new().unzip(&archive(&members, b"").bytes, &layout()).unwrap();
    assert!(tree[&b"deflated"[..]].content == noise && tree[&b"stored"[..]].content == noise);
    assert_eq!(tree[&b"blocks"[..]].content, b"hi");
    for size in [4095, 4096, 4097, 65_535, 65_536, 65_537, 262_143, 262_144, 262_145] {
        let members = [Member::deflated("a", &noise[..size]), Member::file("b", &noise[..size])];
        let tree = Scratch::new().unzip(&archive(&members, b"").bytes, &layout()).unwrap();
        assert!(tree.values().all(|n| n.content == noise[..size]), "{size}");
    }
}

#[test]
fn components_are_stripped() {
    let members = [
        Member::dir("app-1.0/"),
        Member::file("README", "vanishes"),
        Member::file("app-1.0/run", "x").mode(0o755),
        Member::link("app-1.0/lib/l", "../run"),
        Member::dir("app-1.0/var/"),
    ];
    let strip = |n| Layout { strip_components: n, ..layout() };
    let unzip = |n| Scratch::new().unzip(&archive(&members, b"").bytes, &strip(n));
    assert_eq!(lines(&unzip(1).unwrap()), ["d 755 lib", "l lib/l -> ../run", "f 755 run x", "d 755 var"]);
    // The link would lead outside the smaller tree.
    refused(unzip(2), "member app-1.0/lib/l: a link to ../run, which leads outside");
    refused(unzip(3), "strip-components = 3 leaves nothing of it");
}

#[test]
fn everything_belongs_to_the_owner() {
    // Only root can give files away; any user can give them to himself.
    let meta = fs::metadata("/proc/self").unwrap();
    let owner =
        if meta.uid() == 0 { Owner { uid: 12_345, gid: 54_321 } } else { Owner { uid: meta.uid(), gid: meta.gid() } };
    let members =
        [Member::file("d/f", "x"), Member::link("l", "d"), Member::dir("e/"), Member::file("p", "").mode(0o4755)];
    let scratch = Scratch::new();
    let owned = Layout { owner: Some(owner), ..layout() };
    let tree = scratch.unzip(&archive(&members, b"").bytes, &owned).unwrap();
    assert_eq!(lines(&tree), ["d 755 d", "f 644 d/f x", "d 755 e", "l l -> d", "f 755 p "]);
    assert!(tree.values().all(|n| n.owner == (owner.uid, owner.gid)), "{tree:?}");
    let top = fs::metadata(scratch.path("staging")).unwrap();
    assert_eq!((top.uid(), top.gid()), (owner.uid, owner.gid));
}

#[test]
fn links_go_through_links() {
    let members = [
        Member::file("packages/tool/cli.js", "ok"),
        Member::link("node_modules/mytool", "../packages/tool"),
        Member::link("node_modules/.bin/mytool", "../mytool/cli.js"),
        Member::link("lib64", "lib/./here/../"),
        Member::link("lib/here", "../packages"),
    ];
    let scratch = Scratch::new();
    scratch.unzip(&archive(&members, b"").bytes, &layout()).unwrap();
    assert_eq!(fs::read(scratch.path("staging/node_modules/.bin/mytool")).unwrap(), b"ok");
}

#[test]
fn any_link_is_made_as_it_is_where_the_operator_says_so() {
    let any = Layout { symlinks: Links::Any, ..layout() };
    let members = [
        Member::link("bin/python3", "/usr/bin/python3"),
        Member::link("up", "../../x"),
        Member::link("round", "round/x"),
    ];
    let tree = Scratch::new().unzip(&archive(&members, b"").bytes, &any).unwrap();
    assert_eq!(
        lines(&tree),
        ["d 755 bin", "l bin/python3 -> /usr/bin/python3", "l round -> round/x", "l up -> ../../x"]
    );
    refused(Scratch::new().unzip(&archive(&members, b"").bytes, &layout()), "symlinks = any all of them as they are");
    let below = [Member::link("a", "/etc"), Member::file("a/passwd", "x")];
    refused(
        Scratch::new().unzip(&archive(&below, b"").bytes, &any),
        "member a/passwd: it lies in a, which is no directory",
    );
}

#[test]
fn links_that_chain_and_dangle_inside_are_made() {
    let members = [
        Member::link("lib/a.so", "a.so.1"),
        Member::link("lib/a.so.1", "a.so.1.2"),
        Member::file("lib/a.so.1.2", "x"),
        Member::link("gone", "no/such/file"),
        Member::link("loop", "loop"),
        Member { method: 8, ..Member::link("packed", "lib") },
    ];
    gives(
        &members,
        &[
            "l gone -> no/such/file",
            "d 755 lib",
            "l lib/a.so -> a.so.1",
            "l lib/a.so.1 -> a.so.1.2",
            "f 644 lib/a.so.1.2 x",
            "l loop -> loop",
            "l packed -> lib",
        ],
    );
}

#[test]
fn a_tree_unpacks_to_itself_again() {
    // An unpacked tree, packed again as it is, gives the same tree.
    let mut dice = Dice(42);
    for _ in 0..20 {
        let members: Vec<_> = oracle::members(&mut dice).into_iter().map(|m| Member { host: 3, ..m }).collect();
        let scratch = Scratch::new();
        let Ok(first) = scratch.unzip(&archive(&members, b"").bytes, &layout()) else { continue };
        let again: Vec<_> = first
            .iter()
            .map(|(path, node)| match node.what {
                'd' => Member::dir([path, &b"/"[..]].concat()),
                'l' => Member::link(path, &node.content),
                _ => Member::deflated(path, &node.content).mode(0o100_000 | node.mode),
            })
            .collect();
        assert_eq!(scratch.unzip(&archive(&again, b"").bytes, &layout()).unwrap(), first);
    }
}
