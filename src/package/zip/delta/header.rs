//! Predicts the local header of a member from its record in the new directory, and from its header and record in the
//! seed: a writer that copied a field from the directory then does so again.

use super::super::end::u16_at;
use super::super::extra::Fields;
use super::super::member::LOCAL_HEADER;
use super::directory::Record;

const ZIP64: u16 = 0x0001;
/// "UT": times in seconds since 1970. The directory has only the first of them, that of the last change.
const TIMES: u16 = 0x5455;

/// The length of the local header that begins with `raw`.
pub(super) fn length(raw: &[u8]) -> usize {
    LOCAL_HEADER + usize::from(u16_at(raw, 26)) + usize::from(u16_at(raw, 28))
}

/// Appends the predicted header to `made`, and tells whether it is certain: determined by the new record. `None`: it
/// cannot be predicted, and `made` may have the beginning of one.
pub(super) fn predict(local: &[u8], old: Record<'_>, new: Record<'_>, made: &mut Vec<u8>) -> Option<bool> {
    let (name, extra) = local[LOCAL_HEADER..].split_at_checked(usize::from(u16_at(local, 26)))?;
    if name != new.name() {
        return None;
    }
    made.extend_from_slice(b"PK\x03\x04");
    // The version, the flags, and the method, two bytes each; then the time and the date.
    for (here, there, length) in [(4, 6, 2), (6, 8, 2), (8, 10, 2), (10, 12, 4)] {
        let (before, after) = (&old.0[there..there + length], &new.0[there..there + length]);
        let field = &local[here..here + length];
        match field == before {
            true => made.extend_from_slice(after),
            false if before == after => made.extend_from_slice(field),
            false => return None,
        }
    }
    // Checksum and sizes: those of both records are the same.
    made.extend_from_slice(&local[14..26]);
    made.extend_from_slice(&new.0[28..30]);
    let count = made.len();
    made.extend_from_slice(&[0; 2]);
    made.extend_from_slice(name);
    let start = made.len();
    let is_certain = predict_extra(extra, old, new, made)?;
    let length = u16::try_from(made.len() - start).ok()?;
    made[count..count + 2].copy_from_slice(&length.to_le_bytes());
    Some(is_certain && local[10..14] == old.0[12..16])
}

fn predict_extra(local: &[u8], old: Record<'_>, new: Record<'_>, made: &mut Vec<u8>) -> Option<bool> {
    let (Some(fields), Some(before), Some(after)) = (fields(local), fields(old.extra()), fields(new.extra())) else {
        // Padding, or damage.
        let is_same = old.extra() == new.extra() && old.0[12..16] == new.0[12..16];
        made.extend_from_slice(local);
        return is_same.then_some(false);
    };
    if !before.iter().map(|(id, _)| id).eq(after.iter().map(|(id, _)| id)) {
        return None;
    }
    let in_record = |fields: &[(u16, &'_ [u8])], id| fields.iter().position(|(other, _)| *other == id);
    let mut is_certain = true;
    for (id, field) in &fields {
        // The same position in both: they have the same ids.
        let both = in_record(&before, *id).map(|at| (before[at].1, after[at].1));
        let times;
        let predicted = match both {
            _ if *id == ZIP64 => field, // it repeats the sizes
            Some((before, after)) if *field == before => after,
            Some((before, after)) if *id == TIMES => {
                is_certain = false;
                times = predict_times(field, before, after)?;
                &times[..]
            }
            Some((before, after)) if before != after => return None,
            Some(_) | None => {
                is_certain = false;
                field
            }
        };
        made.extend_from_slice(&id.to_le_bytes());
        made.extend_from_slice(&u16::try_from(predicted.len()).ok()?.to_le_bytes());
        made.extend_from_slice(predicted);
    }
    Some(is_certain)
}

/// Predicts the times: that of the last change is in the record; another one that was equal to it is taken to be so
/// again, and one that was not is known only if the file was not changed.
fn predict_times(local: &[u8], before: &[u8], after: &[u8]) -> Option<Vec<u8>> {
    let is_plain = before.len() == 5 && after.len() == 5 && before[0] == after[0] && local.first() == before.first();
    if !is_plain || local.len() % 4 != 1 || local.get(1..5) != before.get(1..5) {
        return None;
    }
    let (old, new) = (&before[1..], &after[1..]);
    let mut times = vec![local[0]];
    for time in local[1..].chunks_exact(4) {
        match time == old {
            true => times.extend_from_slice(new),
            false if old == new => times.extend_from_slice(time),
            false => return None,
        }
    }
    Some(times)
}

/// The fields of an extra area with their ids; `None` if it has other bytes too.
fn fields(extra: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let fields: Vec<(u16, &[u8])> = Fields(extra).collect::<Option<_>>()?;
    let length: usize = fields.iter().map(|(_, field)| field.len() + 4).sum();
    (length == extra.len()).then_some(fields)
}
