//! The history of a store, newest deployment first, for people ([`text`]) and programs ([`json`]). Needs no lock.

use super::status::shade;
use crate::activate::locations;
use crate::config::Settings;
use crate::console::json::Json;
use crate::console::progress::size;
use crate::console::screen::{Color, Screen};
use crate::error::{Context, Result};
use crate::store::StoreView;
use crate::store::history::{self, Entry};
use crate::sys::clock::rfc3339;

/// The history of one deployment.
#[derive(Debug)]
pub struct Told<'a> {
    settings: &'a Settings,
    entries: Vec<Entry>,
}

impl<'a> Told<'a> {
    /// Reads the entries from its store.
    pub fn read(settings: &'a Settings) -> Result<Self> {
        let store = StoreView::open(&locations::locate(settings)?.store);
        let entries = store.and_then(|store| history::read(&store)).with_context(|| "cannot tell the history")?;
        Ok(Self { settings, entries })
    }
}

/// The headings of the columns.
const HEADINGS: [&str; 7] = ["when", "outcome", "release", "revision", "reason", "took", "bytes"];
/// The columns that are left out on a narrow terminal: reason, took, bytes.
const SPARE: [usize; 3] = [4, 5, 6];
/// The indentation of the note below an entry.
const INDENT: usize = 4;

/// The text of `repo-deploy history`.
pub fn text(all: &[Told<'_>], screen: Screen) -> String {
    let mut text = String::new();
    for Told { settings, entries } in all {
        if !text.is_empty() {
            text.push('\n');
        }
        if all.len() > 1 {
            text += &screen.rows(&[("id", settings.id.clone(), None)]);
        }
        if entries.is_empty() {
            text += "nothing is noted yet; status tells what is live\n";
            continue;
        }
        let mut lines = vec![HEADINGS.map(str::to_owned).to_vec()];
        lines.extend(entries.iter().map(|entry| cells(entry, screen)));
        let notes = std::iter::once(String::new()).chain(entries.iter().map(note));
        for (line, note) in screen.table(&lines, &SPARE).iter().zip(notes) {
            text += line;
            text.push('\n');
            if !note.is_empty() {
                text += "    ";
                screen.wrap_hanging(&mut text, &screen.printable(&note), INDENT);
            }
        }
    }
    text
}

/// An entry as a row of the table.
fn cells(entry: &Entry, screen: Screen) -> Vec<String> {
    let Entry { when, outcome, reason, record, took_ms, bytes, .. } = entry;
    let shown = |text: &str| screen.painted(if text.is_empty() { "-" } else { text }, Color::Plain);
    vec![
        rfc3339(*when),
        screen.painted(outcome.word(), shade(*outcome)),
        shown(record.as_ref().map_or("", |record| record.release.as_str())),
        shown(&record.as_ref().map_or_else(String::new, |record| record.revision.to_string())),
        shown(reason),
        shown(&span(*took_ms)),
        // As short as in `ls -h`.
        shown(&if *bytes == 0 { String::new() } else { size(*bytes).replace(' ', "").replace("iB", "") }),
    ]
}

/// The note below an entry: how often, and why.
fn note(entry: &Entry) -> String {
    match entry.count {
        0 | 1 => entry.why.clone(),
        count => format!("{count} times since {}: {}", rfc3339(entry.first), entry.why),
    }
}

/// A duration for people: `40ms`, `59.9s`, `3m20s`, `2h05m`; empty if unknown.
fn span(ms: u64) -> String {
    match ms / 1000 {
        _ if ms == 0 => String::new(),
        0 => format!("{ms}ms"),
        s @ ..60 => format!("{s}.{}s", ms % 1000 / 100),
        s @ 60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        s => format!("{}h{:02}m", s / 3600, s / 60 % 60),
    }
}

/// The history as JSON: one object, one entry a line.
pub fn json(all: &[Told<'_>]) -> String {
    let mut json = Json("{\"deployments\":[".to_owned());
    for Told { settings, entries } in all {
        json.open("\n{");
        json.text("id", Some(&settings.id));
        json.text("remote", Some(&settings.remote.to_string()));
        json.raw("history", "[");
        entries.iter().for_each(|entry| object(&mut json, entry));
        json.close("]}");
    }
    json.0 + "\n]}\n"
}

fn object(json: &mut Json, entry: &Entry) {
    let Entry { when, first, count, outcome, reason, record, from, took_ms, bytes, why } = entry;
    json.open("\n{");
    json.time("when", Some(*when));
    json.time("first", Some(*first));
    json.number("count", (*count).into());
    json.text("outcome", Some(outcome.word()));
    json.text("reason", known(reason));
    json.text("release", record.as_ref().map(|record| record.release.as_str()));
    json.text("revision", record.as_ref().and_then(|record| known(record.revision.as_str())));
    json.text("proof", record.as_ref().and_then(|record| record.proof.as_deref()));
    json.text("from", from.as_ref().map(|from| from.as_str()));
    match took_ms {
        0 => json.raw("took_ms", "null"),
        ms => json.number("took_ms", *ms),
    }
    json.number("bytes", *bytes);
    json.text("why", known(why));
    json.close("}");
}

/// A text, unless it is empty.
fn known(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use crate::command::history::span;

    #[test]
    fn spans_are_short() {
        for (ms, text) in [
            (0, ""),
            (1, "1ms"),
            (999, "999ms"),
            (1000, "1.0s"),
            (59_999, "59.9s"),
            (60_000, "1m00s"),
            (200_500, "3m20s"),
            (3_599_999, "59m59s"),
            (7_500_000, "2h05m"),
            (360_000_000, "100h00m"),
        ] {
            assert_eq!(span(ms), text);
        }
    }
}
