//! Opens the directories of paths that follow each other, one component at a time, and through no link.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::sys::fs::Dir;

/// The open directories from the top down to the one that was used last: the next one is usually near.
#[derive(Debug, Default)]
pub(super) struct Trail {
    path: Vec<u8>,
    /// For each component of `path`, the offset of its end, and its directory.
    open: Vec<(usize, Dir)>,
}

impl Trail {
    /// Opens the directory at `path` below `top`. `step` goes one component down.
    pub(super) fn enter<'t>(
        &'t mut self,
        top: &'t Dir,
        path: &[u8],
        mut step: impl FnMut(&Dir, &OsStr) -> std::io::Result<Dir>,
    ) -> std::io::Result<&'t Dir> {
        let shared =
            |end: usize| path.get(..end) == Some(&self.path[..end]) && matches!(path.get(end), None | Some(b'/'));
        let kept = self.open.iter().take_while(|(end, _)| shared(*end)).count();
        self.open.truncate(kept);
        let mut done = self.open.last().map_or(0, |(end, _)| *end);
        self.path.truncate(done);
        while done < path.len() {
            let start = if done == 0 { 0 } else { done + 1 };
            let end = path[start..].iter().position(|b| *b == b'/').map_or(path.len(), |at| start + at);
            let above = self.open.last().map_or(top, |(_, dir)| dir);
            let dir = step(above, OsStr::from_bytes(&path[start..end]))?;
            self.open.push((end, dir));
            self.path.extend_from_slice(&path[done..end]);
            done = end;
        }
        Ok(self.last(top))
    }

    /// The directory that was used last.
    pub(super) fn last<'t>(&'t self, top: &'t Dir) -> &'t Dir {
        self.open.last().map_or(top, |(_, dir)| dir)
    }
}

/// The parent and the last component of a path; the parent is empty at the top.
pub(super) fn split(path: &[u8]) -> (&[u8], &OsStr) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], OsStr::from_bytes(&path[at + 1..])),
        None => (&[], OsStr::from_bytes(path)),
    }
}
