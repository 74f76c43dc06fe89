//! Builds the tree from the events of a parser, with aliases replaced by their values. An anchored value is stored once
//! and copied for each alias; a budget limits the copies, so that ten lines cannot expand to a billion values.

use std::borrow::Cow;

use saphyr_parser::{ScalarStyle, Tag};

use super::{Key, Node, Parsed, Text, Value, error};
use crate::appspec::{Place, shown};

/// The deepest nesting, block and flow together. An appspec has five levels.
const MAX_DEPTH: usize = 16;
/// The largest number of keys of one map: each is compared with all before it.
const MAX_KEYS: usize = 100;
/// The budget for anchored values and their copies, in values and bytes of their texts.
const MAX_COPIED: usize = 1 << 16;
const MERGE: &str = "<<";

/// The tree read so far.
pub(super) struct Tree<'a> {
    /// The document, once it is complete.
    pub(super) root: Option<Node>,
    has_begun: bool,
    /// Open lists and maps, each inside the one before it.
    open: Vec<Open>,
    /// Values by anchor number; the parser numbers anchors in order.
    anchors: Vec<Option<Node>>,
    copied: usize,
    /// The document from a character on, and the number of that character.
    rest: (&'a str, usize),
    /// In characters.
    length: usize,
}

/// A list or a map that is not closed yet.
struct Open {
    node: Node,
    /// Its anchor; 0: none.
    anchor: usize,
    /// In a map, the key of the next value.
    key: Option<Key>,
    /// The value of `<<`, with its place.
    merged: Option<Node>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            root: None,
            has_begun: false,
            open: Vec::new(),
            anchors: Vec::new(),
            copied: 0,
            rest: (text, 0),
            length: text.chars().count(),
        }
    }

    /// Begins a document.
    pub(super) fn begin(&mut self, at: Place) -> Parsed<()> {
        if self.has_begun {
            return Err(error(at, "a second document begins here: only one is read".to_owned()));
        }
        self.has_begun = true;
        Ok(())
    }

    /// The place of the outermost open bracket, if any.
    pub(super) fn is_in_brackets(&self, text: &str) -> Option<Place> {
        let is_bracket = |at: &Place| {
            let (line, column) = (usize::try_from(at.line).unwrap_or(0), usize::try_from(at.column).unwrap_or(0));
            let line = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
            matches!(line.chars().nth(column.saturating_sub(1)), Some('[' | '{'))
        };
        self.open.iter().map(|open| open.node.at).find(is_bracket)
    }

    /// The text of a `|` or `>` scalar that ends before the character `end`. If the last line of the document lacks a
    /// line end, the parser adds one, which is removed here; readers disagree on blanks in such a line.
    pub(super) fn without_line_end<'t>(&self, at: Place, end: usize, mut text: Cow<'t, str>) -> Parsed<Cow<'t, str>> {
        let last = self.rest.0.rsplit('\n').next().unwrap_or_default();
        if end < self.length || last.is_empty() {
            return Ok(text);
        }
        if last.trim_matches([' ', '\t']).is_empty() {
            let text = "readers differ on the blanks that end this text and the document: leave them out";
            return Err(error(at, text.to_owned()));
        }
        if text.ends_with('\n') {
            text.to_mut().pop();
        }
        Ok(text)
    }

    /// Refuses an anchor name, after the character `index`, with other characters than letters, digits, `_` and `-`:
    /// readers disagree on those.
    pub(super) fn check_anchor(&mut self, at: Place, index: usize, anchor: usize) -> Parsed<()> {
        if anchor == 0 {
            return Ok(());
        }
        let (rest, before) = self.rest;
        let byte = rest.char_indices().nth(index.saturating_sub(before)).map_or(rest.len(), |(byte, _)| byte);
        self.rest = (&rest[byte..], index.max(before));
        let name = self.rest.0.split_once('&').map_or("", |(_, name)| name);
        let name = name.split([' ', '\t', '\r', '\n', ',', '[', ']', '{', '}']).next().unwrap_or_default();
        if name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')) {
            return Ok(());
        }
        let text = format!("readers differ on the anchor &{}: name it with letters, digits, _ and -", shown(name));
        Err(error(at, text))
    }

    /// Begins a list or a map.
    pub(super) fn open(&mut self, at: Place, value: Value, anchor: usize, tag: Option<&Tag>) -> Parsed<()> {
        let fits = match value {
            Value::List(_) => "seq",
            Value::Map(_) | Value::Empty | Value::Text(_) => "map",
        };
        match tag {
            Some(tag) if !is_plain_tag(tag) && core(tag) != Some(fits) => return Err(refuse_tag(at, tag)),
            Some(_) | None => {}
        }
        self.check_depth(at, 1)?;
        self.open.push(Open { node: Node { at, value }, anchor, key: None, merged: None });
        Ok(())
    }

    /// Ends the innermost list or map.
    pub(super) fn close(&mut self) -> Parsed<()> {
        let Some(mut open) = self.open.pop() else { return Ok(()) };
        if let (Value::Map(entries), Some(merged)) = (&mut open.node.value, open.merged.take()) {
            merge(entries, merged)?;
        }
        self.keep(open.anchor, &open.node)?;
        self.add(open.node)
    }

    pub(super) fn scalar(
        &mut self,
        at: Place,
        text: Cow<'_, str>,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
    ) -> Parsed<()> {
        let is_plain = style == ScalarStyle::Plain;
        if is_plain && text.starts_with('?') {
            return Err(error(at, "readers differ on a ? that begins a text: put it in quotes".to_owned()));
        }
        let (is_nothing, quoted) = match tag {
            None => (is_plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL"), !is_plain),
            Some(tag) if is_plain_tag(tag) || core(tag) == Some("str") => (false, true),
            Some(tag) if matches!(core(tag), Some("int" | "float")) => (false, !is_plain),
            Some(tag) => return Err(refuse_tag(at, tag)),
        };
        let value = if is_nothing { Value::Empty } else { Value::Text(Text { text: text.into_owned(), quoted }) };
        let node = Node { at, value };
        self.keep(anchor, &node)?;
        self.add(node)
    }

    /// Adds a copy of the anchored value.
    pub(super) fn alias(&mut self, at: Place, anchor: usize) -> Parsed<()> {
        let Some(node) = self.anchors.get(anchor).and_then(Option::as_ref) else {
            return Err(error(at, "this alias stands for what it is in itself".to_owned()));
        };
        let (size, height) = (size(node), height(node));
        let node = Node { at, value: node.value.clone() };
        self.check_depth(at, height)?;
        self.spend(at, size)?;
        self.add(node)
    }

    /// Stores a value with an anchor, for its aliases.
    fn keep(&mut self, anchor: usize, node: &Node) -> Parsed<()> {
        if anchor > 0 {
            self.spend(node.at, size(node))?;
            self.anchors.resize(self.anchors.len().max(anchor + 1), None);
            self.anchors[anchor] = Some(node.clone());
        }
        Ok(())
    }

    fn spend(&mut self, at: Place, size: usize) -> Parsed<()> {
        self.copied += size;
        if self.copied > MAX_COPIED {
            let text =
                format!("anchors and aliases come to more than {MAX_COPIED} values and bytes: write less of them");
            return Err(error(at, text));
        }
        Ok(())
    }

    fn check_depth(&self, at: Place, height: usize) -> Parsed<()> {
        if self.open.len() + height > MAX_DEPTH {
            return Err(error(at, format!("this is more than {MAX_DEPTH} levels deep")));
        }
        Ok(())
    }

    /// Adds a complete value to the innermost list or map, or as the root.
    fn add(&mut self, node: Node) -> Parsed<()> {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.node.value {
            Value::List(entries) => entries.push(node),
            Value::Map(entries) => match open.key.take() {
                None => open.key = Some(key(node, entries, open.merged.as_ref())?),
                Some(key) if key.name == MERGE => open.merged = Some(Node { at: key.at, ..node }),
                Some(key) => entries.push((key, node)),
            },
            Value::Empty | Value::Text(_) => {} // never open
        }
        Ok(())
    }
}

