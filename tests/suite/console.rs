//! The log and the progress line: what they show, and that nothing that happens to them changes what a run comes to.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use crate::support::needs::needs;
use crate::support::phrases::{CANNOT_ROLL_BACK, CANNOT_WRITE, DEPLOYED, NOTHING_TO_VERIFY, STOPPED_BY, UNPACKED};
use crate::support::sandbox::{Run, Sandbox, plain};

/// What a run comes to, apart from what it says.
fn deploys(sandbox: &Sandbox, command: &mut Command) -> Run {
    let run = Run::from(command.output().unwrap()).expect(0);
    assert_eq!(fs::read_to_string(sandbox.local().join("index")).unwrap(), "one");
    run
}

fn ready() -> (Sandbox, Command) {
    let sandbox = Sandbox::new();
    let remote = sandbox.zip("a.zip", &[("index", "one")]);
    // A hook that talks makes more records than the program itself.
    sandbox.hook("post.d", "10-talk", "for i in 1 2 3 4 5 6 7 8 9; do echo line $i; echo line $i >&2; done");
    let command = sandbox.command(&["-vv", "--remote", remote.to_str().unwrap()]);
    (sandbox, command)
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

#[test]
fn standard_error_is_a_closed_pipe_then_it_deploys() {
    let (sandbox, mut command) = ready();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(command.stderr(writer).stdout(Stdio::null()).status().unwrap().code(), Some(0));
    assert_eq!(fs::read_to_string(sandbox.local().join("index")).unwrap(), "one");
}

#[test]
fn standard_error_is_a_full_disk_then_it_deploys() {
    let (sandbox, mut command) = ready();
    deploys(&sandbox, command.stderr(full()));
}

#[test]
fn standard_error_is_a_closed_pipe_then_failures_keep_their_codes() {
    let sandbox = Sandbox::new();
    for (args, code) in [(&["--remote", "/no/such.zip"][..], 1), (&["--nonsense"], 64), (&["--local", "/etc"], 78)] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(sandbox.command(args).stderr(writer).status().unwrap().code(), Some(code), "{args:?}");
        assert_eq!(sandbox.command(args).stderr(full()).status().unwrap().code(), Some(code), "{args:?}");
    }
}

#[test]
fn the_log_file_is_a_full_disk_then_it_deploys_and_the_log_is_on_standard_error() {
    let (sandbox, mut command) = ready();
    let run = deploys(&sandbox, command.args(["--log-file", "/dev/full"])).says(&format!(" INFO {DEPLOYED} "));
    let complaints = run.complaints();
    assert_eq!(complaints.len(), 1, "it is said once: {}", run.log);
    let why = &format!("{CANNOT_WRITE} to log-file /dev/full: no space left on device: logging to standard error");
    assert!(complaints[0].ends_with(&format!(" WARN {why}")), "{}", run.log);
    assert_eq!(run.log.lines().next(), Some(complaints[0]), "before the first record");
}

#[test]
fn the_log_file_and_standard_error_are_full_then_it_deploys() {
    let (sandbox, mut command) = ready();
    deploys(&sandbox, command.args(["--log-file", "/dev/full"]).stderr(full()));
}

