//! Verifies an archive before its first byte is read as a ZIP: its sum is the pinned one, the list of sums at its
//! source names it, a trusted key has signed it, and its version is not lower. All configured checks must pass. A
//! [`Verified`] needs no further check; only [`verify`] makes one.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use blake2::Blake2b512;
use sha2::{Digest, Sha256};

use super::minisign::Signature;
use super::sums;
use super::version::{self, Version};
use crate::artifact::{Artifact, Content, SidecarFile, Sidecars};
use crate::config::{PublicKey, Trust};
use crate::console::Progress;
use crate::error::{Context, Error, Result};
use crate::model::hex;
use crate::sys::clock::Deadline;
use crate::sys::log;

/// The largest archive with a signature of the older kind, which needs the whole archive in memory.
const LARGEST_LEGACY: u64 = 64 << 20;

/// The checks that every archive must pass.
#[derive(Debug, Default)]
pub struct Demands {
    sha256: Option<String>,
    keys: Vec<PublicKey>,
    sums: bool,
    allow_downgrade: bool,
}

/// An artifact that passed the configured checks.
#[derive(Debug)]
pub struct Verified {
    artifact: Artifact,
    proof: Option<String>,
    version: Option<String>,
}

impl Verified {
    /// The artifact.
    pub(super) fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// See [`Artifact::crc`].
    pub fn crc(&self) -> Option<u32> {
        self.artifact.crc
    }

    /// The name in messages.
    pub fn name(&self) -> &str {
        &self.artifact.name
    }

    /// The passed check, and the SHA-256 of the archive: `signed:HEX` or `sum:HEX`; `None`: no check is configured.
    pub fn proof(&self) -> Option<&str> {
        self.proof.as_deref()
    }

    /// The version that the signature names.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }
}

impl Demands {
    /// The checks that `trust` configures; reads keys from files.
    pub fn new(trust: &Trust) -> Result<Self> {
        let (keys, sums) = (trust.keys()?, trust.sums.is_some());
        Ok(Self { sha256: trust.sha256.clone(), keys, sums, allow_downgrade: trust.allow_downgrade })
    }

    /// Whether any check is configured.
    pub fn is_some(&self) -> bool {
        self.sha256.is_some() || self.sums || !self.keys.is_empty()
    }

    /// Whether an earlier proof is sufficient.
    pub fn is_met_by(&self, proof: Option<&str>) -> bool {
        let (how, sum) = proof.and_then(|proof| proof.split_once(':')).unwrap_or_default();
        let is_pinned = self.sha256.as_ref().is_none_or(|pinned| pinned == sum);
        let is_signed = self.keys.is_empty() || how == SIGNED;
        !self.is_some() || proof.is_some() && is_pinned && is_signed
    }
}

const SIGNED: &str = "signed";
const SUMMED: &str = "sum";

/// Checks an artifact with its signature and checksum files. `highest` is the highest version that was accepted so far.
pub fn verify(
    artifact: Artifact,
    seal: &Sidecars,
    demands: &Demands,
    highest: Option<&str>,
    deadline: Deadline,
) -> Result<Verified> {
    if !demands.is_some() {
        return Ok(Verified { artifact, proof: None, version: None });
    }
    let name = artifact.name.clone();
    let Content::Archive(file) = &artifact.content else {
        return Err(Error::config(format!(
            "cannot verify {name}: sha256, sha256-url and verify-key are for archives, and it is none"
        )));
    };
    // Checks the small files before gigabytes are read.
    let signature = demands.signature(seal)?;
    let listed = demands.listed(seal)?;
    let wants_hash = signature.as_ref().is_some_and(|s| s.signature.is_prehashed);
    let sums = Sums::of(file, wants_hash, deadline).with_context(|| format!("cannot read {name}"))?;
    if let Some(pinned) = demands.sha256.as_ref().filter(|pinned| **pinned != sums.sha256) {
        return Err(Error::refused(format!(
            "cannot trust {name}: its SHA-256 is {}, and sha256 says {pinned}",
            sums.sha256
        )));
    }
    if let Some((list, listed)) = listed.filter(|(_, listed)| *listed != sums.sha256) {
        return Err(Error::refused(format!(
            "cannot trust {name}: its SHA-256 is {}, and {list} says {listed}",
            sums.sha256
        )));
    }
    let (mut how, mut version) = (SUMMED, None);
    if let Some(signature) = signature {
        let comment = signature.check(file, sums.blake2b)?;
        let found = demands.version(&comment, highest).map_err(|why| signature.refused(&why))?;
        log::info!("{name} is signed by the key {}: {comment}", signature.key.id);
        (how, version) = (SIGNED, found.map(str::to_owned));
    }
    Ok(Verified { proof: Some(format!("{how}:{}", sums.sha256)), version, artifact })
}

