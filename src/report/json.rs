//! What JSON answers and notifications say of a release, in one shape.

use crate::console::json::Json;
use crate::store::state::Record;

/// A member that is a release.
pub fn record(json: &mut Json, key: &str, record: Option<&Record>) {
    let Some(record) = record else { return json.raw(key, "null") };
    json.raw(key, "{");
    members(json, record);
}

/// What is told of a release, and the end of it.
pub fn members(json: &mut Json, record: &Record) {
    json.text("release", Some(record.release.as_str()));
    json.text("revision", Some(record.revision.as_str()));
    json.time("since", Some(record.since));
    json.text("proof", record.proof.as_deref());
    json.close("}");
}
