//! Reads the contents of a commit: parses the list that `ls-tree` prints strictly, and streams contents from one
//! `cat-file --batch`. The policy checks names, not this module. Contents that are Git LFS pointers are reported.

use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use super::command::{Git, RunningGit};
use super::git_error::GitError;
use super::repository::Repository;
use crate::artifact::{Contents, Found, Node, Span, Texts, Tree};
use crate::error::{Context, Error, Kind, Result, plain};
use crate::remote::reference::is_object;
use crate::store::manifest::Budget;
use crate::sys::clock::Deadline;

/// The first bytes of a Git LFS pointer, and its largest size.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";
const LARGEST_POINTER: u64 = 1024;
/// The size of the read buffer.
const BUFFER: usize = 128 * 1024;

/// Members of a tree. The names are shared with the caller that unpacks them.
#[derive(Debug)]
pub(super) struct Members {
    names: Rc<Texts>,
    objects: Texts,
    rows: Vec<Row>,
    budget: Budget,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    name: Span,
    object: Span,
    node: Node,
    size: u64,
}

impl Members {
    /// An empty list; its names may have `max_names` bytes.
    pub(super) fn new(max_names: u64) -> Self {
        Self { names: Rc::default(), objects: Texts::default(), rows: Vec::new(), budget: Budget::new(max_names) }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn push(&mut self, name: &[u8], object: &str, node: Node, size: u64) -> Result<()> {
        self.make_room(name)?;
        let (name, object) = (Rc::make_mut(&mut self.names).push(name), self.objects.push(object.as_bytes()));
        let (Some(name), Some(object)) = (name, object) else {
            return Err(Error::refused("its names are longer than 4 GiB together"));
        };
        self.rows.push(Row { name, object, node, size });
        Ok(())
    }

    /// Takes the name from the policy's budget for names at once, before the whole list is in memory.
    pub(super) fn make_room(&mut self, name: &[u8]) -> Result<()> {
        self.budget.take(name.len() as u64).with_context(|| format!("member {}", shown(name)))
    }

    fn name(&self, row: &Row) -> &[u8] {
        self.names.get(row.name)
    }

    fn object(&self, row: &Row) -> &[u8] {
        self.objects.get(row.object)
    }
}

/// A name from a remote, for messages: on one line, and at most 200 characters.
pub(super) fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).escape_debug().take(200).collect()
}

/// One line of `ls-tree`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) mode: u32,
    pub(super) object: &'a str,
    /// `None` if the object is not a blob.
    pub(super) size: Option<u64>,
    pub(super) name: &'a [u8],
}

/// The mode of a submodule.
pub(super) const MODULE: u32 = 0o160_000;

impl<'a> Line<'a> {
    /// Reads `MODE TYPE OBJECT[ SIZE]\tNAME`.
    pub(super) fn parse(line: &'a [u8]) -> Result<Self> {
        let strange = || Error::failed("git ls-tree prints what it should not");
        let tab = line.iter().position(|b| *b == b'\t').ok_or_else(strange)?;
        let head = std::str::from_utf8(&line[..tab]).map_err(|_| strange())?;
        let mut words = head.split(' ').filter(|word| !word.is_empty());
        let mode = words.next().and_then(|mode| u32::from_str_radix(mode, 8).ok()).ok_or_else(strange)?;
        let object = words.nth(1).filter(|object| is_object(object)).ok_or_else(strange)?;
        let size = words.next().and_then(|size| size.parse().ok());
        Ok(Self { mode, object, size, name: &line[tab + 1..] })
    }

    /// The kind of node; `None` for a submodule.
    pub(super) fn node(&self) -> Result<Option<Node>> {
        Ok(Some(match self.mode {
            0o100_644 | 0o100_664 => Node::File,
            0o100_755 => Node::Program,
            0o120_000 => Node::Link,
            MODULE => return Ok(None),
            mode => return Err(Error::refused(format!("a member has the mode {mode:o}, which git does not give"))),
        }))
    }
}

/// A fetched commit: its members, and the repository that has their contents.
#[derive(Debug)]
pub(super) struct GitTree {
    pub(super) git: Git,
    pub(super) repository: Repository,
    pub(super) members: Members,
    /// The remote, for messages.
    pub(super) remote: String,
}

impl Tree for GitTree {
    fn names(&self) -> Rc<Texts> {
        Rc::clone(&self.members.names)
    }

    fn list(&self, found: &mut Found<'_>) -> Result<()> {
        self.members.rows.iter().try_for_each(|row| found(row.name, row.node, row.size))
    }

    fn contents(&self, wanted: Vec<u32>, deadline: Deadline) -> Result<Box<dyn Contents + '_>> {
        let mut objects = Vec::new();
        for row in wanted.iter().filter_map(|number| self.members.rows.get(*number as usize)) {
            objects.extend_from_slice(self.members.object(row));
            objects.push(b'\n');
        }
        let mut call = self.git.local(self.repository.path(), &["cat-file", "--batch", "--buffer"]);
        call.input = Some(self.repository.input(&objects)?);
        let reading = BufReader::with_capacity(BUFFER, call.stream(deadline)?);
        Ok(Box::new(Blobs {
            tree: self,
            wanted: wanted.into_iter(),
            reading: Some(reading),
            pointers: 0,
            first: String::new(),
        }))
    }
}

