//! A record as a line: `2026-11-30T11:54:34.738Z INFO  [web] deployed ...`. simple_logger formats it and prints it to
//! descriptor 2, which is memory; lines that other code prints there are collected from it too.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use log::kv::{Key, Value, VisitSource};
use log::{Level, Log as _, Record};
use simple_logger::SimpleLogger;

use super::json::Json;
use super::screen::{Color, Screen};
use crate::sys::stderr;

/// The longest text of a record: a pipe in place of memory takes it whole.
const LONGEST: usize = 32 * 1024;

/// The prefix of records that concern no deployment.
pub(super) const OURSELVES: &str = "repo-deploy";

static FORMAT: LazyLock<SimpleLogger> = LazyLock::new(|| SimpleLogger::new().with_utc_timestamps());

/// The output to descriptor 2 since the last call, and a record after it: lines with their newlines.
pub(super) fn with_record(level: Level, target: &str, text: &str) -> Vec<String> {
    let text = printable(text.trim_end_matches('\n'));
    let end = (0..=text.len().min(LONGEST)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    FORMAT.log(&Record::builder().level(level).target(target).args(format_args!("{}", &text[..end])).build());
    printed()
}

/// The output to descriptor 2 since the last call.
pub(super) fn printed() -> Vec<String> {
    let bytes = stderr::take();
    bytes.split_inclusive(|byte| *byte == b'\n').map(|line| printable(&String::from_utf8_lossy(line)) + "\n").collect()
}

/// The error of a command, `repo-deploy: text`, and a hint on a line of its own; as JSON one object with both.
pub(super) fn of_command(text: &str, hint: Option<&str>, is_journal: bool) -> String {
    if is_json() {
        let text = hint.map_or(text.to_owned(), |hint| format!("{text}. {hint}"));
        return with_record(Level::Error, OURSELVES, &text).iter().map(|line| formed(line, is_journal, "")).collect();
    }
    let (text, priority) = (printable(text), if is_journal { "<3>" } else { "" });
    let hint = hint.map_or(String::new(), |hint| format!("{priority}{hint}\n"));
    format!("{priority}{OURSELVES}: {text}\n{hint}")
}

/// The offset of the level in a record, after the time.
const LEVEL: usize = "2026-11-30T11:54:34.738Z ".len();

/// A record with its level in colour, if it is a warning or an error.
pub(super) fn painted(line: &str, screen: Screen) -> String {
    let Some((time, rest)) = line.split_at_checked(LEVEL) else { return line.to_owned() };
    for (word, shade) in [("ERROR", Color::Bad), ("WARN", Color::Doubtful)] {
        if let Some(rest) = rest.strip_prefix(word) {
            return format!("{time}{}{rest}", screen.painted(word, shade));
        }
    }
    line.to_owned()
}

/// Records are JSON objects.
static IS_JSON: AtomicBool = AtomicBool::new(false);

pub(super) fn set_json(is_json: bool) {
    IS_JSON.store(is_json, Relaxed);
}

pub(super) fn is_json() -> bool {
    IS_JSON.load(Relaxed)
}

/// The levels with their priorities in journald (sd-daemon(3)).
const LEVELS: [(&str, u8); 5] = [("ERROR", 3), ("WARN", 4), ("INFO", 6), ("DEBUG", 7), ("TRACE", 7)];

/// The facts of a record as members of a JSON object, each after a comma; empty where no JSON is written.
pub(super) fn facts(record: &Record<'_>) -> String {
    struct Members(Json);
    impl<'kvs> VisitSource<'kvs> for Members {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
            self.0.text(key.as_str(), Some(&value.to_string()));
            Ok(())
        }
    }
    // A text before the first member, so that it gets a comma too.
    let mut members = Members(Json("}".to_owned()));
    match is_json() && record.key_values().visit(&mut members).is_ok() {
        true => members.0.0.split_off(1),
        false => String::new(),
    }
}

/// A line in the form of its outlet: as it is, as JSON with `facts` as further members, or for journald with a priority
/// and without a time. A line of other code is a warning.
pub(super) fn formed(line: &str, is_journal: bool, facts: &str) -> String {
    if !is_journal && !is_json() {
        return line.to_owned();
    }
    let text = line.trim_end_matches('\n');
    let (time, level, rest) = split(text).unwrap_or((None, LEVELS[1], text));
    let named = rest.strip_prefix('[').and_then(|rest| rest.split_once("] ")).filter(|_| time.is_some());
    let mut formed = if is_journal { format!("<{}>", level.1) } else { String::new() };
    if !is_json() {
        return formed + rest + "\n";
    }
    let (id, message) = named.unwrap_or((OURSELVES, rest));
    let mut json = Json("{".to_owned());
    json.text("time", time);
    json.text("level", Some(&level.0.to_lowercase()));
    json.text("id", Some(id));
    json.text("message", Some(message));
    json.close(facts);
    json.close("}\n");
    formed.push_str(&json.0);
    formed
}

/// The time, the level and the rest of a record; `None`: the line is none.
fn split(text: &str) -> Option<(Option<&str>, (&'static str, u8), &str)> {
    let (time, rest) = text.split_at_checked(LEVEL)?;
    let level = LEVELS.iter().find(|(word, _)| rest.starts_with(word))?;
    let rest = rest[level.0.len()..].trim_start();
    Some((Some(time.trim_end()).filter(|time| time.ends_with('Z')), *level, rest))
}

/// `text` as one line of printable characters: text from archives, servers and hooks must neither forge records nor
/// control the terminal. Idempotent.
fn printable(text: &str) -> String {
    let mut line = String::with_capacity(text.len() + 1);
    for c in text.strip_suffix('\n').unwrap_or(text).chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if c.is_control() => line.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => line.push(c),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_of_printable_characters() {
        for (text, expected) in [
            ("plain ünïcode 文", "plain ünïcode 文"),
            ("two\nlines\r\n", "two\\nlines\\r"),
            ("\ttab", "\\ttab"),
            ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
            ("nul\0 del\x7f c1\u{9b}31m", "nul\\x00 del\\x7f c1\\x9b31m"),
            ("", ""),
        ] {
            assert_eq!(printable(text), expected);
            assert_eq!(printable(expected), expected, "twice");
        }
    }
}
