//! Tells systemd the state of the daemon (sd_notify(3)) if it asks for that. One datagram each, never waited for;
//! without NOTIFY_SOCKET nothing is sent.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The requests of systemd.
#[derive(Clone, Debug, Default)]
pub struct Notify {
    socket: Option<OsString>,
    watchdog: Option<Duration>,
}

/// The variables of the protocol: only for this process.
const OURS: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

impl Notify {
    /// Takes the variables out of the environment, so that no hook speaks for the daemon. Call once, early.
    pub fn take() -> Self {
        let [socket, watchdog, pid] = OURS.map(|name| std::env::var_os(name).filter(|value| !value.is_empty()));
        if socket.is_none() && watchdog.is_none() && pid.is_none() {
            return Self::default();
        }
        for name in OURS {
            // SAFETY: there is no second thread that could read the environment.
            unsafe { std::env::remove_var(name) };
        }
        let number = |text: Option<OsString>| text.and_then(|text| text.to_str()?.parse::<u64>().ok());
        let is_for_us = pid.is_none() || number(pid) == Some(u64::from(std::process::id()));
        let watchdog = number(watchdog).filter(|usec| is_for_us && *usec > 0).map(Duration::from_micros);
        Self { watchdog: watchdog.filter(|_| socket.is_some()), socket }
    }

    /// The interval for `WATCHDOG=1`: half the time after which systemd considers the daemon dead.
    pub fn pace(&self) -> Option<Duration> {
        self.watchdog.map(|within| (within / 2).max(Duration::from_millis(1)))
    }

    /// Whether systemd listens.
    pub fn is_heard(&self) -> bool {
        self.socket.is_some()
    }

    /// Sends `words`: assignments, one a line.
    pub fn say(&self, words: &str) -> io::Result<()> {
        let Some(name) = &self.socket else { return Ok(()) };
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => return Err(io::Error::other("it is neither a path nor an abstract name")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.send_to_addr(words.as_bytes(), &address).map(|_| ())
    }

    /// Sends `RELOADING=1` with the time that systemd requires with it.
    pub fn reloading(&self) -> io::Result<()> {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"))
    }
}
