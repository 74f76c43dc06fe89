//! Dockerfiles, read strictly: an instruction, an option or a form that is not known here is an error, since an engine would do
//! something that no test has seen.

/// A file between `docker build -f` and its stages.
#[derive(Debug)]
pub struct Dockerfile {
    /// The arguments before the first stage, for the lines that begin one.
    pub arguments: Vec<(String, Option<String>)>,
    pub stages: Vec<Stage>,
}

#[derive(Debug)]
pub struct Stage {
    /// As it is written: variables are not replaced yet, here and in the steps.
    pub base: String,
    pub name: Option<String>,
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone)]
pub enum Step {
    Argument(String, Option<String>),
    Environment(Vec<(String, String)>),
    Copy { from: Option<String>, mode: Option<u32>, sources: Vec<String>, target: String },
    Run { binds: Vec<(String, String)>, command: Vec<String> },
    User(String),
    Volume(String),
    Health(Health),
    Entrypoint(Vec<String>),
    Command(Vec<String>),
}

/// HEALTHCHECK: the times are those of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    pub command: Vec<String>,
    pub options: Vec<(String, String)>,
}

type Result<T> = std::result::Result<T, String>;

impl Dockerfile {
    pub fn read(text: &str) -> Result<Self> {
        let mut file = Self { arguments: Vec::new(), stages: Vec::new() };
        for line in instructions(text)? {
            let (word, rest) = line.split_once(' ').ok_or_else(|| format!("{line}: an instruction without a value"))?;
            let rest = rest.trim();
            let step = match (word, file.stages.last_mut()) {
                ("FROM", _) => {
                    file.stages.push(stage(rest)?);
                    continue;
                }
                ("ARG", None) => {
                    file.arguments.push(argument(rest));
                    continue;
                }
                (_, None) => return Err(format!("{word} before the first FROM")),
                (_, Some(stage)) => (&mut stage.steps, step(word, rest)?),
            };
            step.0.push(step.1);
        }
        if file.stages.is_empty() { Err("no FROM".into()) } else { Ok(file) }
    }
}

/// The instructions, one a line, without comments.
fn instructions(text: &str) -> Result<Vec<String>> {
    let (mut found, mut begun) = (Vec::new(), String::new());
    for line in text.lines() {
        if let Some(comment) = line.trim_start().strip_prefix('#') {
            let is_directive = ["syntax", "escape", "check"].iter().any(|name| {
                comment.trim_start().strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('='))
            });
            if is_directive {
                return Err(format!("{line}: a directive of the parser"));
            }
            continue;
        }
        match line.strip_suffix('\\') {
            Some(part) => begun.push_str(part),
            None if begun.is_empty() && line.trim().is_empty() => {}
            None => found.push((std::mem::take(&mut begun) + line).trim().to_owned()),
        }
    }
    if begun.is_empty() { Ok(found) } else { Err(format!("{begun}: the last line goes on")) }
}

fn stage(rest: &str) -> Result<Stage> {
    let words: Vec<&str> = rest.split_whitespace().collect();
    let (base, name) = match words[..] {
        [base] => (base, None),
        [base, "AS", name] => (base, Some(name.to_owned())),
        _ => return Err(format!("FROM {rest}: another form")),
    };
    if base.starts_with("--") {
        return Err(format!("FROM {rest}: options are not known"));
    }
    Ok(Stage { base: base.to_owned(), name, steps: Vec::new() })
}

fn argument(rest: &str) -> (String, Option<String>) {
    match rest.split_once('=') {
        Some((name, default)) => (name.to_owned(), Some(default.to_owned())),
        None => (rest.to_owned(), None),
    }
}

