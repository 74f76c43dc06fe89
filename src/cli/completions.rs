//! Completion scripts for bash, zsh and fish, made from the tables of commands and options.

use super::commands::spec::CommandSpec;
use super::commands::{self, COMMANDS};
use super::options::{self, Opt};

/// The shells that there is a script for.
pub const SHELLS: &[&str] = &["bash", "zsh", "fish"];

/// The script of a shell; `None`: there is none for it.
pub fn script(shell: &str) -> Option<String> {
    match shell {
        "bash" => Some(bash()),
        "zsh" => Some(zsh()),
        "fish" => Some(fish()),
        _ => None,
    }
}

/// The words that complete an operand of a command; `None`: names of files do.
fn operands(command: &CommandSpec) -> Option<Vec<&'static str>> {
    match command.operands {
        commands::help::OPERANDS => Some(names().chain(["keys"]).collect()),
        commands::completions::OPERANDS => Some(SHELLS.to_vec()),
        "[PATH]" | "[ARCHIVE]" => None,
        _ => Some(Vec::new()),
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|command| command.name)
}

/// Whether an option goes with every command.
fn is_common(option: &Opt) -> bool {
    !["fetch", "list-configs"].contains(&option.long) && commands::that_take(option).is_empty()
}

/// Whether the value of an option is the name of a file or a directory.
fn is_path(option: &Opt) -> bool {
    ["FILE", "DIR"].contains(&option.value())
}

/// An option in its spellings, `-c` and `--config`.
fn spellings(option: &Opt) -> Vec<String> {
    option.short.map(|letter| format!("-{letter}")).into_iter().chain([option.to_string()]).collect()
}

fn words(options: impl Iterator<Item = &'static Opt>) -> String {
    options.flat_map(spellings).collect::<Vec<_>>().join(" ")
}

fn bash() -> String {
    let pattern = |wanted: bool| {
        let options = options::all().filter(|option| !option.value().is_empty() && is_path(option) == wanted);
        options.flat_map(spellings).collect::<Vec<_>>().join("|")
    };
    let commands: Vec<&str> = names().collect();
    let mut text = format!(
        r#"# bash completion of repo-deploy, made by: repo-deploy completions bash
_repo_deploy() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} command="" words="" files="" word at
    COMPREPLY=()
    if [[ $current == "=" ]]; then
        current=""
    elif [[ $before == "=" ]]; then
        before=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    case $before in
    {files})
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return ;;
    {values})
        return ;;
    esac
    for ((at = 1; at < COMP_CWORD; at++)); do
        word=${{COMP_WORDS[at]}}
        case ${{COMP_WORDS[at-1]}} in
        {files}|{values}) continue ;;
        esac
        case $word in
        {commands})
            command=$word
            break ;;
        esac
    done
    case $command in
    "") words="{all} {names}" ;;
"#,
        files = pattern(true),
        values = pattern(false),
        commands = commands.join("|"),
        all = words(options::all().filter(|option| commands::that_take(option).is_empty())),
        names = commands.join(" "),
    );
    for command in COMMANDS {
        let mut all = words(options::all().filter(|option| command.takes(option) || is_common(option)));
        let files = match operands(command) {
            None => " files=yes",
            Some(words) => {
                words.iter().for_each(|word| all.extend([" ", word]));
                ""
            }
        };
        text += &format!("    {}) words=\"{all}\"{files} ;;\n", command.name);
    }
    text + r#"    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    if [[ -n $files && $current != -* ]]; then
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
    fi
}
complete -F _repo_deploy repo-deploy
"#
}

fn zsh() -> String {
    // In single quotes; in the description of an option brackets end it, in a list a colon does.
    let quoted = |text: &str| text.replace('\'', r"'\''").replace('[', r"\[").replace(']', r"\]").replace(':', r"\:");
    let mut text = String::from(
        "#compdef repo-deploy\n# zsh completion of repo-deploy, made by: repo-deploy completions zsh\n\n\
         _repo_deploy() {\n  local context state state_descr line\n  typeset -A opt_args\n  local -a commands\n  commands=(\n",
    );
    for command in COMMANDS {
        text += &format!("    '{}:{}'\n", command.name, quoted(command.summary));
    }
    text += "  )\n  _arguments -s \\\n";
    for option in options::all() {
        let help = quoted(option.help);
        let value = match (option.value(), is_path(option)) {
            ("", _) => String::new(),
            (name, true) => format!(":{}:_files", quoted(name)),
            (name, false) => format!(":{}:", quoted(name)),
        };
        let assigned = if value.is_empty() { "" } else { "=" };
        text += &format!("    '{option}{assigned}[{help}]{value}' \\\n");
        if let Some(letter) = option.short {
            let attached = if value.is_empty() { "" } else { "+" };
            text += &format!("    '-{letter}{attached}[{help}]{value}' \\\n");
        }
    }
    text += "    '1:command:->command' '*:operand:->operand'\n  case $state in\n  command) _describe command commands ;;\n  \
             operand)\n    case $line[1] in\n";
    for command in COMMANDS {
        let action = match operands(command) {
            None => "_files".to_owned(),
            Some(words) if words.is_empty() => continue,
            Some(words) => format!("compadd -- {}", words.join(" ")),
        };
        text += &format!("    {}) {action} ;;\n", command.name);
    }
    text + "    esac ;;\n  esac\n}\n\n\
            if [[ $funcstack[1] == _repo-deploy ]]; then\n  _repo_deploy \"$@\"\nelse\n  compdef _repo_deploy repo-deploy\nfi\n"
}

fn fish() -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"));
    let mut text = String::from(
        "# fish completion of repo-deploy, made by: repo-deploy completions fish\ncomplete -c repo-deploy -f\n",
    );
    for command in COMMANDS {
        let Some(words) = operands(command) else {
            text += &format!("complete -c repo-deploy -n '__fish_seen_subcommand_from {}' -F\n", command.name);
            continue;
        };
        if !words.is_empty() {
            let (name, words) = (command.name, words.join(" "));
            text += &format!("complete -c repo-deploy -n '__fish_seen_subcommand_from {name}' -a '{words}'\n");
        }
    }
    for command in COMMANDS {
        let summary = quoted(command.summary);
        text += &format!("complete -c repo-deploy -n __fish_use_subcommand -a {} -d {summary}\n", command.name);
    }
    for option in options::all() {
        let owners: Vec<&str> =
            COMMANDS.iter().filter(|command| command.takes(option)).map(|command| command.name).collect();
        text += "complete -c repo-deploy";
        if !owners.is_empty() {
            text += &format!(" -n '__fish_seen_subcommand_from {}'", owners.join(" "));
        }
        text += &format!(" -l {}", option.long);
        if let Some(letter) = option.short {
            text += &format!(" -s {letter}");
        }
        text += match (option.value().is_empty(), is_path(option)) {
            (true, _) => "",
            (false, true) => " -r -F",
            (false, false) => " -x",
        };
        text += &format!(" -d {}\n", quoted(option.help));
    }
    text
}
