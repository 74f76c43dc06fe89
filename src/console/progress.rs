//! The progress line on the terminal. It is shown only for work that takes a while, and is erased at the end. Without a
//! terminal it costs an addition.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use log::LevelFilter;

use super::records::{CLEAR, CONSOLE, show, stderr_is_terminal};
use super::screen::columns;
use crate::sys::signal;
use crate::sys::stderr::Sink;

/// The delay before the line is shown, and the interval of its updates.
const PATIENCE: Duration = Duration::from_millis(300);
const PACE: Duration = Duration::from_millis(100);

/// A line on the terminal that shows progress: nothing if standard error is none. Erased when dropped.
#[derive(Debug)]
pub struct Progress {
    verb: &'static str,
    total: Option<u64>,
    done: u64,
    /// `None`: the line is not shown.
    meter: Option<Meter>,
}

#[derive(Debug)]
struct Meter {
    next: Instant,
    since: Instant,
    /// The value of `done` at `since`.
    before: u64,
    /// Bytes a second, smoothed.
    rate: Option<f64>,
}

impl Progress {
    /// Starts a line: `verb` as in "fetching", and the total in bytes when it is known.
    pub fn start(verb: &'static str, total: Option<u64>) -> Self {
        let now = Instant::now();
        let meter = has_reader().then_some(Meter { next: now + PATIENCE, since: now, before: 0, rate: None });
        Self { verb, total, done: 0, meter }
    }

    /// Counts `bytes` more as done.
    pub fn advance(&mut self, bytes: u64) {
        self.done = self.done.saturating_add(bytes);
        let Some(meter) = &mut self.meter else { return };
        let now = Instant::now();
        if now < meter.next {
            return;
        }
        meter.next = now + PACE;
        meter.measure(self.done, now.duration_since(meter.since));
        meter.since = now;
        let mut line = describe(self.verb, self.done, self.total, meter.rate);
        line.truncate(width().saturating_sub(1)); // it is ASCII; a full line would wrap
        signal::note_unfinished_line(true);
        show(&format!("{CLEAR}{line}"));
        if let Ok(mut shown) = CONSOLE.progress.try_lock() {
            *shown = line;
        }
    }
}

impl Meter {
    /// Adds the rate since the last call to the average; a longer time weighs more: two seconds weigh half.
    #[allow(clippy::cast_precision_loss, reason = "a rate for the eye")]
    fn measure(&mut self, done: u64, passed: Duration) {
        let passed = passed.as_secs_f64().max(0.001);
        let now = done.saturating_sub(self.before) as f64 / passed;
        let weight = passed / (passed + 2.0);
        self.rate = Some(self.rate.map_or(now, |rate| rate + (now - rate) * weight));
        self.before = done;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Ok(mut shown) = CONSOLE.progress.try_lock()
            && !shown.is_empty()
        {
            shown.clear();
            show(CLEAR);
            signal::note_unfinished_line(false);
        }
    }
}

/// Whether the line can be seen: on a terminal that can erase a line, and without `--quiet`.
fn has_reader() -> bool {
    let able = std::env::var_os("TERM").is_some_and(|t| !t.is_empty() && t != "dumb");
    able && log::max_level() >= LevelFilter::Info && stderr_is_terminal()
}

fn width() -> usize {
    columns(Sink::stderr().as_fd()).unwrap_or(80)
}

/// `fetching 12.3 MiB of 54.0 MiB, 23%, 8.1 MiB/s, 5 s left`, as far as known.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive numbers for the eye; `as` saturates"
)]
fn describe(verb: &str, done: u64, total: Option<u64>, rate: Option<f64>) -> String {
    let mut line = format!("{verb} {}", size(done));
    let total = total.filter(|total| *total > 0 && done <= *total);
    if let Some(total) = total {
        line += &format!(" of {}, {}%", size(total), u128::from(done) * 100 / u128::from(total));
    }
    if let Some(rate) = rate.filter(|rate| *rate >= 1.0) {
        line += &format!(", {}/s", size(rate as u64));
        if let Some(total) = total {
            line += &format!(", {} left", span(((total - done) as f64 / rate).ceil() as u64));
        }
    }
    line
}

/// Seconds for people: `5 s`, `3 min 20 s`, `2 h 5 min`.
fn span(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, min, s) => format!("{min} min {s} s"),
        (h, min, _) => format!("{h} h {min} min"),
    }
}

/// Bytes for people: `999 B`, `12.3 MiB`.
#[allow(clippy::cast_precision_loss, reason = "one decimal is printed")]
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        // 1023.95 would print as 1024.0.
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_decimal_and_never_1024() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1_048_575, "1.0 MiB"),
            (12_897_485, "12.3 MiB"),
            (4 << 30, "4.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn the_line_says_what_is_known() {
        const MIB: u64 = 1 << 20;
        let rate = Some(8.0 * 1_048_576.0);
        for (done, total, rate, text) in [
            (12 * MIB, Some(52 * MIB), rate, "fetching 12.0 MiB of 52.0 MiB, 23%, 8.0 MiB/s, 5 s left"),
            (12 * MIB, None, rate, "fetching 12.0 MiB, 8.0 MiB/s"),
            (12 * MIB, Some(12 * MIB), rate, "fetching 12.0 MiB of 12.0 MiB, 100%, 8.0 MiB/s, 0 s left"),
            (13 * MIB, Some(12 * MIB), rate, "fetching 13.0 MiB, 8.0 MiB/s"), // a total that lies
            (0, Some(0), None, "fetching 0 B"),
            (1, Some(u64::MAX), Some(f64::INFINITY), "fetching 1 B of 16.0 EiB, 0%, 16.0 EiB/s, 0 s left"),
            (1, Some(MIB), Some(f64::NAN), "fetching 1 B of 1.0 MiB, 0%"),
            (1, Some(100_000), Some(10.0), "fetching 1 B of 97.7 KiB, 0%, 10 B/s, 2 h 46 min left"),
            (1, Some(2001), Some(10.0), "fetching 1 B of 2.0 KiB, 0%, 10 B/s, 3 min 20 s left"),
        ] {
            assert_eq!(describe("fetching", done, total, rate), text);
        }
    }

    #[test]
    fn a_rate_follows_slowly_and_gets_there() {
        let mut meter = Meter { next: Instant::now(), since: Instant::now(), before: 0, rate: None };
        meter.measure(1000, Duration::from_secs(1));
        assert_eq!(meter.rate, Some(1000.0));
        meter.measure(1000, Duration::from_millis(100)); // nothing came for a moment
        assert!(meter.rate.unwrap() > 900.0, "{:?}", meter.rate);
        for _ in 0..100 {
            let before = meter.before;
            meter.measure(before + 200, Duration::from_millis(100));
        }
        assert!((meter.rate.unwrap() - 2000.0).abs() < 20.0, "{:?}", meter.rate);
        meter.measure(0, Duration::ZERO); // a count that went back and a clock that stood still
        assert!(meter.rate.unwrap().is_finite());
    }
}
