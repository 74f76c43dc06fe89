//! Each case runs in a process of its own: this test program again, told its part by the environment.

use super::*;
use std::io::Read;
use std::process::{Command, ExitStatus, Stdio};

const PART: &str = "REPO_DEPLOY_SIGNAL_TEST";

/// The exit code of a part that ran to its end.
const SURVIVED: i32 = 42;

/// Runs `part` in a process of its own and returns its status. `test` is the name of the calling test.
#[allow(clippy::exit, reason = "the part is over")]
fn alone(test: &str, part: fn()) -> ExitStatus {
    if std::env::var_os(PART).is_some() {
        // SAFETY: no memory is passed. SIGALRM ends a part that would wait for ever; and a shell that runs the tests in
        // the background has SIGINT ignored.
        unsafe {
            libc::alarm(60);
            for signal in STOP {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
        part();
        std::process::exit(SURVIVED);
    }
    again(test).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap()
}

fn again(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("sys::signal::tests::{test}"), "--nocapture", "--test-threads=1"]);
    command.env(PART, "1");
    command
}

fn raise(signal: c_int) {
    // SAFETY: a signal to this thread; handlers run before it returns.
    assert_eq!(unsafe { libc::raise(signal) }, 0);
}

#[test]
fn signal_outside_a_region_ends_the_process_at_once() {
    let status = alone("signal_outside_a_region_ends_the_process_at_once", || {
        install().unwrap();
        raise(libc::SIGTERM);
    });
    assert_eq!(status.code(), Some(143));
}

#[test]
fn signal_inside_a_region_is_noted_and_ends_the_process_after_it() {
    let status = alone("signal_inside_a_region_is_noted_and_ends_the_process_after_it", || {
        install().unwrap();
        let region = defer();
        assert_eq!(pending(), None);
        raise(libc::SIGINT);
        assert_eq!(pending(), Some(libc::SIGINT));
        drop(region);
    });
    assert_eq!(status.code(), Some(130));
}

#[test]
fn inner_region_ends_and_the_outer_one_still_holds() {
    let status = alone("inner_region_ends_and_the_outer_one_still_holds", || {
        install().unwrap();
        let outer = defer();
        let inner = defer();
        raise(libc::SIGTERM);
        drop(inner);
        assert_eq!(defer().close(), None, "only the outermost region tells");
        raise(libc::SIGINT);
        assert_eq!(pending(), Some(libc::SIGTERM), "the first one counts");
        assert_eq!(outer.close(), Some(libc::SIGTERM));
    });
    assert_eq!(status.code(), Some(SURVIVED));
}

#[test]
fn region_closed_then_the_next_signal_ends_the_process_at_once() {
    let status = alone("region_closed_then_the_next_signal_ends_the_process_at_once", || {
        install().unwrap();
        let region = defer();
        raise(libc::SIGTERM);
        assert_eq!(region.close(), Some(libc::SIGTERM));
        raise(libc::SIGHUP);
    });
    assert_eq!(status.code(), Some(129));
}

#[test]
#[allow(clippy::exit, reason = "how the part tells that it came this far")]
fn ignored_at_start_stays_ignored() {
    let status = alone("ignored_at_start_stays_ignored", || {
        // SAFETY: setting a disposition without a handler.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
        install().unwrap();
        raise(libc::SIGHUP);
        assert_eq!(pending(), None);
        std::process::exit(7);
    });
    assert_eq!(status.code(), Some(7));
}

#[test]
fn blocked_at_start_is_let_through() {
    let status = alone("blocked_at_start_is_let_through", || {
        // SAFETY: the set is ours and lives through the calls.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
        }
        raise(libc::SIGTERM);
        install().unwrap();
    });
    assert_eq!(status.code(), Some(143));
}

#[test]
fn errno_survives_the_handler_and_a_full_pipe_does_not_block_it() {
    let status = alone("errno_survives_the_handler_and_a_full_pipe_does_not_block_it", || {
        install().unwrap();
        for _ in 0..70_000 {
            raise(libc::SIGCHLD);
        }
        // SAFETY: errno of this thread.
        unsafe { *libc::__errno_location() = libc::EXDEV };
        raise(libc::SIGCHLD);
        assert_eq!(io::Error::last_os_error().raw_os_error(), Some(libc::EXDEV));
    });
    assert_eq!(status.code(), Some(SURVIVED));
}

#[test]
fn signal_before_the_wait_is_seen_by_the_wait() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let status = alone("signal_before_the_wait_is_seen_by_the_wait", || {
        install().unwrap();
        let _region = std::mem::ManuallyDrop::new(defer());
        let is_readable = |end: BorrowedFd<'_>| {
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            poll(&mut [PollFd::new(&end, PollFlags::IN)], Some(&now)).unwrap() == 1
        };
        let end = wake().unwrap();
        assert!(!is_readable(end));
        raise(libc::SIGTERM);
        assert!(is_readable(end));
        assert!(!is_readable(wake().unwrap()), "wake() forgets what came before");
        assert_eq!(pending(), Some(libc::SIGTERM), "the note stays");
    });
    assert_eq!(status.code(), Some(SURVIVED));
}

/// A signal at any moment around the end of a region is never lost: the part would then wait for ever.
#[test]
fn signal_around_the_end_of_a_region_is_never_lost() {
    const NAME: &str = "signal_around_the_end_of_a_region_is_never_lost";
    if std::env::var_os(PART).is_some() {
        alone(NAME, || {
            install().unwrap();
            rustix::io::write(std::io::stdout(), b"\x01").unwrap();
            for _ in 0..1000 {
                drop(defer());
            }
            loop {
                // SAFETY: waits for a signal.
                unsafe { libc::pause() };
            }
        });
    }
    for round in 0..60_u32 {
        let mut child = again(NAME).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        let mut byte = [0];
        while byte != [1] {
            out.read_exact(&mut byte).unwrap();
        }
        for _ in 0..round * 40 {
            std::hint::spin_loop(); // another moment each time
        }
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
        let mut rest = Vec::new();
        out.read_to_end(&mut rest).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(143), "round {round}");
    }
}

#[test]
fn describe_names_what_has_a_name() {
    assert_eq!(describe(9), "signal 9 (SIGKILL)");
    assert_eq!(describe(15), "signal 15 (SIGTERM)");
    assert_eq!(describe(34), "signal 34");
}
