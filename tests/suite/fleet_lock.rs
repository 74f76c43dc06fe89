//! `repo-deploy lock`: many processes share a lock in S3. The server is one of this file, since its clock and its faults
//! have to be ours: it keeps one object, and obeys If-None-Match and If-Match as RFC 9110 has them. moto, which
//! is another hand, checks the signatures, and is shared by as many processes.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::Value;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::support::clock::Clock;
use crate::support::moto::Moto;
use crate::support::needs::needs;
use crate::support::phrases::{ANSWERED, CANNOT_USE};
use crate::support::running::Running;
use crate::support::sandbox::{Run, Sandbox, binary};
use crate::support::servers::{Raw, Seen, Step, raw, wait_for};

/// A fault of the server at a request, whose number is counted from 0.
type Fault = dyn Fn(&Seen, usize) -> Option<Trouble> + Send + Sync;

enum Trouble {
    /// It answers this and does nothing.
    Answer(&'static str),
    /// It does what is asked, and the answer is lost.
    DoneAndSilent,
    Silent,
}

/// A server of one object.
struct Store {
    server: Raw,
    object: Arc<Mutex<Option<(String, u64)>>>,
    ahead: Arc<AtomicI64>,
}

impl Store {
    fn start(fault: Box<Fault>) -> Self {
        let object: Arc<Mutex<Option<(String, u64)>>> = Arc::default();
        let ahead: Arc<AtomicI64> = Arc::default();
        let (kept, offset, versions) = (object.clone(), ahead.clone(), AtomicU64::new(0));
        let server = Raw::start(move |seen, n| {
            let trouble = fault(seen, n);
            let date = format!("Date: {}", date(offset.load(SeqCst)));
            let answer = |status: &str, headers: &str, body: &str| {
                raw(&format!("{status}\nContent-Length: {}\n{date}\n{headers}", body.len()), body.as_bytes())
            };
            match trouble {
                Some(Trouble::Answer(status)) => return vec![answer(status, "", "")],
                Some(Trouble::Silent) => return vec![Step::Stall],
                Some(Trouble::DoneAndSilent) | None => {}
            }
            let mut object = kept.lock().unwrap();
            let etag = object.as_ref().map(|(_, version)| format!("\"{version}\""));
            let step = if seen.line.starts_with("GET ") {
                match &*object {
                    Some((body, version)) => answer("200 OK", &format!("ETag: \"{version}\""), body),
                    None => answer("404 Not Found", "", "<Error><Code>NoSuchKey</Code></Error>"),
                }
            } else if seen.header("If-None-Match") == Some("*") && etag.is_some()
                || seen.header("If-Match").is_some_and(|wanted| Some(wanted) != etag.as_deref())
            {
                answer("412 Precondition Failed", "", "<Error><Code>PreconditionFailed</Code></Error>")
            } else {
                assert!(seen.header("If-Match").is_some() || seen.header("If-None-Match").is_some(), "{seen:?}");
                let version = versions.fetch_add(1, SeqCst);
                *object = Some((seen.body.clone(), version));
                answer("200 OK", &format!("ETag: \"{version}\""), "")
            };
            match trouble {
                Some(_) => vec![Step::Stall],
                None => vec![step],
            }
        });
        Self { server, object, ahead }
    }

    fn good() -> Self {
        Self::start(Box::new(|_, _| None))
    }

    fn lock(&self, sandbox: &Sandbox, verb: &str, owner: &str, args: &[&str]) -> Command {
        let mut command = sandbox.bare();
        command.env("AWS_ENDPOINT_URL", self.server.url("")).env("AWS_ACCESS_KEY_ID", "id");
        command.env("AWS_SECRET_ACCESS_KEY", "secret").env("AWS_REGION", "us-east-1");
        command.args(["lock", verb, "s3://fleet/web.lock", "--owner", owner]).args(args);
        command
    }

    fn run(&self, sandbox: &Sandbox, verb: &str, owner: &str, args: &[&str]) -> Run {
        self.lock(sandbox, verb, owner, args).output().unwrap().into()
    }

