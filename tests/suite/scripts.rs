//! Scripts of a bundle: which program runs them, and what is known of them before anything is touched.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::install::Host;
use crate::support::phrases::{CANNOT_START, CARRIAGE_RETURN, EXIT_CODE, ITS_INTERPRETER, NO_USER};
use crate::support::sandbox::Run;

/// A bundle that installs `a`, and whose `event` has a script with these lines in the appspec and this content.
fn bundle(host: &Host, version: &str, event: &str, entry: &str, script: &str) {
    let appspec = format!(
        "version: 0.0\nos: linux\nfiles: [{{source: a, destination: DEST/app}}]\nhooks:\n  {event}: [{{{entry}}}]\n"
    );
    host.bundle(&appspec, &[("a", version), ("s", script), ("t", "#!/bin/sh\n")]);
}

#[test]
fn first_line_names_no_interpreter_then_the_shell_runs_the_script() {
    let host = Host::new();
    let scripts = [
        ("one", "echo plain $LIFECYCLE_EVENT\n"),
        ("two", "\n# comment\necho \"$0\" | sed 's=.*/==' # its own name\n"),
        ("three", ""),
        ("four", "#!\necho nothing behind it\n"),
        ("five", "\u{feff}#!/bin/sh\necho a byte order mark\n"),
    ];
    let entries: Vec<_> = scripts.iter().map(|(name, _)| format!("{{location: {name}}}")).collect();
    let appspec = format!(
        "version: 0.0\nos: linux\nhooks:\n  AfterInstall: [{}, {{location: one, runas: root}}]\n",
        entries.join(", ")
    );
    host.bundle(&appspec, &scripts);
    let run = host.deploy().expect(0);
    let run = run.says("INFO one: plain AfterInstall").says("INFO two: two\n").says("INFO four: nothing behind it");
    let run = run.says("INFO five: a byte order mark").says("INFO AfterInstall one starts as root\n");
    run.says("INFO no files to install: 0 written").never_says(CANNOT_START);
    // What fails in it fails the event.
    host.bundle(&appspec, &[scripts[0], scripts[1], scripts[2], scripts[3], ("five", "false\n")]);
    host.deploy().expect(1).says(&format!("AfterInstall five {EXIT_CODE} 1"));
    // A program of another machine is no script.
    host.bundle(&appspec, &[scripts[0], scripts[1], scripts[2], scripts[3], ("five", "\x7fELF\x02\x01\x01")]);
    host.deploy().expect(1).says(&format!("AfterInstall five {CANNOT_START}: it was built for another machine"));
}

#[test]
fn what_can_be_known_of_a_script_then_it_is_told_before_the_live_release_stops() {
    let host = Host::new();
    let trace = host.sandbox.path("trace");
    bundle(&host, "v1", "ApplicationStop", "location: s", &format!("#!/bin/sh\necho stopped >>{}\n", trace.display()));
    host.deploy().expect(0);
    let before = host.tree();
    let table = [
        (
            "location: s",
            "#!/no/such/interpreter -x\n",
            0,
            &*format!("{ITS_INTERPRETER} /no/such/interpreter cannot be used: no such file"),
        ),
        ("location: s", "#! /etc/passwd\n", 0, &*format!("{ITS_INTERPRETER} /etc/passwd is no executable file")),
        ("location: s", "#!/etc\n", 0, &*format!("{ITS_INTERPRETER} /etc is no executable file")),
        (
            "location: s",
            "#!/usr/bin/env no-such-program\n",
            0,
            &*format!("{ITS_INTERPRETER} no-such-program is not in PATH, which is /"),
        ),
        (
            "location: s",
            "#!/usr/bin/env -S no-such-program -x\n",
            0,
            &*format!("{ITS_INTERPRETER} no-such-program is not in PATH"),
        ),
        (
            "location: s",
            "#!/bin/sh\r\necho\r\n",
            78,
            &*format!("{CARRIAGE_RETURN}: save it with the line ends of Unix"),
        ),
        ("location: s", "#!/bin/sh -e\r\n", 78, CARRIAGE_RETURN),
        ("location: s", "#!/usr/bin/env bash\r\n", 78, CARRIAGE_RETURN),
        ("location: s, runas: no-such-user", "#!/bin/sh\n", 0, &*format!("{NO_USER} no-such-user")),
    ];
    for event in ["BeforeInstall", "ApplicationStart", "ApplicationStop"] {
        for (entry, script, code, words) in table {
            bundle(&host, "v2", event, entry, script);
            let run = host.deploy().expect(1).says(words);
            assert!(run.log.contains("appspec.yml:5:"), "{event} {script:?}: {}", run.log);
            assert!(!trace.exists() && host.tree() == before, "{event} {script:?}: {}", run.log);
            let mut validate = host.sandbox.bare();
            let run = Run::from(validate.arg("validate").arg(host.sandbox.path("app.zip")).output().unwrap());
            assert_eq!(run.code, code, "{script:?}: {}", run.out);
            assert!(run.out.contains(words), "{script:?}: {}", run.out);
        }
    }
    let appspec = "version: 0.0\nos: linux\nfiles: [{source: a, destination: DEST/app}]\n";
    host.bundle(appspec, &[("a", "v2"), ("hooks/ApplicationStart.sh", "#!/no/such/interpreter\n")]);
    host.deploy()
        .expect(1)
        .says(&format!("ApplicationStart hooks/ApplicationStart.sh: {ITS_INTERPRETER} /no/such/interpreter"));
    assert!(!trace.exists());
    bundle(&host, "v2", "ApplicationStart", "location: s", "#!/usr/bin/env -i FOO=1 sh\n");
    host.deploy().expect(1).never_says(ITS_INTERPRETER); // what env makes of that is not for us to know
}

#[test]
fn interpreter_that_the_deployment_brings_then_it_is_no_problem() {
    let host = Host::new();
    let (made, interpreter) = (host.sandbox.path("made"), host.dest("app/bin/interpreter"));
    let program = "#!/bin/sh\necho interpreted\n";
    let make = format!("#!/bin/sh\ncp bin/interpreter {0}\nchmod +x {0}\n", made.display());
    let appspec = "version: 0.0\nos: linux\nfiles: [{source: bin, destination: DEST/app/bin}]\nhooks:\n  BeforeInstall: [{location: make}]\n  AfterInstall: [{location: one}, {location: two}]\n";
    let (one, two) = (format!("#!{}\n", interpreter.display()), format!("#!{}\n", made.display()));
    let files = [("bin/interpreter", program), ("make", &make), ("one", &one), ("two", &two)];
    host.bundle(appspec, &files);
    let run = host.deploy().expect(0);
    run.says("INFO one: interpreted").says("INFO two: interpreted");
    assert_eq!(fs::metadata(interpreter).unwrap().permissions().mode() & 0o777, 0o755);
    // The script that would make it runs too late, or does not name it.
    fs::remove_file(&made).unwrap();
    let late = appspec.replace("BeforeInstall", "ValidateService");
    host.bundle(&late, &[&files[..], &[("new", "1")]].concat());
    host.deploy().expect(1).says(&format!("AfterInstall two: {ITS_INTERPRETER} "));
    host.bundle(appspec, &[files[0], ("make", "#!/bin/sh\n"), files[2], files[3]]);
    host.deploy().expect(1).says(&format!("AfterInstall two: {ITS_INTERPRETER} "));
}
