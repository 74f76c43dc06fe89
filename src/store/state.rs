//! The durable record of one deployment: a small text of `key = value` lines, replaced atomically. An invalid state is
//! not guessed at: [`State::parse`] returns the reason, and recovery decides.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::key_value::{Lines, Text};
pub use super::key_value::{escape, unescape};
pub use super::record::Record;
use crate::model::{ActivationMode, ReleaseId, Revision};
use crate::sys::fs::Identity;
use crate::sys::host::boot_id;

/// The phase of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The live tree is `current`, and its post hooks passed.
    Idle,
    /// The live tree may be `current`, `target` or, in-place, between them.
    Activating,
    /// Rolling back to `current`.
    Reverting,
}

/// The entry at `<local>` before the first deployment, which rolling it back restores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// No entry.
    Absent,
    /// A link that this deployment did not make, with this target.
    Link(OsString),
    /// An empty directory.
    Empty,
}

/// The way in which a revision failed to become live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The archive was refused, as the same bytes would be again.
    Refused,
    /// A pre hook failed.
    Blocked,
    /// Activation or a post hook failed.
    Reverted,
}

/// A revision that did not become live, or did not stay live, and the number of attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its release.
    pub release: ReleaseId,
    /// The last failure.
    pub kind: FailureKind,
    /// Number of failures.
    pub count: u32,
    /// Time of the last one, in seconds since 1970.
    pub when: u64,
    /// A fingerprint of the limits that refused it: other limits may accept it.
    pub policy: String,
    /// A description of the failure.
    pub why: String,
    /// The fingerprint of the signature and checksum files, if they led to the refusal: other files may verify the same
    /// archive.
    pub seal: Option<String>,
}

/// The largest number of rolled-back releases recorded.
const MOST_WITHDRAWN: usize = 50;

/// The whole state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// `<local>`: a store serves one live path.
    pub local: PathBuf,
    /// How releases become live.
    pub mode: ActivationMode,
    /// The phase of the deployment.
    pub phase: Phase,
    /// The number of the current attempt at the post hooks, from 1.
    pub attempt: u32,
    /// The entry that the first deployment found.
    pub found: Found,
    /// The live release; `None` before the first deployment.
    pub current: Option<Record>,
    /// The release that was live before.
    pub previous: Option<Record>,
    /// While activating or rolling back: the new release. While idle: a candidate that is not live yet.
    pub target: Option<Record>,
    /// The target's failures.
    pub failure: Option<Failure>,
    /// While the operator tries another release: the former candidate, which is restored if that one fails.
    pub saved_candidate: Option<Record>,
    /// The failure of [`Self::saved_candidate`].
    pub aside_failure: Option<Failure>,
    /// Releases rolled back, with the time in `since`: on hold until another release is live or the operator lifts the
    /// hold. During a rollback, the live release is among them.
    pub rolled_back: Vec<Record>,
    /// Whether hooks may have seen another release than the live one: all files of the next release are new to them.
    pub hooks_state_unknown: bool,
    /// The highest version named by a signature: the next one may not be lower.
    pub version: Option<String>,
    /// The live directory: another directory at the same path was put there by another process.
    pub live_dir: Option<LiveDirectory>,
}

/// A directory, and the boot during which it was examined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveDirectory {
    /// Its identity.
    pub identity: Identity,
    /// Device numbers change between boots.
    pub boot: String,
}

impl LiveDirectory {
    /// A directory examined during this boot.
    pub fn now(identity: Identity) -> Self {
        Self { identity, boot: boot_id().unwrap_or_default() }
    }

    /// Whether it is the same directory as `before`.
    pub fn is(&self, before: &Self) -> bool {
        self.identity.is(&before.identity, self.boot == before.boot)
    }

    fn print(&self) -> String {
        let Identity { device, inode, born } = self.identity;
        let born = born.map_or_else(|| "-".to_owned(), |(seconds, nanos)| format!("{seconds}.{nanos}"));
        format!("{device} {inode} {born} {}", self.boot)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (device, inode) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let born = match words.next()? {
            "-" => None,
            time => {
                let (seconds, nanos) = time.split_once('.')?;
                Some((seconds.parse().ok()?, nanos.parse().ok()?))
            }
        };
        Some(Self { identity: Identity { device, inode, born }, boot: words.next()?.to_owned() })
    }
}

