//! Opens the files and directories that a check would open, by the same calls, without changing them: `validate`
//! reports in advance why a check would fail, be blocked, or warn.

use std::path::Path;

use crate::activate::locations;
use crate::artifact;
use crate::config::Settings;
use crate::config::keys::Name;
use crate::console;
use crate::deploy::check::Check;
use crate::deploy::hooks::{self, Found};
use crate::deploy::recovery_action::RecoveryAction;
use crate::error::plain;
use crate::model::ActivationMode;
use crate::package::Demands;
use crate::source::Source;
use crate::source::inspect::Remark;
use crate::store::StoreView;
use crate::sys::fs::can_be_made;
use crate::sys::resolve::{self, Fault, Last, Way};

/// The problems with the files and directories that the settings name.
pub fn inspect(settings: &Settings) -> Vec<Remark> {
    let mut remarks = Vec::new();
    inspect_log_and_reports(settings, &mut remarks);
    for (key, dir) in [(Name::PreHooks, &settings.pre_hooks), (Name::PostHooks, &settings.post_hooks)] {
        inspect_hooks(key, dir, &mut remarks);
    }
    let demands = Demands::new(&settings.trust);
    remarks.extend(demands.as_ref().err().map(|e| (Name::VerifyKey, false, e.to_string())));
    let places = match locations::locate(settings) {
        Ok(places) => places,
        Err(e) => {
            remarks.push((Name::Local, false, e.to_string()));
            return remarks;
        }
    };
    match Source::new(settings, &places.cache) {
        Ok(source) => {
            remarks.extend(source.inspect());
            if demands.is_ok() {
                inspect_deployment(settings, &places, &mut remarks);
            }
        }
        Err(e) => remarks.push((Name::Remote, false, e.to_string())),
    }
    // A directory on this host is copied without the cache.
    let is_directory = || settings.remote.local_path().is_some_and(Path::is_dir);
    let is_cache_used = !(settings.remote.is_read_in_place() && is_directory());
    remarks.extend(artifact::look_at_cache(&places.cache).err().map(|e| (Name::Cache, !is_cache_used, e.to_string())));
    remarks
}

/// The problems with the store and the entry at `<local>`.
fn inspect_deployment(settings: &Settings, places: &locations::Places, remarks: &mut Vec<Remark>) {
    let key = match places.mode {
        _ if settings.store.is_some() => Name::Store,
        _ if places.store.key == "state-dir" => Name::StateDir,
        ActivationMode::Symlink | ActivationMode::InPlace | ActivationMode::Install => Name::Local,
    };
    let store = match StoreView::open(&places.store) {
        Ok(store) => store,
        Err(e) => return remarks.push((key, false, e.to_string())),
    };
    if !can_be_made(&places.store.path) {
        let path = places.store.path.display();
        let text = format!("{path} cannot be written by this user: whoever runs the checks has to be able to");
        remarks.push((key, true, text));
    }
    let looked = Check::new(settings, places.clone(), store).and_then(|check| {
        let healing = check.diagnose()?.0;
        if let RecoveryAction::Refuse(why) = healing { Err(check.refusal(why)) } else { Ok(()) }
    });
    remarks.extend(looked.err().map(|e| (Name::Local, false, e.to_string())));
    match locations::open_to_all(settings, places.mode) {
        Ok(remark) => remarks.extend(remark.map(|text| (Name::Local, true, text))),
        Err(e) => remarks.push((Name::Local, false, e.to_string())),
    }
}

/// A deployment works without a log and reports; but an existing entry that is not a file is not replaced by one.
fn inspect_log_and_reports(settings: &Settings, remarks: &mut Vec<Remark>) {
    let bad = |key: Name, path: &Path, why: &std::io::Error| {
        format!("cannot use {} = {}: {}", key.key().text, path.display(), plain(why))
    };
    if let Some(path) = &settings.log_file
        && let Err(e) = console::can_log_to(path)
    {
        remarks.push((Name::LogFile, true, bad(Name::LogFile, path, &e)));
    }
    for (key, path) in [(Name::StatusFile, &settings.status_file), (Name::MetricsFile, &settings.metrics_file)] {
        let Some(path) = path else { continue };
        match resolve::find(path, Way::Any, Last::Written) {
            Ok(place) => {
                remarks.extend(place.can_be_replaced().err().map(|e| (key, false, bad(key, path, &e))));
            }
            Err(Fault::Io(e)) => remarks.push((key, true, bad(key, path, &e))),
            Err(fault @ Fault::Untrusted(_)) => remarks.push((key, true, bad(key, path, &fault.into()))),
        }
    }
}

/// The problems with hooks: one that cannot run blocks every deployment, or rolls it back.
fn inspect_hooks(key: Name, dir: &Path, remarks: &mut Vec<Remark>) {
    match hooks::survey(dir) {
        Ok((found, odd)) => {
            remarks.extend(odd.into_iter().map(|text| (key, true, text)));
            match found {
                Found::Hooks(hooks) => {
                    let cannot = hooks::cannot_start(&hooks).into_iter();
                    remarks.extend(cannot.map(|(is_likely, text)| (key, is_likely, text)));
                }
                Found::Refused(why) => remarks.push((key, false, why)),
            }
        }
        Err(e) => remarks.push((key, false, e.to_string())),
    }
}
