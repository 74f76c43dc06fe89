//! Whether any process of a group still runs. kill(2) counts zombies too, and without an init that reaps orphans (in a
//! container, possibly this process) they stay for ever: /proc tells them apart. Without /proc all processes count.

use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Pid;

use crate::sys::clock::Deadline;

/// The first pause between two scans of /proc, and the longest: it has a file for each process of the host.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);

/// A group to wait for.
pub(super) struct Group {
    id: Pid,
    next: Deadline,
    pause: Duration,
}

impl Group {
    /// The group `id`.
    pub(super) fn new(id: Pid) -> Self {
        Self { id, next: Deadline::after(Duration::ZERO), pause: PAUSE }
    }

    /// Whether no process of it runs any more.
    pub(super) fn is_gone(&mut self) -> bool {
        if rustix::process::test_kill_process_group(self.id) == Err(Errno::SRCH) {
            return true;
        }
        if !self.next.has_passed() {
            return false;
        }
        self.next = Deadline::after(self.pause);
        self.pause = (self.pause * 2).min(LONGEST);
        has_only_zombies(self.id)
    }
}

/// Whether /proc shows members, and only zombies. A process that cannot be read may run.
fn has_only_zombies(group: Pid) -> bool {
    let Ok(entries) = std::fs::read_dir("/proc") else { return false };
    let mut seen = false;
    for entry in entries {
        let Ok(entry) = entry else { return false };
        let is_process = entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit);
        let stat = if is_process { std::fs::read(entry.path().join("stat")).unwrap_or_default() } else { Vec::new() };
        match member(&stat) {
            Some((of, is_zombie)) if of == group.as_raw_nonzero().get() => {
                if !is_zombie {
                    return false;
                }
                seen = true;
            }
            _ => {} // another group's, or gone since the list was read
        }
    }
    seen
}

/// The group of a process, and whether it is a zombie, from its `stat` (proc(5)). The name, in parentheses, may hold
/// anything. A process whose first thread has ended shows as a zombie while others run: so threads are counted.
fn member(stat: &[u8]) -> Option<(i32, bool)> {
    let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let fields: Vec<&str> = std::str::from_utf8(&stat[after_name..]).ok()?.split_ascii_whitespace().collect();
    let [state, _, group, ..] = fields.as_slice() else { return None };
    let threads: u32 = fields.get(17)?.parse().ok()?;
    Some((group.parse().ok()?, matches!(*state, "Z" | "X") && threads <= 1))
}

#[cfg(test)]
mod tests {
    use super::member;

    #[test]
    fn members_are_read_whatever_they_are_called() {
        let rest = |state: &str, threads: u32| format!(" {state} 1 77 77 0 -1 4 0 0 0 0 0 0 0 0 20 0 {threads} 0 9");
        for (name, state, threads, expected) in [
            ("sleep", "S", 1, Some((77, false))),
            ("sleep", "Z", 1, Some((77, true))),
            ("sleep", "Z", 0, Some((77, true))),
            ("sleep", "X", 1, Some((77, true))),
            ("server", "Z", 4, Some((77, false))),
            (") Z 1 78 (", "R", 1, Some((77, false))),
        ] {
            let stat = format!("5 ({name}){}", rest(state, threads));
            assert_eq!(member(stat.as_bytes()), expected, "{stat}");
        }
        assert_eq!(member(b"5 (\xff) Z 1 77 77 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0"), Some((77, true)));
        for broken in [&b""[..], b"5 sleep Z 1 77", b"5 (sleep) Z 1 77"] {
            assert_eq!(member(broken), None);
        }
    }
}
