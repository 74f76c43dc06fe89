//! Namespaces of a test's own: a network with nothing but loopback, where any port is free, and mounts and processes that are gone
//! when the test is, however it ends.

use std::process::Command;

use crate::support::needs::needs;
use crate::support::sandbox::{Run, Sandbox};

/// The network of this machine, for a program that a test in a network of its own starts.
pub const NETWORK_OF_THE_MACHINE: &str = "/proc/self/fd/9";

/// Whether we are in namespaces of our own. If not, the test `name` is run again in some, and this one is done.
pub fn is_alone(name: &str) -> bool {
    if std::env::var_os("REPO_DEPLOY_ALONE").is_some() {
        return true;
    }
    needs!(root, "unshare", "busybox");
    let mut again = Command::new("sh");
    // The shell in there reaps orphans.
    again.args([
        "-c",
        "exec 9</proc/self/ns/net && exec unshare --net --mount --pid --fork --kill-child --mount-proc \"$@\"",
    ]);
    again.args(["sh", "sh", "-c", "busybox ip link set lo up; \"$@\"; exit $?", "sh"]);
    again.arg(std::env::current_exe().unwrap()).args([name, "--exact", "--nocapture"]);
    // The numbers of its processes are those of other tests: its sandboxes lie in one of ours.
    let place = Sandbox::new();
    again.env("REPO_DEPLOY_ALONE", "yes").env("REPO_DEPLOY_SANDBOX", place.path("home"));
    let run = Run::from(again.output().unwrap());
    assert!(run.code == 0 && run.out.contains("1 passed"), "{}\n{}", run.out, run.log);
    false
}
