//! The command line as a user meets it.

use std::fs::File;
use std::process::{Command, Stdio};

use crate::support::needs::needs;
use crate::support::phrases::{CANNOT_USE, CANNOT_WRITE, DEPLOYED, DID_YOU_MEAN, deployed_revision};
use crate::support::sandbox::{Run, Sandbox, short, tree};

fn run(command: &mut Command) -> Run {
    command.output().unwrap().into()
}

/// What a command line that asks for a text prints: nothing is logged, and it fits 80 columns.
#[track_caller]
fn printed(args: &[&str]) -> String {
    let sandbox = Sandbox::new();
    let run = run(sandbox.bare().args(args)).expect(0);
    assert_eq!(run.log, "", "{args:?}");
    assert_eq!(run.out.lines().find(|line| line.chars().count() > 80), None, "{args:?}");
    run.out
}

/// The commands that `--help` lists.
fn commands() -> Vec<String> {
    let help = printed(&["--help"]);
    let (_, rows) = help.split_once("\ncommands:\n").unwrap();
    let rows = rows.lines().take_while(|line| !line.is_empty());
    let names: Vec<_> = rows.map(|row| row.split_whitespace().next().unwrap().to_owned()).collect();
    assert!(names.len() > 10 && names.contains(&"rollback".to_owned()), "{names:?}");
    names
}

#[test]
fn short_help_is_asked_for_then_it_fits_a_screen_and_says_where_to_read_on() {
    let help = printed(&["-h"]);
    assert!(help.lines().count() <= 24 && help.contains("\nusage: repo-deploy [OPTIONS] "), "{help}");
    for words in ["--remote URL", "--config FILE", "--help", "help COMMAND", "help keys", "README.md"] {
        assert!(help.contains(words), "{words} in\n{help}");
    }
    for command in commands() {
        assert!(help.contains(&format!("  {command} ")), "{command} in\n{help}");
    }
    assert_eq!(printed(&["-f", "-c", "/no/such/file", "-h"]), help);
}

#[test]
fn help_is_asked_for_then_it_has_every_subject_and_no_keys() {
    let help = printed(&["--help"]);
    for words in ["\ngeneral options:\n", "--config-section NAME", "--s3-bucket BUCKET", "\nexit codes:\n", "128+n"] {
        assert!(help.contains(words), "{words} in\n{help}");
    }
    assert!(!help.contains("max-unpacked"), "{help}");
    for args in [&["help"][..], &["-f", "-c", "/no/such/file", "--help"], &["--help", "--nonsense"]] {
        assert_eq!(printed(args), help, "{args:?}");
    }
}

#[test]
fn help_of_a_command_is_asked_for_then_it_has_an_example_that_can_be_run() {
    let sandbox = Sandbox::new();
    for command in commands() {
        let help = printed(&["help", &command]);
        for flag in ["-h", "--help"] {
            assert_eq!(printed(&[&command, flag]), help, "{command}");
        }
        assert!(help.starts_with(&format!("usage: repo-deploy {command}")), "{help}");
        let (_, example) = help.split_once("\nexample:\n  repo-deploy ").unwrap_or_else(|| panic!("{help}"));
        let words: Vec<&str> = example.split_whitespace().collect();
        assert_eq!(words[0], command);
        // No configuration is there: all that it can be refused for is that.
        let (limit, codes): (&[&str], _) = match &*command {
            "probe" => (&["--timeout", "1s"], [0, 1]), // nothing is there to answer it
            "signal" => (&["--name", "no-such-process"], [0, 1]),
            "lock" => continue, // fleet_lock.rs runs it
            _ => (&[], [0, 78]),
        };
        let run = run(sandbox.bare().args(&words).args(limit).args(["-c", "/no/such/file"]));
        assert!(codes.contains(&run.code), "{words:?}: {}\n{}", run.code, run.log);
    }
    let own = |command: &str| printed(&["help", command]).contains("--json");
    assert!(own("status") && own("plan") && !own("verify"));
}

#[test]
fn keys_are_asked_for_then_every_subject_and_value_is_named() {
    let help = printed(&["help", "keys"]);
    for words in
        ["remote = URL", "max-unpacked = SIZE", "ssh-strict = yes|no", "timeout = DURATION", "REMOTE_REPOSITORY"]
    {
        assert!(help.contains(&format!(" {words}")), "{words} in\n{help}");
    }
    for word in ["WHETHER", "WHICH", "WHEN "] {
        assert!(!help.contains(word), "{word} in\n{help}");
    }
    // An option that is only a key says so.
    let sandbox = Sandbox::new();
    let run = run(sandbox.bare().args(["-f", "--keep", "3"])).expect(64);
    assert_eq!(
        run.log,
        "repo-deploy: unknown option --keep; keep is a key of the configuration: repo-deploy help keys\n"
    );
}

