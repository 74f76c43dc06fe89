//! What `make demo` runs: it ends with code 0 only when every step was as it says.

use std::path::Path;
use std::process::Command;

use crate::support::needs::needs;
use crate::support::sandbox::{Run, Sandbox, binary};

/// The script with `binary`, as it is started where the caller has settings of its own.
fn demo(binary: &Path) -> Run {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/demo/run");
    let mut command = Command::new(script);
    command.arg(binary).env("REPO_DEPLOY_REMOTE", "/nowhere").env("http_proxy", "http://127.0.0.1:1");
    command.output().unwrap().into()
}

#[test]
fn the_demonstration_runs_then_every_step_is_as_it_says() {
    needs!("rustc", "git");
    let run = demo(&binary()).expect(0);
    assert!(run.out.trim_end().ends_with("and version 2 is live"), "{}", run.out);
}

/// A demonstration that cannot fail shows nothing.
#[test]
fn the_demonstration_has_a_binary_that_deploys_nothing_then_it_fails_and_says_why() {
    needs!("rustc", "git");
    let sandbox = Sandbox::new();
    let idle = sandbox.hook("pre.d", "idle", "[ \"$1\" != plan ] || exit 10");
    demo(&idle).expect(1).says("the demonstration failed: the output above should have: deployed");
}