/// Contents, streamed by `cat-file --batch`.
struct Blobs<'a> {
    tree: &'a GitTree,
    wanted: std::vec::IntoIter<u32>,
    /// `None` after a failure.
    reading: Option<BufReader<RunningGit>>,
    pointers: u64,
    first: String,
}

impl Blobs<'_> {
    /// Reads the header of the next content.
    fn header(&mut self, row: &Row) -> io::Result<()> {
        let Some(reading) = &mut self.reading else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let mut line = Vec::new();
        reading.take(200).read_until(b'\n', &mut line)?;
        let expected = [self.tree.members.object(row), b" blob ", row.size.to_string().as_bytes(), b"\n"].concat();
        if line == expected { Ok(()) } else { Err(io::Error::other("an object is missing, or not what it was")) }
    }

    /// The error of a content that cannot be read. Discards the cache as broken, unless it is new or git failed for a
    /// known reason.
    fn broken(&mut self, e: &io::Error) -> Error {
        let said = self.reading.take().map(|reading| reading.into_inner().finish());
        let Repository { is_fresh, .. } = self.tree.repository;
        let error = match said {
            Some(Err(GitError::Request(fault))) => return fault.error,
            Some(Err(GitError::Cache(error))) => error,
            _ => Error::failed(format!("git cat-file: {}", plain(e))),
        };
        if is_fresh {
            return error;
        }
        match self.tree.repository.discard() {
            Ok(()) => Error::new(Kind::Superseded, format!("the cache is broken and made anew: {error}")),
            Err(e) => e,
        }
    }

    fn copy(&mut self, row: &Row, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut left = row.size;
        let mut is_first = true;
        while left > 0 {
            let piece = match self.reading.as_mut().map(BufRead::fill_buf) {
                Some(Ok([])) | None => Err(io::ErrorKind::UnexpectedEof.into()),
                Some(Ok(piece)) => Ok(&piece[..piece.len().min(usize::try_from(left).unwrap_or(usize::MAX))]),
                Some(Err(e)) => Err(e),
            };
            let piece = match piece {
                Ok(piece) => piece,
                Err(e) => return Err(self.broken(&e)),
            };
            let is_pointer = is_first && row.size <= LARGEST_POINTER && piece.starts_with(POINTER);
            write(piece)?;
            let read = piece.len();
            left -= read as u64;
            is_first = false;
            if let Some(reading) = &mut self.reading {
                reading.consume(read);
            }
            if is_pointer {
                self.pointers += 1;
                if self.pointers == 1 {
                    self.first = shown(self.tree.members.name(row));
                }
            }
        }
        Ok(())
    }
}

impl Contents for Blobs<'_> {
    fn next(&mut self, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let row = self.wanted.next().and_then(|number| self.tree.members.rows.get(number as usize)).copied();
        let row = row.ok_or_else(|| Error::failed("there is no next content"))?;
        self.header(&row).map_err(|e| self.broken(&e))?;
        self.copy(&row, write)?;
        let mut end = [0];
        let read = self.reading.as_mut().map_or(Ok(()), |reading| reading.read_exact(&mut end));
        read.map_err(|e| self.broken(&e))
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        if let Some(reading) = self.reading.take() {
            reading.into_inner().finish().map_err(GitError::error).with_context(|| "cannot read the cache")?;
        }
        if self.pointers > 0 {
            let (remote, first, count) = (&self.tree.remote, &self.first, self.pointers);
            log::warn!(
                "{remote}: {first} is a pointer of Git LFS and not the file itself, and so are {count} in all: what LFS keeps \
                 is not fetched"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_ls_tree_are_read_strictly() {
        let object = "0123456789012345678901234567890123456789";
        let line = format!("100755 blob {object}      12\ta b\tc");
        let expected = Line { mode: 0o100_755, object, size: Some(12), name: b"a b\tc" };
        assert_eq!(Line::parse(line.as_bytes()).unwrap(), expected);
        let line = format!("160000 commit {object}       -\tm");
        assert_eq!(Line::parse(line.as_bytes()).unwrap().size, None);
        for line in [
            "",
            "\t",
            "100644 blob x\ta",
            "x blob 0123\ta",
            &format!("100644 blob {object}"),
            &format!("100644 {object}\ta"),
        ] {
            assert!(Line::parse(line.as_bytes()).is_err(), "{line}");
        }
        for (mode, node) in [(0o100_644, Some(Node::File)), (0o120_000, Some(Node::Link)), (MODULE, None)] {
            assert_eq!(Line { mode, object, size: None, name: b"" }.node().unwrap(), node);
        }
        assert!(Line { mode: 0o100_600, object, size: None, name: b"" }.node().is_err());
    }
}