#[test]
fn a_word_of_another_tool_is_given_then_ours_is_named() {
    let sandbox = Sandbox::new();
    for (args, ours) in [
        (&["-f", "-q"][..], "--quiet"),
        (&["-n"], "repo-deploy plan"),
        (&["--dry-run"], "repo-deploy plan"),
        (&["--once"], "-f"),
        (&["--daemon"], "repo-deploy without -f"),
        (&["--config-file", "x"], "--config"),
        (&["--verbos"], "--verbose"),
        (&["--url", "x"], "--remote"),
        (&["--dest=x"], "--local"),
        (&["--target", "x"], "--local"),
        (&["--history"], "repo-deploy history"),
        (&["deploy"], "-f"),
        (&["undo"], "repo-deploy rollback"),
        (&["stauts"], "status"),
        (&["help", "stauts"], "status"),
        (&["--remot", "x"], "--remote"),
    ] {
        let run = run(sandbox.bare().args(args)).expect(64);
        assert_eq!((run.log.lines().count(), &*run.out), (1, ""), "{args:?}: {}", run.log);
        let says = format!("; {DID_YOU_MEAN} {ours}?\n");
        assert!(run.log.starts_with("repo-deploy: unknown ") && run.log.ends_with(&says), "{args:?}: {}", run.log);
    }
}

#[test]
fn version_is_asked_for_then_it_is_one_line() {
    let sandbox = Sandbox::new();
    for arg in ["--version", "-V", "version"] {
        let run = run(sandbox.bare().arg(arg)).expect(0);
        assert_eq!(
            (run.out.as_str(), run.log.as_str()),
            (concat!("repo-deploy ", env!("CARGO_PKG_VERSION"), "\n"), "")
        );
    }
}

#[test]
fn usage_is_wrong_then_one_line_names_it_and_another_the_help() {
    let sandbox = Sandbox::new();
    for (args, word) in [
        (&["-f", "--cache"][..], "--cache DIR"),
        (&["-f", "--cache", "--quiet"], "--cache DIR"),
        (&["-f", "stray"], "stray"),
        (&["-f", "status"], "status"),
        (&["--fetch=1"], "--fetch"),
        (&["-f", "-Z"], "-Z"),
    ] {
        let run = run(sandbox.bare().args(args)).expect(64).says(word);
        assert_eq!((run.log.lines().count(), run.out.as_str()), (2, ""), "{args:?}:\n{}", run.log);
        assert!(run.log.starts_with("repo-deploy: ") && run.log.contains("\nTry 'repo-deploy "), "{}", run.log);
    }
    let misused = run(sandbox.bare().args(["seed", "--log-file", "log", "-r", "/r", "--revision", "x"])).expect(64);
    assert!(misused.log.ends_with("\nTry 'repo-deploy seed --help'.\n"), "{}", misused.log);
    assert!(!sandbox.path("log").exists() || sandbox.read("log").is_empty(), "it is no record");
}

#[test]
fn words_are_hostile_then_each_line_stays_plain() {
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
        assert!(run.log.lines().count() <= 2, "{:?}", run.log);
        assert!(!run.log.lines().any(|line| line.chars().any(char::is_control)), "{:?}", run.log);
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
    assert!(sandbox.read_log("log").contains(DEPLOYED));
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
    run.expect(1).says(&format!("{CANNOT_WRITE} to standard output: no space left on device"));
}

/// What a command writes to a terminal, standard output and standard error together.
fn on_terminal(command: &Command, environment: &[(&str, &str)]) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(|word| word.to_str().unwrap());
    let mut script = Command::new("script");
    script.args(["-qec", &format!("exec {}", words.collect::<Vec<_>>().join(" ")), "/dev/null"]).env_clear();
    script.env("PATH", "/usr/bin:/bin").envs(environment.iter().copied()).stdin(Stdio::null());
    script.current_dir(command.get_current_dir().unwrap());
    Run::from(script.output().unwrap()).out.replace("\r\n", "\n")
}

