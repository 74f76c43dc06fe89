//! The command line as a user meets it.

use std::fs::File;
use std::process::{Command, Stdio};

use crate::support::sandbox::{Run, Sandbox, tree};

fn run(command: &mut Command) -> Run {
    command.output().unwrap().into()
}

#[test]
fn help_is_asked_for_then_it_fits_a_terminal_and_nothing_is_logged() {
    let sandbox = Sandbox::new();
    for args in [&["--help"][..], &["-h"], &["-f", "-c", "/no/such/file", "--help"]] {
        let run = run(sandbox.bare().args(args)).expect(0);
        assert_eq!(run.log, "");
        assert!(run.out.starts_with("usage: repo-deploy [OPTIONS]\n") && run.out.ends_with("README.md\n"));
        assert_eq!(run.out.lines().find(|l| l.chars().count() > 80), None);
        for word in ["status", "--config-section NAME", "max-unpacked = SIZE", "REMOTE_REPOSITORY", "128+n"] {
            assert!(run.out.contains(word), "{word}");
        }
    }
}

#[test]
fn version_is_asked_for_then_it_is_one_line() {
    let sandbox = Sandbox::new();
    for arg in ["--version", "-V"] {
        let run = run(sandbox.bare().arg(arg)).expect(0);
        assert_eq!(
            (run.out.as_str(), run.log.as_str()),
            (concat!("repo-deploy ", env!("CARGO_PKG_VERSION"), "\n"), "")
        );
    }
}

#[test]
fn usage_is_wrong_then_one_line_names_it() {
    let sandbox = Sandbox::new();
    for (args, word) in [
        (&["--remot", "x"][..], "--remot; did you mean --remote?"),
        (&["-f", "--cache"], "--cache DIR"),
        (&["-f", "--cache", "--quiet"], "--cache DIR"),
        (&["-f", "stray"], "stray"),
        (&["-f", "status"], "status"),
        (&["--fetch=1"], "--fetch"),
        (&["-f", "-Z"], "-Z"),
    ] {
        let run = run(sandbox.bare().args(args)).expect(64).says(word);
        assert_eq!((run.log.lines().count(), run.out.as_str()), (1, ""), "{args:?}:\n{}", run.log);
        assert!(run.log.contains(" ERROR "), "{}", run.log);
    }
}

#[test]
fn words_are_hostile_then_the_log_stays_one_plain_line() {
    use std::os::unix::ffi::OsStringExt;
    let sandbox = Sandbox::new();
    let word = |bytes: &[u8]| std::ffi::OsString::from_vec(bytes.to_vec());
    for hostile in [
        word(b"a\nb\x1b[2Jc\xff"),
        word(b"--x\ny\x1b[2J"),
        word(b"--\xff\xfe"),
        word(b"-\xc2\x9b"),
        word("ä".repeat(9000).as_bytes()),
    ] {
        let run = run(sandbox.bare().arg("-f").arg(hostile)).expect(64);
        assert_eq!(run.log.lines().count(), 1, "{:?}", run.log);
        assert!(!run.log.trim_end().chars().any(char::is_control), "{:?}", run.log);
    }
}

#[test]
fn every_option_is_given_then_each_is_obeyed() {
    let sandbox = Sandbox::new();
    let remote = sandbox.zip("a.zip", &[("index", "one")]);
    let config = sandbox.write("other.cfg", "keep = 3\n[site]\nid = from-the-section\n");
    sandbox.hook("pre.d", "10-before", "echo $REPO_DEPLOY_ID before > \"$OUT\"");
    sandbox.hook("post.d", "10-after", "echo after >> \"$OUT\"");
    let mut command = sandbox.bare();
    command.env("OUT", sandbox.path("out")).arg("-f").arg("-c").arg(config).args(["--config-section", "site"]);
    command.arg("-r").arg(remote).arg("-l").arg(sandbox.path("never")).arg("-d").arg(sandbox.path("live/app"));
    command.args(["-i", "named", "-v"]).arg("--cache").arg(sandbox.path("my-cache"));
    command.arg("--pre-hooks").arg(sandbox.path("pre.d")).arg("--post-hooks").arg(sandbox.path("post.d"));
    command.arg("--log-file").arg(sandbox.path("log"));
    std::fs::create_dir(sandbox.path("live")).unwrap();
    let run = run(&mut command).expect(0);
    assert_eq!((run.log.as_str(), run.out.as_str()), ("", ""));
    assert_eq!(tree(&sandbox.path("live/app"))["index"], "f 644 one");
    assert_eq!(sandbox.read("out"), "named before\nafter\n");
    assert!(sandbox.read_log("log").contains("deployed revision "));
    assert!(!sandbox.path("never").exists());
}

#[test]
fn quiet_is_given_then_a_good_check_says_nothing() {
    let sandbox = Sandbox::new();
    let remote = sandbox.zip("a.zip", &[("index", "one")]);
    let run = sandbox.deploy(remote.to_str().unwrap(), &["--quiet"]).expect(0);
    assert_eq!((run.log.as_str(), run.out.as_str()), ("", ""));
    assert_eq!(sandbox.deploy("/no/such.zip", &["--quiet"]).expect(1).log.lines().count(), 1);
}

#[test]
fn nobody_reads_the_answer_then_it_ends_quietly() {
    let sandbox = Sandbox::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let run = run(sandbox.bare().arg("--help").stdout(writer)).expect(0);
    assert_eq!(run.log, "");
}

#[test]
fn the_answer_cannot_be_written_then_it_says_so() {
    let sandbox = Sandbox::new();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let child = sandbox.bare().arg("--help").stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let run: Run = child.wait_with_output().unwrap().into();
    run.expect(1).says("cannot write to standard output: no space left on device");
}
