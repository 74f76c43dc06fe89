//! The pages: their size, their links, and the words that they quote. blocks.rs runs the commands that they show.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::sandbox::{Run, binary};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every page with its text: README.md and docs/*.md.
fn pages() -> Vec<(PathBuf, String)> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    paths.push(root().join("README.md"));
    paths.sort();
    assert!(paths.len() > 20);
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The lines of a page that are no code block.
fn prose(text: &str) -> Vec<&str> {
    let mut is_code = false;
    text.lines()
        .filter(|line| {
            let is_fence = line.trim_start().starts_with("```");
            is_code ^= is_fence;
            !is_fence && !is_code
        })
        .collect()
}

/// The targets of the links in a page, code spans left out.
fn links(text: &str) -> Vec<String> {
    let text = prose(text).join("\n");
    let without_code: String = text.split('`').step_by(2).collect::<Vec<_>>().join("x");
    without_code.split("](").skip(1).map(|rest| rest.split(')').next().unwrap().to_owned()).collect()
}

/// The anchors of a page, as GitHub makes them from headings.
fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text).into_iter().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn pages_fit_and_the_readme_is_short() {
    for (path, text) in pages() {
        for (number, line) in text.lines().enumerate() {
            let length = line.chars().count();
            assert!(length <= 120, "{}:{}: {length} characters", path.display(), number + 1);
        }
    }
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.lines().count() <= 200, "{} lines", readme.lines().count());
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut seen = 0;
    for (path, text) in pages() {
        for link in links(&text) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').map_or((&*link, None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link} leads to nothing", path.display());
            if let Some(anchor) = anchor {
                let there = anchors(&fs::read_to_string(&target).unwrap());
                assert!(there.iter().any(|a| a == anchor), "{}: {link}: no such heading in {there:?}", path.display());
            }
            seen += 1;
        }
    }
    assert!(seen > 100, "only {seen} links found: the test is blind");
}

#[test]
fn both_tables_of_contents_name_every_page() {
    let expected: BTreeSet<PathBuf> = pages().into_iter().map(|(path, _)| path).collect();
    let readme = root().join("README.md");
    let contents = root().join("docs/README.md");
    for page in [&readme, &contents] {
        let text = fs::read_to_string(page).unwrap();
        let linked = links(&text).into_iter().map(|link| link.split('#').next().unwrap().to_owned());
        let named = linked.filter(|link| link.ends_with(".md")).map(|link| {
            let path = page.parent().unwrap().join(link);
            fs::canonicalize(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        });
        let named: BTreeSet<PathBuf> = named.chain([fs::canonicalize(page).unwrap()]).collect();
        let expected: BTreeSet<PathBuf> = expected.iter().map(|path| fs::canonicalize(path).unwrap()).collect();
        assert_eq!(named, expected, "{}", page.display());
    }
    // One line a page.
    let text = fs::read_to_string(contents).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("- ")).collect();
    assert_eq!(lines.len(), expected.len() - 2, "README.md and the table itself are no rows of it");
}

#[test]
fn headings_that_people_search_for_are_there() {
    let all: Vec<String> = pages().iter().flat_map(|(_, text)| anchors(text)).collect();
    for heading in ["plan", "rollback", "activation-modes", "files-and-state", "design-notes", "images", "exit-codes"] {
        assert!(all.iter().any(|anchor| anchor == heading), "{heading}");
    }
}

/// What the program can say: its source without comments and tests, lines that a string goes on in joined.
fn source_text() -> String {
    fn walk(dir: &Path, into: &mut String) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() && name != "tests" {
                walk(&path, into);
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap().lines();
                for line in code.filter(|line| !line.trim_start().starts_with("//")) {
                    match line.strip_suffix('\\') {
                        Some(begun) => into.push_str(begun.trim_start()),
                        None => *into += &format!("{}\n", line.trim_start()),
                    }
                }
            }
        }
    }
    let mut text = String::new();
    walk(&root().join("src"), &mut text);
    text.replace("\\\"", "\"")
}

#[test]
fn every_message_that_troubleshooting_quotes_is_one_of_the_program() {
    let page = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let source = source_text();
    let quoted: Vec<String> =
        page.split("**`").skip(1).map(|rest| rest.split("`**").next().unwrap().to_owned()).collect();
    assert!(quoted.len() >= 40, "only {} messages found", quoted.len());
    let mut unknown = Vec::new();
    for message in quoted {
        let flat = message.split_whitespace().collect::<Vec<_>>().join(" ");
        // What stands for names and numbers, and what joins two messages, is not compared.
        let ends = |c: char| c.is_whitespace() || ":;,".contains(c);
        let pieces: Vec<&str> = flat.split('…').map(|piece| piece.trim_matches(ends)).filter(|p| p.len() > 3).collect();
        assert!(pieces.iter().map(|piece| piece.len()).sum::<usize>() >= 10, "too little of {message:?} is fixed");
        let unsaid = pieces.into_iter().filter(|piece| !source.contains(*piece));
        unknown.extend(unsaid.map(|piece| format!("{piece:?} of {flat:?}")));
    }
    assert!(unknown.is_empty(), "the program never says {unknown:#?}");
}

#[test]
fn the_page_and_help_name_the_same_exit_codes() {
    let help = Run::from(Command::new(binary()).arg("--help").output().unwrap()).expect(0).out;
    let section = help.split("\nexit codes:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("  ").filter(|l| !l.starts_with(' ')));
    let expected: Vec<String> = rows.map(|row| row.split_whitespace().next().unwrap().to_owned()).collect();
    let page = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let section = page.split("\n## Exit codes\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let terms = section.lines().filter_map(|line| line.strip_prefix("- **")?.split("**").next());
    let found: Vec<String> = terms.map(|term| term.replace(' ', "")).collect();
    assert_eq!(found, expected);
}

#[test]
fn files_that_the_architecture_names_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/ARCHITECTURE.md")).unwrap();
    let named: Vec<&str> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.ends_with(".rs") && !word.contains(|c: char| c.is_ascii_uppercase()))
        .collect();
    assert!(named.len() > 5, "{named:?}");
    for file in named {
        let is_there = ["src", "tests/suite"].iter().any(|dir| root.join(dir).join(file).is_file());
        assert!(is_there, "there is no {file}");
    }
}
