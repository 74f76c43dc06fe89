//! The history of deployments, the newest first: one text in the store, a block of lines for each entry. It never fails
//! a deployment: an unreadable entry is skipped, one of a newer version is kept unchanged. Reading needs no lock.
//!
//! It does not affect the live tree; the caller decides when to add an entry.

use super::directory::{Store, StoreView};
use super::key_value::{Lines, Text};
use super::record::Record;
use crate::error::Result;
use crate::model::ReleaseId;
use crate::outcome::Outcome;

/// Its file name in the store.
const FILE: &str = "history";
/// Number of entries kept: a few screens, a few weeks of daily releases, and 50 KB to write at each deployment.
const KEPT: usize = 100;

/// A deployment and its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The end, in seconds since 1970; of several counted, the last.
    pub when: u64,
    /// The end of the first one counted.
    pub first: u64,
    /// Number of times that this happened to this release in consecutive checks.
    pub count: u32,
    /// Its outcome.
    pub outcome: Outcome,
    /// Its reason: `update`, `recover`, `rollback` and so on.
    pub reason: String,
    /// Its release; `None`: it failed before the release was known.
    pub record: Option<Record>,
    /// The release that was live before.
    pub from: Option<ReleaseId>,
    /// The duration of the check, in milliseconds; 0: unknown.
    pub took_ms: u64,
    /// Bytes read from the source.
    pub bytes: u64,
    /// The cause of a failure; empty if there is none.
    pub why: String,
}

/// A block of the text; without an entry if only a newer version can read it.
#[derive(Debug)]
struct Block {
    entry: Option<Entry>,
    text: String,
}

/// The whole history. Changed only under the lock of the store.
#[derive(Debug)]
pub struct History(Vec<Block>);

/// Reads the entries of a store, the newest first.
pub fn read(store: &StoreView) -> Result<Vec<Entry>> {
    Ok(History::read(store)?.0.into_iter().filter_map(|block| block.entry).collect())
}

impl History {
    /// Reads the history of a store.
    pub fn read(store: &StoreView) -> Result<Self> {
        Ok(store.read(FILE)?.map_or_else(|| Self(Vec::new()), |text| Self::parse(&text)))
    }

    /// Whether it has the deployment that made `record` live.
    pub fn has(&self, record: &Record) -> bool {
        self.0.iter().any(|block| block.entry.as_ref().is_some_and(|entry| entry.is_of(record)))
    }

    /// Adds an entry that has just ended. A failure that repeats at each check is counted in one entry, so that a hook
    /// that blocks every minute does not push out older entries.
    pub fn add(&mut self, mut entry: Entry) {
        let since_deployed = self.0.iter().map_while(|b| b.entry.as_ref().filter(|e| e.outcome != Outcome::Deployed));
        if let Some(at) = since_deployed.map(|e| e.is_again(&entry)).position(|is_again| is_again)
            && let Some(before) = self.0.remove(at).entry
        {
            entry.first = before.first;
            entry.count = before.count.saturating_add(entry.count);
            entry.bytes = before.bytes.saturating_add(entry.bytes);
        }
        self.insert(0, entry);
    }

    /// Adds an entry that ended earlier, in order of time.
    pub fn add_late(&mut self, entry: Entry) {
        let is_older = |block: &Block| block.entry.as_ref().is_some_and(|e| e.when <= entry.when);
        let at = self.0.iter().position(is_older).unwrap_or(self.0.len());
        self.insert(at, entry);
    }

    fn insert(&mut self, at: usize, entry: Entry) {
        self.0.insert(at, Block { text: entry.print(), entry: Some(entry) });
        self.0.truncate(KEPT);
    }

    /// Replaces the history of the store, durably: it is the record of past live releases.
    pub fn write(&self, store: &Store) -> Result<()> {
        let text: String = self.0.iter().map(|block| block.text.as_str()).collect();
        store.replace(FILE, text.as_bytes(), true)
    }

