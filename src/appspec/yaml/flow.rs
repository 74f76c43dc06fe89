//! `[lists]` and `{maps: in brackets}`, over as many lines as they like.

use super::scan::Scan;
use super::{Key, Node, Parsed, Value};
use crate::appspec::Place;

impl Scan<'_> {
    /// A list or map in brackets, which begins here.
    pub(super) fn flow(&mut self, depth: usize) -> Parsed<Value> {
        self.check_depth(depth)?;
        let open = self.place();
        let is_map = self.peek() == Some('{');
        let close = if is_map { '}' } else { ']' };
        self.skip(1);
        let (mut entries, mut list): (Vec<(Key, Node)>, Vec<Node>) = (Vec::new(), Vec::new());
        self.inside(open)?;
        while self.peek() != Some(close) {
            if is_map {
                let entry = self.pair(open, &entries, depth)?;
                entries.push(entry);
            } else {
                list.push(self.flow_value(depth)?);
                self.inside(open)?;
            }
            match self.peek() {
                Some(',') => {
                    self.skip(1);
                    self.inside(open)?;
                }
                Some(c) if c == close => {}
                Some(':') if !is_map => {
                    return Err(self.error("a pair needs braces: write {key: value}, or put the text in \"quotes\""));
                }
                _ => return Err(self.error(&format!("a comma or {close} is missing here"))),
            }
        }
        self.skip(1);
        Ok(if is_map { Value::Map(entries) } else { Value::List(list) })
    }

    /// Goes to the next character within brackets.
    fn inside(&mut self, open: Place) -> Parsed<()> {
        let line = self.place().line;
        self.lines()?;
        if self.is_end() {
            return Err(self.error_at(open, "the bracket is not closed"));
        }
        if self.place().line > line && self.is_document_marker() {
            return Err(self.error_at(open, "the bracket is not closed before another document begins"));
        }
        if self.peek() == Some('#') {
            return Err(self.error("a comment needs a blank in front of its #"));
        }
        Ok(())
    }

    fn pair(&mut self, open: Place, before: &[(Key, Node)], depth: usize) -> Parsed<(Key, Node)> {
        let at = self.place();
        if self.is_flow() {
            return Err(self.error("a key must be a text"));
        }
        let text = self.scalar(true)?;
        let quoted = text.quoted;
        let key = self.key(at, text, before)?;
        self.inside(open)?;
        if self.place().line != at.line {
            return Err(self.error_at(at, "a key and its colon must stand in one line"));
        }
        if self.peek() != Some(':') {
            return Err(self.error_at(at, "a colon and a blank are missing behind this: write `key: value`"));
        }
        self.skip(1);
        let here = self.place();
        let follows = self.peek();
        self.inside(open)?;
        if matches!(self.peek(), Some(',' | '}')) {
            return Ok((key, Node { at: here, value: Value::Empty }));
        }
        if !quoted && !matches!(follows, Some(' ' | '\n' | '\r')) {
            return Err(self.error_at(here, "a blank is missing behind the colon"));
        }
        let node = self.flow_value(depth)?;
        self.inside(open)?;
        Ok((key, node))
    }

    fn flow_value(&mut self, depth: usize) -> Parsed<Node> {
        let at = self.place();
        let value = match self.is_flow() {
            true => self.flow(depth + 1)?,
            false => Value::Text(self.scalar(true)?),
        };
        Ok(Node { at, value })
    }
}
