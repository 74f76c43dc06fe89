//! Parses YAML to a tree with `saphyr-parser`, within limits, as far as an appspec needs it. Pure. Scalars keep their
//! text: `0644` is four digits, not a number. An empty value, `~` and `null` are the same, merge keys (`<<`) are
//! merged.
//!
//! One document is read. Refused are texts that YAML readers disagree on (duplicate keys, line ends of YAML 1.1 only,
//! tags for other types), and texts that are too deep, or too large, also once their aliases are expanded. Tests
//! compare it with PyYAML.

mod mend;
#[cfg(test)]
mod tests;
mod tree;

use std::borrow::Cow;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};

use super::{Place, Problem};
use tree::Tree;

/// The largest document, in bytes.
const MAX_SIZE: usize = 1 << 20;
/// The largest number of bytes parsed again after a mend.
const MAX_REREAD: usize = 16 << 20;

/// A value and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) at: Place,
    pub(super) value: Value,
}

/// The value of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// No text, as after a key at the end of its line; also `~` and `null`.
    Empty,
    Text(Text),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A scalar as it is written, without its quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) quoted: bool,
}

/// A key of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) at: Place,
    pub(super) name: String,
}

/// The number of columns that each line was moved to the right, by line number, up to the last line moved.
type Shifts = Vec<u32>;

/// The result of a parsing function. The error is boxed, because it is rare and large.
type Parsed<T> = Result<T, Box<Problem>>;

/// Parses a document. The first error ends it.
pub(super) fn parse(bytes: &[u8]) -> Parsed<Node> {
    let mut text = Cow::Borrowed(text(bytes)?);
    let mut shifts = Shifts::new();
    let mut budget = MAX_REREAD;
    loop {
        let (e, tree) = match read(&text, &shifts) {
            Read::Whole(tree) => return Ok(tree.root.unwrap_or(Node { at: Place::START, value: Value::Empty })),
            Read::Refused(problem) => return Err(problem),
            Read::Wrong(e, tree) => (e, tree),
        };
        budget = budget.saturating_sub(text.len());
        match mend::mended(&text, e.marker(), tree.is_in_brackets(&text)).filter(|_| budget > 0) {
            Some((mended, line, shift)) => {
                shifts.resize(shifts.len().max(line + 1), 0);
                shifts[line] += shift;
                text = Cow::Owned(mended);
            }
            None => return Err(wrong(&text, &e, &tree, &shifts)),
        }
    }
}

/// The result of one pass.
enum Read<'a> {
    Whole(Tree<'a>),
    Refused(Box<Problem>),
    /// Invalid YAML, and the tree before the error.
    Wrong(ScanError, Tree<'a>),
}

fn read<'t>(text: &'t str, shifts: &Shifts) -> Read<'t> {
    let mut tree = Tree::new(text);
    for event in Parser::new_from_str(text) {
        let taken = match event {
            Ok((event, span)) => take(&mut tree, event, span, shifts),
            Err(e) => return Read::Wrong(e, tree),
        };
        if let Err(problem) = taken {
            return Read::Refused(problem);
        }
    }
    Read::Whole(tree)
}

fn take(tree: &mut Tree<'_>, event: Event<'_>, Span { start, end }: Span, shifts: &Shifts) -> Parsed<()> {
    let at = place(&start, shifts);
    match event {
        Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        Event::DocumentStart(_) => tree.begin(at),
        Event::Alias(anchor) => tree.alias(at, anchor),
        Event::Scalar(text, style, anchor, tag) => {
            tree.check_anchor(at, start.index(), anchor)?;
            let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
            let text = if is_block { tree.without_line_end(at, end.index(), text)? } else { text };
            tree.scalar(at, text, style, anchor, tag.as_deref())
        }
        Event::SequenceStart(anchor, tag) => {
            tree.check_anchor(at, start.index(), anchor)?;
            tree.open(at, Value::List(Vec::new()), anchor, tag.as_deref())
        }
        Event::MappingStart(anchor, tag) => {
            tree.check_anchor(at, start.index(), anchor)?;
            tree.open(at, Value::Map(Vec::new()), anchor, tag.as_deref())
        }
        Event::SequenceEnd | Event::MappingEnd => tree.close(),
    }
}

/// The document as text, without characters that some readers take for a line end or refuse.
fn text(bytes: &[u8]) -> Parsed<&str> {
    if bytes.len() > MAX_SIZE {
        return Err(error(Place::START, format!("it has more than {MAX_SIZE} bytes")));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let (text, is_text) = match std::str::from_utf8(bytes) {
        Ok(text) => (text, true),
        Err(e) => (std::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap_or_default(), false),
    };
    let mut at = Place::START;
    for (n, c) in text.char_indices() {
        let is_return = c == '\r' && text[n..].starts_with("\r\n");
        let breaks = matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}');
        if (c.is_control() && !matches!(c, '\n' | '\t') && !is_return) || breaks {
            return Err(error(at, format!("a control character ({}) cannot stand here", c.escape_default())));
        }
        at = if c == '\n' { Place { line: at.line + 1, column: 1 } } else { Place { column: at.column + 1, ..at } };
    }
    if is_text { Ok(text) } else { Err(error(at, "this is not UTF-8".to_owned())) }
}

fn error(at: Place, text: String) -> Box<Problem> {
    Box::new(Problem::error(at, text))
}

/// The place in the original document.
fn place(marker: &Marker, shifts: &Shifts) -> Place {
    let number = |n| u32::try_from(n).unwrap_or(u32::MAX); // of a document of a megabyte
    let shift = shifts.get(marker.line()).copied().unwrap_or(0);
    Place { line: number(marker.line()), column: number(marker.col() + 1).saturating_sub(shift).max(1) }
}

/// The parser's error, with its likely cause: an open bracket, a tab.
fn wrong(text: &str, e: &ScanError, tree: &Tree<'_>, shifts: &Shifts) -> Box<Problem> {
    let end = text.lines().zip(1..).last().map_or(Place::START, |(line, number)| Place {
        line: number,
        column: u32::try_from(line.chars().count()).unwrap_or(u32::MAX) + 1,
    });
    let at = place(e.marker(), shifts).min(end);
    let line = text.lines().nth(usize::try_from(at.line).unwrap_or(0).saturating_sub(1)).unwrap_or_default();
    let mut why = format!("this is no YAML: {}", e.info());
    if let Some(open) = tree.is_in_brackets(text) {
        why += &format!(" (in the brackets that line {} opens)", open.line);
    } else if line.trim_start_matches(' ').starts_with('\t') {
        why += " (the line begins with a tab: write blanks)";
    }
    error(at, why)
}
