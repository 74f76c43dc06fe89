//! Laws of delta ZIPs: assembled from a seed and parts of the new archive, it is the new archive; and with a damaged
//! seed, a lying directory or a wrong guess it is the right tree or a refusal.

use super::rawzip::{Member, archive, extra};
use super::*;
use crate::package::delta::{self, Directory, Target};

/// The new archive, and how much of it is fetched.
struct Assembled<'a> {
    new: &'a [u8],
    bytes: Vec<u8>,
    fetched: Vec<u64>,
}

impl Target for Assembled<'_> {
    fn fetch(&mut self, at: u64, length: u64) -> Result<()> {
        assert_eq!(at, self.bytes.len() as u64, "in order");
        let (at, length) = (usize::try_from(at).unwrap(), usize::try_from(length).unwrap());
        self.bytes.extend_from_slice(&self.new[at..at + length]);
        self.fetched.push(length as u64);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

fn file(bytes: &[u8]) -> File {
    let file = crate::sys::fs::unnamed().unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

/// Assembles `new` from `seed`. `early` bytes before the directory are read with it. `None`: it has to be fetched
/// whole.
fn assembled<'a>(seed: &[u8], new: &'a [u8], early: u64, is_proven: bool) -> Option<Assembled<'a>> {
    let (seed, read) = (file(seed), crate::sys::fs::unnamed().unwrap());
    let whole = file(new);
    let start = delta::directory_of(&whole).ok()??.saturating_sub(early);
    read.set_len(new.len() as u64).unwrap();
    read.write_all_at(&new[usize::try_from(start).unwrap()..], start).unwrap();
    let (old, directory) = (Directory::read(&seed).ok()??, Directory::read(&read).ok()??);
    let plan = delta::plan(&seed, &old, &directory, start, is_proven).unwrap()?;
    let mut made = Assembled { new, bytes: Vec::new(), fetched: Vec::new() };
    plan.assemble(&seed, &read, &mut made).ok()?;
    assert_eq!((made.fetched.len(), made.fetched.iter().sum::<u64>()), (plan.parts, plan.fetch));
    assert!(plan.parts <= 64);
    let rest = new.len() as u64 - start;
    assert!((plan.fetch + rest) * 100 <= new.len() as u64 * 60, "{} and {rest} of {}", plan.fetch, new.len());
    plan.check(&file(&made.bytes)).ok()?;
    Some(made)
}

/// Asserts that `new` is assembled from `seed` to the byte, and returns how many bytes are fetched, besides directory
/// and end.
#[track_caller]
fn exact(seed: &[u8], new: &[u8]) -> u64 {
    let made = assembled(seed, new, 0, false).expect("it is fetched whole");
    assert!(made.bytes == new, "not the same bytes");
    made.fetched.iter().sum()
}

fn noise(dice: &mut Dice, length: usize) -> Vec<u8> {
    (0..length).map(|_| u8::try_from(dice.roll(256)).unwrap()).collect()
}

/// Puts another time of change into both headers of each member.
fn at_time(mut raw: rawzip::Raw, time: u32) -> Vec<u8> {
    for member in 0..raw.local.len() {
        raw = raw.both32(member, (10, 12), time);
    }
    raw.bytes
}

/// "UT" with these times in the local header; the directory has the first one only.
fn times(list: &[u32]) -> Vec<u8> {
    let flags = [u8::try_from((1_u32 << list.len()) - 1).unwrap()];
    extra(0x5455, &[&flags[..], &list.iter().flat_map(|time| time.to_le_bytes()).collect::<Vec<_>>()].concat())
}

/// A member: name, content, and the extra fields in the local header and in the directory.
type Extras<'a> = (&'a str, &'a [u8], Vec<u8>, Vec<u8>);

/// An archive whose members have other extra fields in the local header than in the directory.
fn with_extras(members: &[Extras<'_>]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, content, local, central) in members {
        let with = |extra: &[u8]| archive(&[Member { extra: extra.to_vec(), ..Member::file(name, content) }], b"");
        let (of_local, of_central) = (with(local), with(central));
        let record = of_central.central[0]..of_central.end;
        let mut record = of_central.bytes[record].to_vec();
        record[42..46].copy_from_slice(&u32::try_from(out.len()).unwrap().to_le_bytes());
        directory.extend(record);
        out.extend_from_slice(&of_local.bytes[..of_local.central[0]]);
    }
    let (start, count) = (out.len(), u16::try_from(members.len()).unwrap());
    let size = u32::try_from(directory.len()).unwrap();
    out.extend(directory);
    out.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    out.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    out.extend([size.to_le_bytes(), u32::try_from(start).unwrap().to_le_bytes()].concat());
    out.extend_from_slice(&[0; 2]);
    out
}

