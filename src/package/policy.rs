//! What may be unpacked, and as what: names, kinds, links, counts and sizes, one policy for every kind of artifact. Pure:
//! it sees names and numbers, never a disk. A [`Listing`] takes one member after the other; only a listing that holds
//! together as a whole becomes a [`Plan`], and only a plan can be written. Nothing is ever repaired: a name is taken as
//! it stands or refused. Memory per member: its name, once, and 16 bytes; names and link texts together have one budget.

use std::rc::Rc;

use super::names::{by_component, refusal, shared_components, shown, stripped, up};
use crate::artifact::{Access, Span, Texts};
use crate::console::progress;
use crate::error::{Context, Error, Result};
use crate::model::{Layout, Links};
use crate::store::manifest::{self, Budget, Manifest, Rows};

/// Longest link text, in bytes: what Linux takes.
const MAX_LINK: usize = 4095;
/// What a file system gives out in one piece, nearly everywhere.
const BLOCK: u64 = 4096;

/// What a member becomes. Set-id, sticky and write bits for others are not among it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file nobody may execute.
    File,
    /// A file with an executable bit for anybody.
    Program,
    /// A directory.
    Dir,
    /// A symbolic link.
    Link,
}

impl Kind {
    /// A regular file by its permission bits.
    pub(super) fn file(mode: u32) -> Self {
        if mode & 0o111 == 0 { Self::File } else { Self::Program }
    }

    /// The mode it gets, whatever it had, where everybody may read it.
    pub(super) fn mode(self) -> u16 {
        if self == Self::File { 0o644 } else { 0o755 }
    }
}

/// A name as it came, and how much of it `strip-components` cuts.
#[derive(Clone, Copy, Debug)]
struct Entry {
    name: Span,
    skip: u16,
    kind: Kind,
    access: Access,
}

/// Members as they come, each good in itself.
#[derive(Debug)]
pub(super) struct Listing<'a> {
    layout: &'a Layout,
    names: Rc<Texts>,
    entries: Vec<Entry>,
    budget: Budget,
    /// Bytes of link texts that were announced.
    texts: u64,
    bytes: u64,
    space: u64,
}

/// Members that fit together: no name twice, nothing below a file or a link, within every limit.
#[derive(Debug)]
pub(super) struct Plan {
    names: Rc<Texts>,
    entries: Vec<Entry>,
    /// Entries by path, a directory right before what is in it.
    order: Vec<u32>,
    /// What is left for link texts.
    pub(super) budget: Budget,
    /// Bytes of content.
    pub(super) bytes: u64,
    /// Bytes on disk, about.
    pub(super) space: u64,
    /// Files, directories and links, the directories that no member names among them.
    pub(super) count: u64,
}

impl<'a> Listing<'a> {
    /// An empty listing. `expected` members are about to come, if whoever says so is right.
    pub(super) fn new(layout: &'a Layout, expected: usize) -> Self {
        let (names, budget) = (Rc::default(), Budget::new(layout.max_names));
        Self { layout, names, entries: Vec::with_capacity(expected), budget, texts: 0, bytes: 0, space: 0 }
    }

    /// A listing of members of which the full names stand in `names`.
    pub(super) fn of(layout: &'a Layout, names: Rc<Texts>) -> Self {
        Self { names, ..Self::new(layout, 0) }
    }

    /// Adds a member by its full name, without a trailing slash; `size` counts the bytes of its content, or of its text
    /// when it is a link. `None`: `strip-components` leaves nothing of it.
    pub(super) fn add(&mut self, name: &[u8], kind: Kind, size: u64) -> Result<Option<u32>> {
        let Some(skip) = self.admit(name, kind, size)? else { return Ok(None) };
        let name = Rc::make_mut(&mut self.names).push(name);
        self.push(name, skip, kind)
    }

