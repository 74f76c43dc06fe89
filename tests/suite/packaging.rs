//! Installation: make install, units, completions and manual pages, through the Makefile and the binary.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::needs::needs;
use crate::support::phrases::{DEPLOYED, TAKES, UNPACKED};
use crate::support::sandbox::{Run, Sandbox, binary, tree};

const UNITS: [&str; 5] = [
    "repo-deploy.service",
    "repo-deploy@.service",
    "repo-deploy-check.service",
    "repo-deploy-check.timer",
    "repo-deploy-deployer.service",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(command: &mut Command) -> Run {
    command.output().unwrap().into()
}

/// Runs `make` with the binary under test; there is no cargo in PATH.
fn make(words: &[&str], binary: &Path) -> Run {
    let mut make = Command::new("make");
    make.current_dir(root()).env_clear().env("PATH", "/usr/bin:/bin").args(["-s", "--no-print-directory"]);
    run(make.args(words).arg(format!("BINARY={}", binary.display())))
}

/// Installs with `prefix` below a directory that packs it.
fn staged(sandbox: &Sandbox, prefix: &str) -> PathBuf {
    let stage = sandbox.path("stage");
    let words = [format!("DESTDIR={}", stage.display()), format!("PREFIX={prefix}")];
    make(&["install", &words[0], &words[1]], &binary()).expect(0);
    stage
}

fn printed(args: &[&str]) -> String {
    run(Command::new(binary()).args(args)).expect(0).out
}

#[test]
fn install_is_run_without_cargo_then_everything_is_there_and_uninstall_takes_it_away() {
    needs!("make");
    let sandbox = Sandbox::new();
    let stage = staged(&sandbox, "/usr");
    for (path, mode) in [
        ("usr/bin/repo-deploy", 0o755),
        ("usr/share/man/man8/repo-deploy.8", 0o644),
        ("usr/share/man/man5/repo-deploy.cfg.5", 0o644),
        ("usr/share/bash-completion/completions/repo-deploy", 0o644),
        ("usr/share/zsh/site-functions/_repo-deploy", 0o644),
        ("usr/share/fish/vendor_completions.d/repo-deploy.fish", 0o644),
        ("usr/share/doc/repo-deploy/LICENSE", 0o644),
        ("usr/share/doc/repo-deploy/hardening.conf", 0o644),
        ("etc/repo-deploy/repo-deploy.cfg", 0o644),
        ("etc/repo-deploy/pre-update.d", 0o755),
        ("etc/repo-deploy/post-update.d", 0o755),
        ("etc/logrotate.d/repo-deploy", 0o644),
    ] {
        let metadata = fs::metadata(stage.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{path}");
        assert!(metadata.is_dir() || metadata.len() > 0, "{path} is empty");
    }
    // Every program that a unit starts is installed, or one of the system.
    for unit in UNITS {
        let text = fs::read_to_string(stage.join("usr/lib/systemd/system").join(unit)).unwrap();
        for line in text.lines().filter(|line| line.starts_with("Exec")) {
            let program = line.split_once('=').unwrap().1.split(' ').next().unwrap().trim_start_matches('+');
            let is_ours = stage.join(program.trim_start_matches('/')).exists();
            assert!(is_ours || Path::new(program).exists(), "{unit}: {line}");
        }
    }
    // The sample changes nothing: a remote is what it lacks.
    let sample = stage.join("etc/repo-deploy/repo-deploy.cfg");
    assert!(run(Command::new(binary()).arg("validate").arg(&sample)).out.contains("remote"));
    // A configuration that is there stays; so it does when the rest goes.
    fs::write(&sample, "remote = /mine\n").unwrap();
    let words = format!("DESTDIR={}", stage.display());
    assert!(make(&["install", &words, "PREFIX=/usr"], &binary()).expect(0).out.contains("stays as it is"));
    assert_eq!(fs::read_to_string(&sample).unwrap(), "remote = /mine\n");
    let strangers = [stage.join("usr/share/doc/repo-deploy/mine"), stage.join("etc/repo-deploy/post-update.d/50-mine")];
    strangers.iter().for_each(|path| fs::write(path, "mine").unwrap());
    make(&["uninstall", &words, "PREFIX=/usr"], &binary()).expect(0);
    strangers.iter().for_each(|path| fs::remove_file(path).unwrap());
    assert!(
        !stage.join("etc/logrotate.d/repo-deploy").exists() && !stage.join("etc/repo-deploy/pre-update.d").exists()
    );
    let left: Vec<String> =
        tree(&stage.join("usr")).into_keys().filter(|p| stage.join("usr").join(p).is_file()).collect();
    assert_eq!(left, Vec::<String>::new());
    assert!(sample.exists());
}

#[test]
fn install_is_run_before_build_then_one_line_says_so() {
    needs!("make");
    let sandbox = Sandbox::new();
    let stage = format!("DESTDIR={}", sandbox.path("stage").display());
    let failed = make(&["install", &stage], Path::new("/no/such/binary")).expect(2);
    assert!(failed.log.contains("make install: there is no /no/such/binary: run make build first"), "{}", failed.log);
    assert!(!sandbox.path("stage").exists());
    let help = make(&["help"], &binary()).expect(0).out;
    for target in ["build", "dist", "dist-check", "install", "uninstall", "test", "help"] {
        assert!(help.lines().any(|line| line.starts_with(&format!("{target} "))), "{target} in\n{help}");
    }
}

#[test]
fn units_are_verified_then_systemd_accepts_them_and_their_exposure_is_low() {
    needs!("make", "systemd-analyze");
    let sandbox = Sandbox::new();
    let prefix = sandbox.path("usr");
    let words = [format!("PREFIX={}", prefix.display()), format!("SYSCONFDIR={}", sandbox.path("etc").display())];
    make(&["install", &words[0], &words[1]], &binary()).expect(0);
    let dir = prefix.join("lib/systemd/system");
    fs::copy(dir.join("repo-deploy@.service"), dir.join("repo-deploy@web.service")).unwrap();
    let exposure = |unit: &Path| -> f64 {
        let analysed =
            run(Command::new("systemd-analyze").args(["security", "--offline=true", "--no-pager"]).arg(unit));
        let analysed = analysed.expect(0);
        let (_, rest) = analysed.out.split_once("Overall exposure level for ").unwrap();
        rest.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    for unit in UNITS.map(|unit| unit.replace('@', "@web")) {
        let path = dir.join(&unit);
        let verified = run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path)).expect(0);
        assert_eq!((verified.out.as_str(), verified.log.as_str()), ("", ""), "{unit}");
        if unit.ends_with(".service") {
            assert!(exposure(&path) <= 6.0, "{unit}: {}", exposure(&path));
        }
    }
    let drop_in = dir.join("repo-deploy.service.d");
    fs::create_dir(&drop_in).unwrap();
    fs::copy(root().join("etc/systemd/hardening.conf"), drop_in.join("hardening.conf")).unwrap();
    let hardened = dir.join("repo-deploy.service");
    assert!(exposure(&hardened) <= 3.0, "{}", exposure(&hardened));
    run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&hardened)).expect(0);
}

