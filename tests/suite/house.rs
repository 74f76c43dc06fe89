//! The house itself: layers, reasons, sizes, and that the page says what the binary does.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::needs::needs;
use crate::support::phrases::{self, DEPLOYED};
use crate::support::running::Running;
use crate::support::sandbox::{Run, Sandbox, binary};
use crate::support::servers::{Authority, Nginx, wait_for};

fn sources() -> BTreeMap<PathBuf, String> {
    fn walk(dir: &Path, into: &mut BTreeMap<PathBuf, String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, into);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                into.insert(path, text);
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 30);
    found
}

/// A file without comments and its own tests, where a string that goes on in the next line is one again.
fn plain_code(source: &str) -> String {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines: Vec<_> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let mut joined = String::new();
    for line in lines {
        match line.strip_suffix('\\') {
            Some(begun) => joined.push_str(begun.trim_start()),
            None => joined.extend([line.trim_start(), "\n"]),
        }
    }
    joined
}

#[test]
fn each_phrase_of_the_tests_is_one_of_the_program_and_spelt_out_only_once() {
    let is_tests = |path: &Path| {
        let below = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap();
        below.iter().any(|part| part.to_string_lossy().trim_end_matches(".rs").ends_with("tests"))
    };
    let program: String =
        sources().iter().filter(|(path, _)| !is_tests(path)).map(|(_, source)| plain_code(source)).collect();
    for (name, text) in phrases::ALL {
        assert!(program.contains(text), "the program does not say {text:?} any more: support/phrases.rs, {name}");
    }
    for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite")).unwrap() {
        let path = file.unwrap().path();
        let source = if path.is_file() { plain_code(&fs::read_to_string(&path).unwrap()) } else { String::new() };
        for (name, text) in phrases::ALL {
            assert!(!source.contains(text), "{} spells out {text:?}: use phrases::{name}", path.display());
        }
    }
}