fn step(word: &str, rest: &str) -> Result<Step> {
    let (options, value) = options(rest);
    let takes_options = ["COPY", "RUN", "HEALTHCHECK"].contains(&word);
    if let Some((name, _)) = options.first().filter(|_| !takes_options) {
        return Err(format!("{word} --{name}: options are not known"));
    }
    Ok(match word {
        "ARG" => {
            let (name, default) = argument(value);
            Step::Argument(name, default)
        }
        "ENV" => Step::Environment(
            value
                .split_whitespace()
                .map(|pair| match pair.split_once('=') {
                    Some((name, text)) if !pair.contains(['"', '\'', '\\']) => Ok((name.to_owned(), text.to_owned())),
                    _ => Err(format!("ENV {value}: another form than NAME=VALUE without quotes")),
                })
                .collect::<Result<_>>()?,
        ),
        "COPY" => copy(&options, value)?,
        "RUN" => Step::Run {
            binds: options.iter().map(|(n, v)| bind(n, v)).collect::<Result<_>>()?,
            command: command(value)?,
        },
        "USER" => Step::User(value.to_owned()),
        "VOLUME" if !value.contains(['[', ' ']) => Step::Volume(value.to_owned()),
        "HEALTHCHECK" => health(options, value)?,
        "ENTRYPOINT" => Step::Entrypoint(list(value)?),
        "CMD" => Step::Command(list(value)?),
        _ => return Err(format!("{word} {rest}: an instruction that is not known")),
    })
}

/// The options before a value, `--NAME=VALUE`.
fn options(rest: &str) -> (Vec<(String, String)>, &str) {
    let (mut found, mut rest) = (Vec::new(), rest.trim_start());
    while let Some(after) = rest.strip_prefix("--") {
        let (option, more) = after.split_once(' ').unwrap_or((after, ""));
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        found.push((name.to_owned(), value.to_owned()));
        rest = more.trim_start();
    }
    (found, rest)
}

fn copy(options: &[(String, String)], value: &str) -> Result<Step> {
    let (mut from, mut mode) = (None, None);
    for (name, text) in options {
        match &**name {
            "from" => from = Some(text.clone()),
            "chmod" => mode = Some(u32::from_str_radix(text, 8).map_err(|e| format!("--chmod={text}: {e}"))?),
            _ => return Err(format!("COPY --{name}: an option that is not known")),
        }
    }
    let mut sources: Vec<String> = value.split_whitespace().map(str::to_owned).collect();
    let target = sources.pop().filter(|_| !sources.is_empty() && !value.contains(['[', '*', '?', '"']));
    let target = target.ok_or_else(|| format!("COPY {value}: another form than SOURCE... TARGET"))?;
    Ok(Step::Copy { from, mode, sources, target })
}

/// `--mount=type=bind,source=…,target=…` of a RUN: its source in the context and its target.
fn bind(name: &str, value: &str) -> Result<(String, String)> {
    let other = || format!("RUN --{name}={value}: another form than --mount=type=bind,source=FILE,target=PATH");
    let rest = value.strip_prefix("type=bind,source=").filter(|_| name == "mount").ok_or_else(other)?;
    let (source, target) = rest.split_once(",target=").ok_or_else(other)?;
    if [source, target].iter().any(|part| part.contains(',')) {
        Err(other())
    } else {
        Ok((source.into(), target.into()))
    }
}

fn health(options: Vec<(String, String)>, value: &str) -> Result<Step> {
    if let Some((name, _)) =
        options.iter().find(|(name, _)| !["interval", "timeout", "start-period"].contains(&&**name))
    {
        return Err(format!("HEALTHCHECK --{name}: an option that is not known"));
    }
    let command = value.strip_prefix("CMD ").ok_or_else(|| format!("HEALTHCHECK {value}: another form than CMD"))?;
    Ok(Step::Health(Health { command: list(command)?, options }))
}

/// A command of RUN, which may be a script.
fn command(value: &str) -> Result<Vec<String>> {
    if value.starts_with('[') { list(value) } else { Ok(vec!["/bin/sh".into(), "-c".into(), value.into()]) }
}

/// A command that is a list of words; with a shell around it, that would be process 1.
fn list(value: &str) -> Result<Vec<String>> {
    serde_json::from_str(value.trim()).map_err(|e| format!("{value}: no list of words: {e}"))
}

/// `$NAME` and `${NAME}` in `text` replaced; one without a value is an error.
pub fn expand(text: &str, variables: &[(String, String)]) -> Result<String> {
    let mut pieces = text.split('$');
    let mut expanded = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, rest) = match piece.strip_prefix('{') {
            Some(braced) => braced.split_once('}').ok_or_else(|| format!("{text}: a brace stays open"))?,
            None => piece.split_at(piece.find(|c| !is_name(c)).unwrap_or(piece.len())),
        };
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(format!("{text}: another form of a variable"));
        }
        let value = variables.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value);
        expanded += value.ok_or_else(|| format!("{text}: {name} has no value"))?;
        expanded += rest;
    }
    Ok(expanded)
}