#[test]
fn the_log_file_cannot_be_opened_then_a_warning_says_so_and_it_deploys() {
    for bad in ["no/such/log", "cache", "fifo"] {
        let (sandbox, mut command) = ready();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, sandbox.path("fifo"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let run = deploys(&sandbox, command.args(["--log-file", bad])).says(&format!(" INFO {DEPLOYED} "));
        assert_eq!(run.complaints().len(), 1, "{bad}: {}", run.log);
        run.says("cannot open log-file ");
    }
}

#[test]
fn the_disk_of_the_log_fills_up_then_it_deploys_and_every_line_is_whole_somewhere() {
    needs!(root, "unshare", "mount");
    let (sandbox, command) = ready();
    fs::create_dir(sandbox.path("small")).unwrap();
    // All of the disk but the last 100 bytes is taken: the first records fit, one is cut in two, the rest does not.
    let script = "mount -t tmpfs -o size=4096 small small && head -c 3996 /dev/zero | tr '\\0' x > small/log && \"$@\"; \
                  code=$?; tail -c 100 small/log; exit $code";
    let mut small = Command::new("unshare");
    small.args(["--mount", "sh", "-c", script, "sh"]).arg(command.get_program()).args(command.get_args());
    small.args(["--log-file", "small/log"]).current_dir(sandbox.path(""));
    let run = deploys(&sandbox, &mut small).says(&format!(" INFO {DEPLOYED} "));
    assert_eq!(run.out.len(), 100, "the disk is full: {:?}", run.out);
    assert_eq!(run.complaints().len(), 1, "{}", run.log);
    let run = run.says("/small/log: no space left on device: logging to standard");
    for line in run.log.lines() {
        assert!(line.len() > 21 && line[..21].ends_with("Z "), "a whole record: {line:?}");
    }
}

#[test]
fn a_log_file_is_given_then_records_are_appended_a_line_each() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("log", "kept\n");
    let remote = sandbox.zip("a.zip", &[("index", "one")]);
    let strange = "/no/\u{9b}31m/such.zip";
    for (remote, code) in [(remote.to_str().unwrap(), 0), (strange, 1)] {
        let run = sandbox.deploy(remote, &["--log-file", log.to_str().unwrap()]).expect(code);
        assert_eq!((run.log.as_str(), run.out.as_str()), ("", ""));
    }
    let text = sandbox.read_log("log");
    assert!(
        text.starts_with("kept\n20") && text.contains(&format!(" INFO {DEPLOYED} ")) && text.contains("Z ERROR "),
        "{text}"
    );
    assert!(text.contains("/no/\\x9b31m/such.zip") && !text.contains('\u{9b}'), "{text}");
    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(sandbox.path(name)).unwrap().permissions().mode() & 0o777
    };
    sandbox.deploy("/no", &["--log-file", sandbox.path("new").to_str().unwrap()]).expect(1);
    assert_eq!(mode("new") & 0o137, 0, "others read no log: {:o}", mode("new"));
}

#[test]
fn records_have_a_time_a_level_and_the_deployment() {
    let sandbox = Sandbox::new();
    let remote = sandbox.zip("a.zip", &[("index", "one")]);
    let config = format!("local = {}\n[web]\nremote = {}\n", sandbox.local().display(), remote.display());
    sandbox.write("c.cfg", format!("{config}pre-hooks = pre.d\npost-hooks = post.d\n"));
    let mut command = sandbox.bare();
    let output = command.args(["-f", "-c", "c.cfg", "--config-section", "web", "--cache", "cache"]).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    for line in log.lines() {
        let (time, rest) = line.split_at(24);
        let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{line}");
        assert!([" INFO  [web] ", " WARN  [web] "].iter().any(|frame| rest.starts_with(frame)), "{line}");
    }
    assert!(log.contains(&format!("Z INFO  [web] {DEPLOYED} ")), "{log}");
    let run = sandbox.bare().args(["-f", "-c", "/no/such/file"]).output().unwrap();
    assert!(String::from_utf8(run.stderr).unwrap().contains("Z ERROR [repo-deploy] "), "no deployment is meant");
}

#[test]
fn a_command_is_given_by_hand_and_there_is_a_log_file_then_whoever_gave_it_reads_it_too() {
    let sandbox = Sandbox::new();
    let remote = sandbox.zip("a.zip", &[("index", "one")]).display().to_string();
    for (words, code, says) in [
        (&["verify"][..], 1, NOTHING_TO_VERIFY),
        (&["rollback"], 1, CANNOT_ROLL_BACK),
        (&["plan", "--remote", "/no"], 1, "/no"),
        (&["seed"], 0, &*format!(" INFO {UNPACKED} ")),
        (&["retry", "--remote", "/no"], 1, "/no"),
    ] {
        let before = plain(&fs::read_to_string(sandbox.path("log")).unwrap_or_default());
        // Of two remotes the last one counts.
        let args = [&["--remote", &remote, "--log-file", "log"], &words[1..]].concat();
        let run = Run::from(sandbox.saying(&words[..1], &args).output().unwrap()).expect(code).says(says);
        assert_eq!(before + &run.log, sandbox.read_log("log"), "{words:?}: the file has it as well");
    }
    let run = sandbox.deploy(&remote, &["--log-file", "log"]).expect(0);
    assert_eq!(run.log, "", "cron has nothing to mail");
}

