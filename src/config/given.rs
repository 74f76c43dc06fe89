//! What was given for each key, and where: argument > file (a section's own > what holds for all) > environment >
//! default. Names what it does not know. What a value means is not known here.

use std::ffi::OsString;
use std::fmt::Display;

use super::keys::{self, KEYS, Key, Name};
use super::nearest::hint;
use super::syntax::{Document, Entry};
use crate::error::{Error, Result};

/// A value, and where it came from.
#[derive(Clone)]
pub struct Value {
    pub key: &'static Key,
    pub text: String,
    /// How messages call the place: `/etc/x.cfg:3`, `--local`, `REPO_DEPLOY_KEEP`, `default`.
    pub origin: String,
    rank: Rank,
}

/// The strongest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Argument,
    Section,
    File,
    Environment,
    Default,
}

impl Value {
    /// The error for a value that cannot be used: where, what, and what would be right. A secret is not repeated.
    pub fn bad(&self, why: impl Display) -> Error {
        let Key { text: key, secret, .. } = self.key;
        let shown = match self.text.char_indices().nth(100) {
            _ if *secret || self.key.name == Name::Remote => String::new(),
            _ if self.text.is_empty() => " = (empty)".to_owned(),
            Some((end, _)) => format!(" = {}…", &self.text[..end]),
            None => format!(" = {}", self.text),
        };
        Error::config(format!("{}: cannot use {key}{shown}: {why}", self.origin))
    }
}

/// An argument: the option as it was written, its key, its value.
pub type Argument = (String, Name, OsString);

/// Everything that was given.
#[derive(Default)]
pub struct Given {
    values: Vec<Value>,
}

impl Given {
    /// The value that counts for `name`; its default when there is one; `None` when there is none or it is empty.
    pub fn get(&self, name: Name) -> Result<Option<Value>> {
        let key = name.key();
        let Some(value) = self.values.iter().filter(|v| v.key.name == name).min_by_key(|v| v.rank) else {
            return Ok((!key.default.is_empty()).then(|| self.default(key)));
        };
        match (value.text.is_empty(), key.default.is_empty()) {
            (false, _) => Ok(Some(value.clone())),
            (true, true) => Ok(None), // `owner =` in a section takes back what holds for all
            (true, false) => Err(value.bad(format!("it takes a value; without the key it is {}", key.default))),
        }
    }

    /// The values that count for a key that may be repeated: all of the strongest place, in order.
    pub fn all(&self, name: Name) -> Vec<&Value> {
        let of = || self.values.iter().filter(|v| v.key.name == name);
        let strongest = of().map(|v| v.rank).min();
        // Within a place the last one stands first (see `add_file`).
        let mut values: Vec<&Value> = of().filter(|v| Some(v.rank) == strongest && !v.text.is_empty()).collect();
        values.reverse();
        values
    }

    fn default(&self, key: &'static Key) -> Value {
        Value { key, text: key.default.to_owned(), origin: "default".to_owned(), rank: Rank::Default }
    }

    /// Adds what the command line said.
    pub fn add_arguments(&mut self, arguments: &[Argument]) -> Result<()> {
        for (option, name, text) in arguments.iter().rev() {
            self.add(name.key(), text.clone(), option.clone(), Rank::Argument)?;
        }
        Ok(())
    }

    /// Adds what the file `file` says for `section` and for all.
    pub fn add_file(&mut self, file: &str, doc: &Document, section: Option<&str>, warnings: &mut Vec<String>) {
        if section.is_some() {
            self.add_entries(file, doc, section, Rank::Section, warnings);
        }
        self.add_entries(file, doc, None, Rank::File, warnings);
    }

    fn add_entries(
        &mut self,
        file: &str,
        doc: &Document,
        section: Option<&str>,
        rank: Rank,
        warnings: &mut Vec<String>,
    ) {
        let mut seen: Vec<(Name, usize)> = Vec::new();
        let mut values = Vec::new();
        for entry in doc.entries(section) {
            let Some(key) = keys::find(&entry.key) else {
                warnings.push(unknown(file, entry));
                continue;
            };
            let origin = format!("{file}:{}", entry.line);
            if let Some((_, line)) = seen.iter().find(|(n, _)| *n == key.name && !key.repeated) {
                warnings.push(format!("{origin}: {} stands in line {line} already: this one counts", key.text));
            }
            seen.push((key.name, entry.line));
            let text = doc.value(entry);
            warnings.extend(misread(key, text).map(|what| format!("{origin}: {}: {what}", key.text)));
            values.push(Value { key, text: text.to_owned(), origin, rank });
        }
        self.values.extend(values.into_iter().rev());
    }

