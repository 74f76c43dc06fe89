//! What an installation put where, over many directories of the host, and what stood there before: the way back of
//! `activation = install`. One text in the store, one whole version at any time, like the state; while a deployment runs
//! it says for every path what is there now, what is to be there, and what to put back.
//!
//! Looking at the host and changing it is left to the activation.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::{ErrorKind, Read, Write as _};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::state::{escape, unescape};
use crate::error::{Context, Error, Result};
use crate::model::{ReleaseId, hex};
use crate::sys::fs::{Dir, Kind};
use crate::sys::xattr::Attribute;

/// Its file in the store.
const FILE: &str = "ledger";
/// Where copies of files lie that were replaced, in the store.
pub const KEPT: &str = "kept";
/// The first line.
const FORMAT: &str = "ledger 1";

/// What a path holds, or is to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// A file, a directory or a link.
    pub kind: Kind,
    /// Permission bits. With an ACL, the bits of the group are its mask.
    pub mode: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification: seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// Where a file's content lies, below the store; a link's text.
    pub source: PathBuf,
    /// Extended attributes, sorted. ACLs are all of them: without one here there is none.
    pub attributes: Vec<Attribute>,
}

/// What stood at a path of ours when the deployment began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// What was installed; nothing was, then what was there first.
    Same,
    /// Nothing: somebody had removed it.
    Absent,
    /// Something else: somebody had changed it.
    Was(Image),
}

/// A path of ours, or one that we need to get there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What was there before it became ours. A directory: it is not ours, we only need it.
    pub origin: Option<Image>,
    /// What the installed release puts there.
    pub have: Option<Image>,
    /// What the target puts there.
    pub want: Option<Image>,
    /// What the way back restores.
    pub before: Before,
}

/// How far the deployment of a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing of it is in place, but its scripts may run.
    Preparing,
    /// Some of it may be in place.
    Installing,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The release whose files are in place.
    pub installed: Option<ReleaseId>,
    /// The one that takes its place, while that goes on.
    pub target: Option<(Stage, ReleaseId)>,
    /// By path, without its first slash: parents before what is in them.
    pub rows: BTreeMap<PathBuf, Row>,
}

impl Row {
    /// A row that nothing has been decided about.
    pub fn new(origin: Option<Image>) -> Self {
        Self { origin, have: None, want: None, before: Before::Same }
    }

    /// What is there once the target is live.
    pub fn forward(&self) -> Option<&Image> {
        self.want.as_ref().or(self.origin.as_ref())
    }

    /// What is there once the deployment has been undone.
    pub fn back(&self) -> Option<&Image> {
        match &self.before {
            Before::Same => self.have.as_ref().or(self.origin.as_ref()),
            Before::Absent => None,
            Before::Was(image) => Some(image),
        }
    }

    /// Whether it is a directory of somebody else's that ours lie in: made again when it is gone, else on hold.
    pub fn is_foreign(&self) -> bool {
        self.have.is_none()
            && self.want.is_none()
            && self.origin.as_ref().is_some_and(|origin| origin.kind == Kind::Dir)
    }
}

