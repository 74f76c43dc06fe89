//! stub
use super::{Known, Poll};
use crate::artifact::Artifact;
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::sys::clock::Deadline;
use std::path::Path;
use url::Url;
/// s
#[derive(Debug)]
pub struct HttpSource;
/// o
#[derive(Debug)]
pub struct HttpOffer;
impl HttpSource {
    /// n
    pub fn new(_url: &Url, _settings: &Settings) -> Result<Self> {
        Ok(Self)
    }
    /// p
    pub fn poll(&mut self, _known: Option<Known<'_>>, _deadline: Deadline) -> Result<Poll> {
        Err(Error::failed("not yet"))
    }
    /// f
    pub fn fetch(&mut self, _offer: HttpOffer, _download: &Path, _deadline: Deadline) -> Result<Artifact> {
        Err(Error::failed("not yet"))
    }
}
