//! tar archives built block by block: as honest tools write them, hostile, and damaged.

use std::io::Write;

use super::rawzip::{Member, archive};
use super::*;

/// A member: its header, its content, and the padding.
pub(super) fn member(kind: u8, name: &str, content: impl AsRef<[u8]>) -> Vec<u8> {
    put(kind, name, content, |_| {})
}

pub(super) fn put(kind: u8, name: &str, content: impl AsRef<[u8]>, edit: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let content = content.as_ref();
    let mut bytes = vec![0; 512];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes[100..108].copy_from_slice(b"0000644\0");
    bytes[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    bytes[156] = kind;
    bytes[257..265].copy_from_slice(b"ustar\x0000");
    edit(&mut bytes);
    seal(&mut bytes);
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// Sets the checksum of a header.
fn seal(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header[..512].iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

pub(super) fn file(name: &str, content: &str) -> Vec<u8> {
    member(b'0', name, content)
}

fn link(name: &str, target: &str) -> Vec<u8> {
    put(b'2', name, "", |h| h[157..157 + target.len()].copy_from_slice(target.as_bytes()))
}

pub(super) fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    member(b'x', "PaxHeaders/x", records.iter().map(|(key, value)| record(key, value)).collect::<String>())
}

fn record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let length = (1..).map(|n| (n + rest.len()).to_string()).find(|n| n.parse() == Ok(n.len() + rest.len()));
    length.unwrap() + &rest
}

pub(super) fn tar(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::GzBuilder::new().filename("a.tar").write(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Asserts that the plain and the gzipped archive both give this tree.
#[track_caller]
pub(super) fn gives(members: &[Vec<u8>], expected: &[&str]) {
    let scratch = Scratch::new();
    for bytes in [tar(members), gzip(&tar(members))] {
        assert_eq!(lines(&scratch.unzip(&bytes, &layout()).unwrap()), expected);
    }
}

#[track_caller]
pub(super) fn refuses(members: &[Vec<u8>], words: &str) {
    let scratch = Scratch::new();
    for bytes in [tar(members), gzip(&tar(members))] {
        refused(scratch.unzip(&bytes, &layout()), words);
    }
}

#[test]
fn files_directories_and_links_are_laid_out() {
    let program = put(b'0', "bin/run", "#!/bin/sh\n", |h| h[100..108].copy_from_slice(b"0006755\0"));
    let old = put(0, "old", "x", |h| h[100..108].copy_from_slice(b"   600 \0"));
    gives(
        &[member(b'5', "bin/", ""), program, link("etc/current", "../bin/run"), file("etc/empty", ""), old],
        &[
            "d 755 bin",
            "f 755 bin/run #!/bin/sh\n",
            "d 755 etc",
            "l etc/current -> ../bin/run",
            "f 644 etc/empty ",
            "f 644 old x",
        ],
    );
    let large = "0123456789abcdef".repeat(70_000);
    gives(&[file("large", &large), file("z", "")], &[&format!("f 644 large {large}"), "f 644 z "]);
}

#[test]
fn a_dot_in_front_is_not_part_of_the_name() {
    let members = [member(b'5', "./", ""), member(b'5', "./d/", ""), file("./d/f", "x"), link("./l", "./d/f")];
    gives(&members, &["d 755 d", "f 644 d/f x", "l l -> ./d/f"]);
    gives(&[member(b'5', ".", ""), file("f", "x")], &["f 644 f x"]);
    let strip = Layout { strip_components: 1, ..layout() };
    let stripped = Scratch::new().unzip(&tar(&members), &strip).unwrap();
    assert_eq!(lines(&stripped), ["f 644 f x"]);
    gives(&[file("././f", "x"), file(".//d/./g", "y")], &["d 755 d", "f 644 d/g y", "f 644 f x"]);
    gives(&[member(b'5', "", ""), member(b'5', "/", ""), file("f", "x")], &["f 644 f x"]);
    gives(&[member(b'5', "d/", ""), member(b'5', "./d", ""), file("d/f", "x")], &["d 755 d", "f 644 d/f x"]);
    gives(&[file("srv-my\\x2dapp.mount", "x")], &["f 644 srv-my\\x2dapp.mount x"]);
    gives(&[link("l/", "f"), file("f", "x")], &["f 644 f x", "l l -> f"]);
    refuses(&[file("./../f", "x")], "member ../f: its name has . or ..");
    refuses(&[file("./f", "x"), file("f", "x")], "member f: it is there twice");
    refuses(&[member(b'5', "./", "")], "there is nothing in it");
}

#[test]
fn long_names_come_from_the_prefix_from_pax_and_from_gnu() {
    let long = format!("d/{}", "n".repeat(200));
    let target = "t/".repeat(300) + "x";
    let (name, link_line) = (format!("f 644 {long} x"), format!("l l -> {target}"));
    let prefix = put(b'0', "name", "x", |h| h[345..350].copy_from_slice(b"a/b/c"));
    gives(&[prefix], &["d 755 a", "d 755 a/b", "d 755 a/b/c", "f 644 a/b/c/name x"]);
    let times = ("mtime", "1.5");
    gives(&[pax(&[times, ("path", &long)]), file("cut", "x")], &["d 755 d", &name]);
    gives(&[pax(&[("linkpath", &target), times]), link("l", "cut")], &[&link_line]);
    let gnu = |kind, text: &str| member(kind, "././@LongLink", format!("{text}\0"));
    gives(&[gnu(b'L', &long), file("cut", "x")], &["d 755 d", &name]);
    gives(&[gnu(b'K', &target), gnu(b'L', "l"), link("cut", "cut")], &[&link_line]);
    // Headers for one member do not affect the next one.
    gives(&[pax(&[("path", "a")]), file("x", ""), file("b", "")], &["f 644 a ", "f 644 b "]);
    let comment = member(b'g', "pax_global_header", record("comment", &"c".repeat(40)));
    gives(&[comment, file("f", "x")], &["f 644 f x"]);
}

#[test]
fn sizes_come_in_octal_in_base_256_and_from_pax() {
    let wide = put(b'0', "f", "hello", |h| h[124..136].copy_from_slice(b"\x80\0\0\0\0\0\0\0\0\0\0\x05"));
    gives(&[wide], &["f 644 f hello"]);
    let zero = put(b'0', "f", "hello", |h| h[124..136].copy_from_slice(b"00000000000\0"));
    gives(&[pax(&[("size", "5")]), zero, file("g", "")], &["f 644 f hello", "f 644 g "]);
}

pub(super) fn hard_link(name: &str, target: &str) -> Vec<u8> {
    put(b'1', name, "", |h| h[157..157 + target.len()].copy_from_slice(target.as_bytes()))
}

#[test]
fn hard_links_are_copies_of_what_came_before() {
    let program = put(b'0', "./bin/run", "#!x\n", |h| h[100..108].copy_from_slice(b"0000755\0"));
    let large = "0123456789abcdef".repeat(20_000);
    let members = [
        program,
        hard_link("./run", "./bin/run"),
        link("l", "bin/run"),
        hard_link("again", "run"),
        hard_link("m", "l"),
        hard_link("again", "./again"),
        file("large", &large),
        hard_link("d/large", "large"),
        // Older tools repeat the size.
        hard_link("old", "bin/run").tap(|h| h[124..136].copy_from_slice(b"00000000004\0")),
    ];
    let copy = format!("f 644 d/large {large}");
    let expected = [
        "f 755 again #!x\n",
        "d 755 bin",
        "f 755 bin/run #!x\n",
        "d 755 d",
        &copy,
        "l l -> bin/run",
        &copy.replace("d/", ""),
        "l m -> bin/run",
        "f 755 old #!x\n",
        "f 755 run #!x\n",
    ];
    gives(&members, &expected);
    let scratch = Scratch::new();
    scratch.unzip(&tar(&members), &layout()).unwrap();
    assert_eq!(fs::metadata(scratch.path("staging/run")).unwrap().nlink(), 1);
    let size = |max_unpacked| scratch.unzip(&tar(&members), &Layout { max_unpacked, ..layout() });
    assert!(size(640_016).is_ok());
    refused(size(640_015), "member old: with it the content is over max-unpacked");
}

#[test]
fn hard_links_to_what_is_not_there_are_refused() {
    let pax = member(b'x', "x", record("mtime", "1.5"));
    let with_content = |name| put(b'1', name, "x", |h| h[157] = b'f');
    for (members, words) in [
        (&[hard_link("h", "f"), file("f", "x")][..], "member h: it is a hard link to f: which is no file before it"),
        (&[hard_link("h", "/etc/passwd")], "member h: it is a hard link to /etc/passwd: its name is absolute"),
        (&[hard_link("h", "../f")], "member h: it is a hard link to ../f: its name has . or .."),
        (&[member(b'5', "d", ""), hard_link("h", "d")], "which is a directory"),
        (&[pax, file("f", "x"), with_content("h")], "member h: it is a hard link to f with content: pack it with"),
        (&[file("f", "x"), with_content("h")], "there is no tar header"),
    ] {
        refuses(members, words);
    }
}

#[test]
fn labels_backups_and_old_kinds_are_read_as_gnu_tar_reads_them() {
    let gnu = |kind, name: &str, content: &str| {
        put(kind, name, content, |h| {
            h[257..265].copy_from_slice(b"ustar  \0");
            h[345..369].copy_from_slice(b"14732310241\x0014732310241\0");
        })
    };
    let members = [
        gnu(b'V', "label", ""),
        gnu(b'D', "./", "Yf\0\0"),
        gnu(b'D', "./d/", "Yg\0\0"),
        gnu(b'0', "./f", "x"),
        gnu(b'7', "./d/g", "y"),
    ];
    gives(&members, &["d 755 d", "f 644 d/g y", "f 644 f x"]);
    // Unix V7: no magic, and a directory is a name with a slash.
    let old = |name: &str, content: &str| put(0, name, content, |h| h[257..265].fill(0));
    gives(&[old("d/", ""), old("d/f", "x")], &["d 755 d", "f 644 d/f x"]);
    // Some tools wrote a size for members without content.
    let sized = |member: Vec<u8>| member.tap(|h| h[124..136].copy_from_slice(b"00000000001\0"));
    let members = [sized(old("d/", "")), sized(member(b'5', "e", "")), sized(link("l", "f")), old("f", "x")];
    gives(&members, &["d 755 d", "d 755 e", "f 644 f x", "l l -> f"]);
    let unversioned = put(b'0', "f", "x", |h| {
        h[263..265].fill(0);
        h[345] = b'p';
    });
    gives(&[unversioned], &["d 755 p", "f 644 p/f x"]);
    let blank = put(b'0', "f", "x", |h| h[257..265].copy_from_slice(b"ustar 00"));
    gives(&[blank], &["f 644 f x"]);
    // Some tools added the bytes up as signed numbers.
    let mut signed = file("grün", "x");
    let low: i64 = signed[..512]
        .iter()
        .enumerate()
        .map(|(at, b)| if (148..156).contains(&at) { 32 } else { i64::from(b.cast_signed()) })
        .sum();
    signed[148..156].copy_from_slice(format!("{low:06o}\0 ").as_bytes());
    gives(&[signed], &["f 644 grün x"]);
    let nothing = put(b'5', "d", "", |h| {
        h[100..108].fill(0);
        h[124..136].fill(0);
    });
    gives(&[nothing], &["d 755 d"]);
    let wide = put(b'0', "f", "x", |h| h[100..108].copy_from_slice(b"\x80\0\0\0\0\0\x01\xed"));
    gives(&[wide], &["f 755 f x"]);
    gives(&[member(b'X', "x", record("path", "p")), file("f", "x")], &["f 644 p x"]);
    gives(&[pax(&[("path", "a"), ("path", "b")]), file("f", "x")], &["f 644 b x"]);
    let long = member(b'L', "././@LongLink", "long\0");
    gives(&[pax(&[("mtime", "1.5")]), long, file("f", "x")], &["f 644 long x"]);
}

#[test]
fn kinds_that_are_no_part_of_a_release_are_refused() {
    let table: [(Vec<u8>, &str); 8] = [
        (member(b'3', "d", ""), "member d: it is a FIFO or a device"),
        (member(b'4', "d", ""), "a FIFO or a device"),
        (member(b'6', "d", ""), "a FIFO or a device"),
        (member(b'M', "m", "x"), "member m: it goes on from another volume: pack it without --multi-volume"),
        (member(b'N', "n", ""), "neither file nor directory nor link (kind N)"),
        (member(0x1b, "x", ""), "(kind \\u{1b})"),
        (member(b'5', "d/", "x"), "there is no tar header"),
        (put(b'2', "l", "x", |h| h[157] = b'f'), "there is no tar header"),
    ];
    for (bytes, words) in table {
        refuses(&[file("f", "x"), bytes], words);
    }
    refuses(&[file("f/", "x")], "member f/: its name ends in /");
    refuses(&[pax(&[("SCHILY.realsize", "1")]), file("f", "x")], "a sparse file of star");
}

#[test]
fn the_policy_of_zip_holds() {
    let table: [(&[Vec<u8>], &str); 10] = [
        (&[file("/etc/passwd", "x")], "member /etc/passwd: its name is absolute"),
        (&[file("a/../../x", "x")], "has . or .."),
        (&[file("a\nb", "x")], "control character"),
        (&[pax(&[("path", "../x")]), file("x", "x")], "member ../x"),
        (&[pax(&[("path", "")]), file("x", "x")], "its name is empty"),
        (&[file("a", ""), file("b", ""), file("a", "")], "member a: it is there twice"),
        (&[link("a", "d"), file("a/passwd", "")], "member a/passwd: it lies in a, which is no directory"),
        (&[link("l", "/etc/passwd")], "member l: a link to /etc/passwd, which is absolute"),
        (&[link("d/l", "../../x")], "leads outside"),
        (
            &[link("a", "d"), link("b", "a/../../x"), member(b'5', "d/", "")],
            "member b: a link to a/../../x, which leads",
        ),
    ];
    for (members, words) in table {
        refuses(members, words);
    }
    let scratch = Scratch::new();
    let raw = gzip(&tar(&[file("a", "x"), link("l", "a"), file("b", "yz")]));
    for (layout, words) in [
        (Layout { symlinks: Links::Refuse, ..layout() }, "member l: it is a symbolic link (symlinks = inside"),
        (Layout { max_files: 2, ..layout() }, "more files, directories and links than max-files = 2"),
        (Layout { max_unpacked: 2, ..layout() }, "member b: with it the content is over max-unpacked = 2 B"),
        (Layout { strip_components: 2, ..layout() }, "strip-components = 2 leaves nothing of it"),
    ] {
        refused(scratch.unzip(&raw, &layout), words);
    }
    assert!(scratch.unzip(&raw, &Layout { max_files: 3, max_unpacked: 3, ..layout() }).is_ok());
}

#[test]
fn refusals_come_before_the_first_byte_is_written() {
    let scratch = Scratch::new();
    refused(scratch.unzip(&gzip(&tar(&[file("honest", "x"), file("../x", "x")])), &layout()), "member ../x");
    assert_eq!(tree(&scratch.path("staging")), Tree::new());
}

#[test]
fn headers_that_readers_disagree_about_are_refused() {
    let gnu = |kind, text: &str| member(kind, "././@LongLink", text);
    let global = |key, value| member(b'g', "g", record(key, value));
    let x = || file("x", "x");
    let huge = put(b'x', "x", "", |h| h[124..136].copy_from_slice(b"00010000000\0"));
    let table: [(&[Vec<u8>], &str); 17] = [
        (&[gnu(b'L', "a"), pax(&[("path", "b")]), x()], "a name of pax and one of GNU"),
        (&[gnu(b'L', "a"), gnu(b'L', "b"), x()], "two long names"),
        (&[pax(&[("path", "a")]), pax(&[("path", "b")]), x()], "two pax headers"),
        (&[global("path", "a"), x()], "a global header gives a name"),
        (&[global("size", "0"), x()], "a global header gives a name or a size"),
        (&[x(), pax(&[("path", "a")])], "its last header has no member"),
        (&[x(), gnu(b'L', "a")], "its last header has no member"),
        (&[pax(&[("hdrcharset", "KOI8-R")]), x()], "another character set"),
        (&[member(b'x', "x", "9 path=a\nrest"), x()], "a pax header is damaged"),
        (&[member(b'x', "x", "99999 path=a\n"), x()], "a pax header is damaged"),
        (&[member(b'x', "x", "0 path=a\n"), x()], "a pax header is damaged"),
        (&[member(b'x', "x", "99999999999999999999999 path=a\n"), x()], "a pax header is damaged"),
        (&[pax(&[("size", "-1")]), x()], "a pax header is damaged"),
        (&[huge, x()], "a pax header or long name has more than 1048576 bytes"),
        (&[vec![b'x'; 512]], "there is no tar header"),
        (&[put(b'0', "x", "", |h| h[124] = b'9')], "member x: its size is no number"),
        (&[put(b'0', "x", "", |h| h[100] = b'-')], "member x: its mode is no number"),
    ];
    for (members, words) in table {
        // Each follows a valid member, so that the first bytes identify the file.
        refuses(&[&[file("honest", "x")], members].concat(), words);
    }
    let negative = put(b'0', "x", "", |h| h[124..136].fill(0xff));
    refuses(&[negative], "its size is no number");
    let most = put(b'0', "x", "", |h| h[128..136].fill(0xff)).tap(|h| h[124..128].copy_from_slice(b"\x80\0\0\0"));
    refuses(&[most], "max-unpacked");
    let prefix = put(b'0', "x", "", |h| {
        h[257..265].fill(0);
        h[345] = b'p';
    });
    refuses(&[file("honest", "x"), prefix], "readers differ about its name");
    let atime = put(b'0', "x", "", |h| {
        h[257..265].copy_from_slice(b"ustar  \0");
        h[345] = b'1';
    });
    refuses(&[atime], "readers differ about its name");
    refuses(&vec![member(b'g', "g", vec![b' '; 1 << 19]); 3], "a pax header is damaged");
    let comment = record("comment", &"c".repeat(1 << 19));
    refuses(&vec![member(b'g', "g", comment); 3], "its global headers have more than 1048576 bytes together");
}

trait Tap {
    fn tap(self, edit: impl FnOnce(&mut [u8])) -> Self;
}

impl Tap for Vec<u8> {
    /// Changes a header afterwards, and sets its checksum.
    fn tap(mut self, edit: impl FnOnce(&mut [u8])) -> Self {
        edit(&mut self);
        seal(&mut self);
        self
    }
}

#[test]
fn the_end_is_two_blocks_of_zeros_and_then_zeros_only() {
    let scratch = Scratch::new();
    let body = file("f", "x");
    let whole = |zeros: usize| [body.clone(), vec![0; zeros]].concat();
    for zeros in [512, 1023, 1024, 1536, 10_240 - body.len(), 1 << 20] {
        assert!(scratch.unzip(&whole(zeros), &layout()).is_ok(), "{zeros}");
        assert!(scratch.unzip(&gzip(&whole(zeros)), &layout()).is_ok(), "{zeros}");
    }
    // gzip proves the archive complete; a plain one may be truncated.
    assert!(scratch.unzip(&gzip(&whole(0)), &layout()).is_ok());
    for zeros in [0, 1, 511] {
        refused(scratch.unzip(&whole(zeros), &layout()), "it ends before its end");
    }
    for zeros in [1, 511] {
        refused(scratch.unzip(&gzip(&whole(zeros)), &layout()), "it ends before its end");
    }
    refused(scratch.unzip(&gzip(&whole(3 << 20)), &layout()), "something follows its end");
    for more in [b"garbage".to_vec(), body.clone()] {
        let bytes = [tar(std::slice::from_ref(&body)), more].concat();
        refused(scratch.unzip(&bytes, &layout()), "something follows its end");
        refused(scratch.unzip(&gzip(&bytes), &layout()), "something follows its end");
    }
    let one = [body.clone(), vec![0; 512], body, vec![0; 1024]].concat();
    refused(scratch.unzip(&one, &layout()), "something follows its end");
}

#[test]
fn gzip_may_have_several_members_and_nothing_behind_them() {
    let scratch = Scratch::new();
    let bytes = tar(&[file("f", "hello"), link("l", "f")]);
    let expected = scratch.unzip(&bytes, &layout()).unwrap();
    for cut in [0, 1, 511, 512, 700, bytes.len()] {
        let two = [gzip(&bytes[..cut]), gzip(&[]), gzip(&bytes[cut..])].concat();
        assert_eq!(scratch.unzip(&two, &layout()).unwrap(), expected, "{cut}");
    }
    let packed = gzip(&bytes);
    let mut padded = packed.clone();
    padded.resize(10_240, 0);
    assert_eq!(scratch.unzip(&padded, &layout()).unwrap(), expected);
    padded.push(0);
    refused(scratch.unzip(&padded, &layout()), "follow its end");
    for more in [&b"\0"[..], b"garbage", b"\x1f", b"\x1f\x8b\x08"] {
        refused(scratch.unzip(&[&packed, more].concat(), &layout()), "");
    }
    // All optional parts of a gzip header: extra field, name, comment, checksum.
    let mut full = b"\x1f\x8b\x08\x1e\0\0\0\0\0\x03\x04\0ab\0\0name\0comment\0".to_vec();
    let sum = rawzip::crc(&full);
    full.extend_from_slice(&sum.to_le_bytes()[..2]);
    full.extend_from_slice(&packed[packed.iter().skip(10).position(|b| *b == 0).unwrap() + 11..]);
    assert_eq!(scratch.unzip(&full, &layout()).unwrap(), expected);
    full[17] ^= 1;
    refused(scratch.unzip(&full, &layout()), "its gzip header does not match its checksum");
    let endless = [&b"\x1f\x8b\x08\x08\0\0\0\0\0\x03"[..], &vec![b'n'; 1 << 20]].concat();
    refused(scratch.unzip(&endless, &layout()), "its gzip header is too long");
    for (content, words) in [(&b"hello"[..], "no tar"), (&[b'x'; 2000], "there is no tar header")] {
        refused(scratch.unzip(&gzip(content), &layout()), words);
    }
}

#[test]
fn a_zip_within_a_tar_and_a_tar_within_a_zip_are_what_is_outside() {
    let scratch = Scratch::new();
    let zip = archive(&[Member::file("in-zip", "x")], b"").bytes;
    let inside = scratch.unzip(&tar(&[member(b'0', "a.zip", &zip)]), &layout()).unwrap();
    assert_eq!(inside.keys().collect::<Vec<_>>(), [&b"a.zip"[..]]);
    let outside = archive(&[Member::file("a.tar", tar(&[file("in-tar", "x")]))], b"").bytes;
    let inside = scratch.unzip(&outside, &layout()).unwrap();
    assert_eq!(inside.keys().collect::<Vec<_>>(), [&b"a.tar"[..]]);
}

/// One member of every kind.
fn small() -> Vec<u8> {
    tar(&[
        member(b'5', "d/", ""),
        pax(&[("mtime", "1.5"), ("path", "d/renamed")]),
        put(b'0', "x", "same same same same\n", |h| h[104] = b'7'),
        link("link", "d/renamed"),
        file("empty", ""),
    ])
}

#[test]
fn every_truncation_is_refused() {
    let scratch = Scratch::new();
    let bytes = small();
    let whole = bytes.len() - 512; // one block of zeros is an end
    for (packed, whole) in [(gzip(&bytes), usize::MAX), (bytes, whole)] {
        for length in 0..packed.len().min(whole) {
            refused(scratch.unzip(&packed[..length], &layout()), "");
        }
    }
}

#[test]
fn every_flipped_bit_and_every_missing_or_doubled_byte_of_a_tar_gz_is_refused_or_changes_nothing() {
    let scratch = Scratch::new();
    let packed = gzip(&small());
    let whole = scratch.unzip(&packed, &layout()).unwrap();
    let mut accepted = 0;
    for at in 0..packed.len() {
        for bit in 0..8 {
            let mut bytes = packed.clone();
            bytes[at] ^= 1 << bit;
            match scratch.unzip(&bytes, &layout()) {
                Err(e) => assert_eq!(e.kind(), Kind::Refused, "byte {at}: {e}"),
                Ok(tree) => {
                    assert_eq!(tree, whole, "byte {at}");
                    accepted += 1;
                }
            }
        }
        let mut less = packed.clone();
        less.remove(at);
        let mut more = packed.clone();
        more.insert(at, more[at]);
        for bytes in [less, more] {
            assert!(scratch.unzip(&bytes, &layout()).map_or(true, |tree| tree == whole), "byte {at}");
        }
    }
    // The time, the system, the name and a flag in the gzip header: some flips are accepted, but few.
    assert!(accepted > 60 && accepted < 140, "{accepted}");
}

#[test]
fn every_flipped_bit_of_a_tar_is_refused_or_reaches_only_contents() {
    let scratch = Scratch::new();
    let bytes = small();
    let whole = scratch.unzip(&bytes, &layout()).unwrap();
    let files = |tree: &Tree| tree.values().filter(|node| node.what != 'd').count();
    let content = bytes.windows(9).position(|w| w == b"same same").unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << bit;
            match scratch.unzip(&bytes, &layout()) {
                Err(e) => assert_eq!(e.kind(), Kind::Refused, "byte {at}: {e}"),
                // The records of a pax header have no checksum either: the member gets another name.
                Ok(tree) if (1024..1536).contains(&at) => assert_eq!(files(&tree), files(&whole), "byte {at}"),
                Ok(tree) if (content..content + 20).contains(&at) => assert_ne!(tree, whole, "byte {at}"),
                Ok(tree) => assert_eq!(tree, whole, "byte {at}"),
            }
        }
    }
}
