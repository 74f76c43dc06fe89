//! The code blocks of the pages that a reader follows: each one is run, in order, on a machine that has only what the page
//! says, or stands in the table below with the reason and with what is checked instead.
//!
//! The language of a fence tells what it is. `text`: a picture or a form. `console`: what the commands before it print,
//! compared line by line; words with digits or `…` in them may differ. All others (`sh`: commands, or a file if the first
//! line begins with `#!`; `bash`, `conf`, `cron`, `dockerfile`) need a row in BLOCKS, and no fence goes without a language.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::recipes;
use crate::support::moto;
use crate::support::needs::needs;
use crate::support::sandbox::{binary, plain};
use crate::support::world::World;

/// What becomes of a block.
pub enum Decision {
    /// It is followed: this runs it, and checks what the page says of it.
    Run(fn(&mut World, &str)),
    /// It is not run, for this reason; this is checked instead.
    Not(&'static str, fn(&str)),
}

use Decision::{Not, Run};

/// The page, the beginning of the block, and what becomes of it. In the order of the page.
const BLOCKS: &[(&str, &str, Decision)] = &[
    (
        "README.md",
        "minisign -V",
        Not("there is no release of this commit yet", |text| {
            is_in_the_page_of_releases(text);
            is_tested("dist", "a_release_is_signed_then_the_sums_and_the_signature_are_right");
            is_tested("dist", "a_binary_is_packed_in_two_places_then_the_bytes_are_the_same_and_the_tarball_is_whole");
        }),
    ),
    (
        "README.md",
        "sudo dpkg -i",
        Not("the packages of this commit are made for minutes", |text| {
            is_in_the_page_of_releases(text);
            is_tested("dist", "packages_are_installed_upgraded_and_removed_then_they_leave_what_is_promised");
        }),
    ),
    (
        "README.md",
        "make build",
        Not("it builds for minutes", |text| {
            programs_exist(text);
            is_tested("packaging", "install_is_run_without_cargo_then_everything_is_there_and_uninstall_takes_it_away");
        }),
    ),
    ("README.md", "umask 022; mkdir", Run(recipes::first_deployment)),
    ("README.md", "echo goodbye", Run(recipes::release_that_fails)),
    ("README.md", "echo hello again", Run(recipes::rollback)),
    ("README.md", "* * * * * root", Run(recipes::cron)),
    ("README.md", "./musl-build.sh", Not("docker has no engine here", programs_exist)),
    ("README.md", "repo-deploy validate bundle.zip", Run(recipes::bundle)),
    (
        "docs/containers.md",
        "./musl-build.sh",
        Not("docker has no engine here; dockerfiles:: uses runc", programs_exist),
    ),
    ("docs/containers.md", "docker compose", Not("docker has no engine here; compose:: uses runc", programs_exist)),
    ("docs/containers.md", "kubectl apply", Not("there is no cluster here; manifests:: uses runc", programs_exist)),
    ("docs/containers.md", "kubectl create", Not("there is no cluster here; manifests:: uses runc", programs_exist)),
    (
        "docs/images.md",
        "ETAG=",
        Run(|world, text| {
            recipes::docker_build(world, text);
            is_tested(
                "dockerfiles",
                "image_with_a_release_is_run_then_the_release_is_live_and_the_first_check_fetches_nothing",
            );
        }),
    ),
    (
        "docs/images.md",
        "apt-get download",
        Not("machine:: does the same in less time", |text| {
            assert!(text.contains("\netc/image/build kernel ") && root().join("etc/image/build").is_file());
            is_tested("machine", "power_of_a_machine_is_cut_in_symlink_updates_then_it_boots_and_is_right");
        }),
    ),
    ("docs/hooks.md", "#!/bin/sh\n# /etc/repo-deploy/pre-update.d/20-config-test", Run(recipes::config_test)),
    ("docs/hooks.md", "#!/bin/sh\n# /etc/repo-deploy/post-update.d/50-healthy", Run(recipes::healthy)),
    ("docs/hooks.md", "#!/repo-deploy probe http://127.0.0.1:8080/health --timeout 60s\n", Run(recipes::probe)),
    ("docs/hooks.md", "#!/repo-deploy probe http://127.0.0.1:8080/health --timeout 60s --succ", Run(recipes::probe)),
    ("docs/hooks.md", "#!/bin/sh\n# /etc/repo-deploy/post-update.d/50-health\n", Run(recipes::probe)),
    ("docs/hooks.md", "#!/repo-deploy signal HUP", Run(recipes::reload)),
    ("docs/hooks.md", "#!/bin/sh\n# /etc/repo-deploy/post-update.d/30-restart", Run(recipes::restart)),
    ("docs/hooks.md", "#!/repo-deploy lock acquire", Run(recipes::lock)),
    ("docs/hooks.md", "#!/repo-deploy lock release", Run(recipes::unlock)),
    ("docs/hooks.md", "#!/bin/sh\n# /etc/repo-deploy/pre-update.d/90-lock", Run(recipes::lock)),
    ("docs/hooks.md", "while IFS= read", Run(recipes::changed_files)),
    ("docs/hooks.md", "# the files that nginx reads", Run(recipes::paths)),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A code block: the line of its fence, its language and its text.
struct Block {
    line: usize,
    language: String,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let (mut blocks, mut open) = (Vec::new(), None::<Block>);
    for (number, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(language), None) => {
                open = Some(Block { line: number + 1, language: language.to_owned(), text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    assert!(open.is_none() && !blocks.is_empty(), "{page}: a fence without its end, or none at all");
    blocks
}

/// The decision for each block of a page but `text`; `None`: output. Fails if a block has none, or a row no block.
fn decisions(page: &str) -> Vec<(Block, Option<&'static Decision>)> {
    let mut rows: Vec<_> = BLOCKS.iter().filter(|(of, ..)| *of == page).collect();
    let mut decided = Vec::new();
    for block in blocks(page) {
        let at = format!("{page}:{}", block.line);
        let first = block.text.lines().next().unwrap_or_default();
        match &*block.language {
            "text" => {}
            "console" => decided.push((block, None)),
            "sh" | "bash" | "conf" | "cron" | "dockerfile" => {
                let row = rows.iter().position(|(_, start, _)| block.text.starts_with(start));
                let row = row.unwrap_or_else(|| {
                    panic!("{at}: the block {first:?} is in no row of BLOCKS (tests/suite/blocks.rs): run it")
                });
                assert_eq!(row, 0, "{at}: rows are in the order of the page");
                decided.push((block, Some(&rows.remove(0).2)));
            }
            "" => panic!("{at}: the fence has no language: {first:?}"),
            other => panic!("{at}: {other} is no language that tests/suite/blocks.rs knows"),
        }
    }
    let left: Vec<_> = rows.iter().map(|(_, start, _)| start).collect();
    assert!(left.is_empty(), "{page} has no block that begins with {left:?}");
    decided
}

/// Follows a page in `world`.
fn follow(page: &str, world: Option<World>) {
    let decided = decisions(page);
    let Some(mut world) = world else { return };
    for (block, decision) in decided {
        eprintln!("{page}:{}", block.line);
        match decision {
            Some(Run(step)) => step(&mut world, &block.text),
            Some(Not(why, check)) => {
                eprintln!("not run: {why}");
                check(&block.text);
            }
            None => is_printed(page, &block, &format!("{}{}", world.last.out, world.last.log)),
        }
    }
}

/// Each line of a `console` block is one that the last commands printed.
fn is_printed(page: &str, block: &Block, printed: &str) {
    for line in block.text.lines() {
        let line = plain(&format!("{line}\n"));
        let is_there = printed.lines().any(|found| is_like(line.trim_end(), found));
        assert!(is_there, "{page}:{}: no command before it prints {line:?}, but\n{printed}", block.line);
    }
}

/// Whether two lines are the same but for words with digits or `…`.
fn is_like(shown: &str, found: &str) -> bool {
    let may_differ = |word: &str| word.contains('…') || word.chars().any(|c| c.is_ascii_digit());
    let [shown, found]: [Vec<&str>; 2] = [shown, found].map(|line| line.split_whitespace().collect());
    shown.len() == found.len() && shown.iter().zip(&found).all(|(one, other)| one == other || may_differ(one))
}

/// For commands that are not run: each program and file of this repository that they name is there, each target of
/// make is one, and each variable for repo-deploy is accepted.
fn programs_exist(text: &str) {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let mut seen = 0;
    for line in text.lines() {
        let words: Vec<&str> = line.split('#').next().unwrap().split_whitespace().collect();
        for (before, word) in words.iter().zip(&words[1.min(words.len())..]) {
            let is_file = ["-f", "--file"].contains(before);
            if is_file {
                assert!(root().join(word).is_file(), "{line}: there is no {word}");
            }
            if *before == "make" {
                assert!(makefile.contains(&format!("\n{word}:")), "{line}: no target {word}");
            }
            if let Some(value) = word.strip_prefix("REMOTE_REPOSITORY=").filter(|_| *before == "-e") {
                let mut status = std::process::Command::new(binary());
                status.arg("status").env_clear().env("REMOTE_REPOSITORY", value);
                let run = status.env("REPO_DEPLOY_LOCAL", "/nonexistent/current").output().unwrap();
                let shown = String::from_utf8_lossy(&run.stdout);
                assert!(shown.lines().any(|row| row.starts_with("remote ") && row.ends_with(value)), "{line}: {shown}");
            }
            seen += usize::from(is_file || *before == "make");
        }
        for word in words.iter().filter(|word| word.starts_with("./")) {
            let mode = fs::metadata(root().join(word)).map(|meta| meta.permissions().mode());
            assert!(mode.is_ok_and(|mode| mode & 0o111 != 0), "{line}: {word} is no program");
            seen += 1;
        }
    }
    assert!(seen > 0, "nothing to check in\n{text}");
}

/// For commands that another test of the suite runs.
/// The commands stand in docs/releases.md too, whose commands the tests of packages run.
fn is_in_the_page_of_releases(text: &str) {
    let page = fs::read_to_string(root().join("docs/releases.md")).unwrap();
    for command in text.lines().flat_map(|line| line.split('#').next().unwrap().split(" && ")) {
        assert!(page.contains(command.trim()), "docs/releases.md has no {command}");
    }
}

fn is_tested(module: &str, name: &str) {
    let source = fs::read_to_string(root().join(format!("tests/suite/{module}.rs"))).unwrap();
    assert!(source.contains(&format!("#[test]\nfn {name}() {{")), "no test {module}::{name}");
}

#[test]
fn the_readme_is_followed_then_each_block_does_what_it_says() {
    let world = if moto::is_installed() { World::busybox() } else { None };
    follow("README.md", world);
}

#[test]
fn the_page_of_hooks_is_followed_then_each_block_does_what_it_says() {
    needs!("nginx", "curl", "bash");
    let world = if moto::is_installed() { World::debian() } else { None };
    follow("docs/hooks.md", world);
}

#[test]
fn the_page_of_images_is_followed_then_each_block_does_what_it_says() {
    needs!("nginx", "curl", "openssl");
    follow("docs/images.md", World::debian());
}

#[test]
fn the_page_of_containers_is_followed_then_each_block_does_what_it_says() {
    follow("docs/containers.md", World::debian());
}

#[test]
fn output_is_compared_but_for_what_changes() {
    for (shown, found, expected) in [
        ("revision tree:cb76… is release b2c8", "revision tree:01 is release 77", true),
        ("this release b2c8", "that release b2c8", false),
        ("up to date", "up to", false),
        ("hello", "hello", true),
    ] {
        assert_eq!(is_like(shown, found), expected, "{shown} / {found}");
    }
}