/// The names that `help` lists: commands, options, keys.
fn listed(args: &[&str], heading: &str, name: fn(&str) -> Option<&str>) -> BTreeSet<String> {
    let text = printed(args);
    let (_, section) = text.split_once(heading).unwrap();
    section.lines().filter_map(|line| name(line.strip_prefix("  ")?)).map(str::to_owned).collect()
}

#[test]
fn manual_pages_are_printed_then_they_have_every_command_option_and_key() {
    let plain = |name: &str| printed(&["help", name]).replace("\\-", "-");
    let (program, configuration) = (plain("repo-deploy.8"), plain("repo-deploy.cfg.5"));
    let rows = listed(&["--help"], "\ncommands:\n", |row| {
        let word = row.split_whitespace().find(|word| !word.ends_with(','))?;
        (!row.starts_with("  ") || word.starts_with("--")).then_some(word)
    });
    assert!(rows.len() > 30 && rows.contains("completions") && rows.contains("--remote"), "{rows:?}");
    for row in &rows {
        assert!(program.lines().any(|line| line.starts_with("\\fB") && line.contains(row)), "{row} in\n{program}");
    }
    let keys = listed(&["help", "keys"], "\n\n", |row| row.split_once(" = ").map(|(key, _)| key));
    let keys: Vec<_> = keys.iter().filter(|key| !key.starts_with(' ')).collect();
    assert!(keys.len() > 40, "{keys:?}");
    for key in keys {
        assert!(configuration.contains(&format!("\n\\fB{key} = ")), "{key} in\n{configuration}");
    }
}

