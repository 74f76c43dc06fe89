//! Memory: what compresses well costs no more of it than what does not, whatever kind of source it comes from.

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::support::needs::needs;
use crate::support::phrases::DEPLOYED;
use crate::support::rawzip::{self, Member};
use crate::support::sandbox::{Run, Sandbox};

/// What names and link texts may have in these tests.
pub const BUDGET: usize = 2 << 20;
/// Bytes that a file or a link may take beside its name and its text: there are no more of them than `max-files` allows.
const ENTRY: u64 = 128;

/// Runs a command, and tells the most memory that it and those it started had at once, in KiB: what the kernel says to
/// GNU time, which waits for this one child (ru_maxrss of wait4).
pub fn peak(sandbox: &Sandbox, command: &Command) -> (Run, u64) {
    let mut timed = Command::new("time");
    timed.args(["-q", "-f", "%M", "-o"]).arg(sandbox.path("peak")).arg(command.get_program());
    timed.args(command.get_args()).current_dir(sandbox.path("")).env_clear();
    timed.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let run = Run::from(timed.output().unwrap());
    (run, sandbox.read("peak").trim().parse().unwrap())
}

/// What a name stands for.
#[derive(Clone)]
enum What {
    File,
    Link(String),
}

type Members = Vec<(String, What)>;

/// Names as long as they may be, each of them three directories deep in directories of its own.
fn long_names(most: usize) -> Members {
    let name = |n: usize| ["a", "b", "c", "d"].map(|letter| format!("{n:06}{}", letter.repeat(249))).join("/");
    (0..most / (255 + 511 + 767 + 1023)).map(|n| (name(n), What::File)).collect()
}

/// Names of which hardly a byte is ASCII: in a manifest each takes four.
fn foreign_names(most: usize) -> Members {
    (0..most / 254).map(|n| (format!("{n:06}{}", "é".repeat(124)), What::File)).collect()
}

/// Link texts as long as they may be.
fn long_links(most: usize) -> Members {
    let text = [vec!["a".repeat(200); 20].join("/"), "b".repeat(60)].join("/");
    (0..most / (text.len() + 6)).map(|n| (format!("{n:06}"), What::Link(text.clone()))).collect()
}

fn zip(members: &Members) -> Vec<u8> {
    let member = |(name, what): &(String, What)| match what {
        What::File => Member { flags: 0x800, ..Member::file(name, "") },
        What::Link(text) => Member { method: 8, ..Member::link(name, text) },
    };
    rawzip::archive(&members.iter().map(member).collect::<Vec<_>>(), b"").bytes
}

/// A header of GNU's tar, and the body that follows it.
fn tar_member(name: &[u8], target: &[u8], kind: u8, body: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, &name[..name.len().min(100)]);
    put(100, b"0000644\0");
    put(124, format!("{:011o}\0", body.len()).as_bytes());
    put(148, b"        ");
    put(156, &[kind]);
    put(157, &target[..target.len().min(100)]);
    put(257, b"ustar  \0");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.extend_from_slice(body);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

fn tar_gz(members: &Members) -> Vec<u8> {
    let mut tar = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for (name, what) in members {
        let (target, kind) = match what {
            What::File => ("", b'0'),
            What::Link(text) => (text.as_str(), b'2'),
        };
        for (kind, long) in [(b'L', name.as_str()), (b'K', target)].into_iter().filter(|(_, text)| text.len() > 100) {
            tar.write_all(&tar_member(b"././@LongLink", b"", kind, long.as_bytes())).unwrap();
        }
        tar.write_all(&tar_member(name.as_bytes(), target.as_bytes(), kind, b"")).unwrap();
    }
    tar.write_all(&[0; 1024]).unwrap();
    tar.finish().unwrap()
}

