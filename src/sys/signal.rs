//! Signals. Outside of a deferred region TERM and INT end the process at once with 128 + n: everything done so far is
//! crash-safe. Inside one they are noted, and whoever holds the region asks.

/// While one lives, TERM and INT are noted, not obeyed. Nests.
#[derive(Debug)]
pub struct Deferred(());

/// Installs the handlers. Call once, first thing.
pub fn install() -> std::io::Result<()> {
    Ok(())
}

/// Opens a deferred region.
pub fn defer() -> Deferred {
    Deferred(())
}

/// The signal that asked us to stop, when one has.
pub fn pending() -> Option<i32> {
    None
}