    /// Adds what the environment says. An empty variable says nothing. In a hook of ours, what we told the hook is no
    /// configuration: `REPO_DEPLOY_ID` and `REPO_DEPLOY_REMOTE` are passed over where `REPO_DEPLOY_PHASE` is set.
    pub fn add_environment(&mut self, environment: &[(OsString, OsString)], warnings: &mut Vec<String>) -> Result<()> {
        let in_hook = environment.iter().any(|(name, _)| name == "REPO_DEPLOY_PHASE");
        let mut ours = Vec::new();
        for (name, text) in environment {
            let Some(name) = name.to_str().filter(|_| !text.is_empty()) else { continue };
            match keys::of_variable(name) {
                Some(_) if in_hook && matches!(name, "REPO_DEPLOY_ID" | "REPO_DEPLOY_REMOTE") => {}
                Some(key) => ours.push((!name.starts_with(keys::PREFIX), name, key, text)),
                None => warnings.extend(misspelt(name)),
            }
        }
        ours.sort_unstable_by_key(|(old, name, ..)| (*old, *name)); // the names of today are stronger than the old ones
        for (_, name, key, text) in ours {
            let lines = if key.repeated { text.to_str() } else { None };
            match lines {
                Some(lines) => {
                    for line in lines.lines().rev() {
                        self.add(key, line.into(), name.to_owned(), Rank::Environment)?;
                    }
                }
                None => self.add(key, text.clone(), name.to_owned(), Rank::Environment)?,
            }
        }
        Ok(())
    }

    fn add(&mut self, key: &'static Key, text: OsString, origin: String, rank: Rank) -> Result<()> {
        let (text, readable) = match text.into_string() {
            Ok(text) => (text, true),
            Err(text) => (text.to_string_lossy().into_owned(), false),
        };
        let value = Value { key, text: text.trim().to_owned(), origin, rank };
        if !readable {
            return Err(value.bad("it is not UTF-8"));
        }
        if value.text.bytes().any(|b| b.is_ascii_control()) {
            return Err(value.bad("it has a control character"));
        }
        self.values.push(value);
        Ok(())
    }
}

fn unknown(file: &str, entry: &Entry) -> String {
    let known = KEYS.iter().flat_map(|k| std::iter::once(k.text).chain(k.alias));
    format!("{file}:{}: unknown key {}{}", entry.line, entry.key, hint(&entry.key, known))
}

/// A variable that is near to one of ours. Others with our prefix are not ours to judge: Kubernetes makes
/// REPO_DEPLOY_PORT for a service of our name, and hooks get some from us.
fn misspelt(variable: &str) -> Option<String> {
    const FOR_HOOKS: [&str; 7] =
        ["REVISION", "PREVIOUS_REVISION", "RELEASE", "PHASE", "REASON", "ATTEMPT", "CHANGED_FILES"];
    let name = variable.strip_prefix(keys::PREFIX).filter(|n| !FOR_HOOKS.contains(n))?;
    let known: Vec<String> = KEYS.iter().map(|k| k.text.to_uppercase().replace('-', "_")).collect();
    let near = super::nearest::nearest(name, known.iter().map(String::as_str))?;
    Some(format!("unknown variable {variable}; did you mean {}{near}?", keys::PREFIX))
}

/// What other programs take away from a value, and we do not.
fn misread(key: &Key, text: &str) -> Option<&'static str> {
    let quoted = text.len() >= 2
        && (text.starts_with('"') && text.ends_with('"') || text.starts_with('\'') && text.ends_with('\''));
    if key.secret {
        None
    } else if quoted {
        Some("the quotes are part of the value: leave them out")
    } else if text.contains(" #") || text.contains(" ;") {
        Some("what looks like a comment is part of the value: a comment stands on a line of its own")
    } else {
        None
    }
}
