//! Builds JSON (RFC 8259): answers of commands, reports, notifications. The caller chooses names and order.

use crate::sys::clock::rfc3339;

/// A JSON text, built from left to right.
#[derive(Debug, Default)]
pub struct Json(pub String);

impl Json {
    /// A member that is a time, in seconds since 1970; `null` without one.
    pub fn time(&mut self, key: &str, when: Option<u64>) {
        self.text(key, when.map(rfc3339).as_deref());
    }

    /// A member that is a text; `null` without one.
    pub fn text(&mut self, key: &str, text: Option<&str>) {
        match text {
            Some(text) => self.raw(key, &quoted(text)),
            None => self.raw(key, "null"),
        }
    }

    /// A member that is a number.
    pub fn number(&mut self, key: &str, number: u64) {
        self.raw(key, &number.to_string());
    }

    /// A member with a value that is JSON already, or the start of it.
    pub fn raw(&mut self, key: &str, value: &str) {
        self.open("\"");
        self.0.push_str(key);
        self.0.push_str("\":");
        self.0.push_str(value);
    }

    /// Starts an element with `with`, after a comma if needed.
    pub fn open(&mut self, with: &str) {
        if !self.0.ends_with(['{', '[']) && !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(with);
    }

    /// Ends an element with `with`.
    pub fn close(&mut self, with: &str) {
        self.0.push_str(with);
    }
}

/// A JSON string.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn strings_are_those_of_json() {
        for text in ["", "plain ünïcode 文", "a\"b\\c", "\n\t\0\x7f\u{9b}", "😀"] {
            let read: serde_json::Value = serde_json::from_str(&quoted(text)).unwrap();
            assert_eq!(read.as_str(), Some(text));
        }
    }
}
