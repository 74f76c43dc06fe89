//! `repo-deploy verify`: compares the live tree with the manifest of the live release. It changes nothing and takes no
//! lock: the state is read before and after, and if a deployment came in between, the result is discarded.
//!
//! [`super::repair`] repairs the differences.

use std::path::Path;

use crate::activate::compare::{Difference, Except, compare_at, other_mode};
use crate::activate::limit::Limit;
use crate::activate::locations;
use crate::activate::{Activation, Setup, tree};
use crate::appspec::Behaviour;
use crate::config::Settings;
use crate::console;
use crate::console::screen::{Color, Screen};
use crate::deploy::failure::in_the_way;
use crate::error::{Context, Error, Kind, Result};
use crate::model::ActivationMode;
use crate::report::check_report;
use crate::store::manifest::{self, Manifest};
use crate::store::state::{Phase, Record, State};
use crate::store::{Recorded, Release, StoreView};

/// Prints the differences to standard output, then a summary. Returns the exit code.
pub fn verify(settings: &Settings, prefix: &str) -> Result<u8> {
    let places = locations::locate(settings)?;
    let (mode, store) = (places.mode, StoreView::open(&places.store)?);
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

/// The state of a store with no deployment in progress.
fn settled(store: &StoreView) -> Result<State> {
    let root = store.root();
    let state = match store.recorded()? {
        Recorded::State(state) => *state,
        Recorded::Nothing => return Err(nothing_live()),
        Recorded::Foreign(format) => return Err(crate::deploy::failure::foreign(root, &format)),
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

/// The live release.
pub fn live(state: &State) -> Result<&Record> {
    state.current.as_ref().ok_or_else(nothing_live)
}

pub fn nothing_live() -> Error {
    Error::failed("nothing to verify: nothing has been deployed")
}

/// Most bytes of lines that are printed; further differences are only counted.
const MOST: usize = 16 << 20;

/// The differences that were found.
#[derive(Debug, Default)]
pub struct Seen {
    /// A line for each difference, up to [`MOST`] bytes.
    pub text: String,
    /// The number of differences.
    pub count: u64,
    /// The number of differences without a line.
    pub untold: u64,
    /// The number of names that were compared.
    pub names: u64,
}

impl Seen {
    /// Compares the live tree and the release in the store. `known`: the manifest of the release; without it the
    /// release cannot be checked, and the live tree is compared with its present content.
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
            // Other users may write the live tree, so the number and the length of its names are unbounded.
            let line = difference.line(path);
            if *untold > 0 || text.len() + line.len() > MOST {
                *untold += 1;
                return;
            }
            text.reserve(MOST - text.len()); // at once: growing would hold the text twice
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
                tree::of_release(release, Limit::SIGNALS)?
            }
        };
        *names = activation.differences(release, known.unwrap_or(&made), &mut tell)?;
        if let Some(known) = known.filter(|_| mode != ActivationMode::Symlink) {
            compare_at(&release.path, release.open(), known, Except::default(), &mut tell)?;
        }
        Ok(seen)
    }

    /// The line that counts the differences without a line.
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