/// A signature, the key it names, and its name in messages.
struct Claim<'a> {
    signature: Signature,
    key: &'a PublicKey,
    name: &'a str,
}

impl Demands {
    /// The required signature.
    fn signature<'a>(&'a self, seal: &'a Sidecars) -> Result<Option<Claim<'a>>> {
        if self.keys.is_empty() {
            return Ok(None);
        }
        let (name, content) = paper(&seal.archive, seal.signature.as_ref(), "signature")?;
        let refused = |why: String| unbelieved(&seal.archive, name, &why);
        let signature = Signature::parse(content).map_err(refused)?;
        let key = signature.signer(&self.keys).map_err(refused)?;
        Ok(Some(Claim { signature, key, name }))
    }

    /// The required list of sums, and the sum in it.
    fn listed<'a>(&self, seal: &'a Sidecars) -> Result<Option<(&'a str, String)>> {
        if !self.sums {
            return Ok(None);
        }
        let (name, content) = paper(&seal.archive, seal.sums.as_ref(), "list of sums")?;
        let sum = sums::find(content, &seal.archive).map_err(|why| unbelieved(&seal.archive, name, &why))?;
        Ok(Some((name, sum)))
    }

    /// The version in a signed comment; refuses a lower one.
    fn version<'c>(&self, comment: &'c str, highest: Option<&str>) -> Result<Option<&'c str>, String> {
        let found = version::in_comment(comment)?;
        let Some(highest) = highest.filter(|_| !self.allow_downgrade) else { return Ok(found) };
        let allow = "allow-downgrade = yes would take it";
        match found {
            None => Err(format!("it names no version, and version {highest} was here before: {allow}")),
            Some(version) if Version::parse(version) < Version::parse(highest) => {
                Err(format!("its version {version} is lower than {highest}, which was here before: {allow}"))
            }
            found => Ok(found),
        }
    }
}

impl Claim<'_> {
    /// Verifies the signature, and returns the trusted comment.
    fn check(&self, file: &File, hash: Option<[u8; 64]>) -> Result<String> {
        let whole;
        let message = match &hash {
            Some(hash) => &hash[..],
            None => {
                whole = self.whole(file)?;
                &whole
            }
        };
        let checked = self.signature.check(self.key, message);
        checked.map(str::to_owned).map_err(|why| self.refused(&why))
    }

    fn whole(&self, mut file: &File) -> Result<Vec<u8>> {
        let what = || format!("cannot read what {} signs", self.name);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).with_context(what)?;
        file.take(LARGEST_LEGACY + 1).read_to_end(&mut bytes).with_context(what)?;
        if bytes.len() as u64 > LARGEST_LEGACY {
            let largest = LARGEST_LEGACY >> 20;
            return Err(self.refused(&format!(
                "it is of the older kind, and those are for archives up to {largest}M: sign with minisign -S -H"
            )));
        }
        Ok(bytes)
    }

    fn refused(&self, why: &str) -> Error {
        Error::refused(format!("cannot trust the signature {}: {why}", self.name))
    }
}

/// The content of a required signature or checksum file.
fn paper<'a>(archive: &str, paper: Option<&'a SidecarFile>, what: &str) -> Result<(&'a str, &'a [u8])> {
    let Some(paper) = paper else {
        return Err(Error::refused(format!("cannot trust {archive}: nobody asked for its {what}")));
    };
    let missing =
        || Error::refused(format!("cannot trust {archive}: it has no {what}, there is nothing at {}", paper.name));
    Ok((&paper.name, paper.content.as_deref().ok_or_else(missing)?))
}

fn unbelieved(archive: &str, paper: &str, why: &str) -> Error {
    Error::refused(format!("cannot trust {archive} by {paper}: {why}"))
}

/// The hashes of an archive.
struct Sums {
    sha256: String,
    /// Only for a signature that needs it.
    blake2b: Option<[u8; 64]>,
}

impl Sums {
    fn of(mut file: &File, wants_hash: bool, deadline: Deadline) -> Result<Self> {
        let mut progress = Progress::start("verifying", file.metadata().ok().map(|m| m.len()));
        let (mut sha256, mut blake2b) = (Sha256::new(), wants_hash.then(Blake2b512::new));
        let mut buffer = vec![0; 128 * 1024];
        let what = || "its bytes";
        file.seek(SeekFrom::Start(0)).with_context(what)?;
        loop {
            let got = file.read(&mut buffer).with_context(what)?;
            let bytes = buffer.get(..got).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            if deadline.has_passed() {
                return Err(Error::failed("verifying took longer than timeout"));
            }
            sha256.update(bytes);
            if let Some(blake2b) = &mut blake2b {
                blake2b.update(bytes);
            }
            progress.advance(bytes.len() as u64);
        }
        Ok(Self { sha256: hex(&sha256.finalize()), blake2b: blake2b.map(|hash| hash.finalize().into()) })
    }
}
