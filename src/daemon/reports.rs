//! `status-file` and `metrics-file`: rewritten after every check. Deployments that name the same file share it. Failing
//! to write one is a warning, once for each reason.

use std::path::{Path, PathBuf};

use super::job::Job;
use crate::command::status;
use crate::command::status::Snapshot;
use crate::config::Settings;
use crate::config::keys::Name;
use crate::error::{Context, Result};
use crate::report::metrics;
use crate::sys::resolve::{self, Last, Way};

/// The warnings that were logged.
#[derive(Debug, Default)]
pub struct Reports(Vec<String>);

impl Reports {
    /// Writes the files of the deployments that `concern` selects.
    pub fn write(&mut self, sections: &[Job], concern: impl Fn(&Job) -> bool) {
        let mut complaints = Vec::new();
        for (key, file, text) in FILES {
            let mut written: Vec<&PathBuf> = Vec::new();
            for path in sections.iter().filter(|section| concern(section)).filter_map(|section| file(&section.settings))
            {
                if !written.contains(&path) {
                    written.push(path);
                    let shared = sections.iter().filter(|section| file(&section.settings) == Some(path));
                    complaints.extend(replace(key, path, shared, text).err().map(|e| e.to_string()));
                }
            }
        }
        complaints.iter().filter(|new| !self.0.contains(new)).for_each(|new| log::warn!("{new}"));
        self.0 = complaints;
    }
}

type File = fn(&Settings) -> Option<&PathBuf>;
type Text = fn(&[Snapshot<'_>]) -> String;

/// The keys of the two files, their paths and their content.
const FILES: [(Name, File, Text); 2] = [
    (Name::StatusFile, |s| s.status_file.as_ref(), status::json),
    (Name::MetricsFile, |s| s.metrics_file.as_ref(), measured),
];

/// The text of a metrics file.
fn measured(snapshots: &[Snapshot<'_>]) -> String {
    metrics::text(&snapshots.iter().map(Snapshot::sample).collect::<Vec<_>>())
}

/// Writes one file. A deployment whose store cannot be read is left out, and is the error.
fn replace<'a>(key: Name, path: &Path, sections: impl Iterator<Item = &'a Job>, text: Text) -> Result<()> {
    let what = || format!("cannot write {} {}", key.key().text, path.display());
    let (mut snapshots, mut unread) = (Vec::new(), Ok(()));
    for section in sections {
        match Snapshot::take(&section.settings, section.times.schedule(), &section.unsaved) {
            Ok(snapshot) => snapshots.push(snapshot),
            Err(e) => unread = Err(e).with_context(|| format!("cannot report on {}", section.settings.id)),
        }
    }
    let place = resolve::find(path, Way::Any, Last::Written).map_err(std::io::Error::from).with_context(what)?;
    place.replace(text(&snapshots).as_bytes(), 0o644).with_context(what)?;
    unread
}