#[test]
fn manual_pages_are_formatted_then_nothing_is_wrong_with_them() {
    needs!("groff");
    let sandbox = Sandbox::new();
    for name in ["repo-deploy.8", "repo-deploy.cfg.5"] {
        let page = sandbox.write(name, printed(&["help", name]));
        let formatted = run(Command::new("groff").args(["-man", "-ww", "-z", "-Tutf8"]).arg(&page)).expect(0);
        assert_eq!(formatted.log, "", "{name}");
        if Path::new("/usr/bin/mandoc").exists() {
            let linted = run(Command::new("mandoc").args(["-T", "lint"]).arg(&page));
            // A page without a date is the same from every build.
            let lines: Vec<&str> = linted.out.lines().filter(|line| !line.contains("missing date")).collect();
            assert_eq!(lines, Vec::<&str>::new(), "{name}");
        }
    }
}

#[test]
fn words_are_completed_in_bash_then_commands_options_and_files_come() {
    needs!("bash");
    let sandbox = Sandbox::new();
    sandbox.write("completions", printed(&["completions", "bash"]));
    sandbox.write("some file.cfg", "");
    let complete = |words: &[&str]| -> Vec<String> {
        let line: String = words.iter().map(|word| format!("'{word}' ")).collect();
        // compopt works in a completion only.
        let script = format!(
            "compopt() {{ :; }}; source ./completions; COMP_WORDS=(repo-deploy {line}); COMP_CWORD={}; _repo_deploy; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.len()
        );
        let mut bash = Command::new("bash");
        let run = run(bash.args(["--norc", "-uc", &script]).current_dir(sandbox.path(""))).expect(0);
        assert_eq!(run.log, "", "{words:?}");
        run.out.lines().map(str::to_owned).collect()
    };
    assert_eq!(complete(&["ro"]), ["rollback"]);
    assert_eq!(complete(&["status", "--js"]), ["--json"]);
    assert_eq!(complete(&["verify", "--js"]), [""]);
    assert_eq!(complete(&["completions", ""]).into_iter().filter(|word| !word.starts_with('-')).count(), 3);
    assert_eq!(complete(&["help", "ke"]), ["keys"]);
    assert_eq!(complete(&["-c", "some"]), ["some file.cfg"]);
    assert_eq!(complete(&["--config", "=", "some"]), ["some file.cfg"]);
    assert_eq!(complete(&["validate", "some"]), ["some file.cfg"]);
    assert_eq!(complete(&["--remote", "s"]), [""]);
    assert_eq!(complete(&["-c", "status", "his"]), ["history"], "a value is no command");
    let rows = listed(&["--help"], "\ncommands:\n", |row| {
        (!row.starts_with(['-', ' '])).then(|| row.split_whitespace().next())?
    });
    let all: BTreeSet<String> = complete(&[""]).into_iter().collect();
    let commands: Vec<_> = rows.iter().filter(|row| row.chars().all(|c| c.is_ascii_lowercase())).collect();
    assert!(commands.len() > 10 && commands.iter().all(|command| all.contains(*command)), "{all:?}");
}