#[test]
fn a_terminal_looks_on_then_what_matters_has_a_colour_and_nowhere_else() {
    needs!("script");
    let sandbox = Sandbox::new();
    let remote = sandbox.zip("a.zip", &[("changed", "one"), ("removed", "one")]);
    let remote = remote.to_str().unwrap();
    sandbox.deploy(remote, &[]).expect(0);
    sandbox.zip("a.zip", &[("changed", "two"), ("added", "two")]);
    std::fs::write(sandbox.local().join("changed"), "by hand").unwrap();
    std::fs::write(sandbox.local().join("stray"), "by hand").unwrap();
    std::fs::remove_file(sandbox.local().join("removed")).unwrap();
    let config = sandbox.write("bad.cfg", "remote = /r\nkeep = 0\nid = \"x\"\n");
    let mut validate = sandbox.bare();
    validate.arg("validate").arg(config);
    let places = ["--remote", remote];
    let warns = sandbox.command(&["--remote", "/no/such.zip", "--log-file", "no/such/log"]);
    for (command, painted) in [
        (
            sandbox.saying(&["plan"], &places),
            &["\x1b[32mA\x1b[0m added\n", "\x1b[33mM\x1b[0m ch", "\x1b[31mD\x1b[0m re"][..],
        ),
        (
            sandbox.saying(&["verify"], &places),
            &["\x1b[33mchanged\x1b[0m /", "\x1b[31mmissing\x1b[0m /", "\x1b[32madded\x1b[0m /"],
        ),
        (
            validate,
            &[&*format!("bad.cfg:2:8:\x1b[31m error: \x1b[0m{CANNOT_USE} keep"), ":3:6:\x1b[33m warning: \x1b[0mid: "],
        ),
        (warns, &["Z \x1b[33mWARN\x1b[0m  [", "Z \x1b[31mERROR\x1b[0m ["]),
    ] {
        let text = on_terminal(&command, &[("TERM", "xterm"), ("NO_COLOR", "")]);
        for words in painted {
            assert!(text.contains(words), "{words:?} in {text:?}");
        }
        assert!(text.matches("\x1b[0m").count() >= painted.len(), "{text:?}");
        for environment in [&[("TERM", "xterm"), ("NO_COLOR", "1")][..], &[("TERM", "dumb")], &[]] {
            let text = on_terminal(&command, environment);
            assert!(!text.contains('\x1b') && text.len() > 20, "{environment:?}: {text:?}");
        }
    }
    // A log file has none, whoever looks at the terminal.
    let log = sandbox.command(&["--remote", "/no/such.zip", "--log-file", sandbox.path("log").to_str().unwrap()]);
    on_terminal(&log, &[("TERM", "xterm")]);
    assert!(sandbox.read("log").contains("Z ERROR [") && !sandbox.read("log").contains('\x1b'));
    // Neither has a pipe.
    let mut plan = sandbox.saying(&["plan"], &places);
    assert!(!run(plan.env("TERM", "xterm")).expect(10).out.contains('\x1b'));
}

#[test]
fn a_revision_is_a_hash_then_it_is_short_for_people_and_whole_where_it_is_asked_for() {
    let sandbox = Sandbox::new();
    let remote = sandbox.zip("a.zip", &[("index", "one")]);
    let remote = remote.to_str().unwrap();
    let plan = |args: &[&str]| sandbox.plan(remote, args).expect(10).out;
    let json: serde_json::Value = serde_json::from_str(&plan(&["--json"])).unwrap();
    let whole = json["plans"][0]["revision"].as_str().unwrap().to_owned();
    let short = short(&whole);
    assert!(whole.starts_with("sha256:") && whole.len() == 71 && short.len() == 19, "{whole}");
    let is_short = |text: &str| text.contains(&short) && !text.contains(&whole);
    assert!(is_short(&plan(&[])) && plan(&["-v"]).contains(&whole));
    let log = sandbox.deploy(remote, &[]).expect(0).log;
    assert!(is_short(&log), "{log}");
    for command in ["status", "history"] {
        let answer = |args: &[&str]| run(&mut sandbox.saying(&[command], args)).expect(0).out;
        assert!(is_short(&answer(&[])), "{}", answer(&[]));
        assert!(answer(&["-v"]).contains(&whole) && answer(&["--json"]).contains(&whole), "{command}");
    }
    sandbox.zip("a.zip", &[("index", "two")]);
    let log = sandbox.deploy(remote, &["-v"]).expect(0).log;
    assert!(log.contains(&deployed_revision("sha256:")) && log.lines().any(|line| line.len() > 120), "{log}");
    // What is read in a release's place is what rollback takes.
    let history = run(&mut sandbox.saying(&["history"], &[])).expect(0).out;
    let first = history.lines().last().unwrap().split_whitespace().nth(2).unwrap().to_owned();
    let back = run(&mut sandbox.saying(&["rollback", &first], &[])).expect(0).log;
    assert!(is_short(&back) && sandbox.read("deploy/current/index") == "one", "{back}");
}
