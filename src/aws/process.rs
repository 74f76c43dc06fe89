//! `credential_process`: a program that prints credentials as JSON. It is started without a shell, with this process's
//! environment; its standard error is discarded, since it may contain secrets.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::answer::Fields;
use super::credentials::Credentials;
use super::environment::Environment;
use super::web;
use crate::error::{Context, Error, Kind, Result};
use crate::sys::clock::Deadline;
use crate::sys::process::{self, Ended, Program};
use crate::sys::resolve::untrusted_reason;

/// The time limit.
const LONGEST: Duration = Duration::from_secs(60);

/// Runs `command`, and parses the credentials it prints.
pub(super) fn run(command: &str, whose: &str, env: &Environment, deadline: Deadline) -> Result<Credentials> {
    let what = || format!("cannot get credentials from {whose}");
    let text = output(command, env, deadline).with_context(what)?;
    credentials(&text, whose).with_context(|| format!("{}: its output is of no use", what()))
}

fn credentials(text: &str, whose: &str) -> Result<Credentials> {
    let fields = Fields::parse(text)?;
    if fields.number("Version") != Some(1) {
        return Err(Error::failed("it has no \"Version\": 1"));
    }
    fields.credentials("SessionToken", whose)
}

fn output(command: &str, env: &Environment, deadline: Deadline) -> Result<String> {
    let mut words = words(command).map_err(Error::failed)?.into_iter();
    let program = words.next().ok_or_else(|| Error::failed("there is no command"))?;
    let path = find(&program, env)?;
    if let Some(why) = untrusted_reason(&path).with_context(|| format!("cannot run {}", path.display()))? {
        return Err(Error::failed(format!("cannot run {}: {why}", path.display())));
    }
    let args = words.map(OsString::from).collect();
    let program = Program { path: path.clone(), args, env: Vec::new(), dir: PathBuf::from("/"), merges_errors: false };
    let mut text = Vec::new();
    // Line breaks can be dropped: JSON allows them only between tokens.
    let mut take = |line: &[u8]| {
        if text.len() <= web::LARGEST {
            text.extend_from_slice(line);
        }
    };
    let ended = process::run(&program, deadline.at_most(LONGEST), &mut take);
    match ended.with_context(|| format!("cannot run {}", path.display()))? {
        Ended::Exited(0) if text.len() > web::LARGEST => {
            Err(Error::failed(format!("its output is larger than {} bytes", web::LARGEST)))
        }
        Ended::Exited(0) => String::from_utf8(text).map_err(|_| Error::failed("its output is not UTF-8")),
        Ended::Exited(code) => Err(failed(&format!("exited with {code}"))),
        Ended::Killed(signal) => Err(failed(&format!("was killed by signal {signal}"))),
        Ended::TimedOut => {
            let limit = LONGEST.as_secs();
            Err(Error::failed(format!("it had not ended within {limit} s, or the time for one check (timeout)")))
        }
        Ended::Stopped(signal) => Err(Error::new(Kind::Stopped(signal), format!("stopped by signal {signal}"))),
    }
}

fn failed(how: &str) -> Error {
    Error::failed(format!("it {how}; run it by hand to see why: its standard error is not logged"))
}

/// The path of the program: searched in PATH unless it has a slash.
fn find(program: &str, env: &Environment) -> Result<PathBuf> {
    if program.contains('/') {
        return Ok(PathBuf::from(program));
    }
    let path = env.get("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".to_owned());
    process::find(program, &path).ok_or_else(|| Error::failed("there is no such program in PATH"))
}

