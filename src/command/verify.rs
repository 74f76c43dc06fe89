//! `repo-deploy verify`: whether the live tree is what the live release was made of. It changes nothing and takes no lock: the
//! state is read before and after, and when a deployment came in between, what was seen means nothing and is not told.
//!
//! Putting it back is [`super::repair`]'s.

use std::path::Path;

use crate::activate::compare::{Difference, Except, other_mode};
use crate::activate::limit::Limit;
use crate::activate::locations;
use crate::activate::{Activation, Setup, compare_at, tree};
use crate::appspec::Behaviour;
use crate::config::Settings;
use crate::console;
use crate::console::screen::{Color, Screen};
use crate::deploy::in_the_way;
use crate::error::{Context, Error, Kind, Result};
use crate::model::ActivationMode;
use crate::report::check_report;
use crate::store::manifest::{self, Manifest};
use crate::store::state::{Phase, Record, State};
use crate::store::{Recorded, Release, Store};

/// Tells on standard output what differs, and then what that comes to. The exit code.
pub fn verify(settings: &Settings, prefix: &str) -> Result<u8> {
    let places = locations::locate(settings)?;
    let (mode, store) = (places.mode, Store::look(&places.store)?);
    let state = settled(&store)?;
    let current = live(&state)?;
    let activation = Activation::new(Setup {
        mode,
        local: &settings.local,
        store: &store,
        preserve: places.preserve(settings),
        behaviour: Behaviour::Disallow,
        live_dir: state.live_dir.clone(),
        is_store_in_local: places.is_store_in_local,
    });
    let release = store.release_at(&current.release);
    let known = manifest::read(&store, &release.id);
    if manifest::is_damaged(&store, &release.id) {
        let text = "its manifest is damaged; --repair makes it anew, when the source still has this revision";
        return Err(Error::failed(format!("cannot verify release {}: {text}", release.id)));
    }
    if known.is_none() && mode == ActivationMode::Symlink && release.is_there()? {
        return Err(Error::failed(format!(
            "cannot verify release {}: it has no manifest, an older repo-deploy unpacked it; with --repair it gets one of what is there now",
            release.id
        )));
    }
    let seen = Seen::look(&activation, mode, &release, known.as_ref());
    if settled(&store)? != state {
        return Err(Error::new(Kind::Locked, "a deployment came in between: verify again"));
    }
    let mut seen = seen?;
    console::print(&painted(std::mem::take(&mut seen.text)))?;
    console::print(&seen.rest())?;
    let what = match seen.count {
        0 => no_differences(seen.names),
        count => differences(count),
    };
    console::print(&format!("{prefix}{}: {what}\n", check_report::named(current)))?;
    Ok(u8::from(seen.count > 0))
}

/// Lines of differences, with their first words in colour on a terminal.
pub(super) fn painted(text: String) -> String {
    let words =
        [("added", Color::Good), ("changed", Color::Doubtful), ("missing", Color::Bad), ("unreadable", Color::Bad)];
    Screen::of_stdout().highlighted(text, &words)
}

/// The state of a store while nothing is going on.
fn settled(store: &Store) -> Result<State> {
    let root = store.root();
    let state = match store.recorded()? {
        Recorded::State(state) => *state,
        Recorded::Nothing => return Err(nothing_live()),
        Recorded::Foreign(format) => return Err(crate::deploy::foreign(root, &format)),
        Recorded::Unreadable(reason) => {
            let text = format!("the state in {} cannot be read: {reason}; the next check settles it", root.display());
            return Err(Error::new(Kind::InDoubt, text));
        }
    };
    if state.phase != Phase::Idle && store.is_locked()? {
        let text = format!("a deployment is at work, {}: verify when it is over", state.phase);
        return Err(Error::new(Kind::Locked, text));
    }
    in_the_way(&state)?;
    Ok(state)
}

/// What is live.
pub fn live(state: &State) -> Result<&Record> {
    state.current.as_ref().ok_or_else(nothing_live)
}

pub fn nothing_live() -> Error {
    Error::failed("nothing to verify: nothing has been deployed")
}

/// Bytes of lines that are told at most; the count tells of the rest.
const MOST: usize = 16 << 20;

/// What differs.
#[derive(Debug, Default)]
pub struct Seen {
    /// A line for each, as far as there is room.
    pub text: String,
    /// How many.
    pub count: u64,
    /// How many have no line.
    pub untold: u64,
    /// How many names were held against what they should be.
    pub names: u64,
}

impl Seen {
    /// Looks at the live tree, and at the release in the store. `known`: what that was made of; without it nobody can tell
    /// whether it is what it was, and the live tree is held against it as it is.
    pub fn look(
        activation: &Activation,
        mode: ActivationMode,
        release: &Release,
        known: Option<&Manifest>,
    ) -> Result<Self> {
        let mut seen = Self::default();
        let Self { text, count, untold, names } = &mut seen;
        let mut tell = |path: &Path, difference: Difference| {
            *count += 1;
            // The live tree may be anybody's, and then so are the number and the length of its names.
            let line = difference.line(path);
            if *untold > 0 || text.len() + line.len() > MOST {
                *untold += 1;
                return;
            }
            text.reserve(MOST - text.len()); // at once: a text that grows is there twice
            text.push_str(&line);
        };
        if !release.is_there()? {
            tell(&release.path, Difference::Missing);
            return Ok(seen);
        }
        let cannot = || format!("cannot read release {}", release.id);
        let mode_of_top = release.open().and_then(|top| top.meta()).with_context(cannot)?.mode;
        if let Some(should) = release.mode().filter(|should| *should != mode_of_top) {
            tell(&release.path, Difference::Changed(other_mode(mode_of_top, should)));
        }
        let made = match known {
            Some(_) => Manifest::default(),
            None => {
                log::warn!(
                    "release {} has no manifest, an older repo-deploy unpacked it: it is taken as it is",
                    release.id
                );
                release.open().with_context(cannot).and_then(|top| tree::manifest(&top, Limit::SIGNALS))?
            }
        };
        *names = activation.differences(release, known.unwrap_or(&made), &mut tell)?;
        if let Some(known) = known.filter(|_| mode != ActivationMode::Symlink) {
            compare_at(&release.path, release.open(), known, Except::default(), &mut tell)?;
        }
        Ok(seen)
    }

    /// The line about those that have none.
    pub fn rest(&self) -> String {
        if self.untold == 0 { String::new() } else { format!("and {}\n", differences(self.untold)) }
    }
}

pub fn no_differences(names: u64) -> String {
    if names == 1 { "1 entry is as it should be".to_owned() } else { format!("{names} entries as they should be") }
}

pub fn differences(count: u64) -> String {
    format!("{count} difference{}", if count == 1 { "" } else { "s" })
}