#[test]
fn scripts_of_the_shells_are_read_then_their_syntax_is_right() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish"] {
        if !Path::new("/usr/bin").join(shell).exists() && !Path::new("/bin").join(shell).exists() {
            continue;
        }
        let script = sandbox.write(shell, printed(&["completions", shell]));
        assert_eq!(run(Command::new(shell).arg("-n").arg(&script)).expect(0).log, "", "{shell}");
        if shell == "fish" {
            let asked = format!("source {}; complete -C 'repo-deploy ro'", script.display());
            let completed = run(Command::new(shell).env("HOME", sandbox.path("")).args(["-c", &asked])).expect(0);
            assert!(completed.out.starts_with("rollback\t"), "{}", completed.out);
        }
    }
    let refused = run(sandbox.bare().args(["completions", "tcsh"])).expect(64);
    assert!(refused.log.contains(&format!("{TAKES} bash, zsh or fish")), "{}", refused.log);
}

#[test]
fn log_format_is_json_then_each_line_is_an_object() {
    let sandbox = Sandbox::new();
    let zip = sandbox.zip("a.zip", &[("f", "1")]);
    let log = sandbox.path("log");
    for words in [&["--log-file", log.to_str().unwrap()][..], &[]] {
        let mut command = sandbox.command(&[&["-v", "--remote", zip.to_str().unwrap()], words].concat());
        let run = run(command.env("REPO_DEPLOY_LOG_FORMAT", "json")).expect(0);
        let text = if words.is_empty() { run.log } else { sandbox.read_log("log") };
        let records: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(!records.is_empty());
        for record in records {
            assert_eq!(record["id"], "default", "{record}");
            assert!(["debug", "info"].contains(&record["level"].as_str().unwrap()), "{record}");
            let time = record["time"].as_str().unwrap();
            assert!(time.len() == 24 && time.starts_with("20") && time.ends_with('Z'), "{record}");
            assert!(!record["message"].as_str().unwrap().is_empty(), "{record}");
        }
    }
}

#[test]
fn log_format_is_json_then_lines_name_outcome_release_and_revision() {
    let sandbox = Sandbox::new();
    let zip = sandbox.zip("a.zip", &[("f", "1")]);
    let remote = zip.to_str().unwrap();
    let check = |code: i32| {
        let run = run(sandbox.command(&["-v", "--remote", remote]).env("REPO_DEPLOY_LOG_FORMAT", "json")).expect(code);
        run.log.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<serde_json::Value>>()
    };
    let about = |records: &[serde_json::Value], text: &str| {
        let record = records.iter().find(|record| record["message"].as_str().unwrap().starts_with(text));
        let record = record.unwrap_or_else(|| panic!("no {text}: {records:?}")).clone();
        ["outcome", "release", "revision"].map(|fact| record.get(fact).map(|fact| fact.as_str().unwrap().to_owned()))
    };
    let known = |outcome: &str, of: &[Option<String>; 3]| [Some(outcome.to_owned()), of[1].clone(), of[2].clone()];
    let first = check(0);
    let unpacked = about(&first, UNPACKED);
    let [outcome, release, revision] = &unpacked;
    assert!(outcome.is_none() && release.as_ref().is_some_and(|id| id.len() == 16), "{first:?}");
    assert!(revision.as_ref().is_some_and(|revision| revision.starts_with("sha256:") && revision.len() == 71));
    assert_eq!(about(&first, DEPLOYED), known("deployed", &unpacked));
    assert_eq!(about(&check(0), "unchanged"), known("unchanged", &unpacked));

    sandbox.hook("post.d", "10-fails", "grep -q 1 \"$CURRENT_CONFIG/f\"");
    sandbox.zip("a.zip", &[("f", "2")]);
    let reverted = check(1);
    let tried = about(&reverted, UNPACKED);
    let [outcome, ..] = about(&reverted, &format!("release {}", tried[1].as_ref().unwrap()));
    assert_eq!(outcome, None, "the end is not there yet");
    assert_eq!(about(&reverted, "rolled back: release"), known("rolled-back", &unpacked));

    fs::remove_file(&zip).unwrap();
    let failed = check(1);
    let last = failed.last().unwrap();
    assert_eq!((&last["level"], last["outcome"].is_string()), (&"error".into(), true), "{last}");
}

