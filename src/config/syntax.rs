//! The syntax of the configuration file: `key = value`, one a line, `[sections]`, comments of a whole line. It keeps
//! line numbers and the place of each value in the text, so that a single value can be replaced and every other byte
//! kept. Which keys exist, and their meaning, is not known here.

use std::ops::Range;

use crate::error::{Error, Result};

/// A parsed file: its text, and the places of entries and sections in it.
#[derive(Debug)]
pub struct Document {
    text: String,
    entries: Vec<Entry>,
    sections: Vec<String>,
    /// The end of the line of each section's first head.
    heads: Vec<usize>,
}

/// One `key = value`.
#[derive(Debug)]
pub struct Entry {
    /// Index of its section; `None`: before the first one, or in `[DEFAULT]`, which applies to all.
    section: Option<usize>,
    /// Its normalized key: lower case, dashes.
    pub key: String,
    /// Its line, from 1.
    pub line: usize,
    /// The place of the value in the text.
    value: Range<usize>,
}

impl Document {
    /// Parses the content of a file; messages call it `name`, and never quote a line, which may be a secret.
    pub fn parse(name: &str, content: Vec<u8>) -> Result<Self> {
        let text = readable(name, content)?;
        let (mut entries, mut sections, mut heads) = (Vec::new(), Vec::new(), Vec::new());
        let mut section = None;
        let mut start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        for (number, raw) in text[start..].split_inclusive('\n').enumerate() {
            let at = start;
            start += raw.len();
            let content = raw.trim();
            let fault = |what: &str| Error::value(&format!("{name}:{}", number + 1), what);
            if content.is_empty() || content.starts_with(['#', ';']) {
                continue;
            }
            if let Some(head) = content.strip_prefix('[') {
                let title = section_name(head)
                    .ok_or_else(|| fault("cannot read the section: it is written [name] on a line of its own"))?;
                section = match title {
                    "DEFAULT" => None,
                    _ => Some(sections.iter().position(|s| s == title).unwrap_or_else(|| {
                        sections.push(title.to_owned());
                        heads.push(start);
                        sections.len() - 1
                    })),
                };
                continue;
            }
            let (key, value) = divided(raw).ok_or_else(|| fault(undivided(content)))?;
            if key.contains(':') {
                return Err(fault("cannot read the key: it has a colon without a blank after it: write key = value"));
            }
            let blanks = if value.trim().is_empty() { 0 } else { value.len() - value.trim_start().len() };
            let value_at = at + key.len() + 1 + blanks;
            let (key, value) = (normal(key), value.trim());
            if key.is_empty() {
                return Err(fault("cannot read the line: nothing stands before = or :"));
            }
            let value = value_at..value_at + value.len();
            entries.push(Entry { section, key, line: number + 1, value });
        }
        Ok(Self { text, entries, sections, heads })
    }

    /// The names of the sections, in order.
    pub fn sections(&self) -> &[String] {
        &self.sections
    }

    /// The entries of `section`, in order; `None`: those that apply to all.
    pub fn entries(&self, section: Option<&str>) -> impl Iterator<Item = &Entry> {
        // An unknown section has no entries; it must not select those that apply to all.
        let wanted = section.map(|s| self.sections.iter().position(|t| t == s).unwrap_or(usize::MAX));
        self.entries.iter().filter(move |e| e.section == wanted)
    }

    /// All entries, in order.
    pub fn all(&self) -> &[Entry] {
        &self.entries
    }

    /// The column of the value in a line, from 1; 1 if it has none.
    pub fn column(&self, line: usize) -> usize {
        let Some(entry) = self.entries.iter().find(|entry| entry.line == line) else { return 1 };
        let before = &self.text[..entry.value.start];
        before[before.rfind('\n').map_or(0, |at| at + 1)..].chars().count() + 1
    }

    /// The value of an entry of this document.
    pub fn value(&self, entry: &Entry) -> &str {
        &self.text[entry.value.clone()]
    }