/// Checks a key that the map must not have yet.
fn key(node: Node, entries: &[(Key, Node)], merged: Option<&Node>) -> Parsed<Key> {
    let at = node.at;
    let Value::Text(Text { text: name, quoted }) = node.value else {
        return Err(error(at, "a key must be a text: write `key: value`".to_owned()));
    };
    if entries.len() == MAX_KEYS {
        return Err(error(at, format!("a map has at most {MAX_KEYS} keys")));
    }
    if name == MERGE && quoted {
        return Err(error(at, "a merge key has no quotes: write << without them".to_owned()));
    }
    let twice = |line: u32| format!("the key {} is here twice: line {line} has it", shown(&name));
    match (entries.iter().find(|(before, _)| before.name == name), merged) {
        (Some((before, _)), _) => Err(error(at, twice(before.at.line))),
        (None, Some(merged)) if name == MERGE => Err(error(at, twice(merged.at.line))),
        (None, Some(_) | None) => Ok(Key { at, name }),
    }
}

/// Adds the entries of `<<` that the map lacks. Readers disagree on a key before `<<`.
fn merge(entries: &mut Vec<(Key, Node)>, merged: Node) -> Parsed<()> {
    let at = merged.at;
    let maps = match merged.value {
        Value::List(maps) => maps,
        Value::Map(_) | Value::Empty | Value::Text(_) => vec![merged],
    };
    let own = entries.len();
    for map in maps {
        let Value::Map(more) = map.value else {
            return Err(error(at, "what << merges is no map: write an alias of one".to_owned()));
        };
        for (key, node) in more {
            match entries.iter().position(|(before, _)| before.name == key.name) {
                Some(n) if n < own && entries[n].0.at < at => {
                    let key = &entries[n].0;
                    let text = format!("readers differ on {}, which << brings too: write << first", shown(&key.name));
                    return Err(error(key.at, text));
                }
                Some(_) => {}
                None if entries.len() == MAX_KEYS => {
                    return Err(error(at, format!("a map has at most {MAX_KEYS} keys")));
                }
                None => entries.push((key, node)),
            }
        }
    }
    Ok(())
}