/// The room a module lives in: the first name below `crate`.
fn room(path: &Path) -> String {
    let below = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    below.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

#[test]
fn a_module_imports_only_from_lower_layers() {
    // From the top down; within a layer of ours nothing uses its neighbour.
    const LAYERS: [&[&str]; 22] = [
        &["main"],
        &["cli"],
        &["daemon"],
        &["command"],
        &["deploy"],
        &["report"],
        &["source"],
        &["aws"],
        &["http"],
        &["activate"],
        &["package"],
        &["store"],
        &["config"],
        &["console"],
        &["appspec"],
        &["schedule"],
        &["remote"],
        &["artifact"],
        &["model"],
        &["outcome"],
        &["error"],
        &["sys"],
    ];
    let layer =
        |room: &str| LAYERS.iter().position(|l| l.contains(&room)).unwrap_or_else(|| panic!("{room} has no layer"));
    let mut seen = 0;
    for (path, text) in sources() {
        let from = room(&path);
        for (number, line) in text.lines().enumerate() {
            for used in line.split("crate::").skip(1) {
                let to: String = used.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                if to.is_empty() || to == from || line.trim_start().starts_with("//") {
                    continue;
                }
                seen += 1;
                assert!(
                    layer(&to) > layer(&from),
                    "{}:{}: {from} may not use {to}: {line}",
                    path.display(),
                    number + 1
                );
            }
        }
    }
    assert!(seen > 100, "only {seen} imports found: the test is blind");
}

/// The module of a file: `src/http/mod.rs` and `src/http.rs` are `["http"]`.
fn module(path: &Path) -> Vec<String> {
    let below = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap().with_extension("");
    let mut names: Vec<String> = below.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
    if names.last().is_some_and(|name| name == "mod" || name == "main") {
        names.pop();
    }
    names
}

/// The paths that a `use` declaration brings in, its braces resolved.
fn leaves(prefix: &str, tree: &str, into: &mut Vec<String>) {
    let Some((before, rest)) = tree.split_once('{') else {
        into.push(format!("{prefix}{}", tree.split(" as ").next().unwrap().trim()));
        return;
    };
    let inner = &rest[..rest.rfind('}').unwrap()];
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !inner[start..at].trim().is_empty() {
                    leaves(&format!("{prefix}{}", before.trim()), &inner[start..at], into);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// The modules that a file names: in `use` declarations, and by paths from `crate`, `super` or `self`.
fn imports(here: &[String], text: &str) -> Vec<Vec<String>> {
    let code: String =
        text.split("\n#[cfg(test)]\nmod ").next().unwrap().lines().fold(String::new(), |code, line| {
            if line.trim_start().starts_with("//") { code } else { code + line + "\n" }
        });
    let mut paths = Vec::new();
    let (mut lines, mut body) = (code.lines(), String::new());
    while let Some(line) = lines.next() {
        let start = line.trim_start();
        let Some(start) = start.strip_prefix("use ").or_else(|| start.strip_prefix("pub use ")) else {
            body += line;
            body.push('\n');
            continue;
        };
        let mut declaration = start.to_owned();
        while !declaration.contains(';') {
            declaration += lines.next().unwrap();
        }
        leaves("", declaration.split(';').next().unwrap(), &mut paths);
    }
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in body.match_indices(start).filter(|(at, _)| !body[..*at].ends_with(':')) {
            let is_path = |c: &char| c.is_ascii_alphanumeric() || *c == '_' || *c == ':';
            paths.push(body[at..].chars().take_while(is_path).collect());
        }
    }
    let absolute = |path: String| {
        let (mut names, mut from) = (path.split("::").map(str::trim).peekable(), here.to_vec());
        match *names.peek()? {
            "crate" => from.clear(),
            "super" | "self" => {}
            _ => return None,
        }
        while names.peek().is_some_and(|name| ["crate", "super", "self"].contains(name)) {
            if names.next() == Some("super") {
                from.pop();
            }
        }
        from.extend(names.map(str::to_owned));
        Some(from)
    };
    paths.into_iter().filter_map(absolute).collect()
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let is_test = |path: &PathBuf| path.iter().any(|part| part.to_str().is_some_and(|part| part.contains("tests")));
    let files: BTreeMap<Vec<String>, String> =
        sources().into_iter().filter(|(path, _)| !is_test(path)).map(|(path, text)| (module(&path), text)).collect();
    let mut uses: BTreeMap<&[String], Vec<&[String]>> = BTreeMap::new();
    for (here, text) in &files {
        let modules = imports(here, text).into_iter().filter_map(|path| {
            (1..=path.len()).rev().find_map(|n| files.get_key_value(&path[..n])).map(|(module, _)| module.as_slice())
        });
        uses.insert(here, modules.filter(|module| module != here).collect());
    }
    assert!(uses.values().map(Vec::len).sum::<usize>() > 500, "the test is blind");
    // What is left when files that use no other one, or only such, are taken away again and again is in a circle or above one.
    loop {
        let before = uses.len();
        let left: Vec<&[String]> = uses.keys().copied().collect();
        uses.retain(|_, used| used.iter().any(|module| left.contains(module)));
        if uses.len() == before {
            break;
        }
    }
    assert!(uses.is_empty(), "files that import each other, and those that import them: {:?}", uses.keys());
}

#[test]
fn unsafe_and_libc_live_in_sys_and_what_is_passed_over_has_a_reason() {
    let is_test =
        |path: &PathBuf| path.iter().any(|part| part.to_string_lossy().trim_end_matches(".rs").ends_with("tests"));
    for (path, text) in sources().into_iter().filter(|(path, _)| !is_test(path)) {
        let lines: Vec<&str> = text.lines().take_while(|l| !l.starts_with("#[cfg(test)]")).collect();
        for (n, line) in lines.iter().enumerate() {
            let at = format!("{}:{}: {line}", path.display(), n + 1);
            if room(&path) != "sys" {
                assert!(!line.contains("libc::") && !line.contains("unsafe {"), "{at}");
            }
            let is_passed_over = line.contains("let _ = ") && !line.trim_start().starts_with("//");
            let has_reason = line.contains("//") || (n > 0 && lines[n - 1].trim_start().starts_with("//"));
            let has_reason = has_reason || lines.get(n + 1).is_some_and(|l| l.contains("//"));
            assert!(!is_passed_over || has_reason, "without a reason: {at}");
        }
    }
}

#[test]
fn the_binary_is_static_and_within_its_size() {
    let bytes = fs::read(binary()).unwrap();
    assert!(bytes.len() <= 3_200_000, "{} bytes", bytes.len());
    // No program interpreter: nothing to load.
    let headers = u64::from_le_bytes(bytes[32..40].try_into().unwrap());
    let (size, count) = (u16::from_le_bytes([bytes[54], bytes[55]]), u16::from_le_bytes([bytes[56], bytes[57]]));
    for n in 0..u64::from(count) {
        let at = usize::try_from(headers + n * u64::from(size)).unwrap();
        assert_ne!(u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()), 3, "it has a PT_INTERP");
    }
    // It would be another one in each directory: musl-build.sh remaps the paths of this machine, cargo alone does not.
    for path in ["/registry/src/", env!("CARGO_MANIFEST_DIR")] {
        let is_there = bytes.windows(path.len()).any(|window| window == path.as_bytes());
        assert!(!is_there, "{path} is in it: build it with make build or musl-build.sh");
    }
}

#[test]
fn five_thousand_files_then_at_most_8_mib_of_memory() {
    needs!(time, "time");
    let sandbox = Sandbox::new();
    // Half of it repeats, half does not: 54 MB of ZIP, 108 MB of files.
    let mut state = 1_u64;
    let mut line = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{:016x}", state)
    };
    let contents: Vec<(String, String)> =
        (0..5000).map(|n| (format!("d{}/f{n}", n / 50), (0..1350).map(|_| line()).collect())).collect();
    let files: Vec<(&str, &str)> = contents.iter().map(|(n, c)| (n.as_str(), c.as_str())).collect();
    let zip = sandbox.zip("app.zip", &files);
    let deploy = sandbox.command(&["--remote", zip.to_str().unwrap()]);
    let peak = sandbox.path("peak");
    let mut timed = Command::new("time");
    timed.args(["-q", "-f", "%M", "-o"]).arg(&peak).arg(deploy.get_program()).args(deploy.get_args());
    Run::from(timed.env_clear().env("PATH", "/usr/bin:/bin").output().unwrap()).expect(0);
    let kib: u64 = sandbox.read("peak").trim().parse().unwrap();
    assert!(kib <= 8 * 1024, "{kib} KiB");
    assert_eq!(fs::read_dir(sandbox.local()).unwrap().count(), 100);
}

