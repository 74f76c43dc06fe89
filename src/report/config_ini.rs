//! The values that a section with `s3_bucket` keeps in its file: overrides from the command line, the upload time of
//! the installed bundle, and whether an installation is in progress. They are for other programs; repo-deploy relies on
//! the store and the lock. Failing to write the file is one warning, and does not affect the deployment.

use crate::config::Bundle;
use crate::config::Settings;
use crate::config::write_back::remember;
use crate::error::Result;
use crate::model::Validators;
use crate::outcome::Outcome;
use crate::store::state::State;
use crate::sys::clock;

const IN_PROGRESS: &str = "installation_in_progress";

/// The values that one check writes.
#[derive(Debug, Default)]
pub struct Notes {
    bundle: Option<Bundle>,
    /// Whether the file says that an installation is in progress.
    in_progress: bool,
    /// Whether a failure to write the file has been logged.
    told: bool,
}

impl Notes {
    /// Called under the lock, so an installation in progress in the file is left over from an interrupted one; but if
    /// this process waited for the lock, another process may have been installing when the file was read.
    pub fn open(settings: &Settings, has_waited: bool) -> Self {
        let mut notes = Self { bundle: settings.bundle.clone(), ..Self::default() };
        let Some(bundle) = settings.bundle.clone() else { return notes };
        if let Some(file) = bundle.file.as_ref().filter(|_| bundle.in_progress) {
            if !has_waited {
                log::warn!(
                    "{}: {IN_PROGRESS} = true is left over from an installation that was cut off: nobody installs now, going on",
                    file.display()
                );
            }
            notes.in_progress = true;
        }
        let values: Vec<_> = bundle.overrides.iter().map(|(key, value)| (*key, value.as_str())).collect();
        notes.write(&values);
        notes
    }

    /// Called before the live tree changes.
    pub fn begin(&mut self) {
        self.in_progress = self.bundle.is_some();
        self.write(&[(IN_PROGRESS, "true")]);
    }

    /// Called at the end of a check.
    pub fn end(&mut self, state: &State, result: &Result<Outcome>) {
        // After a rollback by hand, the upload time of the bundle that was left stays, so that a program that relies on
        // it alone does not install that bundle again.
        let is_back = !state.rolled_back.is_empty();
        let current = state.current.as_ref().filter(|_| !is_back);
        let uploaded = current.and_then(|current| modified(&current.validators));
        let mut values = Vec::new();
        if let (Ok(Outcome::Deployed), Some(uploaded)) = (result, &uploaded) {
            values.push(("last_fetch_time", uploaded.as_str()));
        }
        if self.in_progress {
            values.push((IN_PROGRESS, "false"));
        }
        self.write(&values);
    }

    fn write(&mut self, values: &[(&str, &str)]) {
        let Some(bundle) = self.bundle.as_ref().filter(|_| !values.is_empty() && !self.told) else { return };
        let Some(file) = &bundle.file else { return };
        if let Err(e) = remember(file, bundle.section.as_deref(), values) {
            log::warn!("{e}; the deployment is not affected");
            self.told = true;
        }
    }
}

/// The condition of the first poll: the bundle that was installed before there was a store, according to the file.
pub fn known(settings: &Settings) -> Option<Validators> {
    let fetched = settings.bundle.as_ref()?.fetched?;
    Some(Validators::default().with("last-modified", clock::http_date(fetched)))
}

/// The upload time that the source states, in the format of deployer.py.
fn modified(validators: &Validators) -> Option<String> {
    let seconds = clock::of_http_date(validators.get("last-modified")?)?;
    Some(clock::rfc3339(seconds).replace('T', " ").replace('Z', "+0000"))
}

#[cfg(test)]
mod tests {
    use crate::report::config_ini::*;

    #[test]
    fn the_time_of_upload_is_written_as_it_was_before() {
        let at = |date: &str| modified(&Validators::default().with("last-modified", date));
        assert_eq!(at("Sun, 30 Jul 2023 19:41:09 GMT").unwrap(), "2023-07-30 19:41:09+0000");
        assert_eq!(at("once"), None);
        assert_eq!(modified(&Validators::default()), None);
    }
}
