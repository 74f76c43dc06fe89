//! Takes maps, lists and texts of an appspec from YAML. Each problem is recorded, and reading continues without the
//! value.

use super::check::Checked;
use super::yaml::{Key, Node, Text, Value};
use super::{At, Place, Problem, shown};

/// Collects the problems found.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) problems: Vec<Problem>,
}

impl Reader {
    pub(super) fn error<T>(&mut self, at: Place, text: impl Into<String>) -> Option<T> {
        self.problems.push(Problem::error(at, text.into()));
        None
    }

    pub(super) fn warning(&mut self, at: Place, text: impl Into<String>) {
        self.problems.push(Problem::warning(at, text.into()));
    }

    /// A required value; `write` is the remedy.
    pub(super) fn needed<T>(
        &mut self,
        map: &mut Fields,
        key: &str,
        write: &str,
        check: impl FnOnce(&str) -> Checked<T>,
    ) -> Option<At<T>> {
        match map.take(key) {
            Some(node) => self.checked(node, key, check),
            None => self.error(map.written(key).unwrap_or(map.at), format!("{key} is missing: write {write}")),
        }
    }

    pub(super) fn checked<T>(
        &mut self,
        node: Node,
        what: &str,
        check: impl FnOnce(&str) -> Checked<T>,
    ) -> Option<At<T>> {
        let text = self.text(node, what)?;
        match check(&text.it.text) {
            Ok(it) => Some(At { it, at: text.at }),
            Err(e) => self.error(text.at, format!("{what}: {e}")),
        }
    }

    pub(super) fn text(&mut self, node: Node, what: &str) -> Option<At<Text>> {
        match node.value {
            Value::Text(it) => Some(At { it, at: node.at }),
            other => self.error(node.at, format!("{what} is {}, and should be a text", kind(&other))),
        }
    }

    /// The entries of a list; none if it is empty or {}.
    pub(super) fn list(&mut self, node: Node, what: &str) -> Vec<Node> {
        match node.value {
            Value::List(entries) => return entries,
            Value::Empty => {}
            Value::Map(entries) if entries.is_empty() => {}
            other => {
                let is = kind(&other);
                self.error::<()>(
                    node.at,
                    format!("{what} is {is}, and should be a list: put `- ` in front, or [brackets] around"),
                );
            }
        }
        Vec::new()
    }

    pub(super) fn map(&mut self, node: Node, what: &str, known: &[&str]) -> Option<Fields> {
        let Value::Map(entries) = node.value else {
            let (is, keys) = (kind(&node.value), known.join(", "));
            return self.error(node.at, format!("{what} is {is}, and should have keys: {keys}"));
        };
        // A key without a value counts as absent.
        let (empty, entries): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(_, node)| node.value == Value::Empty);
        for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&key.name.as_str())) {
            let (name, keys) = (shown(&key.name), known.join(", "));
            self.warning(key.at, format!("{what} has no key {name}, so it does nothing: known are {keys}"));
        }
        let entries = entries.into_iter().map(|(key, node)| (key, Some(node))).collect();
        let empty = empty.into_iter().map(|(key, _)| key).collect();
        Some(Fields { at: node.at, entries, empty })
    }
}

/// A map whose values are taken one by one.
pub(super) struct Fields {
    pub(super) at: Place,
    entries: Vec<(Key, Option<Node>)>,
    /// Keys without a value.
    empty: Vec<Key>,
}

impl Fields {
    pub(super) fn take(&mut self, key: &str) -> Option<Node> {
        self.entries.iter_mut().find(|(k, _)| k.name == key)?.1.take()
    }

    /// The place of a key without a value.
    pub(super) fn written(&self, key: &str) -> Option<Place> {
        self.empty.iter().find(|k| k.name == key).map(|k| k.at)
    }

    /// The place of a key, taken or not.
    pub(super) fn place(&self, key: &str) -> Option<Place> {
        self.entries.iter().find(|(k, _)| k.name == key).map(|(k, _)| k.at)
    }
}

pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Empty => "empty",
        Value::Text(_) => "a text",
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
    }
}
