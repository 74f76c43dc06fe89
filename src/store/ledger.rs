//! The record of `activation = install`: each path of the host with its installed entry and the entry found before it.
//! It is one file in the store, replaced atomically, like the state. While a deployment runs, it has for every path the
//! installed entry, the wanted one, and the one that a rollback restores.
//!
//! Examining and changing the host is left to the activation.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::key_value::{escape, unescape};
use crate::error::{Context, Error, Result};
use crate::model::{ReleaseId, hex};
use crate::sys::fs::Kind;
use crate::sys::xattr::Attribute;

/// Its file name in the store.
pub(super) const FILE: &str = "ledger";
/// The store's directory for copies of replaced files.
pub const KEPT: &str = "kept";
/// The first line.
const FORMAT: &str = "ledger 1";

/// The present or wanted entry of a path.
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
    /// Modification time: seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// The path of a file's content below the store, or a link's target.
    pub source: PathBuf,
    /// Extended attributes, sorted. They include all ACLs: without an attribute here there is no ACL.
    pub attributes: Vec<Attribute>,
}

/// The entry at a managed path when the deployment began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// The installed entry; if none was installed, the origin.
    Same,
    /// No entry: it had been removed.
    Absent,
    /// Another entry: it had been changed.
    Was(Image),
}

/// A managed path, or a directory above one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The entry before the path became managed. A directory is not managed, only needed.
    pub origin: Option<Image>,
    /// The entry of the installed release.
    pub have: Option<Image>,
    /// The entry of the target release.
    pub want: Option<Image>,
    /// The entry that a rollback restores.
    pub before: Before,
}

/// The progress of the deployment of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing is installed yet, but its scripts may run.
    Preparing,
    /// Part of it may be installed.
    Installing,
}

/// The whole ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The release whose files are installed.
    pub installed: Option<ReleaseId>,
    /// The release being installed, while a deployment is open.
    pub target: Option<(Stage, ReleaseId)>,
    /// Rows by path, without the first slash: parents before their entries.
    pub rows: BTreeMap<PathBuf, Row>,
}

impl Row {
    /// A new row with only an origin.
    pub fn new(origin: Option<Image>) -> Self {
        Self { origin, have: None, want: None, before: Before::Same }
    }

    /// The entry once the target is live.
    pub fn forward(&self) -> Option<&Image> {
        self.want.as_ref().or(self.origin.as_ref())
    }

    /// The entry once the deployment has been rolled back.
    pub fn back(&self) -> Option<&Image> {
        match &self.before {
            Before::Same => self.have.as_ref().or(self.origin.as_ref()),
            Before::Absent => None,
            Before::Was(image) => Some(image),
        }
    }

    /// Whether it is an unmanaged directory above managed paths: created again if it is missing, else left unchanged.
    pub fn is_foreign(&self) -> bool {
        self.have.is_none()
            && self.want.is_none()
            && self.origin.as_ref().is_some_and(|origin| origin.kind == Kind::Dir)
    }
}

impl Ledger {
    /// Reads the ledger of the store at `root`; a missing one is empty.
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

    /// Whether the ledger of the store at `root` is closed and refers to this number of copies. Reads its head only.
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

    /// The names of the copies that it refers to.
    pub fn copies(&self) -> HashSet<&Path> {
        self.images().filter_map(|image| image.source.strip_prefix(KEPT).ok()).collect()
    }

    /// All its images.
    fn images(&self) -> impl Iterator<Item = &Image> {
        self.rows.values().flat_map(|row| {
            let before = match &row.before {
                Before::Was(image) => Some(image),
                Before::Same | Before::Absent => None,
            };
            [row.origin.as_ref(), row.have.as_ref(), row.want.as_ref(), before].into_iter().flatten()
        })
    }

    /// Formats it: a line for each path, with words separated by one blank, and its images in sequence.
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

    /// Parses it. `Err` is a short description of the fault.
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

/// Appends a word: escaped, and without blanks.
fn word(bytes: &[u8], text: &mut String) {
    let mut escaped = String::new();
    escape(bytes, &mut escaped);
    text.push_str(&escaped.replace(' ', "\\x20"));
}

/// The remaining words of a line.
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

/// The inverse of [`hex`].
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

    /// Ledgers with every kind of row.
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
