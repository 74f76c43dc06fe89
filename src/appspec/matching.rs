//! Matches entries of `permissions` with paths. Pure. The caller passes only paths that this deployment copied, no
//! retained files.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{Permission, Problem};

impl Permission {
    /// Whether the entry applies to `path`, a file or a directory of the host. A directory that is its object does not
    /// match; a file that is its object does.
    pub fn is_for(&self, path: &Path, is_directory: bool) -> bool {
        if if is_directory { !self.directories } else { !self.files } {
            return false;
        }
        let Ok(below) = path.strip_prefix(&self.object.it) else { return false };
        let below = below.as_os_str().as_bytes();
        if below.is_empty() {
            return !is_directory;
        }
        let is_child = !below.contains(&b'/');
        let is_left_out = is_child && self.except.iter().any(|glob| is_match(glob.as_bytes(), below));
        let is_meant = self.pattern == "**" || (is_child && is_match(self.pattern.as_bytes(), below));
        is_meant && !is_left_out
    }

    /// The warning for an entry that matches nothing: often a typo, and the files lack their owner and mode.
    pub fn idle(&self) -> Problem {
        let Self { object, pattern, .. } = self;
        let text = format!(
            "object: nothing that is installed is in {} with the pattern {pattern}: it has no effect",
            object.it.display()
        );
        Problem { at: object.at, is_warning: true, text }
    }
}

/// Whether a glob, in which `*` matches any bytes, matches all of `name`. Takes at worst the product of their lengths.
pub(super) fn is_match(glob: &[u8], name: &[u8]) -> bool {
    let (mut g, mut n) = (0, 0);
    // The position after the last star, and the end of its match in the name.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match glob.get(g) {
            Some(b'*') => {
                g += 1;
                star = Some((g, n));
            }
            Some(byte) if *byte == name[n] => (g, n) = (g + 1, n + 1),
            _ => match star {
                Some((behind, taken)) => {
                    (g, n) = (behind, taken + 1);
                    star = Some((behind, taken + 1));
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|b| *b == b'*')
}