#[test]
fn the_same_archive_is_assembled_without_a_fetch() {
    let mut dice = Dice(1);
    let members: Vec<Member> = (0..50).map(|n| Member::deflated(format!("f{n}"), noise(&mut dice, 5000))).collect();
    let bytes = archive(&members, b"a comment").bytes;
    assert_eq!(exact(&bytes, &bytes), 0);
}

#[test]
fn a_changed_member_is_fetched_and_the_others_are_not() {
    let mut dice = Dice(2);
    let mut members: Vec<Member> = (0..20).map(|n| Member::file(format!("f{n}"), noise(&mut dice, 100_000))).collect();
    let old = archive(&members, b"");
    members[7].content = noise(&mut dice, 100_001);
    let new = archive(&members, b"");
    assert_eq!(exact(&old.bytes, &new.bytes), 100_001 + 30 + 2);
    // Other times everywhere cost nothing.
    assert_eq!(exact(&old.bytes, &at_time(new, 0x5b76_0000)), 100_001 + 30 + 2);
}

#[test]
fn generated_pairs_are_assembled_to_the_byte() {
    let mut dice = Dice(7);
    let mut partly = 0;
    for round in 0..400 {
        let count = 1 + dice.roll(40);
        let scale = [200, 3000, 90_000][dice.roll(3)];
        let random = |dice: &mut Dice, name: String| {
            let content = match dice.roll(3) {
                0 => Vec::new(),
                1 => {
                    let length = 1 + dice.roll(scale);
                    noise(dice, length)
                }
                _ => vec![b'x'; dice.roll(scale)],
            };
            let member = match dice.roll(4) {
                0 => Member::file(name, content),
                1 => Member::file(name, content).described([12, 16, 20, 24][dice.roll(4)]),
                2 => Member::deflated(name, content).described([12, 16, 20, 24][dice.roll(4)]),
                _ => Member::deflated(name, content),
            };
            let extra = match dice.roll(5) {
                0 => times(&[7]),
                1 => extra(0xcafe, b""),
                2 => vec![0; dice.roll(4)], // padding
                _ => Vec::new(),
            };
            Member { wide: dice.roll(9) == 0 && member.descriptor == 0, extra, ..member }
        };
        let mut members: Vec<Member> = (0..count).map(|n| random(&mut dice, format!("d/{n}"))).collect();
        let comment = vec![b'c'; [0, 0, 30][dice.roll(3)]];
        let seed = archive(&members, &comment);
        for _ in 0..dice.roll(5) {
            let at = dice.roll(members.len());
            let other = dice.roll(members.len());
            match dice.roll(9) {
                0 => members.swap(at, other),
                1 => members[at].name = format!("renamed/{round}").into(),
                2 => members[at].content = noise(&mut dice, 50),
                3 => members[at] = random(&mut dice, format!("d/{at}")),
                4 => members.insert(at, random(&mut dice, format!("new/{round}/{at}"))),
                5 => drop(members.remove(at)),
                6 => members[at].method = 8 - members[at].method,
                7 => members[at].extra = times(&[u32::try_from(round).unwrap()]),
                _ => members[at].wide = members[at].descriptor == 0,
            }
            if members.is_empty() {
                members.push(random(&mut dice, "last".to_owned()));
            }
        }
        let comment = vec![b'c'; [comment.len(), 0, 40][dice.roll(3)]];
        let new = archive(&members, &comment);
        let time = [0x5b76_6a21, 0x5b76_6a22][dice.roll(2)];
        let mut new = at_time(new, time);
        let mut seed = seed.bytes;
        // A prefix, in front of an archive without a comment.
        for (bytes, is_plain) in [(&mut seed, true), (&mut new, comment.is_empty())] {
            if is_plain && dice.roll(6) == 0 {
                let prefix = vec![b'#'; 1 + dice.roll(2000)];
                bytes.splice(0..0, prefix);
            }
        }
        let early = if dice.roll(2) == 0 { 0 } else { dice.roll(5000) as u64 };
        if let Some(made) = assembled(&seed, &new, early, dice.roll(2) == 0) {
            assert!(made.bytes == new, "round {round}: not the same bytes");
            partly += 1;
        }
    }
    assert!(partly > 100, "only {partly} of 400 pairs were assembled");
}