    /// The same for a member whose name stands in the names that the listing began with.
    pub(super) fn add_at(&mut self, name: Span, kind: Kind, size: u64) -> Result<Option<u32>> {
        let names = Rc::clone(&self.names);
        match self.admit(names.get(name), kind, size)? {
            Some(skip) => self.push(Some(name), skip, kind),
            None => Ok(None),
        }
    }

    /// Whether such a member is taken, and what is cut from its name.
    fn admit(&mut self, name: &[u8], kind: Kind, size: u64) -> Result<Option<usize>> {
        let member = || format!("member {}", shown(name));
        if let Some(reason) = refusal(name) {
            return Err(Error::refused(reason)).context(member);
        }
        if kind == Kind::Link {
            check_link_kind(self.layout, size).context(member)?;
        }
        let Some(skip) = stripped(name, self.layout.strip_components) else { return Ok(None) };
        self.budget.take(name.len() as u64).context(member)?;
        if kind == Kind::Link {
            self.texts += size;
            self.budget.take(size).context(member)?;
        } else {
            self.count(size).context(member)?;
        }
        if self.entries.len() as u64 >= self.layout.max_files {
            return Err(too_many(self.layout));
        }
        Ok(Some(skip))
    }

    fn push(&mut self, name: Option<Span>, skip: usize, kind: Kind) -> Result<Option<u32>> {
        let index = u32::try_from(self.entries.len());
        let (Ok(index), Some(name)) = (index, name) else {
            return Err(Error::refused("its names are longer than 4 GiB together"));
        };
        // It fits: a name has at most 1024 bytes.
        let skip = u16::try_from(skip).unwrap_or(u16::MAX);
        self.entries.push(Entry { name, skip, kind, access: Access::All });
        Ok(Some(index))
    }

    /// Lets no more than `access` read the member `index`, which was added before.
    pub(super) fn restrict(&mut self, index: u32, access: Access) {
        self.entries[index as usize].access = access;
    }

    fn count(&mut self, size: u64) -> Result<()> {
        let too_much = || {
            let limit = progress::size(self.layout.max_unpacked);
            Error::refused(format!("with it the content is over max-unpacked = {limit}"))
        };
        self.bytes = self.bytes.checked_add(size).filter(|b| *b <= self.layout.max_unpacked).ok_or_else(too_much)?;
        self.space = self.space.saturating_add(size.div_ceil(BLOCK).saturating_mul(BLOCK));
        Ok(())
    }

    /// Looks at the members as a whole.
    pub(super) fn check(self) -> Result<Plan> {
        let Self { layout, names, entries, mut budget, texts, bytes, space } = self;
        let count = entries.len();
        // As many as u32 counts: `add` saw to it.
        let mut order: Vec<u32> = (0..u32::try_from(count).unwrap_or(u32::MAX)).collect();
        let path = |i: u32| entries[i as usize].path(&names);
        order.sort_unstable_by(|a, b| by_component(path(*a), path(*b)));
        let mut implied = 0;
        let mut before: Option<u32> = None;
        for &here in &order {
            let shared = match before {
                Some(before) => {
                    conflict(&entries[before as usize], &entries[here as usize], &names)?;
                    shared_components(path(before), path(here))
                }
                None => 0,
            };
            for length in parents(path(here)).skip(shared) {
                implied += 1;
                // Nobody else names it, and the manifest does.
                budget.take(length as u64).context(|| format!("member {}", shown(path(here))))?;
            }
            before = Some(here);
        }
        let count = count as u64 + implied;
        if count > layout.max_files {
            return Err(too_many(layout));
        }
        budget.give_back(texts); // whoever reads them takes what they really have
        Ok(Plan { names, entries, order, budget, bytes, space, count })
    }
}

impl Plan {
    /// How many members there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The members by path, a directory right before what is in it.
    pub(super) fn in_order(&self) -> impl Iterator<Item = u32> {
        self.order.iter().copied()
    }