    /// The text with `value` for `key` in `section`, every other byte unchanged. A new key is added after the section's
    /// last one, a new section at the end. `value` must survive [`Self::parse`]: one line, without blanks around.
    pub fn with(&self, section: Option<&str>, key: &str, value: &str) -> String {
        // Of repeated keys the last one is used.
        if let Some(entry) = self.entries(section).filter(|e| e.key == normal(key)).last() {
            let Range { start, end } = entry.value;
            // An empty value has its place right after the sign.
            let gap = if start == end && self.text[..start].ends_with(['=', ':']) { " " } else { "" };
            return format!("{}{gap}{value}{}", &self.text[..start], &self.text[end..]);
        }
        let (text, end) = (&self.text, self.line_end());
        let head = section.map(|s| (s, self.sections.iter().position(|t| t == s)));
        let at = match (self.entries(section).last(), head) {
            (Some(entry), _) => text[entry.value.end..].find('\n').map_or(text.len(), |n| entry.value.end + n + 1),
            (None, Some((_, Some(place)))) => self.heads[place],
            (None, None) => text.len() - text.trim_start_matches('\u{feff}').len(),
            (None, Some((name, None))) => {
                let gap = if text.is_empty() || text.ends_with("\n\n") { "" } else { end };
                let closed = if text.is_empty() || text.ends_with('\n') { "" } else { end };
                return format!("{text}{closed}{gap}[{name}]{end}{key} = {value}{end}");
            }
        };
        let closed = if at == 0 || text[..at].ends_with(['\n', '\u{feff}']) { "" } else { end };
        format!("{}{closed}{key} = {value}{end}{}", &text[..at], &text[at..])
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The line ending of the file.
    fn line_end(&self) -> &'static str {
        if self.text.contains("\r\n") { "\r\n" } else { "\n" }
    }
}

/// A normalized key: without blanks around, in lower case, with dashes for underscores.
pub fn normal(key: &str) -> String {
    key.trim().to_lowercase().replace('_', "-")
}

/// Splits key and value at the first `=`, or at an earlier colon followed by a blank, which configparser accepts too.
fn divided(line: &str) -> Option<(&str, &str)> {
    let colon =
        line.find(": ").or_else(|| line.find(":\t")).or_else(|| line.trim_end().strip_suffix(':').map(str::len));
    let at = match (line.find('='), colon) {
        (Some(equals), Some(colon)) => equals.min(colon),
        (equals, colon) => equals.or(colon)?,
    };
    Some((&line[..at], &line[at + 1..]))
}

fn undivided(line: &str) -> &'static str {
    if line.contains(':') {
        "cannot read the line: it has a colon without a blank after it, and no =: write key = value"
    } else {
        "cannot read the line: it has no =, is no [section], and no comment (# or ;)"
    }
}

/// The name in `name] ; comment`.
fn section_name(head: &str) -> Option<&str> {
    let (name, rest) = head.split_once(']')?;
    let (name, rest) = (name.trim(), rest.trim());
    (!name.is_empty() && (rest.is_empty() || rest.starts_with(['#', ';']))).then_some(name)
}

