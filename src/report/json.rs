//! The JSON form of a release, in answers and in notifications.

use crate::console::json::Json;
use crate::store::state::Record;

/// Adds a member that is a release.
pub fn record(json: &mut Json, key: &str, record: Option<&Record>) {
    let Some(record) = record else { return json.raw(key, "null") };
    json.raw(key, "{");
    members(json, record);
}

/// Adds the members of a release, and closes its object.
pub fn members(json: &mut Json, record: &Record) {
    json.text("release", Some(record.release.as_str()));
    json.text("revision", Some(record.revision.as_str()));
    json.time("since", Some(record.since));
    json.text("proof", record.proof.as_deref());
    json.close("}");
}