impl State {
    /// The state before the first deployment.
    pub fn fresh(local: PathBuf, mode: ActivationMode, found: Found) -> Self {
        Self {
            local,
            mode,
            phase: Phase::Idle,
            attempt: 0,
            found,
            current: None,
            previous: None,
            target: None,
            failure: None,
            saved_candidate: None,
            aside_failure: None,
            rolled_back: Vec::new(),
            hooks_state_unknown: false,
            version: None,
            live_dir: None,
        }
    }

    /// Whether the running deployment is a rollback by hand of the live release.
    pub fn is_rollback(&self) -> bool {
        let is_live = |record: &Record| self.current.as_ref().is_some_and(|c| c.release == record.release);
        self.phase != Phase::Idle && self.rolled_back.iter().any(is_live)
    }

    /// Puts the live release on hold, and `to` in the place of the candidate, which is kept.
    pub fn begin_rollback(&mut self, to: Record, now: u64) {
        self.current.clone().into_iter().for_each(|left| self.leave(left, now));
        (self.saved_candidate, self.aside_failure) = (self.target.replace(to), self.failure.take());
    }

    /// Ends a rollback to `to`, before that becomes the live release: earlier rolled-back releases stay on hold.
    pub fn end_rollback(&mut self, to: &Record) {
        // An adopted release is no revision of a source; and the operator wants the release that is rolled back to.
        self.rolled_back.retain(|record| !record.release.is_adopted() && record.release != to.release);
        // An earlier candidate is kept; else the next poll asks against the release that was left.
        let kept = self.saved_candidate.take().filter(|kept| kept.release != to.release);
        self.target = kept.or_else(|| self.current.clone().filter(|left| !left.release.is_adopted()));
        let of = self.target.as_ref().map(|target| &target.release);
        self.failure = self.aside_failure.take().filter(|failure| Some(&failure.release) == of);
    }

    /// Undoes a failed rollback: the release that was left is live again, with the earlier candidate and failure.
    /// Returns the failure of the rollback.
    pub fn undo_rollback(&mut self) -> Option<Failure> {
        if let Some(current) = &self.current {
            self.rolled_back.retain(|record| record.release != current.release);
        }
        self.target = self.saved_candidate.take();
        std::mem::replace(&mut self.failure, self.aside_failure.take())
    }

    /// Records `record` as rolled back at `now`.
    pub fn leave(&mut self, record: Record, now: u64) {
        self.rolled_back.retain(|known| known.release != record.release);
        self.rolled_back.push(Record { since: now, ..record });
        let few = self.rolled_back.len().saturating_sub(MOST_WITHDRAWN);
        self.rolled_back.drain(..few);
    }

    /// The rolled-back release that is this release or has this revision: another configuration, which gives the
    /// revision another release id, does not make it new.
    pub fn withdrawal(&self, release: &ReleaseId, revision: &Revision) -> Option<&Record> {
        let is_same = |record: &&Record| {
            let (one, content) = (&record.revision, revision.content());
            record.release == *release
                || (!one.as_str().is_empty() && one.as_str() == revision.as_str())
                || (content.is_some() && one.content() == content)
        };
        self.rolled_back.iter().find(is_same)
    }

    /// Formats it.
    pub fn print(&self) -> String {
        let mut text = Text::default();
        text.line("format", b"1");
        text.line("local", self.local.as_os_str().as_bytes());
        text.line("activation", self.mode.to_string().as_bytes());
        text.line("phase", phase_word(self.phase).as_bytes());
        text.number("attempt", self.attempt.into());
        match &self.found {
            Found::Absent => text.line("found", b"nothing"),
            Found::Empty => text.line("found", b"empty-directory"),
            Found::Link(target) => text.line("found-link", target.as_bytes()),
        }
        let records = [
            ("current", &self.current),
            ("previous", &self.previous),
            ("target", &self.target),
            ("aside", &self.saved_candidate),
        ];
        for (role, record) in records {
            let Some(record) = record else { continue };
            text.record(role, record);
        }
        for (role, failure) in [("failure", &self.failure), ("aside-failure", &self.aside_failure)] {
            let Some(failure) = failure else { continue };
            text.line(role, failure.release.as_str().as_bytes());
            text.line(&format!("{role}-kind"), failure_word(failure.kind).as_bytes());
            text.number(&format!("{role}-count"), failure.count.into());
            text.number(&format!("{role}-when"), failure.when);
            text.line(&format!("{role}-policy"), failure.policy.as_bytes());
            text.line(&format!("{role}-why"), failure.why.as_bytes());
            if let Some(seal) = &failure.seal {
                text.line(&format!("{role}-seal"), seal.as_bytes());
            }
        }
        for (n, record) in self.rolled_back.iter().enumerate() {
            text.record(&format!("rolled-back-{n}"), record);
        }
        if self.hooks_state_unknown {
            text.line("unsure", b"yes");
        }
        if let Some(version) = &self.version {
            text.line("version", version.as_bytes());
        }
        if let Some(live_dir) = &self.live_dir {
            text.line("live-directory", live_dir.print().as_bytes());
        }
        text.line("end", b"yes"); // a copy that was cut off is not mistaken for a whole one
        text.0
    }