/// The content as text; bytes that a configuration must not have are reported with their line.
fn readable(name: &str, content: Vec<u8>) -> Result<String> {
    let line = |content: &[u8], end: usize| content[..end].iter().filter(|b| **b == b'\n').count() + 1;
    let stray = |(at, b): (usize, &u8)| {
        let plain = !b.is_ascii_control() || matches!(b, b'\n' | b'\t');
        let line_end = *b == b'\r' && matches!(content.get(at + 1), None | Some(b'\n'));
        (!plain && !line_end).then_some(at)
    };
    if let Some(at) = content.iter().enumerate().find_map(stray) {
        let what = if content[at] == 0 { "a NUL byte" } else { "a control character" };
        let place = format!("{name}:{}", line(&content, at));
        return Err(Error::value(&place, format_args!("cannot read the line: it has {what}")));
    }
    String::from_utf8(content).map_err(|e| {
        let at = line(e.as_bytes(), e.utf8_error().valid_up_to());
        Error::value(&format!("{name}:{at}"), "cannot read the line: it is not UTF-8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Document> {
        Document::parse("f", text.as_bytes().to_vec())
    }

    fn list(doc: &Document, section: Option<&str>) -> Vec<(String, String, usize)> {
        doc.entries(section).map(|e| (e.key.clone(), doc.value(e).to_owned(), e.line)).collect()
    }

    #[test]
    fn lines_are_keys_sections_and_comments() {
        let doc = parse(concat!(
            "# comment\n",
            "; comment\n",
            "\n",
            "Remote=https://h/a.zip?x=1#y\n",
            "  pre_hooks\t =  /a b \n",
            "[ One ] ; first\n",
            "keep = 3\n",
            "empty =\n",
            "[two]\n",
            "keep = 4\n",
            "[One]\n",
            "keep = 5\n",
            "[DEFAULT]\n",
            "id = \"q\" # not a comment",
        ))
        .unwrap();
        let entry = |k: &str, v: &str, n| (k.to_owned(), v.to_owned(), n);
        assert_eq!(doc.sections(), ["One", "two"]);
        assert_eq!(
            list(&doc, None),
            [
                entry("remote", "https://h/a.zip?x=1#y", 4),
                entry("pre-hooks", "/a b", 5),
                entry("id", "\"q\" # not a comment", 14)
            ]
        );
        assert_eq!(list(&doc, Some("One")), [entry("keep", "3", 7), entry("empty", "", 8), entry("keep", "5", 12)]);
        assert_eq!(list(&doc, Some("two")), [entry("keep", "4", 10)]);
        assert_eq!(list(&doc, Some("three")), []);
    }

    #[test]
    fn a_colon_and_a_blank_divide_as_well() {
        for (line, key, value) in [
            ("s3_bucket: b", "s3-bucket", "b"),
            ("remote: https://h/a?x=1", "remote", "https://h/a?x=1"),
            ("remote = https://h/a: b", "remote", "https://h/a: b"),
            ("http-header=Name: value = x", "http-header", "Name: value = x"),
            ("schedule\t:\t* * * * *", "schedule", "* * * * *"),
            ("last_fetch_time:", "last-fetch-time", ""),
            ("last_fetch_time:  \r\n", "last-fetch-time", ""),
        ] {
            let doc = parse(line).unwrap();
            assert_eq!(list(&doc, None), [(key.to_owned(), value.to_owned(), 1)], "{line:?}");
        }
    }

    #[test]
    fn bom_and_crlf_are_no_part_of_anything() {
        let doc = parse("\u{feff}a = 1\r\n[s]\r\nb = 2\r\n\r\nc=3\r").unwrap();
        assert_eq!(list(&doc, None), [("a".into(), "1".into(), 1)]);
        assert_eq!(list(&doc, Some("s")), [("b".into(), "2".into(), 3), ("c".into(), "3".into(), 5)]);
        assert_eq!(parse("").unwrap().all().len(), 0);
    }

    #[test]
    fn values_can_be_replaced_and_all_else_kept() {
        for text in ["\u{feff}a = 1\r\n  b=\t2  \n# c\n[s]\nä =  ü \r\ne=\nf =   \n", "a=1"] {
            let doc = parse(text).unwrap();
            let mut new = String::new();
            let mut done = 0;
            for entry in doc.all() {
                new.push_str(&doc.text[done..entry.value.start]);
                new.push_str(doc.value(entry));
                done = entry.value.end;
            }
            new.push_str(&doc.text[done..]);
            assert_eq!(new, text);
        }
    }

    #[test]
    fn one_value_is_written_and_all_else_is_kept() {
        for (text, section, key, value, expected) in [
            ("a = 1\nb = 2\n", None, "a", "x", "a = x\nb = 2\n"),
            ("A_b\t=  1  ; no comment\r\n", None, "a-b", "x", "A_b\t=  x\r\n"),
            ("a =\n", None, "a", "x", "a = x\n"),
            ("a =  \r\nb = 1", None, "a", "x", "a = x  \r\nb = 1"),
            ("a=1", None, "a", "x", "a=x"),
            ("a=1", None, "b", "x", "a=1\nb = x\n"),
            ("a=1\n[s]\na=2\n[t]\na=3\n", Some("s"), "a", "x", "a=1\n[s]\na=x\n[t]\na=3\n"),
            ("[s]\na=1\na=2\n", Some("s"), "a", "x", "[s]\na=1\na=x\n"),
            ("[s]\na=2\n\n# c\n[t]\n", Some("s"), "b", "x", "[s]\na=2\nb = x\n\n# c\n[t]\n"),
            ("[s]\r\n[t]\r\n", Some("s"), "b", "x", "[s]\r\nb = x\r\n[t]\r\n"),
            ("[s]", Some("s"), "b", "x", "[s]\nb = x\n"),
            ("[s]\na=1\n", Some("t"), "b", "x", "[s]\na=1\n\n[t]\nb = x\n"),
            ("[s]\na=1\n\n", Some("t"), "b", "x", "[s]\na=1\n\n[t]\nb = x\n"),
            ("[s]\na=1", Some("t"), "b", "x", "[s]\na=1\n\n[t]\nb = x\n"),
            ("", Some("t"), "b", "x", "[t]\nb = x\n"),
            ("[s]\na=1\n", None, "b", "x", "b = x\n[s]\na=1\n"),
            ("\u{feff}[s]\n", None, "b", "x", "\u{feff}b = x\n[s]\n"),
            ("# c\n", None, "b", "x", "b = x\n# c\n"),
            ("[s]\na: 1\nb:\n", Some("s"), "a", "x", "[s]\na: x\nb:\n"),
            ("[s]\na: 1\nb:\n", Some("s"), "b", "x", "[s]\na: 1\nb: x\n"),
        ] {
            let doc = parse(text).unwrap();
            let new = doc.with(section, key, value);
            assert_eq!(new, expected, "{text:?}");
            let again = parse(&new).unwrap();
            let read = again.entries(section).filter(|e| e.key == normal(key)).last().unwrap();
            assert_eq!(again.value(read), value, "{text:?}");
            assert_eq!(again.with(section, key, value), new, "writing twice is writing once: {text:?}");
        }
    }

    #[test]
    fn any_byte_changed_then_it_parses_or_is_refused() {
        let text = "\u{feff}a = ü\r\n[s] ; c\n\tb=\n# c\n".as_bytes();
        for at in 0..text.len() {
            for byte in 0..=255 {
                let mut changed = text.to_vec();
                changed[at] = byte;
                match Document::parse("f", changed.clone()) {
                    Ok(doc) => assert!(doc.all().iter().all(|e| doc.value(e).trim() == doc.value(e) && e.line <= 4)),
                    Err(e) => assert!(e.to_string().starts_with("f:") && e.exit_code() == 78, "{e}"),
                }
                changed.truncate(at);
                drop(Document::parse("f", changed)); // must not panic either
            }
        }
    }

    #[test]
    fn what_is_no_configuration_is_named_with_its_line_and_not_repeated() {
        for (text, expected) in [
            ("a = 1\nhunter2\n", "f:2: cannot read the line: it has no ="),
            ("a = 1\n\nhunter2:1\n", "f:3: cannot read the line: it has a colon"),
            ("https://u:hunter2@h/?a=b", "f:1: cannot read the key: it has a colon"),
            (": hunter2", "f:1: cannot read the line: nothing stands before"),
            ("= hunter2", "f:1: cannot read the line: nothing stands before ="),
            ("\n[hunter2", "f:2: cannot read the section"),
            ("[]", "f:1: cannot read the section"),
            ("[a] hunter2", "f:1: cannot read the section"),
            ("a = 1\nb = \0", "f:2: cannot read the line: it has a NUL byte"),
            ("a = 1\rb = 2", "f:1: cannot read the line: it has a control character"),
            ("a = \u{1b}[0m", "f:1: cannot read the line: it has a control character"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let error = Document::parse("f", b"a = 1\nb = \xff\n".to_vec()).unwrap_err();
        assert_eq!(error.to_string(), "f:2: cannot read the line: it is not UTF-8");
        assert_eq!(error.exit_code(), 78);
    }
}