/// Makes `members` the source of this kind, and tells its remote.
fn source(sandbox: &Sandbox, kind: &str, members: &Members) -> String {
    let remote = sandbox.path(format!("source.{kind}"));
    match kind {
        "zip" => drop(sandbox.write(&remote, zip(members))),
        "tgz" => drop(sandbox.write(&remote, tar_gz(members))),
        _ => {
            let _ = fs::remove_dir_all(&remote); // there is none the first time
            for (name, what) in members {
                let path = remote.join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                match what {
                    What::File => fs::write(&path, "").unwrap(),
                    What::Link(text) => symlink(text, &path).unwrap(),
                }
            }
        }
    }
    remote.to_str().unwrap().to_owned()
}

/// Runs the command, which must end with `code` and take no more than two and a half times the budget beside the `floor`.
#[track_caller]
pub fn stays_within(sandbox: &Sandbox, command: &Command, code: i32, floor: u64) -> Run {
    let (run, kib) = peak(sandbox, command);
    let most = floor + (BUDGET as u64 >> 10) * 5 / 2;
    let words: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy()).collect();
    assert!(kib <= most, "{}: {kib} KiB, and {floor} KiB for a small archive", words.join(" "));
    run.expect(code)
}

/// What a check of a small archive takes.
pub fn floor(sandbox: &Sandbox) -> u64 {
    let small = sandbox.zip("small.zip", &[("small", "x")]);
    let (run, kib) = peak(sandbox, &sandbox.command(&["--remote", small.to_str().unwrap()]));
    run.expect(0);
    kib
}

#[test]
fn names_and_link_texts_fill_the_budget_then_every_command_stays_within_two_and_a_half_times_of_it() {
    needs!(time, "time");
    for members in [long_names(BUDGET), foreign_names(BUDGET), long_links(BUDGET)] {
        for kind in ["zip", "tgz", "dir"] {
            let sandbox = Sandbox::new();
            // Somebody wants to know what changes.
            sandbox.hook("post.d", "hook", "tr '\\0' '\\n' <\"$REPO_DEPLOY_CHANGED_FILES\" | wc -l");
            sandbox.write("post.d/hook.paths", "**\n");
            sandbox.write("repo-deploy.cfg", format!("max-names = {BUDGET}\n"));
            let floor = floor(&sandbox) + members.len() as u64 * ENTRY / 1024;
            let remote = source(&sandbox, kind, &members);
            let args = ["--remote", remote.as_str()];
            let run = |words: &[&str], code| {
                let command = if words.is_empty() { sandbox.command(&args) } else { sandbox.saying(words, &args) };
                stays_within(&sandbox, &command, code, floor)
            };
            run(&["plan"], 10);
            assert!(run(&["plan", "-v"], 10).out.lines().count() > members.len());
            assert!(run(&["plan", "--json"], 10).out.matches("\"change\":\"A\"").count() >= members.len());
            run(&[], 0);
            run(&["verify"], 0);
            run(&["status"], 0);
            // All of them go, and others come.
            let others: Members =
                members[1..].iter().map(|(name, what)| (format!("x{}", &name[1..]), what.clone())).collect();
            source(&sandbox, kind, &others);
            run(&["plan", "-v"], 10);
            run(&[], 0);
            run(&["rollback"], 0);
            // And what is missing is told.
            let live = fs::canonicalize(sandbox.local()).unwrap();
            fs::remove_dir_all(&live).unwrap();
            fs::create_dir(&live).unwrap();
            run(&["verify"], 1);
        }
    }
}

#[test]
fn a_full_budget_of_64_mib_then_a_check_takes_at_most_160_mib() {
    needs!(time, "time");
    let sandbox = Sandbox::new();
    let remote = source(&sandbox, "zip", &long_links(64 << 20));
    let (run, kib) = peak(&sandbox, &sandbox.command(&["--remote", &remote]));
    run.expect(0);
    assert!(kib <= 160 * 1024, "{kib} KiB");
    let mut more = long_links(64 << 20);
    more.extend(long_links(4 << 10).into_iter().map(|(name, what)| (format!("x{name}"), what)));
    source(&sandbox, "zip", &more);
    let (run, kib) = peak(&sandbox, &sandbox.command(&["--remote", &remote]));
    run.expect(1).says("with it names and link texts are over max-names = 64.0 MiB");
    assert!(kib <= 160 * 1024, "{kib} KiB");
}