    /// Parses it. `Err` is a short description of the fault.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let lines = Lines::read(text)?;
        match lines.text("format")?.as_str() {
            "1" => {}
            other => return Err(format!("it has the format {other}, and this program knows 1")),
        }
        if lines.text("end").ok().as_deref() != Some("yes") {
            return Err("it is cut off".to_owned());
        }
        let found = match lines.find("found-link") {
            Some(target) => Found::Link(OsString::from_vec(target.to_vec())),
            None if lines.text("found")? == "empty-directory" => Found::Empty,
            None => Found::Absent,
        };
        let state = Self {
            local: PathBuf::from(OsString::from_vec(lines.get("local")?.to_vec())),
            mode: one_of(&lines.text("activation")?, ActivationMode::ALL, |m| m.to_string())?,
            phase: one_of(&lines.text("phase")?, [Phase::Idle, Phase::Activating, Phase::Reverting], |p| {
                phase_word(p).into()
            })?,
            attempt: lines.number("attempt")?,
            found,
            current: lines.record("current")?,
            previous: lines.record("previous")?,
            target: lines.record("target")?,
            failure: lines.failure("failure")?,
            saved_candidate: lines.record("aside")?,
            aside_failure: lines.failure("aside-failure")?,
            rolled_back: lines.withdrawn()?,
            hooks_state_unknown: lines.find("unsure").is_some(),
            version: lines.may_have("version")?,
            live_dir: lines.may_have("live-directory")?.and_then(|text| LiveDirectory::parse(&text)),
        };
        if state.phase != Phase::Idle && state.target.is_none() {
            return Err(format!("it is {} and names no target", state.phase));
        }
        Ok(state)
    }
}

/// The format of a complete state of another version; `None` for an invalid one.
pub fn foreign_format(text: &[u8]) -> Option<String> {
    let lines = Lines::read(text).ok()?;
    let format = lines.text("format").ok()?;
    let is_number = format.bytes().all(|b| b.is_ascii_digit()) && !format.is_empty();
    (is_number && format != "1" && lines.text("end").as_deref() == Ok("yes")).then_some(format)
}

fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Idle => "idle",
        Phase::Activating => "activating",
        Phase::Reverting => "rolling-back",
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(phase_word(*self))
    }
}

fn failure_word(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Refused => "refused",
        FailureKind::Blocked => "blocked",
        FailureKind::Reverted => "rolled-back",
    }
}

impl std::fmt::Display for FailureKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(failure_word(*self))
    }
}

fn one_of<T: Copy, const N: usize>(word: &str, all: [T; N], print: impl Fn(T) -> String) -> Result<T, String> {
    all.into_iter().find(|one| print(*one) == word).ok_or_else(|| format!("it says {word:?} where it cannot"))
}

impl Lines {
    fn withdrawn(&self) -> Result<Vec<Record>, String> {
        let mut all = Vec::new();
        while let Some(record) = self.record(&format!("rolled-back-{}", all.len()))? {
            all.push(record);
        }
        Ok(all)
    }

