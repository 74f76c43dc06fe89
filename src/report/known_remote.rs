//! The remote of a deployment's last check, for commands that read the store without asking the source. It contains no
//! credentials: these are stored in no file of repo-deploy.

use super::status_file::Status;
use crate::activate::locations;
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::remote::Remote;
use crate::store::StoreView;

/// The keys of the `status` file: the remote, and the part that it lacks to be polled.
const REMOTE: &str = "remote";
const LACKS: &str = "remote-lacks";

/// The remote that the store of a deployment records, if any. If `is_asked`, it must be complete.
pub fn remote(settings: &Settings, is_asked: bool) -> Result<Option<String>> {
    let status = Status::read(&StoreView::open(&locations::locate(settings)?.store)?);
    let Some(remote) = status.text(REMOTE) else { return Ok(None) };
    match status.text(LACKS).filter(|_| is_asked) {
        None => Ok(Some(remote.to_owned())),
        Some(lacks) => Err(Error::config(format!(
            "cannot use the remote that the store knows, {remote}: it lacks {lacks}: give --remote URL, or a configuration"
        ))),
    }
}

impl Status {
    /// Records the remote of a check.
    pub fn set_remote(&mut self, remote: &Remote) {
        let text = remote.to_string();
        self.forget(LACKS);
        match Remote::parse(&text) {
            Ok(read) if read == *remote => {}
            Ok(_) => self.set(LACKS, "what is secret in it"),
            Err(_) => return self.forget(REMOTE),
        }
        self.set(REMOTE, text);
    }
}
