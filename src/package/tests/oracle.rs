//! An accepted archive means the same to all readers: Python's zipfile and Info-ZIP give the same names and contents.
//! If those two see different trees, the archive was refused.

use std::process::Command;

use super::rawzip::{Member, Raw, archive, extra};
use super::*;

/// Random members as an honest tool could write them: every kind, no name twice.
pub(super) fn members(dice: &mut Dice) -> Vec<Member> {
    const NAMES: [&str; 12] = [
        "a",
        "b.txt",
        "dir/c",
        "dir/sub/d",
        "dir/e f",
        "x/y/z/deep",
        "grüße",
        "日本/ü",
        "UPPER",
        ".hidden",
        "dir/.x",
        "-dash",
    ];
    let mut out = vec![Member::file("always", "here")];
    if dice.roll(2) == 0 {
        out.push(Member::dir("dir/"));
    }
    for name in NAMES {
        let text: Vec<u8> = (0..dice.roll(300)).map(|_| b"ab\n\0\xffPK"[dice.roll(7)]).collect();
        let member = match dice.roll(8) {
            0 | 1 => Member::file(name, text),
            2 | 3 => Member::deflated(name, text),
            4 => Member::deflated(name, text).described([16, 24][dice.roll(2)]),
            5 => Member::link(name, "always"),
            6 => Member { wide: true, ..Member::file(name, text) },
            _ => continue,
        };
        let modes = [0o100_644, 0o100_755, 0o100_600, 0];
        let member = if member.mode == 0o100_644 { member.mode(modes[dice.roll(4)]) } else { member };
        let times = extra(0x5455, &[1, 1, 2, 3, 4]);
        let marked = dice.roll(2) == 0;
        // A link is one only if it was made on Unix. Info-ZIP garbles names made elsewhere, marked as UTF-8 or not.
        let anywhere = member.mode != 0o120_777 && name.is_ascii();
        out.push(Member {
            flags: member.flags | if marked { 1 << 11 } else { 0 },
            extra: if dice.roll(3) == 0 { times } else { Vec::new() },
            host: if anywhere && dice.roll(4) == 0 { 0 } else { 3 },
            ..member
        });
    }
    out
}

/// Corrupts one field of the structure.
fn mutated(raw: &Raw, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = raw.bytes.clone();
    let number = dice.roll(raw.local.len());
    let (local, central) = (raw.local[number], raw.central[number]);
    let at = match dice.roll(5) {
        0 => local + dice.roll(raw.data[number] - local),
        1 | 2 => central + dice.roll(46 + 12),
        3 => raw.end + dice.roll(22),
        _ => dice.roll(bytes.len()),
    }
    .min(bytes.len() - 1);
    // Not the system it was made on: see above.
    let at = if at == central + 5 { central + 6 } else { at };
    match dice.roll(6) {
        0 => bytes[at] = bytes[at].wrapping_add(1),
        1 => bytes[at] ^= 1 << dice.roll(8),
        2 => bytes[at] = [0, 0xff, b'/', b'.', 8][dice.roll(5)],
        3 => {
            let from = raw.local[dice.roll(raw.local.len())];
            let copy: Vec<u8> = bytes[from..from + 8].to_vec();
            let end = (at + 8).min(bytes.len());
            bytes.splice(at..end, copy);
        }
        4 => {
            bytes.remove(at);
        }
        _ => bytes.insert(at, b"\0P/"[dice.roll(3)]),
    }
    bytes
}

/// Names, and contents or link texts, without directories.
type Files = BTreeMap<Vec<u8>, Vec<u8>>;

fn files(tree: &Tree) -> Files {
    tree.iter().filter(|(_, n)| n.what != 'd').map(|(path, n)| (path.clone(), n.content.clone())).collect()
}