    fn failure(&self, role: &str) -> Result<Option<Failure>, String> {
        use FailureKind::{Blocked, Refused, Reverted};
        let Some(release) = self.release(role)? else { return Ok(None) };
        let key = |name: &str| format!("{role}-{name}");
        let kinds = [Refused, Blocked, Reverted];
        Ok(Some(Failure {
            release,
            kind: one_of(&self.text(&key("kind"))?, kinds, |k| failure_word(k).into())?,
            count: self.number(&key("count"))?,
            when: self.number(&key("when"))?,
            policy: self.text(&key("policy"))?,
            why: self.text(&key("why"))?,
            seal: self.may_have(&key("seal"))?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Validators;

    fn record(seed: u64) -> Record {
        let content = seed.is_multiple_of(2).then(|| format!("tree {seed}"));
        let revision = Revision::new(format!("etag:\"{seed}\"\n = \\x00 ü")).with_content(content);
        Record {
            release: ReleaseId::of("source", &revision, ""),
            revision,
            validators: Validators::default().with("etag", format!("\"{seed}\"")).with("modified", "Sun, 22 Nov 2026"),
            since: seed,
            proof: (seed > 1).then(|| format!("signed:{seed}")),
        }
    }

    /// States with every combination of fields.
    fn states() -> Vec<State> {
        let mut all = Vec::new();
        let founds = [Found::Absent, Found::Empty, Found::Link(OsString::from_vec(b"\xff\n/x = y\\".to_vec()))];
        for mode in ActivationMode::ALL {
            for phase in [Phase::Idle, Phase::Activating, Phase::Reverting] {
                for (n, found) in founds.iter().enumerate() {
                    let mut state = State::fresh(PathBuf::from("/var/deploy/current"), mode, found.clone());
                    state.phase = phase;
                    state.attempt = 2;
                    state.current = (n > 0).then(|| record(1));
                    state.previous = (n > 1).then(|| record(2));
                    state.target = (phase != Phase::Idle).then(|| record(3));
                    state.rolled_back = (4..4 + n as u64).map(record).collect();
                    state.saved_candidate = (n > 1).then(|| record(7));
                    state.hooks_state_unknown = n > 0;
                    state.failure = (n > 1).then(|| Failure {
                        release: record(3).release,
                        kind: FailureKind::Blocked,
                        count: 4,
                        when: 5,
                        policy: "p".into(),
                        why: "10-lock ended\nwith 1".into(),
                        seal: (phase == Phase::Idle).then(|| "5ea1".into()),
                    });
                    state.version = (n > 1).then(|| "1.10.2".into());
                    all.push(state);
                }
            }
        }
        all
    }

    #[test]
    fn parse_gives_back_what_print_wrote() {
        for state in states() {
            assert_eq!(State::parse(state.print().as_bytes()).as_ref(), Ok(&state), "{}", state.print());
        }
    }

    #[test]
    fn states_of_before_signatures_and_rollbacks_are_read_and_have_none() {
        for state in states() {
            const NEW: [&str; 6] = ["-proof = ", "-seal = ", "version = ", "aside", "rolled-back-", "unsure = "];
            let is_new = |line: &&str| NEW.iter().any(|key| line.contains(key));
            let (text, mut old) = (state.print(), state);
            let text: String = text.lines().filter(|line| !is_new(line)).map(|line| format!("{line}\n")).collect();
            (old.version, old.saved_candidate, old.aside_failure, old.hooks_state_unknown) = (None, None, None, false);
            old.rolled_back.clear();
            for record in [&mut old.current, &mut old.previous, &mut old.target].into_iter().flatten() {
                record.proof = None;
            }
            if let Some(failure) = &mut old.failure {
                failure.seal = None;
            }
            assert_eq!(State::parse(text.as_bytes()), Ok(old), "{text}");
        }
    }

    #[test]
    fn what_is_left_is_there_once_and_the_newest_stay() {
        let mut state = State::fresh(PathBuf::from("/l"), ActivationMode::Symlink, Found::Absent);
        for n in [1, 2, 1] {
            state.leave(record(n), n);
        }
        assert_eq!(state.rolled_back.iter().map(|r| r.since).collect::<Vec<_>>(), [2, 1]);
        (0..100).for_each(|n| state.leave(record(n), n));
        assert_eq!((state.rolled_back.len(), state.rolled_back[0].since), (MOST_WITHDRAWN, 50));
        let known = record(99);
        let other = ReleaseId::of("elsewhere", &known.revision, "");
        assert_eq!(state.withdrawal(&other, &known.revision).map(|r| r.since), Some(99), "the revision counts");
        assert!(state.withdrawal(&other, &Revision::new("new")).is_none());
    }

    #[test]
    fn every_truncation_is_refused() {
        for state in states() {
            let text = state.print();
            // Without its last newline it is still complete.
            for end in 0..text.len() - 1 {
                assert!(State::parse(&text.as_bytes()[..end]).is_err(), "accepted the first {end} bytes of\n{text}");
            }
        }
    }
}
