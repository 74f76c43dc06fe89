//! Parses a file in `~/.aws` into sections and values, like the AWS command line and the SDKs. Other modules interpret
//! them.
//!
//! A line that is indented deeper than the key above it belongs to that key: if the key has no value, the line is a
//! value of its own (`endpoint_url` below `s3 =` is called `s3.endpoint_url`), else it continues the value after a line
//! break.

use std::collections::BTreeMap;

/// Values by lower-case key. Empty values count as missing.
pub(super) type Values = BTreeMap<String, String>;

/// The sections in order, named by the text after `[`. A section may occur more than once.
pub(super) fn parse(text: &str) -> Result<Vec<(String, Values)>, String> {
    let mut reader = Reader::default();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        reader.line(line).map_err(|why| format!("line {}: {why}", number + 1))?;
    }
    Ok(reader.sections)
}

#[derive(Default)]
struct Reader {
    sections: Vec<(String, Values)>,
    above: Option<Above>,
}

/// The key that deeper indented lines belong to.
struct Above {
    indent: usize,
    key: String,
    has_value: bool,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        let bare = line.trim();
        if bare.is_empty() || bare.starts_with(['#', ';']) {
            return Ok(());
        }
        let indent = line.len() - line.trim_start().len();
        let above = self.above.take_if(|above| indent > above.indent);
        match (above, bare.strip_prefix('[')) {
            (Some(above), _) => self.belongs(above, bare),
            (None, Some(rest)) => {
                let (name, _) = rest.split_once(']').ok_or("a section without ]")?;
                self.sections.push((name.trim().to_owned(), Values::new()));
                self.above = None;
                Ok(())
            }
            (None, None) => {
                let (key, value) = pair(bare, "neither key = value nor [section]")?;
                self.above = Some(Above { indent, key: key.clone(), has_value: !value.is_empty() });
                self.values()?.insert(key, value.to_owned());
                Ok(())
            }
        }
    }

    /// Parses a line that belongs to the key above.
    fn belongs(&mut self, above: Above, bare: &str) -> Result<(), &'static str> {
        if above.has_value {
            let value = self.values()?.entry(above.key.clone()).or_default();
            value.push('\n');
            value.push_str(bare);
        } else {
            let (key, value) = pair(bare, "not key = value, below a key without a value")?;
            self.values()?.insert(format!("{}.{key}", above.key), value.to_owned());
        }
        self.above = Some(above);
        Ok(())
    }

    fn values(&mut self) -> Result<&mut Values, &'static str> {
        let last = self.sections.last_mut().map(|(_, values)| values);
        last.ok_or("a value before the first [section]")
    }
}

fn pair<'a>(line: &'a str, bad: &'static str) -> Result<(String, &'a str), &'static str> {
    let (key, value) = line.split_once('=').ok_or(bad)?;
    let key = key.trim().to_ascii_lowercase();
    if key.is_empty() { Err("a value without a key") } else { Ok((key, without_comment(value).trim())) }
}

/// A `#` or `;` after a blank starts a comment.
fn without_comment(value: &str) -> &str {
    let is_comment = |at: &usize| value[..*at].ends_with(char::is_whitespace);
    let end = value.match_indices(['#', ';']).map(|(at, _)| at).find(is_comment);
    &value[..end.unwrap_or(value.len())]
}
