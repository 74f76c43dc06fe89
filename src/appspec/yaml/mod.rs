//! The part of YAML that an appspec needs: block and flow maps and lists, plain and quoted scalars on one line, comments,
//! one document. Pure. Scalars keep their text: `0644` is four digits, not a number. Everything else of YAML (anchors,
//! aliases, tags, merge keys, texts over several lines, directives) is refused with what to write instead; so are
//! duplicate keys, tabs outside quotes, and what is too deep or too large.
//!
//! Our own, because the best crate for it (saphyr-parser, with three more behind it) costs 70 KB of the binary against
//! about 10, and its messages are those of a YAML library. Tests compare it with PyYAML.

mod flow;
mod scan;
#[cfg(test)]
mod tests;

use super::{Place, Problem};
use scan::Scan;

/// Most bytes of a document.
const MAX_SIZE: usize = 1 << 20;
/// Deepest nesting, block and flow together. An appspec has five levels.
const MAX_DEPTH: usize = 16;
/// Most keys of one map: each is compared with those before it.
const MAX_KEYS: usize = 100;

/// A value, and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) at: Place,
    pub(super) value: Value,
}

/// What stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing, as behind a key at the end of its line.
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

/// What a parsing function comes to. The error is boxed: it is rare, and the value is not.
type Parsed<T> = Result<T, Box<Problem>>;

/// Reads a document. The first thing that is wrong ends it.
pub(super) fn parse(bytes: &[u8]) -> Parsed<Node> {
    if bytes.len() > MAX_SIZE {
        return Err(Box::new(Problem::error(Place::START, format!("it has more than {MAX_SIZE} bytes"))));
    }
    let mut scan = Scan::new(bytes)?;
    scan.document_start()?;
    if scan.is_end() {
        return Ok(Node { at: Place::START, value: Value::Empty });
    }
    let node = scan.block(0)?;
    if scan.is_end() {
        return Ok(node);
    }
    Err(scan.error(match node.value {
        Value::Text(_) => "a key and a colon are missing in front: write `key: value`",
        _ => "this does not go on with what is above: begin its line in the column of the entry it stands beside",
    }))
}

impl Scan<'_> {
    /// The value whose first character comes next, to the end of its last line. Lines that belong to it begin in its column.
    fn block(&mut self, depth: usize) -> Parsed<Node> {
        self.check_depth(depth)?;
        let at = self.place();
        if self.is_dash() {
            return Ok(Node { at, value: self.list(depth)? });
        }
        if self.is_flow() {
            let value = self.flow(depth)?;
            self.line_end()?;
            return Ok(Node { at, value });
        }
        let first = self.scalar(false)?;
        if self.reach_colon() {
            return Ok(Node { at, value: self.map(at, first, depth)? });
        }
        self.line_end()?;
        Ok(Node { at, value: Value::Text(first) })
    }

    /// Entries that begin with a dash in one column.
    fn list(&mut self, depth: usize) -> Parsed<Value> {
        let column = self.place().column;
        let mut entries = Vec::new();
        loop {
            self.skip(1);
            let at = self.place();
            self.blanks()?;
            if self.is_line_end() {
                self.line_end()?;
                let is_below = !self.is_end() && self.place().column > column;
                entries.push(if is_below { self.block(depth + 1)? } else { Node { at, value: Value::Empty } });
            } else {
                entries.push(self.block(depth + 1)?);
            }
            if self.is_end() || self.place().column < column || (self.place().column == column && !self.is_dash()) {
                return Ok(Value::List(entries));
            }
            self.is_in(column)?;
        }
    }

    /// Keys in one column. The first one has been read.
    fn map(&mut self, at: Place, first: Text, depth: usize) -> Parsed<Value> {
        let column = at.column;
        let mut entries = Vec::new();
        let (mut at, mut key) = (at, first);
        loop {
            let name = self.key(at, key, &entries)?;
            self.skip(1);
            let node = self.map_value(column, depth)?;
            entries.push((name, node));
            if self.is_end() || self.place().column < column {
                return Ok(Value::Map(entries));
            }
            self.is_in(column)?;
            at = self.place();
            if self.is_dash() {
                return Err(self.error("a list cannot follow a key's value: write `- ` below a key that has no value"));
            }
            if self.is_flow() {
                return Err(self.error("a key is missing in front: write `key: value`"));
            }
            key = self.scalar(false)?;
            if !self.reach_colon() {
                return Err(self.error_at(at, "a colon and a blank are missing behind this: write `key: value`"));
            }
        }
    }

    /// What belongs to a key in `column`: the rest of its line, or the lines below that stand further right.
    fn map_value(&mut self, column: u32, depth: usize) -> Parsed<Node> {
        let at = self.place();
        self.blanks()?;
        if self.is_line_end() {
            self.line_end()?;
            let here = self.place().column;
            let is_below = !self.is_end() && (here > column || (here == column && self.is_dash()));
            return if is_below { self.block(depth + 1) } else { Ok(Node { at, value: Value::Empty }) };
        }
        let at = self.place();
        if self.is_dash() {
            return Err(self.error("a list begins on the line below its key"));
        }
        let value = match self.is_flow() {
            true => self.flow(depth + 1)?,
            false => Value::Text(self.scalar(false)?),
        };
        if self.reach_colon() {
            return Err(
                self.error("a second colon in a line: put the value in \"quotes\", or the inner key on a line below")
            );
        }
        self.line_end()?;
        Ok(Node { at, value })
    }

    /// Takes a key that the map does not have yet.
    fn key(&self, at: Place, key: Text, entries: &[(Key, Node)]) -> Parsed<Key> {
        if entries.len() == MAX_KEYS {
            return Err(self.error_at(at, &format!("a map has at most {MAX_KEYS} keys")));
        }
        if key.text == "<<" && !key.quoted {
            return Err(self.error_at(at, "merge keys are not read here: write the entries out"));
        }
        if let Some((before, _)) = entries.iter().find(|(before, _)| before.name == key.text) {
            let line = before.at.line;
            return Err(
                self.error_at(at, &format!("the key {} is here twice: line {line} has it", super::shown(&key.text)))
            );
        }
        Ok(Key { at, name: key.text })
    }

    fn check_depth(&self, depth: usize) -> Parsed<()> {
        if depth >= MAX_DEPTH {
            return Err(self.error(&format!("this is more than {MAX_DEPTH} levels deep")));
        }
        Ok(())
    }

    /// Whether the line at hand goes on in `column`, and not deeper.
    fn is_in(&self, column: u32) -> Parsed<()> {
        if self.place().column > column {
            let text =
                format!("this stands too far right: begin it in column {column}, or end the value above on one line");
            return Err(self.error(&text));
        }
        Ok(())
    }
}
