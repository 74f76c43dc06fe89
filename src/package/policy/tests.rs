//! Tables of members for the policy.

use super::*;
use crate::error::Kind as Cause;

fn layout() -> Layout {
    Layout {
        symlinks: Links::Inside,
        owner: None,
        strip_components: 0,
        max_unpacked: u64::MAX,
        max_files: 1000,
        max_names: 1 << 20,
    }
}

/// `name`, `name/` or `name@`: a file, a directory or a link.
fn plan(layout: &Layout, members: &[&str]) -> Result<Plan> {
    let mut listing = Listing::new(layout, 0);
    for member in members {
        match (member.strip_suffix('/'), member.strip_suffix('@')) {
            (Some(dir), _) => listing.add(dir.as_bytes(), Kind::Dir, 0)?,
            (_, Some(link)) => listing.add(link.as_bytes(), Kind::Link, 0)?,
            _ => listing.add(member.as_bytes(), Kind::File, 1)?,
        };
    }
    listing.check()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T>, words: &str) {
    let e = result.unwrap_err();
    assert_eq!(e.kind(), Cause::Refused);
    assert!(e.to_string().contains(words), "{e} should say {words:?}");
}

#[test]
fn members_are_counted_with_the_directories_nobody_names() {
    let table: [(&[&str], u64); 9] = [
        (&[], 0),
        (&["a"], 1),
        (&["a/b/c"], 3),
        (&["a/b/c", "a/b/d", "a/e"], 5),
        (&["a/b/c", "a/b/", "a/"], 3),
        (&["a/b/c", "a/"], 3),
        (&["a!", "a/b", "a0"], 4),
        (&["x/a/b", "y/a/b"], 6),
        (&["a/", "a/b", "a/", "a/c/", "a/c/"], 3),
    ];
    for (members, count) in table {
        assert_eq!(plan(&layout(), members).unwrap().count, count, "{members:?}");
    }
}

#[test]
fn members_that_cannot_stand_together_are_refused_in_any_order() {
    let table: [(&[&str], &str); 8] = [
        (&["a", "b", "a"], "member a: it is there twice"),
        (&["a@", "a@"], "member a: it is there twice"),
        (&["a", "a/"], "twice"),
        (&["a@", "a"], "twice"),
        (&["a", "a/b"], "member a/b: it lies in a, which is no directory"),
        (&["a", "a!", "a.b", "a/b/c"], "member a/b/c: it lies in a"),
        (&["a@", "a/b"], "no directory"),
        (&["d/a@", "d/a/b/"], "no directory"),
    ];
    for (members, words) in table {
        let mut members = members.to_vec();
        for _ in 0..members.len() {
            members.rotate_left(1);
            refused(plan(&layout(), &members), words);
        }
    }
    assert!(plan(&layout(), &["a", "a!", "ab", "a.b/c", "a0@"]).is_ok());
}

#[test]
fn limits_hold_to_the_last_one() {
    let limited = Layout { max_files: 3, max_unpacked: 2, ..layout() };
    assert!(plan(&limited, &["a/", "b@", "c"]).is_ok());
    refused(plan(&limited, &["a/", "b@", "c", "d/"]), "max-files = 3");
    assert!(plan(&limited, &["a/b/c"]).is_ok());
    refused(plan(&limited, &["a/b/c/d"]), "max-files = 3");
    assert!(plan(&limited, &["a", "b"]).is_ok());
    refused(plan(&limited, &["a", "b", "c"]), "member c: with it the content is over max-unpacked = 2 B");
    let mut listing = Listing::new(&limited, 0);
    assert!(listing.add(b"a", Kind::File, 1).is_ok());
    refused(listing.add(b"b", Kind::File, u64::MAX), "max-unpacked");
}

#[test]
fn names_are_judged_whole_and_conflicts_after_stripping() {
    let strip = |n| Layout { strip_components: n, ..layout() };
    let left = plan(&strip(1), &["top/", "top/a", "readme", "top/d/b"]).unwrap();
    assert_eq!((left.len(), left.count), (2, 3));
    assert_eq!((left.path(1), left.name(1)), (b"d/b".as_slice(), b"top/d/b".as_slice()));
    refused(plan(&strip(1), &["../a"]), "member ../a");
    refused(plan(&strip(9), &["a\nb"]), "control");
    refused(plan(&strip(1), &["x/a", "y/a"]), "twice");
    refused(plan(&strip(1), &["x/a", "y/a/b"]), "no directory");
    assert!(plan(&strip(2), &["x/a", "y/a/b", "x/a/c"]).is_ok());
}

#[test]
fn links_are_refused_when_the_operator_says_so() {
    let none = Layout { symlinks: Links::Refuse, ..layout() };
    refused(plan(&none, &["a", "b@"]), "member b: it is a symbolic link (symlinks = inside");
    assert!(plan(&none, &["a", "b/"]).is_ok());
}

