//! What an entry of `permissions` is for. Pure: paths in, yes or no out. Whether a path was copied by this deployment, and is
//! no retained file, is for the caller to know.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{Permission, Problem};

impl Permission {
    /// Whether the entry is for `path`, a file or a directory of the host. Never for the directory that is its object; an object that
    /// names a file is for that file.
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

    /// What to say when it is for nothing: most often a slip of the pen, and files are without their owner and mode.
    pub fn idle(&self) -> Problem {
        let Self { object, pattern, .. } = self;
        let text = format!(
            "object: nothing that is installed is in {} with the pattern {pattern}: it has no effect",
            object.it.display()
        );
        Problem { at: object.at, is_warning: true, text }
    }
}

/// Whether a glob, in which `*` stands for any bytes, is for all of `name`. At worst it costs the product of their lengths.
pub(super) fn is_match(glob: &[u8], name: &[u8]) -> bool {
    let (mut g, mut n) = (0, 0);
    // Behind the last star, and what of the name it took.
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