    /// What it comes to, the directories that no member names among it; `what` by member, `texts` those of links.
    pub(super) fn manifest(&self, what: &[manifest::Entry], texts: Texts) -> Manifest {
        let directory = manifest::Entry::Dir { mode: Kind::Dir.mode() };
        let mut rows = Vec::with_capacity(usize::try_from(self.count).unwrap_or(0));
        let mut before: &[u8] = b"";
        for index in self.in_order() {
            let (path, entry) = (self.path(index), &self.entries[index as usize]);
            let span = entry.name.without(entry.skip);
            let unnamed = parents(path).skip(shared_components(before, path));
            rows.extend(unnamed.map(|length| (span.first(length), directory)));
            rows.push((span, what[index as usize]));
            before = path;
        }
        Rows::new(Rc::clone(&self.names), texts, rows).into()
    }

    /// The members as they came.
    pub(super) fn members(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.entries.len()).unwrap_or(u32::MAX) // `push` saw to it
    }

    /// What a member becomes.
    pub(super) fn kind(&self, index: u32) -> Kind {
        self.entries[index as usize].kind
    }

    /// The mode it gets.
    pub(super) fn mode(&self, index: u32) -> u16 {
        let Entry { kind, access, .. } = self.entries[index as usize];
        access.limit(kind.mode())
    }

    /// Its full name.
    pub(super) fn name(&self, index: u32) -> &[u8] {
        self.names.get(self.entries[index as usize].name)
    }

    /// Where it goes.
    pub(super) fn path(&self, index: u32) -> &[u8] {
        self.entries[index as usize].path(&self.names)
    }

    /// Whether the link `index` may have this text: relative, never above the tree, and through no other link of ours. It
    /// may end at one (`lib.so` -> `lib.so.1` -> `lib.so.1.2`): that one is held to the same rule.
    pub(super) fn check_link(&self, index: u32, text: &[u8]) -> Result<()> {
        let wrong = |reason: &str| {
            let name = shown(self.name(index));
            Err(Error::refused(format!("member {name}: a link to {}, which {reason}", shown(text))))
        };
        if text.is_empty() || text.len() > MAX_LINK || text.iter().any(u8::is_ascii_control) {
            return wrong("is no possible target");
        }
        if text[0] == b'/' {
            return wrong("is absolute: only links that stay inside are allowed");
        }
        let mut place = self.path(index).to_vec();
        up(&mut place);
        for component in text.split(|b| *b == b'/') {
            // Anything after a link, `.` and an empty component too, makes the kernel go through it.
            if self.is_link(&place) {
                return wrong(&format!("goes through the link {}", shown(&place)));
            }
            match component {
                b"" | b"." => {}
                b".." if place.is_empty() => return wrong("leads outside: only links that stay inside are allowed"),
                b".." => up(&mut place),
                name => {
                    if !place.is_empty() {
                        place.push(b'/');
                    }
                    place.extend_from_slice(name);
                }
            }
        }
        Ok(())
    }

    fn is_link(&self, path: &[u8]) -> bool {
        let found = self.order.binary_search_by(|i| by_component(self.path(*i), path));
        found.is_ok_and(|at| self.kind(self.order[at]) == Kind::Link)
    }
}

impl Entry {
    fn path<'a>(&self, names: &'a Texts) -> &'a [u8] {
        names.get(self.name.without(self.skip))
    }
}

/// How many bytes of `path` each of its parents has, the top one first.
fn parents(path: &[u8]) -> impl Iterator<Item = usize> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at)
}

/// Whether there may be a link with a text of `size` bytes.
fn check_link_kind(layout: &Layout, size: u64) -> Result<()> {
    match layout.symlinks {
        Links::Refuse => {
            Err(Error::refused("it is a symbolic link (symlinks = inside would allow those that stay inside)"))
        }
        Links::Inside if size > MAX_LINK as u64 => {
            Err(Error::refused(format!("it is a link with a text of more than {MAX_LINK} bytes")))
        }
        Links::Inside => Ok(()),
    }
}