/// Splits words like a POSIX shell: blanks, both quotes, backslash. Nothing is expanded.
fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_ascii_whitespace() => words.extend(word.take()),
            '\'' => loop {
                let word = word.get_or_insert_default();
                match chars.next().ok_or("its command has a quote that does not end")? {
                    '\'' => break,
                    c => word.push(c),
                }
            },
            '"' => loop {
                let word = word.get_or_insert_default();
                match chars.next().ok_or("its command has a quote that does not end")? {
                    '"' => break,
                    '\\' => match chars.next().ok_or("its command has a quote that does not end")? {
                        c @ ('"' | '\\' | '$' | '`') => word.push(c),
                        c => word.extend(['\\', c]),
                    },
                    c => word.push(c),
                }
            },
            '\\' => word.get_or_insert_default().push(chars.next().ok_or("its command ends in a backslash")?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use crate::aws::process::*;
    use crate::aws::tests::{Place, soon};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn words_table() {
        for (text, expected) in [
            ("a b", &["a", "b"][..]),
            ("  a\t b ", &["a", "b"]),
            ("", &[]),
            ("'a b' c", &["a b", "c"]),
            (r#""a b"c'd'"#, &["a bcd"]),
            (r#"a "" ''"#, &["a", "", ""]),
            (r"a\ b \'", &["a b", "'"]),
            (r#""\"\\\$\`\n""#, &[r#""\$`\n"#]),
            (r"'\'", &[r"\"]),
            ("$HOME `x` *", &["$HOME", "`x`", "*"]),
            (r#"'"' "'""#, &["\"", "'"]),
        ] {
            assert_eq!(words(text).unwrap(), expected, "{text}");
        }
        for text in ["'a", "\"a", "a\\", "\"\\", "'"] {
            assert!(words(text).is_err(), "{text}");
        }
    }

    fn run_script(place: &Place, script: &str) -> Result<Credentials> {
        let path = place.write("my helper", &format!("#!/bin/sh\n{script}\n"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        run(&format!("'{}' 'an argument'", path.display()), "credential_process of profile p", &place.env(&[]), soon())
    }

    #[test]
    fn what_it_prints_is_used() {
        let place = Place::new();
        let long = "x".repeat(20_000);
        let script = format!(
            "[ \"$1\" = 'an argument' ] || exit 9; echo noise >&2\n\
             printf '{{\"Version\": 1,\\n\"AccessKeyId\": \"AK\", \"SecretAccessKey\": \"s\",\\n'\n\
             printf '\"SessionToken\": \"{long}\", \"Expiration\": \"2036-01-01T00:00:00Z\"}}'"
        );
        let found = run_script(&place, &script).unwrap();
        assert_eq!((found.access_key.as_str(), found.expires), ("AK", Some(2_082_758_400)));
        assert_eq!(found.token.unwrap().reveal(), long);
    }

    #[test]
    fn what_goes_wrong_is_one_line_without_a_secret() {
        let place = Place::new();
        let keys = r#""AccessKeyId": "AK", "SecretAccessKey": "hunter2""#;
        for (script, words) in [
            ("echo hunter2 >&2; exit 3".to_owned(), "it exited with 3; run it by hand"),
            ("kill -9 $$".to_owned(), "killed by signal 9"),
            ("echo hunter2".to_owned(), "its output is of no use: it is no JSON"),
            (format!("echo '{{{keys}}}'"), "no \"Version\": 1"),
            (format!("echo '{{\"Version\": 2, {keys}}}'"), "no \"Version\": 1"),
            ("echo '{\"Version\": 1}'".to_owned(), "no AccessKeyId"),
            ("printf '\\377'".to_owned(), "not UTF-8"),
            ("head -c 1100000 /dev/zero".to_owned(), "larger than 1048576 bytes"),
        ] {
            let error = run_script(&place, &script).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("of profile p"), "{script}: {error}");
            assert!(!error.contains("hunter2") && !error.contains('\n'), "{error}");
        }
        for (command, words) in [
            ("/does/not/exist", "cannot run /does/not/exist"),
            ("does-not-exist", "no such program in PATH"),
            ("'", "a quote that does not end"),
        ] {
            let error = run(command, "p", &place.env(&[("PATH", "/bin")]), soon()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_program_that_others_may_write_is_not_run() {
        let place = Place::new();
        let path = place.write("helper", "#!/bin/sh\n");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = run(path.to_str().unwrap(), "p", &place.env(&[]), soon()).unwrap_err().to_string();
        assert!(error.contains("others may write") && error.contains("chmod go-w"), "{error}");
    }
}