/// The files that Python reads from each of `count` archives; `None` if it complains. Names are bytes as in the
/// archive.
fn python(scratch: &Scratch, count: usize) -> Vec<Option<Files>> {
    const SCRIPT: &str = r"
import sys, zipfile
def members(path):
    with zipfile.ZipFile(path) as z:
        for i in z.infolist():
            if not i.is_dir():
                name = i.orig_filename.encode('utf-8' if i.flag_bits & 0x800 else 'cp437')
                yield name.hex() + ':' + z.read(i).hex()
            else:
                z.read(i)
for n in range(int(sys.argv[2])):
    try: print('ok', *members('%s/%d.zip' % (sys.argv[1], n)))
    except Exception as e: print('no', repr(e)[:60].encode('ascii', 'replace'))
";
    let run =
        Command::new("python3").args(["-I", "-c", SCRIPT]).arg(&scratch.0).arg(count.to_string()).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
    };
    let member = |word: &str| word.split_once(':').map(|(name, content)| (bytes(name), bytes(content))).unwrap();
    let lines: Vec<String> = String::from_utf8(run.stdout).unwrap().lines().map(str::to_owned).collect();
    lines.iter().map(|line| line.strip_prefix("ok").map(|rest| rest.split_whitespace().map(member).collect())).collect()
}

/// The files that Info-ZIP extracts from archive `number`; `None` if it complains.
fn info_zip(scratch: &Scratch, number: usize) -> Option<Files> {
    let into = scratch.path("info-zip");
    let _ = fs::remove_dir_all(&into); // missing the first time
    let mut command = Command::new("unzip");
    command
        .env("LC_ALL", "C.UTF-8")
        .arg("-qq")
        .arg("-o")
        .arg(scratch.path(&format!("{number}.zip")))
        .arg("-d")
        .arg(&into);
    let run = command.stdin(std::process::Stdio::null()).output().unwrap();
    // 1 is a warning: bytes in front, for example.
    matches!(run.status.code(), Some(0 | 1)).then(|| if into.exists() { files(&tree(&into)) } else { Files::new() })
}

/// Archives that both readers accept without a warning, and read differently.
fn ambiguous() -> [Vec<u8>; 2] {
    let mut path = vec![1];
    path.extend_from_slice(&rawzip::crc(b"first").to_le_bytes());
    path.extend_from_slice(b"second");
    let renamed = Member { extra: extra(0x7075, &path), ..Member::file("first", "x") };
    let elsewhere = Member { host: 0, ..Member::file("grün", "x") };
    [renamed, elsewhere].map(|member| archive(&[member], b"").bytes)
}

fn difference(ours: &Files, theirs: Option<&Files>) -> String {
    let Some(theirs) = theirs else { return "only we accept it".into() };
    let only = |these: &Files, those: &Files| {
        let names = these.iter().filter(|(name, content)| those.get(*name) != Some(content));
        names.map(|(name, _)| names::shown(name)).collect::<Vec<_>>()
    };
    format!("only ours {:?}, only theirs {:?}", only(ours, theirs), only(theirs, ours))
}

#[test]
fn what_is_accepted_means_the_same_to_python_and_info_zip() {
    const COUNT: usize = 320;
    if !needs(&["python3", "unzip"]) {
        return;
    }
    let mut dice = Dice(2026);
    let scratch = Scratch::new();
    let mut archives: Vec<Vec<u8>> = (0..COUNT)
        .map(|number| {
            let raw = archive(&members(&mut dice), b"");
            if number % 4 == 0 { raw.bytes } else { mutated(&raw, &mut dice) }
        })
        .collect();
    archives.extend(ambiguous());
    for (number, bytes) in archives.iter().enumerate() {
        fs::write(scratch.path(&format!("{number}.zip")), bytes).unwrap();
    }
    let (mut accepted, mut refusals, mut differ) = (0, 0, 0);
    for (number, python) in python(&scratch, archives.len()).into_iter().enumerate() {
        let theirs = info_zip(&scratch, number);
        match scratch.unzip(&archives[number], &layout()) {
            Ok(ours) => {
                let ours = files(&ours);
                assert!(python.as_ref() == Some(&ours), "archive {number}: {}", difference(&ours, python.as_ref()));
                assert!(theirs.as_ref() == Some(&ours), "archive {number}: {}", difference(&ours, theirs.as_ref()));
                accepted += 1;
            }
            Err(e) => {
                assert!(number % 4 != 0 || number >= COUNT, "archive {number} is an honest one: {e}");
                differ += usize::from(python.is_some() && theirs.is_some() && python != theirs);
                refusals += 1;
            }
        }
    }
    let counts = format!("{accepted} accepted, {refusals} refused, in {differ} of those the two differ");
    assert!(accepted > COUNT / 4 && refusals > COUNT / 4 && differ >= ambiguous().len(), "{counts}");
}