    fn content(&self) -> Value {
        serde_json::from_str(&self.object.lock().unwrap().as_ref().unwrap().0).unwrap()
    }
}

/// The time `ahead` of now as HTTP has it.
fn date(ahead: i64) -> String {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let format =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    OffsetDateTime::from_unix_timestamp(now + ahead).unwrap().format(&format).unwrap()
}

#[test]
fn a_lock_is_acquired_held_released_and_its_fencing_number_grows() {
    let sandbox = Sandbox::new();
    let store = Store::good();
    assert!(store.run(&sandbox, "status", "x", &[]).expect(0).out.starts_with("free: "));
    store.run(&sandbox, "release", "a", &[]).expect(0);
    assert_eq!(store.run(&sandbox, "acquire", "a", &[]).expect(0).out, "1\n");
    let refused = store.run(&sandbox, "acquire", "b", &["--wait", "1s"]).expect(1);
    refused.says("1 of 1 held, by a until ");
    assert!(store.run(&sandbox, "status", "x", &[]).expect(0).out.starts_with("1 of 1 held, by a until "));
    // The same owner again, as a hook that runs twice: no second slot.
    assert_eq!(store.run(&sandbox, "acquire", "a", &[]).expect(0).out, "2\n");
    assert_eq!(store.run(&sandbox, "acquire", "b", &["--slots", "2"]).expect(0).out, "3\n");
    assert_eq!(store.content()["holders"].as_array().unwrap().len(), 2);
    let released = store.run(&sandbox, "release", "a", &[]).expect(0);
    assert_eq!(released.out, "a released s3://fleet/web.lock\n");
    let again = store.run(&sandbox, "release", "a", &[]).expect(0);
    assert_eq!(again.out, "a does not hold s3://fleet/web.lock\n");
    assert_eq!(store.run(&sandbox, "acquire", "c", &[]).expect(0).out, "4\n");
}

#[test]
fn a_holder_is_killed_then_it_gives_way_after_its_lease_by_the_servers_clock() {
    let sandbox = Sandbox::new();
    // The write of the first process arrives, and its answer does not.
    let store =
        Store::start(Box::new(|seen, n| (n == 1 && seen.line.starts_with("PUT ")).then_some(Trouble::DoneAndSilent)));
    let mut dying = Running::start(store.lock(&sandbox, "acquire", "dead", &["--lease", "20m"]));
    wait_for("the write", || store.object.lock().unwrap().is_some().then_some(()));
    dying.signal(Signal::KILL);
    assert_eq!(dying.end().code, 128 + 9);
    store.run(&sandbox, "acquire", "next", &["--wait", "1s"]).expect(1).says("by dead until ");
    store.ahead.store(19 * 60, SeqCst);
    store.run(&sandbox, "acquire", "next", &["--wait", "1s"]).expect(1).says("by dead until ");
    store.ahead.store(20 * 60 + 5, SeqCst);
    assert_eq!(store.run(&sandbox, "acquire", "next", &["--wait", "1s"]).expect(0).out, "2\n");
}

#[test]
fn the_clock_of_a_host_is_wrong_then_leases_are_the_same() {
    let sandbox = Sandbox::new();
    let Some(clock) = Clock::new(&sandbox) else { return };
    let store = Store::good();
    store.run(&sandbox, "acquire", "a", &[]).expect(0);
    for ahead in [3600, -3600] {
        clock.moves(ahead);
        let run = |owner: &str| -> Run {
            clock.around(&store.lock(&sandbox, "acquire", owner, &["--wait", "3s"])).output().unwrap().into()
        };
        run("b").expect(1).says("held, by a until ");
        run("a").expect(0);
        let until = store.content()["holders"][0]["until"].as_str().unwrap().to_owned();
        let until = OffsetDateTime::parse(&until, &time::format_description::well_known::Rfc3339).unwrap();
        let left = until.unix_timestamp() - OffsetDateTime::now_utc().unix_timestamp();
        assert!((540..=600).contains(&left), "{left}");
    }
}

#[test]
fn the_server_has_faults_then_they_pass_or_are_reported() {
    let sandbox = Sandbox::new();
    // A conflict, a lost race, errors, and an answer that never comes though the write is done.
    let answers = ["409 Conflict", "412 Precondition Failed", "500 Internal Server Error", "503 Slow Down"];
    let puts = AtomicU64::new(0);
    let store = Store::start(Box::new(move |seen, _| {
        let number = seen.line.starts_with("PUT ").then(|| usize::try_from(puts.fetch_add(1, SeqCst)).unwrap())?;
        answers.get(number).map(|answer| Trouble::Answer(answer))
    }));
    assert_eq!(store.run(&sandbox, "acquire", "a", &[]).expect(0).out, "1\n");

    let broken = Store::start(Box::new(|_, _| Some(Trouble::Answer("500 Internal Server Error"))));
    let run = broken.run(&sandbox, "acquire", "a", &["--wait", "2s"]).expect(1);
    run.says(&format!("{ANSWERED} 500 internal server error; tried for 2 s"));
    let begin = Instant::now();
    let silent = Store::start(Box::new(|_, _| Some(Trouble::Silent)));
    silent.run(&sandbox, "acquire", "a", &["--wait", "2s"]).expect(1);
    assert!(begin.elapsed() < Duration::from_secs(25), "it waits for ever");
    let old = Store::start(Box::new(|seen, _| {
        seen.line.starts_with("PUT ").then_some(Trouble::Answer("501 Not Implemented"))
    }));
    old.run(&sandbox, "acquire", "a", &[]).expect(1).says("it does not support conditional writes (501)");
    let denied = Store::start(Box::new(|_, _| Some(Trouble::Answer("403 Forbidden"))));
    denied.run(&sandbox, "acquire", "a", &[]).expect(1).says(&format!("{ANSWERED} 403 forbidden"));
}

#[test]
fn the_object_is_something_else_then_it_is_not_overwritten() {
    let sandbox = Sandbox::new();
    let store = Store::good();
    for text in ["", "a file", "{}", "{\"format\":\"repo-deploy lock 2\",\"slots\":1,\"fence\":1,\"holders\":[]}"] {
        *store.object.lock().unwrap() = Some((text.to_owned(), 1000));
        for verb in ["acquire", "release", "status"] {
            store.run(&sandbox, verb, "a", &[]).expect(1).says("the object is no lock of this format");
        }
        assert_eq!(store.object.lock().unwrap().as_ref().unwrap().0, text);
    }
}

#[test]
fn a_lease_is_shorter_than_a_check_then_it_is_raised() {
    let sandbox = Sandbox::new();
    let store = Store::good();
    let run = store.run(&sandbox, "acquire", "a", &["--lease", "5s"]).expect(0);
    run.says("--lease is raised to 600 s, the timeout of a check");
    store.ahead.store(590, SeqCst);
    store.run(&sandbox, "acquire", "b", &["--wait", "1s"]).expect(1);
    for args in [&["lock"][..], &["lock", "acquire"], &["lock", "steal", "s3://b/k"]] {
        Run::from(sandbox.bare().args(args).output().unwrap()).expect(64);
    }
    let run = Run::from(sandbox.bare().args(["lock", "acquire", "https://h/"]).output().unwrap()).expect(64);
    run.says(&format!("{CANNOT_USE} this lock"));
}

/// Fifty hosts acquire and release a lock of four slots, `acquisitions` times in all, by `run`: verb, owner, options.
fn share(acquisitions: usize, run: &(dyn Fn(&str, &str, &[&str]) -> Run + Sync)) {
    const SLOTS: usize = 4;
    let (taken, fences) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let inside = Mutex::new((0_usize, 0_usize)); // now, at most
    std::thread::scope(|scope| {
        for n in 0..50 {
            let (taken, fences, inside) = (&taken, &fences, &inside);
            scope.spawn(move || {
                let owner = format!("host{n}");
                while usize::try_from(taken.fetch_add(1, SeqCst)).unwrap() < acquisitions {
                    let got = run("acquire", &owner, &["--slots", "4", "--wait", "10m"]).expect(0);
                    {
                        let mut inside = inside.lock().unwrap();
                        inside.0 += 1;
                        inside.1 = inside.1.max(inside.0);
                        assert!(inside.0 <= SLOTS, "{} hold it", inside.0);
                    }
                    fences.lock().unwrap().push(got.out.trim_end().parse::<u64>().unwrap());
                    inside.lock().unwrap().0 -= 1;
                    run("release", &owner, &[]).expect(0);
                }
            });
        }
    });
    let mut fences = fences.into_inner().unwrap();
    assert!(inside.into_inner().unwrap().1 <= SLOTS);
    fences.sort_unstable();
    fences.dedup();
    assert_eq!(fences.len(), acquisitions, "a fencing number is given twice");
}

#[test]
fn fifty_processes_share_a_lock_then_never_more_than_its_slots_hold_it() {
    needs!(time);
    let (sandbox, store) = (Sandbox::new(), Store::good());
    share(1000, &|verb, owner, args| store.run(&sandbox, verb, owner, args));
    assert!(store.content()["holders"].as_array().unwrap().is_empty());
}

#[test]
fn fifty_processes_share_a_lock_in_moto_then_never_more_than_its_slots_hold_it() {
    needs!(time);
    let sandbox = Sandbox::new();
    let Some(moto) = Moto::one_at_a_time(&sandbox) else { return };
    let every = std::env::var_os("REPO_DEPLOY_EVERY_POINT").is_some();
    share(if every { 1000 } else { 150 }, &|verb, owner, args| {
        let mut command = sandbox.bare();
        command.env("AWS_ENDPOINT_URL", moto.url()).env("AWS_ACCESS_KEY_ID", &moto.keys.id);
        command.env("AWS_SECRET_ACCESS_KEY", &moto.keys.secret).env("AWS_REGION", "us-east-1");
        command.args(["lock", verb, "s3://private/web.lock", "--owner", owner]).args(args);
        command.output().unwrap().into()
    });
}

#[test]
fn signatures_are_those_that_moto_expects() {
    let sandbox = Sandbox::new();
    let Some(moto) = Moto::start(&sandbox) else { return };
    let run = |verb: &str, owner: &str, secret: &str| -> Run {
        let mut command = sandbox.bare();
        command.env("AWS_ENDPOINT_URL", moto.url()).env("AWS_ACCESS_KEY_ID", &moto.keys.id);
        command.env("AWS_SECRET_ACCESS_KEY", secret).env("AWS_REGION", "us-east-1");
        command.args(["lock", verb, "s3://private/a b/web.lock", "--owner", owner, "--wait", "1s"]);
        command.output().unwrap().into()
    };
    run("acquire", "a", "wrong").expect(1);
    assert_eq!(run("acquire", "a", &moto.keys.secret).expect(0).out, "1\n");
    run("acquire", "b", &moto.keys.secret).expect(1).says("held, by a until ");
    run("release", "a", &moto.keys.secret).expect(0);
    assert_eq!(run("acquire", "b", &moto.keys.secret).expect(0).out, "2\n");
}

#[test]
fn a_server_of_fleetlock_is_asked_then_its_answer_decides() {
    let sandbox = Sandbox::new();
    let answers = ["409 Conflict", "500 Internal Server Error", "200 OK"];
    let server = Raw::start(move |_, n| {
        let body = "{\"kind\":\"failed_lock\",\"value\":\"web7 reboots\"}";
        vec![raw(&format!("{}\nContent-Length: {}", answers[n.min(2)], body.len()), body.as_bytes())]
    });
    let lock = |verb: &str, url: &str, args: &[&str]| -> Run {
        let mut command = sandbox.bare();
        command.args(["lock", verb, url, "--owner", "web1"]).args(args).output().unwrap().into()
    };
    let url = format!("fleetlock+{}?group=web", server.url("/base/"));
    lock("acquire", &url, &[])
        .expect(0)
        .says("waiting for fleetlock+http://")
        .says("409 conflict (failed_lock: web7 reboots)");
    lock("release", &url, &[]).expect(0);
    let seen = server.seen();
    let lines: Vec<&str> = seen.iter().map(|seen| seen.target()).collect();
    let (acquire, release) = ("/base/v1/pre-reboot", "/base/v1/steady-state");
    assert_eq!(lines, [acquire, acquire, acquire, release]);
    for seen in &seen {
        assert_eq!(seen.header("fleet-lock-protocol"), Some("true"));
        let body: Value = serde_json::from_str(&seen.body).unwrap();
        assert_eq!(body, serde_json::json!({"client_params": {"id": "web1", "group": "web"}}));
    }
    let held = Raw::always(crate::support::servers::status("423 Locked", ""));
    let url = format!("fleetlock+{}", held.url(""));
    lock("acquire", &url, &["--wait", "1s"]).expect(1).says("423 locked; tried for 1 s");
    let missing = Raw::always(crate::support::servers::status("404 Not Found", ""));
    lock("acquire", &format!("fleetlock+{}", missing.url("")), &[]).expect(1).says("404 not found");
    for (verb, url, args) in [
        ("status", &*url, &[][..]),
        ("acquire", &url, &["--slots", "2"]),
        ("acquire", "fleetlock+ftp://h/", &[]),
        ("acquire", "fleetlock+http://h/?group=a%20b", &[]),
        ("acquire", "fleetlock+http://u:hunter2@h/", &[]),
    ] {
        lock(verb, url, args).expect(64).never_says("hunter2");
    }
}

#[test]
fn hooks_hold_the_lock_during_a_deployment_and_free_it_after_a_rollback() {
    let sandbox = Sandbox::new();
    let store = Store::good();
    let program = |when: &str, name: &str, words: &str| {
        let line = format!("#!{} lock {words} s3://fleet/web.lock --owner host1", binary().display());
        let path = sandbox.write(format!("{when}/{name}"), line + "\n");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    program("pre.d", "90-lock", "acquire --wait 1s");
    program("post.d", "90-unlock", "release");
    let deploy = |version: &str| -> Run {
        sandbox.write("app/version", version);
        let mut command = sandbox.command(&["--remote", sandbox.path("app").to_str().unwrap()]);
        command.env("AWS_ENDPOINT_URL", store.server.url("")).env("AWS_ACCESS_KEY_ID", "id");
        command.env("AWS_SECRET_ACCESS_KEY", "secret").env("AWS_REGION", "us-east-1").output().unwrap().into()
    };
    let holders = || store.content()["holders"].as_array().unwrap().len();
    deploy("v1").expect(0).says("90-unlock: host1 released s3://fleet/web.lock");
    assert_eq!(holders(), 0);

    store.run(&sandbox, "acquire", "host2", &[]).expect(0);
    deploy("v2").expect(2).says("1 of 1 held, by host2 until ");
    assert_eq!(sandbox.read("deploy/current/version"), "v1");
    store.run(&sandbox, "release", "host2", &[]).expect(0);

    sandbox.hook("post.d", "50-healthy", "[ \"$(cat $CURRENT_CONFIG/version)\" = v1 ]");
    deploy("v3").expect(1).says("90-unlock: host1 released s3://fleet/web.lock");
    assert_eq!((sandbox.read("deploy/current/version").as_str(), holders()), ("v1", 0));
}

#[test]
fn the_configuration_has_the_keys_then_the_lock_uses_them_and_its_timeout() {
    let sandbox = Sandbox::new();
    let store = Store::good();
    let config = format!(
        "remote = /app\nlocal = {}\naws-access-key = AKIACONFIG\naws-secret-key = x\ns3-endpoint = {}\n\
         timeout = 30m\nlog-file = {}\n",
        sandbox.local().display(),
        store.server.url(""),
        sandbox.path("log").display()
    );
    let config = sandbox.write("own.cfg", config);
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = sandbox.bare();
    command.args(["lock", "acquire", "s3://b/k", "-c"]).arg(&config);
    let run = Run::from(command.output().unwrap()).expect(0);
    run.says("--lease is raised to 1800 s");
    assert!(store.server.seen()[0].header("Authorization").unwrap().contains("Credential=AKIACONFIG/"));
    let log = std::fs::read_to_string(sandbox.path("log")).unwrap_or_default();
    assert!(log.is_empty(), "standard error is logged by repo-deploy: {log}");
}
