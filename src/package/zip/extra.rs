//! Extra fields: sizes that are too large for a header, and second names.

use flate2::Crc;

use super::end::{u16_at, u32_at, u64_at};
use crate::error::{Error, Result};

const ZIP64: u16 = 0x0001;
const UNICODE_PATH: u16 = 0x7075;

/// Iterates over the fields and their ids; `None`: the field is truncated. Up to three bytes at the end are padding.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u16, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.len() < 4 {
            return None;
        }
        let (id, size) = (u16_at(self.0, 0), usize::from(u16_at(self.0, 2)));
        let field = self.0.get(4..4 + size).map(|field| (id, field));
        self.0 = self.0.get(4 + size..).unwrap_or_default();
        Some(field)
    }
}

/// Refuses fields that readers interpret differently: repeated fields, and those with another name.
pub(super) fn check(extra: &[u8], name: &[u8]) -> Result<()> {
    let mut is_wide = false;
    for field in Fields(extra) {
        let Some((id, field)) = field else { return Err(Error::refused("its extra fields are damaged")) };
        if id == ZIP64 && !field.is_empty() && std::mem::replace(&mut is_wide, true) {
            return Err(Error::refused("it has its sizes twice (ZIP64)"));
        }
        if id == UNICODE_PATH && counts(field, name) && field.get(5..) != Some(name) {
            return Err(Error::refused("it has a second, different name (Unicode path)"));
        }
    }
    Ok(())
}

/// Whether a second name is valid: it contains a checksum of the first one. Not every reader checks its version.
fn counts(field: &[u8], name: &[u8]) -> bool {
    let mut sum = Crc::new();
    sum.update(name);
    field.len() >= 5 && u32_at(field, 1) == sum.sum()
}

/// The numbers of a header; those marked as too large come from the ZIP64 field. `None`: the field is too short.
pub(super) fn wide<const N: usize>(extra: &[u8], narrow: [u32; N]) -> Option<[u64; N]> {
    let field = Fields(extra).flatten().find(|(id, field)| *id == ZIP64 && !field.is_empty()).map(|(_, field)| field);
    let mut next = field.unwrap_or_default().chunks_exact(8).map(|number| u64_at(number, 0));
    let mut is_whole = true;
    let wide = narrow.map(|number| match (number, field) {
        (u32::MAX, Some(_)) => next.next().unwrap_or_else(|| {
            is_whole = false;
            0
        }),
        _ => u64::from(number),
    });
    is_whole.then_some(wide)
}
