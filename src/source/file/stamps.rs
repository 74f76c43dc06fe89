//! The stamps of a file or directory: names, inodes, sizes and times, read without its content, and saved as a text.
//!
//! File systems count time in steps: a tick of the kernel at best, a second (ext4 with inodes of 128 bytes, NFS), two
//! (FAT). A file that is rewritten within the step of its stamp keeps the stamp. So stamps prove that nothing changed
//! since they were read only if all of them were clearly older than the reading; git calls a younger entry "racily
//! clean", and reads it again. If another machine's clock sets the stamps, their age says nothing: they are proof if
//! they were seen before, and more than a step has passed since. The same holds for stamps in the future, and if
//! another file system is mounted below, since its clock is not determined.

use sha2::{Digest, Sha256};

use crate::model::{Validators, hex};
use crate::sys::fs::Meta;

/// The longest step of a file system, in seconds.
const STEP: u64 = 2;
/// The key of the stamps.
const SEEN: &str = "seen";
/// The key of the time when the stamps were first seen, in seconds since 1970. Present as long as they are no proof.
const SEEN_AT: &str = "seen-at";

/// The stamps at one time.
#[derive(Debug)]
pub(super) struct Stamps {
    /// The stamps of an archive, or a hash of a directory's.
    text: String,
    /// When the reading of the stamps began.
    at: u64,
    /// The latest change, in seconds.
    youngest: i64,
    /// Whether an entry is on another file system than the top directory.
    is_mixed: bool,
}

/// Whether equal stamps prove equal content.
pub(super) fn are_proof(remembered: &Validators) -> bool {
    remembered.get(SEEN).is_some() && remembered.get(SEEN_AT).is_none()
}

impl Stamps {
    /// Empty stamps; `at` is the time in seconds.
    pub(super) fn new(at: u64) -> Self {
        Self { text: String::new(), at, youngest: i64::MIN, is_mixed: false }
    }

    /// Sets the stamps of an archive.
    pub(super) fn add_archive(&mut self, meta: &Meta) {
        let (m, c) = (meta.mtime, meta.ctime);
        self.text = format!("{}:{}:{}:{}.{:09}:{}.{:09}", meta.dev, meta.ino, meta.size, m.0, m.1, c.0, c.1);
        self.add_time(meta, true);
    }

    /// Sets the stamps of a directory from their hash.
    pub(super) fn add_tree(&mut self, hash: Sha256) {
        self.text = hex(&hash.finalize()[..16]);
    }

    /// Adds the time of an entry; `is_here` if it is on the same file system as the top directory.
    pub(super) fn add_time(&mut self, meta: &Meta, is_here: bool) {
        // ctime, since mtime can be set to any value.
        self.youngest = self.youngest.max(meta.ctime.0);
        self.is_mixed |= !is_here;
    }

    /// The stamps as text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether the stamps differ from `other`.
    pub(super) fn are_other(&self, other: &Self) -> bool {
        self.text != other.text
    }

    /// Whether the stamps equal the remembered ones.
    pub(super) fn are_in(&self, remembered: &Validators) -> bool {
        remembered.get(SEEN) == Some(self.text.as_str())
    }

    /// The validators to save; `before` are those saved for the same stamps, if any; `is_our_time` if this machine's
    /// clock sets the stamps of the file system. The content must be read after the stamps.
    pub(super) fn remembered(&self, before: Option<&Validators>, is_our_time: bool) -> Validators {
        let first = before.and_then(|before| before.get(SEEN_AT)?.parse().ok()).unwrap_or(self.at).min(self.at);
        let (at, step) = (i64::try_from(self.at).unwrap_or(i64::MAX), STEP.cast_signed());
        // A change later than now comes from another clock.
        let is_told_by_age = is_our_time && !self.is_mixed && self.youngest <= at.saturating_add(step);
        let is_proof = if is_told_by_age { at.saturating_sub(self.youngest) > step } else { self.at - first > STEP };
        let seen = Validators::default().with(SEEN, self.text.as_str());
        if is_proof { seen } else { seen.with(SEEN_AT, first.to_string()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(at: u64, youngest: i64) -> Stamps {
        Stamps { text: "x".to_owned(), at, youngest, is_mixed: false }
    }

    #[test]
    fn only_what_is_clearly_older_than_the_look_is_proof() {
        for (changed, looked, expected) in [
            (1000, 1000, false),
            (1000, 1001, false),
            (1000, 1002, false), // FAT: 1000.0 to 1001.9, and the look may be at 1002.0
            (1000, 1003, true),
            (1000, 999, false),
            (i64::MAX, 1000, false), // in the future
            (-5, 1000, true),        // before 1970
            (i64::MIN, 0, true),     // an empty directory
            (5, 0, false),           // the clock stands before 1970
        ] {
            let remembered = seen(looked, changed).remembered(None, true);
            assert_eq!(are_proof(&remembered), expected, "{changed} {looked}");
            assert!(seen(0, 0).are_in(&remembered));
        }
    }

    #[test]
    fn stamps_of_another_clock_are_proof_when_they_are_seen_again() {
        let first = seen(1000, 10).remembered(None, false);
        assert!(!are_proof(&first));
        let soon = seen(1002, 10).remembered(Some(&first), false);
        assert_eq!((are_proof(&soon), &soon), (false, &first), "nothing new to write down");
        assert!(are_proof(&seen(1003, i64::MAX).remembered(Some(&soon), false)));
        // The clock was set back: waiting for the step starts again.
        let back = seen(500, 10).remembered(Some(&first), false);
        assert!(!are_proof(&seen(502, 10).remembered(Some(&back), false)));
        assert!(are_proof(&seen(503, 10).remembered(Some(&back), false)));
    }

    #[test]
    fn stamps_of_the_future_and_of_two_file_systems_are_proof_when_they_are_seen_again() {
        let mixed = |at| Stamps { is_mixed: true, ..seen(at, 10) };
        for at in [&(|at| seen(at, i64::MAX)) as &dyn Fn(u64) -> Stamps, &mixed] {
            let first = at(1000).remembered(None, true);
            assert!(!are_proof(&first) && !are_proof(&at(1002).remembered(Some(&first), true)));
            assert!(are_proof(&at(1003).remembered(Some(&first), true)));
        }
        // The file system itself may be ahead by a step.
        let ahead = seen(1000, 1002).remembered(None, true);
        assert!(!are_proof(&seen(1003, 1002).remembered(Some(&ahead), true)));
    }

    #[test]
    fn what_is_not_remembered_is_no_proof() {
        assert!(!are_proof(&Validators::default()));
        assert!(!seen(0, 0).are_in(&Validators::default()));
    }
}