/// What a run writes to a terminal of 60 columns while it reads a file that takes longer than a moment.
fn on_terminal(term: &str, args: &[&str]) -> Option<String> {
    let run = started_on_terminal("exec", 1, term, args)?.expect(1);
    Some(run.out)
}

/// The same, started by `with` and with so many seconds for the whole check.
fn started_on_terminal(with: &str, timeout: u32, term: &str, args: &[&str]) -> Option<Run> {
    needs!("script", "stty");
    let sandbox = Sandbox::new();
    // Nothing but a hole: it takes no space, and a second ends the reading.
    let remote = sandbox.path("large.zip");
    File::create(&remote).unwrap().set_len((4 << 30) - 1).unwrap();
    let config = sandbox.write("c.cfg", format!("timeout = {timeout}\n"));
    let command =
        sandbox.command(&[&["--remote", remote.to_str().unwrap(), "-c", config.to_str().unwrap()], args].concat());
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(|w| w.to_str().unwrap());
    let line = format!("stty cols 60; {with} {}", words.collect::<Vec<_>>().join(" "));
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).env_clear().env("PATH", "/usr/bin:/bin").env("TERM", term);
    Some(Run::from(script.current_dir(sandbox.path("")).stdin(Stdio::null()).output().unwrap()))
}

#[test]
fn a_terminal_looks_on_then_progress_is_one_line_that_goes_away() {
    let Some(out) = on_terminal("xterm", &[]) else { return };
    let (before, last) = out.rsplit_once("\r\x1b[K").unwrap_or_else(|| panic!("no progress: {out:?}"));
    assert!(last.contains("Z \x1b[31mERROR\x1b[0m [") && last.starts_with("20"), "erased before the log: {last:?}");
    let lines: Vec<&str> = before.split("\r\x1b[K").skip(1).collect();
    assert!(!lines.is_empty() && lines.len() < 60, "{lines:?}");
    for line in lines {
        assert!(line.starts_with("reading ") && line.contains(" of 4.0 GiB, ") && line.len() < 60, "{line:?}");
        assert!(!line.contains('\n'), "{line:?}");
    }
}

#[test]
fn a_signal_ends_it_then_its_line_takes_the_place_of_the_progress() {
    // A second is enough for the progress to show, and not for the file to be read.
    let with = "exec timeout --foreground --preserve-status -s TERM 1";
    let Some(run) = started_on_terminal(with, 600, "xterm", &[]) else { return };
    let out = run.expect(143).out;
    let (before, last) = out.rsplit_once("\r\x1b[K").unwrap_or_else(|| panic!("no progress: {out:?}"));
    assert_eq!(last, format!("repo-deploy: {STOPPED_BY} 15\r\n"));
    assert!(before.contains("reading "), "{out:?}");
    let Some(run) = started_on_terminal(with, 600, "dumb", &[]) else { return };
    assert_eq!(run.expect(143).out, format!("repo-deploy: {STOPPED_BY} 15\r\n"));
}

#[test]
fn a_terminal_that_cannot_erase_or_a_quiet_run_then_there_is_no_progress() {
    for (term, args) in [("dumb", &[][..]), ("xterm", &["--quiet"])] {
        let Some(out) = on_terminal(term, args) else { return };
        let error = if term == "dumb" { " ERROR " } else { " \x1b[31mERROR\x1b[0m " };
        assert!(!out.contains("\x1b[K") && !out.contains("reading 1") && out.contains(error), "{out:?}");
    }
}

#[test]
fn nobody_looks_on_then_there_is_no_progress() {
    let sandbox = Sandbox::new();
    let remote = sandbox.path("large.zip");
    File::create(&remote).unwrap().set_len((4 << 30) - 1).unwrap();
    let config = sandbox.write("c.cfg", "timeout = 1\n");
    let mut command = sandbox.command(&["--remote", remote.to_str().unwrap(), "-c", config.to_str().unwrap()]);
    let run = Run::from(command.env("TERM", "xterm").output().unwrap()).expect(1);
    assert!(!run.log.contains('\x1b') && !run.log.contains('\r'), "{:?}", run.log);
}