    /// Each block ends with an empty line; text after the last one was truncated.
    fn parse(text: &[u8]) -> Self {
        let (mut blocks, mut block) = (Vec::new(), String::new());
        for line in String::from_utf8_lossy(text).split_inclusive('\n') {
            block.push_str(line);
            if line != "\n" {
                continue;
            }
            let text = std::mem::take(&mut block);
            let Ok(lines) = Lines::read(text.as_bytes()) else { continue };
            let entry = Entry::read(&lines).ok();
            if entry.is_some() || lines.text("entry").is_ok_and(|format| format != FORMAT) {
                blocks.push(Block { entry, text });
            }
        }
        Self(blocks)
    }
}

/// The format of the entries written.
const FORMAT: &str = "1";
/// Prefix of the keys of the record.
const ROLE: &str = "release";

impl Entry {
    /// An entry of a deployment that ended at `when`, in seconds since 1970, with no other data.
    pub fn new(when: u64, outcome: Outcome) -> Self {
        let (reason, why) = (String::new(), String::new());
        let (record, from) = (None, None);
        Self { when, first: when, count: 1, outcome, reason, record, from, took_ms: 0, bytes: 0, why }
    }

    /// Whether it is the deployment that made `record` live.
    fn is_of(&self, record: &Record) -> bool {
        self.record.as_ref().is_some_and(|r| r.release == record.release && r.since == record.since)
    }

    /// Whether `next` repeats it.
    fn is_again(&self, next: &Self) -> bool {
        let release = |entry: &Self| entry.record.as_ref().map(|r| r.release.clone());
        self.outcome == next.outcome && self.reason == next.reason && release(self) == release(next)
    }

    fn print(&self) -> String {
        let mut text = Text::default();
        text.line("entry", FORMAT.as_bytes());
        text.number("when", self.when);
        text.number("first", self.first);
        text.number("count", self.count.into());
        text.line("outcome", self.outcome.word().as_bytes());
        text.line("reason", self.reason.as_bytes());
        if let Some(record) = &self.record {
            text.record(ROLE, record);
        }
        if let Some(from) = &self.from {
            text.line("from", from.as_str().as_bytes());
        }
        text.number("took-ms", self.took_ms);
        text.number("bytes", self.bytes);
        text.line("why", self.why.as_bytes());
        text.0 + "\n"
    }

    fn read(lines: &Lines) -> Result<Self, String> {
        if lines.text("entry")? != FORMAT {
            return Err("another version wrote it".to_owned());
        }
        Ok(Self {
            when: lines.number("when")?,
            first: lines.number("first")?,
            count: lines.number("count")?,
            outcome: Outcome::parse(&lines.text("outcome")?).ok_or("its outcome is unknown")?,
            reason: lines.text("reason")?,
            record: lines.record(ROLE)?,
            from: lines.release("from")?,
            took_ms: lines.number("took-ms")?,
            bytes: lines.number("bytes")?,
            why: lines.text("why")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Revision, Validators};

    fn record(name: &str, since: u64) -> Record {
        let revision = Revision::new(format!("etag:\"{name}\"\n\nentry = 1\n"));
        let validators = Validators::default().with("etag", name);
        Record { release: ReleaseId::of("s", &revision, ""), revision, validators, since, proof: Some("p".into()) }
    }

    fn entry(when: u64, kind: &str, name: &str) -> Entry {
        Entry {
            when,
            first: when,
            count: 1,
            outcome: Outcome::parse(kind).unwrap(),
            reason: "update".into(),
            record: (!name.is_empty()).then(|| record(name, when)),
            from: Some(record("from", 0).release),
            took_ms: 7,
            bytes: 8,
            why: "a\n\nb = c ü".into(),
        }
    }

    fn with(entries: &[Entry]) -> History {
        let mut history = History(Vec::new());
        entries.iter().for_each(|entry| history.add(entry.clone()));
        history
    }

    fn text(history: &History) -> String {
        history.0.iter().map(|block| block.text.as_str()).collect()
    }

    fn entries(text: &str) -> Vec<Entry> {
        History::parse(text.as_bytes()).0.into_iter().filter_map(|block| block.entry).collect()
    }

    #[test]
    fn parse_gives_back_what_print_wrote_the_newest_first() {
        let all =
            [entry(1, "deployed", "a"), entry(2, "blocked", ""), Entry { why: "".into(), ..entry(3, "refused", "b") }];
        let text = text(&with(&all));
        assert!(text.bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b)), "{text}");
        assert_eq!(entries(&text), [all[2].clone(), all[1].clone(), all[0].clone()]);
    }