/// The same where each name is a file on disk many times over.
const IN_PLACE: usize = 2 << 20;

/// Names as long as one may be, in one directory, of a release that this letter tells from others.
fn flat_names(count: usize, letter: &str) -> Members {
    (0..count).map(|n| (format!("{n:06}{}", letter.repeat(249)), What::File)).collect()
}

/// Links of which the names are the same in each release and the texts are not.
fn flat_links(count: usize, letter: &str) -> Members {
    let text = [letter.repeat(124), letter.repeat(124)].join("/");
    (0..count).map(|n| (format!("{n:06}"), What::Link(text.clone()))).collect()
}

/// Replaces a letter that stands for a long name by itself.
fn short(members: Members) -> Members {
    let shorten = |text: String| {
        let mut short = text.into_bytes();
        short.dedup();
        String::from_utf8(short).unwrap()
    };
    let what = |what| match what {
        What::File => What::File,
        What::Link(text) => What::Link(shorten(text)),
    };
    // The digits are what tells them apart.
    let name = |name: String| format!("{}{}", &name[..6], shorten(name[6..].to_owned()));
    members.into_iter().map(|(path, kind)| (name(path), what(kind))).collect()
}

/// What everything that a directory in place is for takes at most, in KiB, from the one release to the other and back.
fn in_place_peaks(first: &Members, second: &Members) -> Vec<(String, u64)> {
    let mut peaks = Vec::new();
    let mut run = |sandbox: &Sandbox, words: &[&str], code| {
        let remote = sandbox.path("source.dir");
        let args = ["--remote", remote.to_str().unwrap()];
        let command = if words.is_empty() { sandbox.command(&args) } else { sandbox.saying(words, &args) };
        let (run, kib) = peak(sandbox, &command);
        run.expect(code);
        peaks.push((format!("{} {words:?}", peaks.len()), kib));
    };
    let world = || {
        let sandbox = Sandbox::in_memory(); // each file is flushed to its disk, which is not what is measured
        let config = format!("activation = in-place\nmax-names = {IN_PLACE}\ntimeout = 1h\n");
        sandbox.write("repo-deploy.cfg", config);
        sandbox
    };
    let sandbox = world();
    source(&sandbox, "dir", first);
    run(&sandbox, &["plan"], 10);
    run(&sandbox, &[], 0);
    run(&sandbox, &[], 0);
    fs::write(sandbox.path("source.dir").join("one more"), "").unwrap();
    run(&sandbox, &[], 0);
    source(&sandbox, "dir", second);
    run(&sandbox, &["plan"], 10);
    run(&sandbox, &[], 0);
    run(&sandbox, &["verify"], 0);
    run(&sandbox, &["rollback"], 0);
    for (name, _) in &first[..3] {
        let top = sandbox.local().join(name.split('/').next().unwrap());
        if top.is_dir() { fs::remove_dir_all(top).unwrap() } else { fs::remove_file(top).unwrap() }
    }
    run(&sandbox, &["verify"], 1);
    run(&sandbox, &["verify", "--repair"], 0);
    fs::remove_file(sandbox.local().join("one more")).unwrap();
    run(&sandbox, &[], 0); // on the way back it is found
    // What is found at the first deployment is kept.
    let sandbox = world();
    source(&sandbox, "dir", first);
    fs::create_dir_all(sandbox.local().parent().unwrap()).unwrap();
    fs::rename(sandbox.path("source.dir"), sandbox.local()).unwrap();
    source(&sandbox, "dir", second);
    run(&sandbox, &[], 0);
    // All of it makes way for a file.
    let sandbox = world();
    source(&sandbox, "dir", &first.iter().map(|(name, what)| (format!("x/{name}"), what.clone())).collect());
    run(&sandbox, &[], 0);
    let and_a_file = [("x".to_owned(), What::File)].into_iter().chain(second.iter().cloned()).collect();
    source(&sandbox, "dir", &and_a_file);
    run(&sandbox, &[], 0);
    peaks
}