/// The original of each hard link `name=target` among `members`, by number; the size of a member is the length of its
/// name.
fn copies(layout: &Layout, members: &[&str]) -> Result<(Plan, Vec<Option<u32>>)> {
    let mut listing = Listing::new(layout, 0);
    for member in members {
        match (member.split_once('='), member.strip_suffix('/'), member.strip_suffix('@')) {
            (Some((name, target)), ..) => {
                listing.add_hard_link(name.as_bytes(), target.as_bytes())?;
            }
            (_, Some(dir), _) => {
                listing.add(dir.as_bytes(), Kind::Dir, 0)?;
                listing.keep_size(0);
            }
            (_, _, link) => {
                let (name, kind) = link.map_or((*member, Kind::Program), |name| (name, Kind::Link));
                if listing.add(name.as_bytes(), kind, name.len() as u64)?.is_some() {
                    listing.keep_size(name.len() as u64);
                }
            }
        }
    }
    let plan = listing.check()?;
    let originals = plan.members().map(|index| plan.original(index)).collect();
    Ok((plan, originals))
}

#[test]
fn hard_links_become_copies_of_what_comes_before_them() {
    let (plan, originals) = copies(&layout(), &["d/", "d/abc", "x=d/abc", "l@", "y=x", "m=l", "x=x"]).unwrap();
    assert_eq!(originals, [None, None, Some(1), None, Some(2), Some(3)]);
    assert_eq!([2, 4, 5].map(|index| plan.kind(index)), [Kind::Program, Kind::Program, Kind::Link]);
    assert_eq!((plan.bytes, plan.count), (15, 6));
    let strip = Layout { strip_components: 1, ..layout() };
    let (plan, originals) = copies(&strip, &["t/a", "u=t/a", "t/b=t/a", "u=u"]).unwrap();
    assert_eq!((plan.len(), originals), (2, vec![None, Some(0)]));
}

#[test]
fn hard_links_to_anything_else_are_refused() {
    let strip = Layout { strip_components: 1, ..layout() };
    for (layout, members, words) in [
        (layout(), &["x=a", "a"][..], "member x: it is a hard link to a: which is no file before it in the archive"),
        (layout(), &["x=b", "a"], "no file before it"),
        (layout(), &["a=a"], "member a: it is a hard link to a: which is no file before it"),
        (layout(), &["a=a", "a"], "no file before it"),
        (layout(), &["d/", "x=d"], "which is a directory"),
        (layout(), &["d/a", "x=d"], "no file before it"),
        (layout(), &["a", "x=../a"], "member x: it is a hard link to ../a: its name has . or .."),
        (layout(), &["a", "x=/a"], "its name is absolute"),
        (layout(), &["a", "x=a", "x"], "member x: it is there twice"),
        (layout(), &["a", "b", "a=b"], "member a: it is there twice"),
        (layout(), &["a", "x=a", "x/b"], "member x/b: it lies in x, which is no directory"),
        (strip, &["t/b", "u/a=t/a"], "no file before it"),
        (strip2(), &["t/a", "t/u/b=t/a"], "which strip-components leaves out"),
    ] {
        refused(copies(&layout, members), words);
    }
    fn strip2() -> Layout {
        Layout { strip_components: 2, ..layout() }
    }
}

#[test]
fn copies_count_against_the_limits() {
    let members = ["abc", "x=abc", "y=x"];
    let limit = |max_unpacked| Layout { max_unpacked, ..layout() };
    assert!(copies(&limit(9), &members).is_ok());
    refused(copies(&limit(8), &members), "member y: with it the content is over max-unpacked = 8 B");
    refused(copies(&Layout { max_files: 2, ..layout() }, &members), "max-files = 2");
    let long = "n".repeat(200);
    let twice = [long.as_str(), &format!("x={long}"), &format!("y={long}")];
    assert!(copies(&Layout { max_names: 602, ..layout() }, &twice).is_ok());
    refused(copies(&Layout { max_names: 601, ..layout() }, &twice), "max-names");
}

#[test]
fn modes_are_two() {
    for mode in [0, 0o600, 0o644, 0o666, 0o4644, 0o7666] {
        assert_eq!(Kind::file(mode).mode(), 0o644, "{mode:o}");
    }
    for mode in [0o100, 0o010, 0o001, 0o755, 0o777, 0o7777] {
        assert_eq!(Kind::file(mode).mode(), 0o755, "{mode:o}");
    }
    assert_eq!(Kind::Dir.mode(), 0o755);
}

#[test]
fn a_member_may_be_restricted() {
    let layout = layout();
    let mut listing = Listing::new(&layout, 0);
    for (kind, access) in [(Kind::File, Access::Group), (Kind::Program, Access::Owner), (Kind::Dir, Access::Group)] {
        let name = format!("{kind:?}");
        let index = listing.add(name.as_bytes(), kind, 0).unwrap().unwrap();
        listing.restrict(index, access);
    }
    let plan = listing.check().unwrap();
    assert_eq!([0, 1, 2].map(|index| plan.mode(index)), [0o640, 0o700, 0o750]);
}

#[test]
fn a_member_costs_little_memory() {
    assert!(size_of::<Entry>() <= 12, "{}", size_of::<Entry>());
}
