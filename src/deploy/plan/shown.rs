//! A plan for people ([`Plan::page`]) and for programs ([`json`]).

use super::{Fact, Plan, SOMETHING};
use crate::config::Settings;
use crate::console::json::{Json, quoted};
use crate::console::progress::size;
use crate::console::screen::Screen;
use crate::deploy::report::named;
use crate::deploy::status::record;
use crate::error::{Error, Result};
use crate::store::manifest::Change;

/// So many changes are shown where nobody asked for all of them.
const FEW: usize = 40;

impl Plan {
    /// On one screen, unless `is_whole`.
    pub fn page(&self, screen: Screen, is_whole: bool) -> String {
        let mut text = String::new();
        let mut line = |line: &str| {
            text.push_str(&screen.printable(line));
            text.push('\n');
        };
        let outcome = match self.outcome {
            _ if !self.obstacles.is_empty() => format!("it would end with exit code {}", self.code),
            "deploy" => "there is something to deploy".to_owned(),
            "unchanged" if self.code == SOMETHING => "nothing new, but something to put right".to_owned(),
            "unchanged" => "nothing to do".to_owned(),
            "left-alone" => "nothing to do: what there is is left alone".to_owned(),
            _ => "there is something to finish".to_owned(),
        };
        line(&format!("{:8}  {outcome}", "outcome"));
        for (key, fact) in &self.facts {
            let value = match fact {
                Fact::Text(text) => text.clone(),
                Fact::Bytes(bytes) => size(*bytes),
                Fact::Release(release) => release.as_ref().map_or_else(|| "nothing yet".to_owned(), named),
            };
            line(&format!("{key:8}  {value}"));
        }
        for (key, list) in [("note", &self.notes), ("error", &self.obstacles)] {
            list.iter().for_each(|text| line(&format!("{key:8}  {text}")));
        }
        if !self.changes.is_empty() || self.outcome == "deploy" {
            line("");
            let shown = if is_whole { self.changes.len() } else { FEW };
            for (change, path) in self.changes.iter().take(shown) {
                line(&format!("{} {}", letter(*change), path.display()));
            }
            if let Some(more) = self.changes.len().checked_sub(shown).filter(|more| *more > 0) {
                line(&format!("and {more} more: -v shows them"));
            }
            let count = |which| self.changes.iter().filter(|(change, _)| *change == which).count();
            let [added, changed, removed] = [Change::Added, Change::Changed, Change::Removed].map(count);
            line(&format!("{added} added, {changed} changed, {removed} removed"));
        }
        if !self.hooks.is_empty() {
            line("");
            let width = self.hooks.iter().map(|(when, _)| when.len()).max().unwrap_or(0);
            self.hooks.iter().for_each(|(when, what)| line(&format!("{when:width$}  {what}")));
        }
        text
    }

    fn json(&self, json: &mut Json) {
        json.text("outcome", Some(self.outcome));
        json.number("exit_code", self.code.into());
        for (key, fact) in &self.facts {
            match fact {
                Fact::Text(text) => json.text(key, Some(text)),
                Fact::Bytes(bytes) => json.number(key, *bytes),
                Fact::Release(release) => record(json, key, release.as_ref()),
            }
        }
        for (key, list) in [("notes", &self.notes), ("errors", &self.obstacles)] {
            json.raw(key, "[");
            list.iter().for_each(|text| json.open(&quoted(text)));
            json.close("]");
        }
        json.raw("changes", "[");
        for (change, path) in &self.changes {
            json.open("{");
            json.text("change", Some(letter(*change)));
            json.text("path", Some(&path.to_string_lossy()));
            json.close("}");
        }
        json.close("]");
        json.raw("hooks", "[");
        for (when, what) in &self.hooks {
            json.open("{");
            json.text("when", Some(when));
            json.text("run", Some(what));
            json.close("}");
        }
        json.close("]");
    }
}

/// All plans as JSON: one object, one deployment a line.
pub fn json(plans: &[(&Settings, Result<Plan>)]) -> String {
    let mut json = Json("{\"plans\":[".to_owned());
    for (settings, plan) in plans {
        json.open("\n{");
        match plan {
            Ok(plan) => plan.json(&mut json),
            Err(e) => failed(&mut json, settings, e),
        }
        json.close("}");
    }
    json.0 + "\n]}\n"
}

fn failed(json: &mut Json, settings: &Settings, e: &Error) {
    json.text("outcome", Some(e.kind_name()));
    json.number("exit_code", e.exit_code().into());
    json.text("id", Some(&settings.id));
    json.text("remote", Some(&settings.remote.to_string()));
    json.raw("errors", "[");
    json.open(&quoted(&e.to_string()));
    json.close("]");
}

fn letter(change: Change) -> &'static str {
    match change {
        Change::Added => "A",
        Change::Changed => "M",
        Change::Removed => "D",
    }
}
