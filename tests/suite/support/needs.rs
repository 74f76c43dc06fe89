//! The requirements of a test: programs, root, time. Where one is missing the test is left out and says so; with CI=true that is a
//! failure, except for time.

use std::path::Path;

/// Returns from a test, or with the default value from its helper, unless all of this is here: the names of programs, `root` and
/// `time`, as `needs!(time, root, "strace")`.
macro_rules! needs {
    (@has root) => { $crate::support::needs::has_root() };
    (@has time) => { $crate::support::needs::has_time() };
    (@has $program:expr) => { $crate::support::needs::has($program) };
    ($($one:tt),+) => {
        if !($($crate::support::needs::needs!(@has $one))&&+) {
            return Default::default();
        }
    };
}
pub(crate) use needs;

/// Says that a test is left out for the reason `missing`. With CI=true that is a failure.
#[track_caller]
pub fn leave_out(missing: &str) {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "left out: {missing}");
    eprintln!("left out: {missing}");
}

/// Whether a program is here; `tests/parts.sh` names the tests that are left out without it.
#[track_caller]
pub fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let standard = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(Path::new);
    let is_here = standard.iter().any(|dir| dir.join(program).exists())
        || std::env::split_paths(&path).any(|dir| dir.join(program).exists());
    if !is_here {
        leave_out(&format!("{program} is missing"));
    }
    is_here
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether we are root, who mounts, gives files away and becomes other users.
#[track_caller]
pub fn has_root() -> bool {
    if !is_root() {
        leave_out("it takes root");
    }
    is_root()
}

/// Whether there is time for tests that take long: walks, disks, emulators, thousands of repetitions. With REPO_DEPLOY_QUICK in the
/// environment (`make quick`) there is none, and the test is left out.
pub fn has_time() -> bool {
    let is_quick = std::env::var_os("REPO_DEPLOY_QUICK").is_some();
    if is_quick {
        eprintln!("left out, because it takes long");
    }
    !is_quick
}