/// Whether `here`, which follows `before` in order, cannot stand beside it.
fn conflict(before: &Entry, here: &Entry, names: &Texts) -> Result<()> {
    let (above, below) = (before.path(names), here.path(names));
    if above == below {
        return Err(Error::refused(format!("member {}: it is there twice", shown(below))));
    }
    let inside = below.strip_prefix(above).is_some_and(|rest| rest[0] == b'/');
    if inside && before.kind != Kind::Dir {
        let (above, below) = (shown(above), shown(below));
        return Err(Error::refused(format!("member {below}: it lies in {above}, which is no directory")));
    }
    Ok(())
}

/// A refusal of more members than there may be.
pub(super) fn too_many(layout: &Layout) -> Error {
    let limit = layout.max_files;
    Error::refused(format!("it holds more files, directories and links than max-files = {limit}"))
}

#[cfg(test)]
mod tests {
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
        let table: [(&[&str], u64); 8] = [
            (&[], 0),
            (&["a"], 1),
            (&["a/b/c"], 3),
            (&["a/b/c", "a/b/d", "a/e"], 5),
            (&["a/b/c", "a/b/", "a/"], 3),
            (&["a/b/c", "a/"], 3),
            (&["a!", "a/b", "a0"], 4),
            (&["x/a/b", "y/a/b"], 6),
        ];
        for (members, count) in table {
            assert_eq!(plan(&layout(), members).unwrap().count, count, "{members:?}");
        }
    }

    #[test]
    fn members_that_cannot_stand_together_are_refused_in_any_order() {
        let table: [(&[&str], &str); 8] = [
            (&["a", "b", "a"], "member a: it is there twice"),
            (&["a/", "a/"], "member a: it is there twice"),
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
        refused(plan(&strip(9), &["a\\b"]), "backslash");
        refused(plan(&strip(1), &["x/a", "y/a"]), "twice");
        refused(plan(&strip(1), &["x/a", "y/a/b"]), "no directory");
        assert!(plan(&strip(2), &["x/a", "y/a/b", "x/a/c"]).is_ok());
    }

    #[test]
    fn links_stay_inside_and_go_through_no_other() {
        let tree = plan(&layout(), &["d/e/link@", "d/file", "top@", "d/hop@", "d/e/f/g"]).unwrap();
        let allowed = [
            "x",
            "f",
            "f/g",
            "../file",
            "../../top",
            "../hop",
            ".",
            "./f/",
            "../../d/e/f",
            "../..",
            "..//file",
            "missing/..",
        ];
        for text in allowed {
            assert!(tree.check_link(0, text.as_bytes()).is_ok(), "{text}");
        }
        let long = "l".repeat(MAX_LINK + 1);
        let table = [
            ("", "no possible target"),
            ("a\nb", "no possible target"),
            (&long, "no possible target"),
            ("/etc/passwd", "absolute"),
            ("../../../x", "outside"),
            ("../../../d/file", "outside"),
            ("x/../../../../d", "outside"),
            ("../hop/x", "goes through the link d/hop"),
            ("../hop/..", "goes through the link d/hop"),
            ("../hop/", "goes through the link d/hop"),
            ("../../top/.", "goes through the link top"),
        ];
        for (text, words) in table {
            refused(tree.check_link(0, text.as_bytes()), words);
        }
        assert!(tree.check_link(2, b"d").is_ok());
        refused(tree.check_link(2, b".."), "member top: a link to .., which leads outside");
    }

    #[test]
    fn links_are_refused_when_the_operator_says_so() {
        let none = Layout { symlinks: Links::Refuse, ..layout() };
        refused(plan(&none, &["a", "b@"]), "member b: it is a symbolic link (symlinks = inside");
        assert!(plan(&none, &["a", "b/"]).is_ok());
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
        for (kind, access) in [(Kind::File, Access::Group), (Kind::Program, Access::Owner), (Kind::Dir, Access::Group)]
        {
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
}