#[test]
fn a_directory_in_place_then_a_full_budget_takes_two_and_a_half_times_of_it_beside_the_same_number_of_short_names() {
    needs!(time, "time");
    let count = IN_PLACE / (255 + 2) - 100;
    for make in [flat_names, flat_links] {
        let (first, second) = (make(count, "x"), make(count, "y"));
        let floors = in_place_peaks(&short(first.clone()), &short(second.clone()));
        let full = in_place_peaks(&first, &second);
        for ((what, floor), (_, kib)) in floors.iter().zip(&full) {
            let most = floor + (IN_PLACE as u64 >> 10) * 5 / 2;
            eprintln!("in place, {what}: {kib} KiB, {floor} KiB for short names, at most {most}");
            assert!(*kib <= most, "{what}: {kib} KiB, and {floor} KiB for short names");
        }
    }
}

#[test]
fn one_byte_too_many_then_it_is_refused_in_one_line_and_tried_again_when_the_budget_is_raised() {
    // a/b, the directory a that nobody names, and a link to both.
    let members: Members = vec![("a/b".to_owned(), What::File), ("l".to_owned(), What::Link("a/b".to_owned()))];
    let cost = "a/b".len() + "a".len() + "l".len() + "a/b".len();
    for kind in ["zip", "tgz", "dir"] {
        let sandbox = Sandbox::new();
        let good = sandbox.zip("good.zip", &[("live", "1")]);
        sandbox.deploy(good.to_str().unwrap(), &[]).expect(0);
        let remote = source(&sandbox, kind, &members);
        sandbox.write("repo-deploy.cfg", format!("max-names = {}\n", cost - 1));
        for _ in 0..2 {
            let run = sandbox.deploy(&remote, &[]).expect(1);
            run.says(&format!("with it names and link texts are over max-names = {} B", cost - 1)).says("member ");
            assert_eq!(sandbox.deploy(&remote, &[]).expect(1).complaints().len(), 1);
            assert_eq!(sandbox.read("deploy/current/live"), "1");
        }
        let left = fs::read_dir(sandbox.store().join("partial")).unwrap().count();
        assert_eq!(left, 0, "{kind}");
        sandbox.write("repo-deploy.cfg", format!("max-names = {cost}\n"));
        sandbox.deploy(&remote, &[]).expect(0).says(DEPLOYED);
        assert_eq!(fs::read_link(sandbox.local().join("l")).unwrap().into_os_string().into_vec(), b"a/b");
    }
}

#[test]
fn long_names_that_are_cut_away_or_pass_through_cost_nothing() {
    needs!("time");
    let sandbox = Sandbox::new();
    let floor = floor(&sandbox);
    let mut tar = Vec::new();
    for n in 0..200 {
        let long = format!("{n:06}{}", "x".repeat(240));
        tar.extend(tar_member(b"././@LongLink", b"", b'L', long.as_bytes()));
        tar.extend(tar_member(long.as_bytes(), b"", b'0', b""));
        // A comment that nobody keeps.
        let body = format!("100000 comment={}\n", "y".repeat(100_000 - 16));
        assert_eq!(body.len(), 100_000);
        tar.extend(tar_member(b"PaxHeader", b"", b'x', body.as_bytes()));
        tar.extend(tar_member(format!("top/{n}").as_bytes(), b"", b'0', b""));
    }
    tar.extend([0; 1024]);
    let remote = sandbox.write("app.tar", tar);
    sandbox.write("repo-deploy.cfg", "strip-components = 1\nmax-names = 10K\n");
    let (run, kib) = peak(&sandbox, &sandbox.command(&["--remote", remote.to_str().unwrap()]));
    run.expect(0);
    assert_eq!(fs::read_dir(sandbox.local()).unwrap().count(), 200);
    assert!(kib <= floor + 4096, "{kib} KiB, and {floor} KiB for a small archive");
}