impl Ledger {
    /// Reads the one of the store at `root`.
    pub fn read(root: &Path) -> Result<Self> {
        let path = root.join(FILE);
        match fs::read(&path) {
            Ok(text) => Self::parse(&text).map_err(|why| {
                let path = path.display();
                Error::failed(format!(
                    "cannot read {path}: {why}; when it is moved away, what was installed is nobody's, and stays"
                ))
            }),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Whether the one of the store at `root` says that no deployment is open, and needs just these `copies`; the rest of it
    /// is not looked at.
    pub fn is_closed(root: &Path, copies: usize) -> Result<bool> {
        let mut head = [0; 128];
        let path = root.join(FILE);
        match fs::File::open(&path).and_then(|mut file| file.read(&mut head)) {
            Ok(length) => {
                let mut lines = head[..length].split(|b| *b == b'\n');
                Ok(lines.nth(1).is_some_and(|line| line.ends_with(format!(" idle - {copies}").as_bytes())))
            }
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(copies == 0),
            Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// The names of the copies that it needs.
    pub fn copies(&self) -> BTreeSet<&Path> {
        self.images().filter_map(|image| image.source.strip_prefix(KEPT).ok()).collect()
    }

    /// Replaces the one of the store at `root`, durably.
    pub fn record(&self, root: &Path) -> Result<()> {
        let cannot = || format!("cannot replace {}", root.join(FILE).display());
        let (dir, text) = (Dir::open(root).with_context(cannot)?, self.print());
        let fill = &mut |file: &mut fs::File| file.write_all(text.as_bytes()).with_context(|| "cannot write it");
        super::put(&dir, FILE, fill, 0o600, true).with_context(cannot)
    }

    /// Every image in it.
    fn images(&self) -> impl Iterator<Item = &Image> {
        self.rows.values().flat_map(|row| {
            let before = match &row.before {
                Before::Was(image) => Some(image),
                Before::Same | Before::Absent => None,
            };
            [row.origin.as_ref(), row.have.as_ref(), row.want.as_ref(), before].into_iter().flatten()
        })
    }

    /// As text: a line for each path, words divided by one blank, the images one after the other.
    pub fn print(&self) -> String {
        let mut text = String::from(FORMAT);
        let id = |id: &Option<&ReleaseId>| id.map_or("-", ReleaseId::as_str).to_owned();
        let (stage, target) = match &self.target {
            Some((Stage::Preparing, target)) => ("preparing", Some(target)),
            Some((Stage::Installing, target)) => ("installing", Some(target)),
            None => ("idle", None),
        };
        let copies = self.copies().len();
        text.push_str(&format!("\n{} {stage} {} {copies}\n", id(&self.installed.as_ref()), id(&target)));
        for (path, row) in &self.rows {
            word(path.as_os_str().as_bytes(), &mut text);
            let mut image = |image: Option<&Image>| match image {
                Some(image) => image.print(&mut text),
                None => text.push_str(" -"),
            };
            image(row.origin.as_ref());
            image(row.have.as_ref());
            image(row.want.as_ref());
            match &row.before {
                Before::Same => text.push_str(" ="),
                Before::Absent => image(None),
                Before::Was(was) => image(Some(was)),
            }
            text.push('\n');
        }
        text.push_str("end\n"); // a copy that was cut off is not mistaken for a whole one
        text
    }

    /// Reads it back. `Err` says in a few words what is wrong.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "it is no text")?;
        let mut lines = text.strip_suffix("end\n").ok_or("it is cut off")?.lines();
        if lines.next() != Some(FORMAT) {
            return Err(format!("it does not begin with {FORMAT:?}: another version wrote it"));
        }
        let mut head = Words(lines.next().unwrap_or_default().split(' '));
        let (installed, stage, target) = (head.release()?, head.text()?, head.release()?);
        let target = match (stage, target) {
            ("preparing", Some(target)) => Some((Stage::Preparing, target)),
            ("installing", Some(target)) => Some((Stage::Installing, target)),
            ("idle", None) => None,
            _ => return Err(format!("it says {stage:?} where it cannot")),
        };
        let mut rows = BTreeMap::new();
        for (number, line) in lines.enumerate() {
            let (path, row) =
                Words(line.split(' ')).row().map_err(|why| format!("line {}: {why}", number.saturating_add(3)))?;
            rows.insert(path, row);
        }
        Ok(Self { installed, target, rows })
    }
}

impl Image {
    fn print(&self, text: &mut String) {
        let kind = match self.kind {
            Kind::File => 'f',
            Kind::Dir => 'd',
            Kind::Link | Kind::Other => 'l',
        };
        let Self { mode, uid, gid, mtime: (seconds, nanoseconds), .. } = self;
        let count = self.attributes.len();
        // Writing to a String cannot fail.
        write!(text, " {kind} {mode:o} {uid} {gid} {seconds} {nanoseconds} {count} ").unwrap_or(());
        word(self.source.as_os_str().as_bytes(), text);
        for (name, value) in &self.attributes {
            text.push(' ');
            word(name.as_bytes(), text);
            text.push(' ');
            text.push_str(&hex(value));
        }
    }
}

/// A word of a line: escaped, and without blanks.
fn word(bytes: &[u8], text: &mut String) {
    let mut escaped = String::new();
    escape(bytes, &mut escaped);
    text.push_str(&escaped.replace(' ', "\\x20"));
}

/// The words of a line that are left.
struct Words<'a>(std::str::Split<'a, char>);

impl<'a> Words<'a> {
    fn text(&mut self) -> Result<&'a str, String> {
        self.0.next().ok_or_else(|| "it ends too early".to_owned())
    }

    fn os(&mut self) -> Result<OsString, String> {
        let bytes = unescape(self.text()?.as_bytes()).ok_or("it has a broken escape")?;
        Ok(OsString::from_vec(bytes))
    }

    fn number<T: TryFrom<i64>>(&mut self, radix: u32) -> Result<T, String> {
        let text = self.text()?;
        let number = i64::from_str_radix(text, radix).ok().and_then(|n| T::try_from(n).ok());
        number.ok_or_else(|| format!("{text:?} is no number"))
    }

    fn release(&mut self) -> Result<Option<ReleaseId>, String> {
        match self.text()? {
            "-" => Ok(None),
            text => ReleaseId::parse(text).map(Some).ok_or_else(|| format!("{text:?} is no release")),
        }
    }

    fn row(mut self) -> Result<(PathBuf, Row), String> {
        let path = PathBuf::from(self.os()?);
        let is_ours = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !is_ours || path.as_os_str().is_empty() {
            return Err(format!("{path:?} is no path of ours"));
        }
        let (origin, have, want) = (self.before()?, self.before()?, self.before()?);
        let image = |before| match before {
            Before::Was(image) => Ok(Some(image)),
            Before::Absent => Ok(None),
            Before::Same => Err("it says = where it cannot"),
        };
        let row = Row { origin: image(origin)?, have: image(have)?, want: image(want)?, before: self.before()? };
        match self.0.next() {
            None => Ok((path, row)),
            Some(more) => Err(format!("it goes on with {more:?}")),
        }
    }

    fn before(&mut self) -> Result<Before, String> {
        let kind = match self.text()? {
            "-" => return Ok(Before::Absent),
            "=" => return Ok(Before::Same),
            "f" => Kind::File,
            "d" => Kind::Dir,
            "l" => Kind::Link,
            other => return Err(format!("{other:?} is no kind")),
        };
        let (mode, uid, gid) = (self.number(8)?, self.number(10)?, self.number(10)?);
        let mtime = (self.number(10)?, self.number(10)?);
        let count: u32 = self.number(10)?;
        let source = PathBuf::from(self.os()?);
        let mut attributes = Vec::new();
        for _ in 0..count {
            attributes.push((self.os()?, unhex(self.text()?).ok_or("an attribute is no hexadecimal number")?));
        }
        Ok(Before::Was(Image { kind, mode, uid, gid, mtime, source, attributes }))
    }
}

/// The bytes that [`hex`] was given.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|p| p.len() == 2)?, 16).ok();
    digits.map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Revision;