#[test]
fn fields_that_only_local_headers_have_are_guessed_and_a_wrong_guess_is_noticed() {
    let mut dice = Dice(9);
    let contents: Vec<Vec<u8>> = (0..30).map(|_| noise(&mut dice, 40_000)).collect();
    let names: Vec<String> = (0..30).map(|n| format!("file{n:02}")).collect();
    // As Info-ZIP writes them: the time of last access is in the local header only.
    let build = |changed: u32, read: u32, new: bool| {
        let mut list: Vec<Extras<'_>> = Vec::new();
        for (name, content) in names.iter().zip(&contents) {
            let content = if new && name == "file11" { &content[..39_000] } else { content };
            let central = extra(0x5455, &[&[3][..], &changed.to_le_bytes()].concat());
            list.push((name, content, times(&[changed, read]), central));
        }
        with_extras(&list)
    };
    let old = build(100, 100, false);
    for (changed, read) in [(100, 100), (250, 250)] {
        exact(&old, &build(changed, read, true));
    }
    // The files were read in between: no record tells, a fetched header does.
    let read = build(100, 300, true);
    assert!(assembled(&old, &read, 0, false).is_none());
    assert!(assembled(&old, &read, 0, true).is_some_and(|made| made.bytes != read), "left to the digest");
    // Changed and read at different times: each header would have to be fetched.
    let old = build(100, 101, false);
    exact(&old, &build(100, 101, true));
    assert!(assembled(&old, &build(250, 300, true), 0, false).is_none());
}

#[test]
fn header_of_a_large_member_is_fetched_alone_when_it_cannot_be_predicted() {
    let mut dice = Dice(12);
    let contents: Vec<Vec<u8>> = (0..4).map(|_| noise(&mut dice, 300_000)).collect();
    let build = |padding: usize| {
        let extras: Vec<_> = (0..4).map(|n| extra(0xd935, &vec![0; 2 + (padding * n) % 4])).collect();
        let names = ["a", "b", "c", "d"];
        let list: Vec<Extras<'_>> = (0..4).map(|n| (names[n], &*contents[n], extras[n].clone(), Vec::new())).collect();
        with_extras(&list)
    };
    // The last one may be followed by anything, and is fetched with its content.
    let fetched = exact(&build(1), &build(2));
    assert!((300_000..302_000).contains(&fetched), "{fetched}");
}

/// The tree of an archive, or a refusal.
fn tree_of(scratch: &Scratch, bytes: &[u8]) -> Option<Tree> {
    scratch.unzip(bytes, &layout()).ok()
}

#[test]
fn damaged_seed_gives_the_right_tree_a_refusal_or_a_whole_fetch() {
    let scratch = Scratch::new();
    let mut dice = Dice(21);
    let mut members: Vec<Member> = (0..8).map(|n| Member::deflated(format!("f{n}"), noise(&mut dice, 300))).collect();
    members.push(Member::deflated("described", noise(&mut dice, 200)).described(16));
    members.push(Member { wide: true, ..Member::file("wide", noise(&mut dice, 200)) });
    let seed = archive(&members, b"").bytes;
    members[3].content = noise(&mut dice, 100);
    let new = archive(&members, b"").bytes;
    let right = tree_of(&scratch, &new).unwrap();
    let mut used = 0;
    for round in 0..500 {
        let mut seed = seed.clone();
        match dice.roll(8) {
            0 => seed.truncate(dice.roll(seed.len())),
            1 => {
                let at = dice.roll(seed.len());
                seed.splice(at..at, [7; 3]);
            }
            _ => {
                let at = dice.roll(seed.len());
                seed[at] ^= u8::try_from(1 << dice.roll(8)).unwrap();
            }
        }
        if let Some(made) = assembled(&seed, &new, 0, false)
            && let Some(tree) = tree_of(&scratch, &made.bytes)
        {
            assert_eq!(tree, right, "round {round}");
            used += 1;
        }
    }
    assert!(used > 100, "{used}");
}

#[test]
fn directory_that_lies_never_panics_and_never_gives_a_tree_that_it_does_not_describe() {
    let scratch = Scratch::new();
    let mut dice = Dice(33);
    let members: Vec<Member> = (0..9).map(|n| Member::deflated(format!("f{n}"), noise(&mut dice, 300))).collect();
    let raw = archive(&members, b"");
    for _ in 0..500 {
        let mut new = raw.bytes.clone();
        for _ in 0..=dice.roll(2) {
            let at = raw.central[0] + dice.roll(raw.bytes.len() - raw.central[0]);
            new[at] = [0, 1, 0xff, new[at] ^ 1][dice.roll(4)];
        }
        let Some(made) = assembled(&raw.bytes, &new, 0, false) else { continue };
        assert_eq!(made.bytes.len(), new.len());
        if let (Some(made), Some(whole)) = (tree_of(&scratch, &made.bytes), tree_of(&scratch, &new)) {
            assert_eq!(made, whole);
        }
    }
}

#[test]
fn no_zip_is_no_seed_and_no_offer() {
    let zip = archive(&[Member::file("a", vec![7; 500])], b"").bytes;
    for other in [&b""[..], b"PK", &[0; 100_000], &zip[..zip.len() - 1], &zip[1..]] {
        assert!(assembled(other, &zip, 0, true).is_none());
        assert!(assembled(&zip, other, 0, true).is_none());
    }
}
