//! The answer to a word that is unknown here: the name that other tools' users look for, else the nearest one.

use super::commands::COMMANDS;
use super::options;
use crate::config::keys;
use crate::config::suggest::nearest;

/// An answer: `did you mean --quiet?`.
#[derive(Debug, PartialEq, Eq)]
pub struct Suggestion(pub String);

/// Ours, and the options and commands of other tools that stand for it.
const ELSEWHERE: &str = "\
--quiet: -q -s --silent
-v: --debug --trace
repo-deploy plan: -n --dry-run --dryrun --diff diff preview
-f: -1 --once --one-time --oneshot once check deploy fetch pull sync update
repo-deploy without -f: --daemon --watch --loop daemon run start watch
--schedule: --period --cron
--config: -C --config-file --conf-file --cfg
--config-section: --section
--remote: -u --url --uri --source --repo --repository
--local: -t --dest --destination --target --link --root -o --output
repo-deploy retry: --force force
repo-deploy history: log logs
repo-deploy rollback: undo revert --undo --revert
repo-deploy validate: lint test --lint --test
repo-deploy verify --repair: repair fix
repo-deploy help keys: keys --help-keys
";

/// An answer to an unknown option, with its dashes.
pub fn option(option: &str) -> Option<Suggestion> {
    let name = option.trim_start_matches('-');
    if let Some(ours) = elsewhere(option) {
        return Some(mean(ours, ""));
    }
    if COMMANDS.iter().any(|command| command.name == name) {
        return Some(mean("repo-deploy ", name));
    }
    if name.len() + 1 == option.len() {
        return None; // a letter is near to any other
    }
    if let Some(key) = keys::find(name) {
        return Some(Suggestion(format!("{} is a key of the configuration: repo-deploy help keys", key.text)));
    }
    nearest(name, options::all().map(|option| option.long)).map(|near| mean("--", near))
}

/// An answer to an unknown command.
pub fn command(word: &str) -> Option<Suggestion> {
    let near = || nearest(word, COMMANDS.iter().map(|command| command.name));
    elsewhere(word).or_else(near).map(|ours| mean(ours, ""))
}

/// The answer to a URL.
pub fn remote() -> Suggestion {
    Suggestion("a remote is given by --remote URL".to_owned())
}

fn elsewhere(word: &str) -> Option<&'static str> {
    let mut rows = ELSEWHERE.lines().filter_map(|line| line.split_once(':'));
    rows.find(|(_, theirs)| theirs.split(' ').any(|one| one == word && !one.is_empty())).map(|(ours, _)| ours)
}

fn mean(dashes: &str, ours: &str) -> Suggestion {
    Suggestion(format!("did you mean {dashes}{ours}?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parse::{Asked, parse};

    #[test]
    fn what_is_suggested_exists_and_what_exists_is_not_answered() {
        for (ours, theirs) in ELSEWHERE.lines().map(|line| line.split_once(": ").unwrap()) {
            let words: Vec<&str> = ours.trim_start_matches("repo-deploy").split_whitespace().collect();
            for word in words.iter().filter(|word| word.len() > 2 && word.starts_with("--")) {
                assert!(options::long(&word[2..]).is_some(), "{ours}");
            }
            if !ours.starts_with("--") && !ours.contains(" without ") {
                let asked = parse(words.iter().map(std::ffi::OsString::from));
                assert!(matches!(asked, Ok(Asked::Run(..))), "{ours}: {asked:?}");
            }
            for word in theirs.split(' ') {
                let error = parse([std::ffi::OsString::from(word)]).map(|_| word).unwrap_err();
                assert!(error.is_answered && error.text.ends_with(&format!("; did you mean {ours}?")), "{error:?}");
            }
        }
    }
}