#[test]
fn the_daemon_rests_then_it_holds_2_mib_and_after_tls_no_more() {
    let sandbox = Sandbox::new();
    let remote = crate::agent::source(&sandbox, "v1");
    let config = |remote: &str| {
        let ca = sandbox.path("tls/ca.pem");
        let rest = "schedule = 0 0 29 2 *\nstatus-file = status.json\nmetrics-file = m.prom\n";
        let ca = if ca.exists() { format!("ca-file = {}\n", ca.display()) } else { String::new() };
        sandbox.write("repo-deploy.cfg", format!("remote = {remote}\n{rest}{ca}"));
    };
    config(&remote);
    let mut daemon = Running::start(sandbox.daemon(&[]));
    let pid = daemon.pid();
    // The report is there a moment before the daemon lies down.
    let rests = || {
        wait_for("a daemon that holds 2 MiB at most", || {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
            let resident: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
            (sandbox.path("m.prom").exists() && children.is_empty() && resident <= 2048).then_some(())
        });
    };
    daemon.until(DEPLOYED);
    rests();
    let authority = Authority::new(&sandbox);
    let server = Nginx::start(&sandbox, "ssl", &authority.certificate("DNS:localhost", &[]));
    sandbox.zip("www/a.zip", &[("version", "v2")]);
    config(&server.https("localhost", "/a.zip"));
    fs::remove_file(sandbox.path("m.prom")).unwrap();
    daemon.signal(rustix::process::Signal::HUP).until(DEPLOYED);
    rests();
}

/// The terms of the definition list below `heading` of a page, without backticks: `keep` of "- **`keep`** (5): ...".
fn terms(page: &str, heading: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page)).unwrap();
    let section = text.split(&format!("\n{heading}\n")).nth(1).unwrap_or_else(|| panic!("no {heading:?} in {page}"));
    let end = section.find("\n## ").unwrap_or(section.len());
    let items = section[..end].lines().filter_map(|line| line.strip_prefix("- **`")?.split("**").next());
    items.map(|item| item.replace('`', "")).collect()
}

#[test]
fn the_pages_and_help_name_the_same_commands_options_and_keys() {
    let help = |args: &[&str]| Run::from(Command::new(binary()).args(args).output().unwrap()).expect(0).out;
    let in_help = |args: &[&str], heading: &str, mark: fn(&str) -> Option<String>| -> Vec<String> {
        let text = help(args);
        let (_, section) = text.split_once(heading).unwrap();
        section.lines().take_while(|line| !line.starts_with("exit codes")).filter_map(mark).collect()
    };
    let options = in_help(&["--help"], "\ngeneral options:\n", |line| {
        let text = line.strip_prefix("  ").filter(|l| l.trim_start().starts_with('-'))?;
        text.split_whitespace().find(|w| w.starts_with("--")).map(|w| w.trim_end_matches(',').to_owned())
    });
    let keys = in_help(&["help", "keys"], "\n\n", |line| {
        let text = line.strip_prefix("  ").filter(|l| !l.starts_with(' '))?;
        text.split_once(" = ").map(|(key, _)| key.to_owned())
    });
    let commands = in_help(&["--help"], "\ncommands:\n", |line| {
        let text = line.strip_prefix("  ").filter(|l| !l.starts_with([' ', '-']))?;
        text.split("  ").next().map(str::to_owned)
    });
    assert!(options.len() > 10 && keys.len() > 20 && commands.len() > 1, "{options:?} {keys:?} {commands:?}");
    assert_eq!(sorted(terms("operations.md", "## Commands")), sorted(commands), "commands");
    let long = |cell: String| cell.split([' ', ',']).find(|w| w.starts_with("--")).unwrap_or(&cell).to_owned();
    let on_page: Vec<String> = terms("configuration.md", "## Options").into_iter().map(long).collect();
    assert_eq!(sorted(on_page), sorted(options), "options");
    assert_eq!(sorted(terms("configuration.md", "## Keys")), sorted(keys), "keys");
}

fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort();
    list
}