    fn image(kind: Kind, source: &[u8]) -> Image {
        let attributes = vec![("security.a b".into(), vec![0, 255, 16]), ("user.é".into(), vec![])];
        let source = PathBuf::from(OsString::from_vec(source.to_vec()));
        Image { kind, mode: 0o4751, uid: 1, gid: u32::MAX - 1, mtime: (-5, 999_999_999), source, attributes }
    }

    /// One of every shape.
    fn ledgers() -> Vec<Ledger> {
        let id = |n: &str| ReleaseId::of("s", &Revision::new(n), "");
        let all: Vec<u8> = (1..=255).filter(|b| *b != b'/').collect();
        let images = [
            None,
            Some(image(Kind::File, b"releases/a b/c\\d\n")),
            Some(image(Kind::Dir, b"")),
            Some(Image { attributes: vec![], ..image(Kind::Link, &all) }),
        ];
        let mut rows = BTreeMap::new();
        for (n, origin) in images.iter().enumerate() {
            for (m, have) in images.iter().enumerate() {
                for before in [
                    Before::Same,
                    Before::Absent,
                    Before::Was(image(Kind::Link, b"x")),
                    Before::Was(image(Kind::Dir, b"")),
                ] {
                    let mut path = PathBuf::from(format!("srv/{n} {m}/{}", rows.len()));
                    path.push(PathBuf::from(OsString::from_vec(all.clone())));
                    let want = images[(n + m) % 4].clone();
                    rows.insert(path, Row { origin: origin.clone(), have: have.clone(), want, before });
                }
            }
        }
        let targets = [None, Some((Stage::Preparing, id("1"))), Some((Stage::Installing, id("2")))];
        let ledger = |target| Ledger { installed: Some(id("0")), target, rows: rows.clone() };
        targets.into_iter().map(ledger).chain([Ledger::default()]).collect()
    }

    #[test]
    fn parse_gives_back_what_print_wrote() {
        for ledger in ledgers() {
            assert_eq!(Ledger::parse(ledger.print().as_bytes()).as_ref(), Ok(&ledger));
        }
    }

    #[test]
    fn every_truncation_and_what_leads_elsewhere_is_refused() {
        for ledger in ledgers() {
            let text = ledger.print();
            for end in (0..text.len()).step_by(if text.len() > 4000 { 7 } else { 1 }) {
                assert!(Ledger::parse(&text.as_bytes()[..end]).is_err(), "accepted the first {end} bytes");
            }
        }
        for path in ["", "/etc", "..", "a/../b"] {
            let text = format!("{FORMAT}\n- idle - 0\n{path} - - - =\nend\n");
            assert!(Ledger::parse(text.as_bytes()).is_err(), "{path}");
        }
        for line in ["a - - -", "a - - - = x", "a = - - =", "a - - - f 644 0 0 0 0 1 x", "a - - - f 648 0 0 0 0 0 x"] {
            assert!(Ledger::parse(format!("{FORMAT}\n- idle - 0\n{line}\nend\n").as_bytes()).is_err(), "{line}");
        }
    }
}