    #[test]
    fn every_truncation_gives_the_entries_before_it() {
        let text = text(&with(&[entry(1, "deployed", "a"), entry(2, "deployed", "b")]));
        let whole = text.find("\n\n").unwrap() + 2;
        for end in 0..text.len() {
            assert_eq!(entries(&text[..end]).len(), usize::from(end >= whole), "{}", &text[..end]);
        }
    }

    #[test]
    fn garbage_is_passed_over_and_entries_of_a_newer_version_stay() {
        let (old, newer) = (text(&with(&[entry(1, "deployed", "a")])), "entry = 2\nmoment = soon\n\n");
        let more = old.replace("why = ", "colour = red\nwhy = ");
        let broken = old.replace("when = 1", "when = soon");
        for garbage in ["\u{fffd}\u{0}x\n\n", "no equals\n\n", "a = \\x\n\n", "a = b\n\n", "\n\n\n\n", &broken] {
            let mut history = History::parse(format!("{garbage}{newer}{more}{garbage}").as_bytes());
            history.add(entry(2, "deployed", "b"));
            let expected = format!("{}{newer}{more}", text(&with(&[entry(2, "deployed", "b")])));
            assert_eq!(text(&history), expected, "{garbage:?}");
            assert_eq!(entries(&expected).len(), 2);
        }
    }

    #[test]
    fn the_same_at_each_check_is_one_entry_with_a_count() {
        let mut all = vec![entry(1, "blocked", "a"), entry(2, "deployed", "a")];
        for when in 3..1000 {
            // Two alternating failures do not push out older entries either.
            all.push(entry(when, if when % 2 == 0 { "blocked" } else { "failed" }, "b"));
        }
        let found = entries(&text(&with(&all)));
        let told: Vec<_> = found.iter().map(|e| (e.outcome.word(), e.first, e.when, e.count, e.bytes)).collect();
        let expected = [("failed", 3, 999, 499, 3992), ("blocked", 4, 998, 498, 3984)];
        assert_eq!(told[..2], expected);
        assert_eq!(told[2..], [("deployed", 2, 2, 1, 8), ("blocked", 1, 1, 1, 8)]);
        for other in [entry(1000, "failed", "c"), entry(1000, "failed", ""), {
            Entry { reason: "recover".into(), ..entry(1000, "failed", "b") }
        }] {
            assert_eq!(with(&[&all[..], &[other]].concat()).0.len(), 5);
        }
    }

    #[test]
    fn what_was_deployed_is_not_counted_and_the_oldest_go() {
        let all: Vec<_> = (1..=250).map(|when| entry(when, "deployed", "a")).collect();
        let found = with(&all);
        assert_eq!(found.0.len(), KEPT);
        assert!(found.has(&record("a", 151)) && !found.has(&record("a", 150)) && !found.has(&record("b", 250)));
    }

    #[test]
    fn what_is_noted_late_stands_where_it_belongs() {
        let mut found = with(&[entry(1, "deployed", "a"), entry(5, "blocked", "c")]);
        [3, 0, 7].into_iter().for_each(|when| found.add_late(entry(when, "deployed", "b")));
        let whens: Vec<_> = entries(&text(&found)).iter().map(|e| e.when).collect();
        assert_eq!(whens, [7, 5, 3, 1, 0]);
    }
}
