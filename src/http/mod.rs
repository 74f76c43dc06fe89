//! HTTP as git, AWS, S3, notifications and archives use it: one request to an origin (`client`), with proxies (`proxy`), redirects
//! (`redirect`, `address_policy`) and retries (`retry`, `status`, `request_error`) over ureq (`connector`, `head`, `tls`). `download`
//! (`partial_download`, `content_range`, `coding`) takes a body to a file, and `range_reader` as much of one as tells what is in it.
//! A source that reads responses in another way than HTTP does says so (`response_policy`). Credentials come from `auth` (`netrc`,
//! `secret_file`).

mod address_policy;
pub mod auth;
pub mod client;
pub mod coding;
mod connector;
mod content_range;
pub mod download;
mod head;
pub mod message;
mod netrc;
mod partial_download;
pub mod post;
mod proxy;
pub mod range_reader;
mod redirect;
pub mod request_error;
pub mod response_policy;
pub mod retry;
pub mod secret_file;
pub mod status;
pub mod tls;
pub mod validators;

use std::sync::{Mutex, PoisonError};

/// What was said once need not be said at every check of a daemon.
static WARNED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Says what nobody has said yet.
pub fn warn_once(warnings: Vec<String>) {
    let mut warned = WARNED.lock().unwrap_or_else(PoisonError::into_inner);
    for warning in warnings {
        if !warned.contains(&warning) {
            log::warn!("{warning}");
            warned.push(warning);
        }
    }
}

/// The bytes that a percent-encoded part of a URL stands for.
pub fn percent_decoded(text: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(text).collect()
}
