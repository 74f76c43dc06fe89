//! Another time for the static binary: it runs under qemu-user, whose clock is libfaketime's (which alone does nothing to a
//! program without libc). The time can be moved while it runs; what measures durations is on hold.

use std::path::PathBuf;
use std::process::Command;

use super::needs::needs;
use super::sandbox::Sandbox;

/// The qemu-user of this machine's own processor.
pub const QEMU: &str = if cfg!(target_arch = "aarch64") { "qemu-aarch64" } else { "qemu-x86_64" };

/// How far the clock of a run is ahead of ours.
pub struct Clock(PathBuf);

impl Clock {
    /// A clock that is right so far. `None`: its parts are missing and the test is left out.
    pub fn new(sandbox: &Sandbox) -> Option<Self> {
        needs!(time, "faketime", QEMU);
        let clock = Self(sandbox.path("clock"));
        clock.moves(0);
        Some(clock)
    }

    /// Sets it `seconds` ahead of ours (behind it when they are negative), for runs that go on too.
    pub fn moves(&self, seconds: i64) {
        let new = self.0.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(&new, &self.0).unwrap();
    }

    /// `command` by this clock.
    pub fn around(&self, command: &Command) -> Command {
        let mut shifted = Command::new(QEMU);
        shifted.arg(command.get_program()).args(command.get_args()).env_clear();
        shifted.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shifted.env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketime.so.1");
        shifted.env("FAKETIME_TIMESTAMP_FILE", &self.0).env("FAKETIME_NO_CACHE", "1");
        shifted.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
        shifted.current_dir(command.get_current_dir().unwrap());
        shifted
    }
}
