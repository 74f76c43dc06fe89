//! The format of the store's own texts: lines of `key = value`, every value escaped to printable ASCII, so that a
//! revision of any bytes stays on its line. The callers define the keys.

use std::fmt::Write as _;

use super::record::Record;
use crate::model::{ReleaseId, Revision, Validators};

/// A `key = value` text under construction.
#[derive(Debug, Default)]
pub(super) struct Text(pub(super) String);

impl Text {
    /// Adds a line.
    pub(super) fn line(&mut self, key: &str, value: &[u8]) {
        self.0.push_str(key);
        self.0.push_str(" = ");
        escape(value, &mut self.0);
        self.0.push('\n');
    }

    /// Adds a number.
    pub(super) fn number(&mut self, key: &str, number: u64) {
        self.line(key, number.to_string().as_bytes());
    }

    /// Adds a release and its origin.
    pub(super) fn record(&mut self, role: &str, record: &Record) {
        self.line(role, record.release.as_str().as_bytes());
        self.line(&format!("{role}-revision"), record.revision.as_str().as_bytes());
        if let Some(content) = record.revision.content() {
            self.line(&format!("{role}-content"), content.as_bytes());
        }
        self.number(&format!("{role}-since"), record.since);
        for (name, value) in &record.validators.0 {
            self.line(&format!("{role}-validator"), format!("{name} {value}").as_bytes());
        }
        if let Some(proof) = &record.proof {
            self.line(&format!("{role}-proof"), proof.as_bytes());
        }
    }
}

/// Printable ASCII as it is, the rest as `\xHH`: one line stays one line, and every byte comes back.
pub fn escape(bytes: &[u8], into: &mut String) {
    let is_plain = |byte: &u8| (b' '..=b'~').contains(byte) && *byte != b'\\';
    if let Some(plain) = std::str::from_utf8(bytes).ok().filter(|_| bytes.iter().all(is_plain)) {
        return into.push_str(plain); // nearly always, and each check prints and parses these texts
    }
    for &byte in bytes {
        match byte {
            _ if is_plain(&byte) => into.push(char::from(byte)),
            _ => write!(into, "\\x{byte:02x}").unwrap_or(()), // writing to a String cannot fail
        }
    }
}

/// The inverse of [`escape`].
pub fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    if !text.contains(&b'\\') {
        return Some(text.to_vec());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'\\' {
            bytes.push(byte);
            rest = after;
            continue;
        }
        let (code, after) = after.split_at_checked(3)?;
        let digits = std::str::from_utf8(code.strip_prefix(b"x")?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    Some(bytes)
}

/// The lines of a `key = value` text.
#[derive(Debug)]
pub(super) struct Lines(Vec<(String, Vec<u8>)>);

impl Lines {
    /// Parses a text; `Err` is a short description of the fault.
    pub(super) fn read(text: &[u8]) -> Result<Self, String> {
        let mut lines = Vec::new();
        for (number, line) in text.split(|b| *b == b'\n').enumerate().filter(|(_, l)| !l.is_empty()) {
            let broken = || format!("line {} is no `key = value`", number + 1);
            let line = std::str::from_utf8(line).map_err(|_| broken())?;
            let (key, value) = line.split_once(" = ").ok_or_else(broken)?;
            lines.push((key.to_owned(), unescape(value.as_bytes()).ok_or_else(broken)?));
        }
        Ok(Self(lines))
    }

    /// The value of `key`, if any.
    pub(super) fn find(&self, key: &str) -> Option<&[u8]> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_slice())
    }

    /// The required value of `key`.
    pub(super) fn get(&self, key: &str) -> Result<&[u8], String> {
        self.find(key).ok_or_else(|| format!("it has no {key:?}"))
    }

    /// The required value of `key`, as text.
    pub(super) fn text(&self, key: &str) -> Result<String, String> {
        String::from_utf8(self.get(key)?.to_vec()).map_err(|_| format!("its {key:?} is no text"))
    }

    /// The value of `key` as text; older versions did not write it.
    pub(super) fn may_have(&self, key: &str) -> Result<Option<String>, String> {
        self.find(key).map(|_| self.text(key)).transpose()
    }

    /// The required value of `key`, as a number.
    pub(super) fn number<T: std::str::FromStr>(&self, key: &str) -> Result<T, String> {
        self.text(key)?.parse().map_err(|_| format!("its {key:?} is no number"))
    }

    /// The value of `key` as a release, if any.
    pub(super) fn release(&self, key: &str) -> Result<Option<ReleaseId>, String> {
        if self.find(key).is_none() {
            return Ok(None);
        }
        ReleaseId::parse(&self.text(key)?).map(Some).ok_or_else(|| format!("its {key:?} is no release"))
    }

    /// A release and its origin, as written by [`Text::record`].
    pub(super) fn record(&self, role: &str) -> Result<Option<Record>, String> {
        let Some(release) = self.release(role)? else { return Ok(None) };
        let mut validators = Validators::default();
        let key = format!("{role}-validator");
        for (_, value) in self.0.iter().filter(|(k, _)| *k == key) {
            let text = std::str::from_utf8(value).map_err(|_| format!("its {key:?} is no text"))?;
            let (name, value) = text.split_once(' ').ok_or_else(|| format!("its {key:?} has no value"))?;
            validators = validators.with(name, value);
        }
        let content = self.may_have(&format!("{role}-content"))?;
        let revision = Revision::new(self.text(&format!("{role}-revision"))?).with_content(content);
        let (since, proof) = (self.number(&format!("{role}-since"))?, self.may_have(&format!("{role}-proof"))?);
        Ok(Some(Record { release, revision, validators, since, proof }))
    }
}

#[cfg(test)]
mod tests {
    use crate::store::key_value::*;

    #[test]
    fn escape_keeps_every_byte_on_one_line() {
        let all: Vec<u8> = (0..=255).collect();
        let mut text = String::new();
        escape(&all, &mut text);
        assert!(text.bytes().all(|b| (b' '..=b'~').contains(&b)));
        assert_eq!(unescape(text.as_bytes()), Some(all));
        for broken in ["\\", "\\x", "\\x1", "\\y00", "\\xgg"] {
            assert_eq!(unescape(broken.as_bytes()), None, "{broken}");
        }
    }
}
