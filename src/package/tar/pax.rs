//! The fields that pax headers and GNU's long names override. Pure.

use super::header::{digits, text};
use super::sparse::Sparse;
use crate::error::{Error, Result};

/// The fields that pax headers or GNU's long names override in the header that follows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PaxOverrides {
    pub(super) name: Option<Vec<u8>>,
    pub(super) target: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    /// The map of a sparse file from pax headers.
    pub(super) sparse: Option<Sparse>,
}

impl PaxOverrides {
    /// Parses the records of a pax header: `LENGTH KEY=VALUE\n` each. Records that do not affect the tree are ignored.
    /// Of several records with one key, the last one is used.
    pub(super) fn read(&mut self, mut records: &[u8]) -> Result<()> {
        let broken = || Error::refused("a pax header is damaged");
        while !records.is_empty() {
            let blank = records.iter().take(20).position(|b| *b == b' ').ok_or_else(broken)?;
            let length = digits(&records[..blank], 10).and_then(|n| usize::try_from(n).ok()).ok_or_else(broken)?;
            let record = records.get(blank + 1..length).and_then(|r| r.strip_suffix(b"\n")).ok_or_else(broken)?;
            let equals = record.iter().position(|b| *b == b'=').ok_or_else(broken)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            records = &records[length..];
            match key {
                b"path" => self.name = Some(value.to_vec()),
                b"linkpath" => self.target = Some(value.to_vec()),
                b"size" => self.size = Some(digits(value, 10).ok_or_else(broken)?),
                b"hdrcharset" if value != b"ISO-IR 10646 2000 UTF-8" && value != b"BINARY" => {
                    return Err(Error::refused("its names are in another character set than UTF-8"));
                }
                b"SCHILY.realsize" => {
                    return Err(Error::refused("a member is a sparse file of star: pack it without -sparse"));
                }
                _ => {
                    if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                        self.sparse.get_or_insert_default().read(key, value).ok_or_else(broken)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads one of GNU's long names.
    pub(super) fn read_gnu(&mut self, kind: u8, body: &[u8]) -> Result<()> {
        let place = if kind == b'L' { &mut self.name } else { &mut self.target };
        if place.replace(text(body).to_vec()).is_some() {
            return Err(Error::refused("a member has two long names"));
        }
        Ok(())
    }

    /// Joins the overrides of pax headers and of GNU's. `None`: both have a name, and readers disagree which one is
    /// used.
    pub(super) fn joined(self, long: Self) -> Option<Self> {
        let both = self.name.is_some() && long.name.is_some() || self.target.is_some() && long.target.is_some();
        let (name, target) = (self.name.or(long.name), self.target.or(long.target));
        (!both).then_some(Self { name, target, ..self })
    }
}