#[test]
fn the_environment_asks_for_json_then_mistakes_are_objects() {
    let sandbox = Sandbox::new();
    sandbox.write("repo-deploy.cfg", "remote = /a\nno-such-key = 1\nkeep = x\n");
    for (words, code) in [(&["--no-such-option"][..], 64), (&["no-such-command"], 64), (&["-f"], 78)] {
        let run = run(sandbox.command(words).env("REPO_DEPLOY_LOG_FORMAT", "json")).expect(code);
        assert!(!run.log.is_empty());
        for line in run.log.lines() {
            let record: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
            assert!(record["time"].is_string() && record["message"].is_string(), "{record}");
        }
        assert!(run.log.lines().last().unwrap().contains(r#""level":"error""#), "{}", run.log);
    }
}

#[test]
fn journald_reads_standard_error_then_lines_have_a_priority_and_no_time() {
    let sandbox = Sandbox::new();
    let zip = sandbox.zip("a.zip", &[("f", "1")]);
    let stream = fs::File::create(sandbox.path("stream")).unwrap();
    let metadata = stream.metadata().unwrap();
    let numbers = format!("{}:{}", metadata.dev(), metadata.ino());
    let log = |stream: &str, remote: &str| {
        let file = fs::File::create(sandbox.path("stream")).unwrap();
        let mut command = sandbox.command(&["--remote", remote]);
        command.env("JOURNAL_STREAM", stream).stderr(file).status().unwrap();
        sandbox.read_log("stream")
    };
    let missing = log(&numbers, "/no/such/file");
    assert!(missing.starts_with("<3>[default] "), "{missing}");
    let deployed = log(&numbers, zip.to_str().unwrap());
    assert!(deployed.lines().all(|line| line.starts_with("<6>[default] ")), "{deployed}");
    let misuse = {
        let file = fs::File::create(sandbox.path("stream")).unwrap();
        sandbox.command(&["--no-such-option"]).env("JOURNAL_STREAM", &numbers).stderr(file).status().unwrap();
        sandbox.read_log("stream")
    };
    assert!(misuse.lines().count() == 2 && misuse.lines().all(|line| line.starts_with("<3>")), "{misuse}");
    // The stream of another process: text, with its time.
    assert!(log("1:2", "/no/such/file").starts_with("20"));
}

#[test]
fn rules_and_dashboard_are_read_then_every_metric_and_kind_is_one_of_the_program() {
    let sandbox = Sandbox::new();
    let zip = sandbox.zip("a.zip", &[("f", "1")]);
    let mut command = sandbox.command(&["--remote", zip.to_str().unwrap()]);
    run(command.env("REPO_DEPLOY_METRICS_FILE", sandbox.path("m.prom"))).expect(0);
    let metrics = sandbox.read("m.prom");
    let is_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let read = |name: &str| fs::read_to_string(root().join("etc/monitoring").join(name)).unwrap();
    let (rules, dashboard) = (read("alerts.yml"), read("dashboard.json"));
    let _: serde_json::Value = serde_json::from_str(&dashboard).unwrap(); // it is JSON
    for (text, least) in [(&rules, 6), (&dashboard, 8)] {
        let names: BTreeSet<String> = text
            .match_indices("repo_deploy_")
            .map(|(at, _)| text[at..].chars().take_while(is_name).collect())
            .collect();
        assert!(names.len() >= least, "{names:?}");
        for name in &names {
            assert!(metrics.contains(&format!("\n{name}{{")), "{name} is not in\n{metrics}");
        }
    }
    for kind in rules.split("kind=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(metrics.contains(&format!("kind=\"{kind}\"")), "{kind} is not in\n{metrics}");
    }
    if Path::new("/usr/bin/promtool").exists() {
        let file = root().join("etc/monitoring/alerts.yml");
        run(Command::new("promtool").args(["check", "rules"]).arg(file)).expect(0);
    }
}