/// The number of values, and the bytes of texts.
fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::Empty => 0,
        Value::Text(text) => text.text.len(),
        Value::List(entries) => entries.iter().map(size).sum(),
        Value::Map(entries) => entries.iter().map(|(key, node)| 1 + key.name.len() + size(node)).sum(),
    }
}

/// The levels of lists and maps.
fn height(node: &Node) -> usize {
    let highest = match &node.value {
        Value::Empty | Value::Text(_) => return 0,
        Value::List(entries) => entries.iter().map(height).max(),
        Value::Map(entries) => entries.iter().map(|(_, node)| height(node)).max(),
    };
    1 + highest.unwrap_or(0)
}

/// `!` alone: a scalar is a text, any other value keeps its type.
fn is_plain_tag(tag: &Tag) -> bool {
    tag.handle.is_empty() && tag.suffix == "!"
}

/// The core type that the tag names, in short or in full.
fn core(tag: &Tag) -> Option<&str> {
    const CORE: &str = "tag:yaml.org,2002:";
    match &*tag.handle {
        CORE => Some(&*tag.suffix),
        "" => tag.suffix.strip_prefix(CORE),
        _ => None,
    }
}

fn refuse_tag(at: Place, tag: &Tag) -> Box<crate::appspec::Problem> {
    let tag = shown(&tag.to_string());
    error(at, format!("the tag {tag} does not fit here: leave it out; !!str, !!int, !!float, !!seq and !!map are read"))
}
