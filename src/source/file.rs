//! stub
use super::{Known, Poll};
use crate::artifact::Artifact;
use crate::config::Settings;
use crate::error::{Error, Result};
use std::path::Path;
/// s
#[derive(Debug)]
pub struct FileSource;
/// o
#[derive(Debug)]
pub struct FileOffer;
impl FileSource {
    /// n
    pub fn new(_path: &Path, _settings: &Settings) -> Self {
        Self
    }
    /// p
    pub fn poll(&mut self, _known: Option<Known<'_>>) -> Result<Poll> {
        Err(Error::failed("not yet"))
    }
    /// f
    pub fn fetch(&mut self, _offer: FileOffer) -> Result<Artifact> {
        Err(Error::failed("not yet"))
    }
}
