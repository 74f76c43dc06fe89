//! Values without effects, passed between the layers.

use std::fmt;
use std::path::Path;

use sha2::{Digest, Sha256};

/// A version as the source names it: an ETag, a Last-Modified, a commit, a content hash. Compared, never parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    text: String,
    /// An identity of its content, if the source knows one: revisions that share it are one release.
    content: Option<String>,
}

impl Revision {
    /// A revision by the source's name for it.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), content: None }
    }

    /// The same, with an identity of its content.
    #[must_use]
    pub fn with_content(self, content: Option<String>) -> Self {
        Self { content, ..self }
    }

    /// The source's name for it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The identity of its content, if it is not the source's name.
    pub fn content(&self) -> Option<&str> {
        self.content.as_deref()
    }
}

/// For people: a long hash is cut to its first 12 digits, unless the log is at -v. Programs get [`Revision::as_str`].
impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if log::max_level() >= log::LevelFilter::Debug { &self.text } else { shortened(&self.text) })
    }
}

/// How many digits of a hash people read.
const DIGITS: usize = 12;

/// Without the end of a hash: `sha256:HEX`, `tree:HEX`, or the name of a git object. Anything else is as it was.
fn shortened(text: &str) -> &str {
    let digits = ["sha256:", "tree:"].iter().find_map(|kind| text.strip_prefix(kind)).unwrap_or(text);
    let is_hash = digits.len() >= 32 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    if is_hash { &text[..text.len() - digits.len() + DIGITS] } else { text }
}

/// The name of a release in the store: a short hash of its source, its revision and its layout. So the same revision
/// has the same directory, and a retry finds the finished release.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReleaseId(String);

/// The release that holds the tree found at `<local>` before the first deployment; `adopted-2` and so on if taken.
const ADOPTED: &str = "adopted";

impl ReleaseId {
    /// The id of `revision` of `source` (a URL without credentials), unpacked as `layout` says.
    pub fn of(source: &str, revision: &Revision, layout: &str) -> Self {
        let mut hash = Sha256::new();
        for part in [source, revision.content().unwrap_or(revision.as_str()), layout] {
            // The length first: no two lists of parts hash the same bytes.
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hex(&hash.finalize()[..8]))
    }

    /// The candidate names for an adopted tree; the caller takes the first free one.
    pub fn adopted() -> impl Iterator<Item = Self> {
        let later = (2_u32..).map(|n| Self(format!("{ADOPTED}-{n}")));
        std::iter::once(Self(ADOPTED.to_owned())).chain(later)
    }

    /// Whether it is an adopted tree, not fetched from a source: the only copy.
    pub fn is_adopted(&self) -> bool {
        self.0.starts_with(ADOPTED)
    }

    /// Parses a directory name; `None` if it is no release id.
    pub fn parse(text: &str) -> Option<Self> {
        let ours = text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let number = text.strip_prefix(ADOPTED).map(|rest| rest.strip_prefix('-').unwrap_or(rest));
        let adopted = number.is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()) && n.len() < 10);
        (ours || adopted).then(|| Self(text.to_owned()))
    }

    /// The name of its directory.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<Path> for ReleaseId {
    fn as_ref(&self) -> &Path {
        Path::new(&self.0)
    }
}

/// The directory of the store in a live directory that is the top of a mount; no release may hold such a name.
pub const OUR_DIR: &str = ".repo-deploy";

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The links that an archive may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Relative links that stay inside the tree.
    Inside,
    /// All links, unchanged.
    Any,
    /// No links.
    Refuse,
}

/// The owner of unpacked entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// The layout of a release unpacked from an artifact, and its limits, for all kinds of artifacts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// `symlinks`.
    pub symlinks: Links,
    /// `owner`.
    pub owner: Option<Owner>,
    /// `strip-components`.
    pub strip_components: usize,
    /// `max-unpacked`, bytes produced.
    pub max_unpacked: u64,
    /// `max-files`: files, directories and links.
    pub max_files: u64,
    /// `max-names`, bytes of names and link texts together.
    pub max_names: u64,
}

/// The defaults of the keys.
impl Default for Layout {
    fn default() -> Self {
        Self {
            symlinks: Links::Inside,
            owner: None,
            strip_components: 0,
            max_unpacked: 16 << 30,
            max_files: 200_000,
            max_names: 64 << 20,
        }
    }
}

impl Layout {
    /// The settings that change the unpacked tree, as part of the release id. Limits and refusals do not.
    pub fn identity(&self) -> String {
        let owner = self.owner.map_or(String::new(), |o| format!("{}:{}", o.uid, o.gid));
        format!("strip={} owner={owner}", self.strip_components)
    }
}

/// The way in which a release becomes live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActivationMode {
    /// A symbolic link that is swapped.
    Symlink,
    /// A real directory that is kept in sync.
    InPlace,
    /// Files installed over the host, as an appspec says.
    Install,
}

impl ActivationMode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Symlink, Self::InPlace, Self::Install];
}

/// The reason for running hooks: `REPO_DEPLOY_REASON`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The source offers a new revision.
    Update,
    /// A deployment was interrupted by a crash.
    Recover,
    /// Post hooks failed and the previous release is live again.
    Revert,
    /// The operator rolls back.
    Rollback,
    /// An image is built: no hook runs, but the history names the reason.
    Seed,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Update => "update",
            Self::Recover => "recover",
            Self::Revert => "revert",
            Self::Rollback => "rollback",
            Self::Seed => "seed",
        })
    }
}

/// The data with which a source makes the next poll conditional. Opaque to all other modules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators(pub Vec<(String, String)>);

impl Validators {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Adds `key`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.0.push((key.to_owned(), value.into()));
        self
    }
}

impl fmt::Display for ActivationMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Symlink => "symlink",
            Self::InPlace => "in-place",
            Self::Install => "install",
        })
    }
}

/// Prefix of a revision that is a hash of an archive's bytes.
pub const OF_CONTENT: &str = "sha256:";

/// The revision known from an earlier poll, and its validators.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The live or staged revision.
    pub revision: &'a Revision,
    /// Its validators.
    pub validators: &'a Validators,
}

#[cfg(test)]
mod tests {
    use super::shortened;

    #[test]
    fn only_hashes_are_shortened() {
        let hex = "0123456789abcdef".repeat(4);
        for (text, expected) in [
            (&*format!("sha256:{hex}"), "sha256:0123456789ab"),
            (&format!("tree:{}", &hex[..32]), "tree:0123456789ab"),
            (&hex[..40], "0123456789ab"),
            (&hex, "0123456789ab"),
            ("0123456789abcdef", "0123456789abcdef"),
            ("etag:\"0123456789abcdef0123456789abcdef\"", "etag:\"0123456789abcdef0123456789abcdef\""),
            ("version:0123456789abcdef0123456789abcdef", "version:0123456789abcdef0123456789abcdef"),
            ("sha256:\u{fc}", "sha256:\u{fc}"),
            ("", ""),
        ] {
            assert_eq!(shortened(text), expected);
        }
    }
}
