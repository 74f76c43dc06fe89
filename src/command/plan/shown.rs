//! Prints a plan for people ([`Plan::print`]) or programs ([`json`]), piece by piece: it may be long.

use std::path::Path;

use super::changes::FEW;
use super::{Fact, Plan, SOMETHING};
use crate::config::Settings;
use crate::console;
use crate::console::json::{Json, quoted};
use crate::console::progress::size;
use crate::console::screen::{Color, Screen};
use crate::error::{Error, Result};
use crate::report::check_report::named;
use crate::report::json::record;
use crate::store::manifest::Change;

/// The number of bytes that are printed at once.
const PIECE: usize = 32 * 1024;

impl Plan {
    /// Prints the plan, shortened to fit on a screen unless `is_whole`.
    pub fn print(&self, screen: Screen, is_whole: bool) -> Result<()> {
        let mut text = self.head(screen);
        let line = |text: &mut String, line: &str| {
            text.push_str(&screen.printable(line));
            text.push('\n');
        };
        let count = self.changes.count();
        if count > 0 || self.outcome == "deploy" {
            line(&mut text, "");
            let mut tell = |change: Change, path: &Path| {
                let painted = screen.painted(change.letter(), shade(change));
                text.push_str(&format!("{painted} {}\n", screen.printable(&path.display().to_string())));
                if text.len() < PIECE { Ok(()) } else { console::print(&std::mem::take(&mut text)) }
            };
            if is_whole {
                self.changes.each(&mut tell)?;
            } else {
                self.changes.each_of_few(&mut tell)?;
            }
            if let Some(more) = count.checked_sub(FEW).filter(|more| *more > 0 && !is_whole) {
                line(&mut text, &format!("and {more} more: -v shows them"));
            }
            line(&mut text, &self.changes.summary());
        }
        if !self.hooks.is_empty() {
            line(&mut text, "");
            let width = self.hooks.iter().map(|(when, _)| when.len()).max().unwrap_or(0);
            self.hooks.iter().for_each(|(when, what)| line(&mut text, &format!("{when:width$}  {what}")));
        }
        console::print(&text)
    }

    /// The lines above the changes.
    fn head(&self, screen: Screen) -> String {
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
            "on-hold" => "nothing to do: what there is is on hold".to_owned(),
            _ => "there is something to finish".to_owned(),
        };
        line(&format!("{:8}  {outcome}", "outcome"));
        for (key, fact) in &self.facts {
            let value = match fact {
                Fact::Text(text) => text.clone(),
                Fact::Bytes(bytes) => size(*bytes),
                Fact::Release(release) => release.as_ref().map_or_else(|| "nothing yet".to_owned(), named),
                Fact::Revision(revision) => revision.to_string(),
            };
            line(&format!("{key:8}  {value}"));
        }
        for (key, list) in [("note", &self.notes), ("error", &self.obstacles)] {
            list.iter().for_each(|text| line(&format!("{key:8}  {text}")));
        }
        text
    }

    fn json(&self, json: &mut Json) -> Result<()> {
        json.text("outcome", Some(self.outcome));
        json.number("exit_code", self.code.into());
        for (key, fact) in &self.facts {
            match fact {
                Fact::Text(text) => json.text(key, Some(text)),
                Fact::Bytes(bytes) => json.number(key, *bytes),
                Fact::Release(release) => record(json, key, release.as_ref()),
                Fact::Revision(revision) => json.text(key, Some(revision.as_str())),
            }
        }
        for (key, list) in [("notes", &self.notes), ("errors", &self.obstacles)] {
            json.raw(key, "[");
            list.iter().for_each(|text| json.open(&quoted(text)));
            json.close("]");
        }
        json.raw("changes", "[");
        self.changes.each(&mut |change, path| {
            json.open("{");
            json.text("change", Some(change.letter()));
            json.text("path", Some(&path.to_string_lossy()));
            json.close("}");
            if json.0.len() < PIECE {
                return Ok(());
            }
            // The last byte decides whether a comma comes next.
            let last = json.0.split_off(json.0.len() - 1);
            console::print(&std::mem::replace(&mut json.0, last))
        })?;
        json.close("]");
        json.raw("hooks", "[");
        for (when, what) in &self.hooks {
            json.open("{");
            json.text("when", Some(when));
            json.text("run", Some(what));
            json.close("}");
        }
        json.close("]");
        Ok(())
    }
}

/// Prints the start of the JSON of all plans: one object, one deployment a line.
pub fn json_begins() -> Result<()> {
    console::print("{\"plans\":[")
}

/// Prints the JSON of one deployment.
pub fn json(settings: &Settings, plan: &Result<Plan>, is_first: bool) -> Result<()> {
    let mut json = Json(if is_first { "\n{" } else { ",\n{" }.to_owned());
    match plan {
        Ok(plan) => plan.json(&mut json)?,
        Err(e) => failed(&mut json, settings, e),
    }
    json.close("}");
    console::print(&json.0)
}

/// Prints the end of the JSON.
pub fn json_ends() -> Result<()> {
    console::print("\n]}\n")
}

fn failed(json: &mut Json, settings: &Settings, e: &Error) {
    json.text("outcome", Some(e.kind().word()));
    json.number("exit_code", e.exit_code().into());
    json.text("id", Some(&settings.id));
    json.text("remote", Some(&settings.remote.to_string()));
    json.raw("errors", "[");
    json.open(&quoted(&e.to_string()));
    json.close("]");
}

fn shade(change: Change) -> Color {
    match change {
        Change::Added => Color::Good,
        Change::Changed => Color::Doubtful,
        Change::Removed => Color::Bad,
    }
}
