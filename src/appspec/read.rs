//! Converts YAML to an [`Appspec`]: the known keys, the required ones, and the checks of their values. It continues
//! after a problem, so that all are reported at once; a wrong value is then missing, and the appspec is not used.

use super::fields::{Fields, Reader, kind};
use super::yaml::{Node, Value};
use super::{Appspec, At, Event, Files, Permission, Problem, Script, SeContext, acl, check, shown};

/// The default of CodeDeploy, in seconds.
const TIMEOUT: u32 = 3600;

/// Reads the document.
pub(super) fn appspec(node: Node) -> (Option<Appspec>, Vec<Problem>) {
    let mut reader = Reader::default();
    let appspec = reader.appspec(node);
    (appspec, reader.problems)
}

impl Reader {
    fn appspec(&mut self, node: Node) -> Option<Appspec> {
        const KEYS: &[&str] = &["version", "os", "file_exists_behavior", "files", "permissions", "hooks"];
        let mut map = self.map(node, "an appspec", KEYS)?;
        self.one_of(&mut map, "version", check::is_version, "0.0");
        self.one_of(&mut map, "os", |os| os == "linux", "linux");
        let behaviour = map.take("file_exists_behavior");
        let behaviour = behaviour.and_then(|node| self.checked(node, "file_exists_behavior", check::behaviour));
        let files = map.take("files").map(|node| self.list(node, "files")).unwrap_or_default();
        let files: Vec<_> = files.into_iter().filter_map(|node| self.files(node)).collect();
        self.twice(&files);
        let permissions = map.take("permissions").map(|node| self.list(node, "permissions")).unwrap_or_default();
        let permissions = permissions.into_iter().filter_map(|node| self.permission(node)).collect();
        let hooks = map.take("hooks").map(|node| self.hooks(node)).unwrap_or_default();
        Some(Appspec { behaviour: behaviour.map(|behaviour| behaviour.it), files, permissions, hooks })
    }

    /// A required key with a single valid value.
    fn one_of(&mut self, map: &mut Fields, key: &str, is_it: impl Fn(&str) -> bool, write: &str) {
        let Some(node) = map.take(key) else {
            self.error::<()>(map.written(key).unwrap_or(map.at), format!("{key} is missing: write {key}: {write}"));
            return;
        };
        let Some(text) = self.text(node, key) else { return };
        if !is_it(&text.it.text) {
            let given = shown(&text.it.text);
            self.error::<()>(text.at, format!("{key} is {given}, and only {write} is known: write {key}: {write}"));
        }
    }

    fn files(&mut self, node: Node) -> Option<Files> {
        let mut map = self.map(node, "an entry of files", &["source", "destination"])?;
        let source = self.needed(&mut map, "source", "source: / for the whole bundle", check::in_bundle);
        let destination = self.needed(&mut map, "destination", "destination: and an absolute directory", |text| {
            check::on_host(text).and_then(|path| match path.parent() {
                Some(_) => Ok(path),
                None => Err("a deployment cannot take / for itself: name a directory below it".into()),
            })
        });
        Some(Files { source: source?, destination: destination? })
    }

    fn twice(&mut self, files: &[Files]) {
        for (n, here) in files.iter().enumerate() {
            let same = |f: &&Files| f.source.it == here.source.it && f.destination.it == here.destination.it;
            if let Some(before) = files[..n].iter().find(same) {
                let line = before.source.at.line;
                self.error::<()>(
                    here.source.at,
                    format!("the same source goes to the same destination in line {line}"),
                );
            }
        }
    }

    fn permission(&mut self, node: Node) -> Option<Permission> {
        const KEYS: &[&str] = &["object", "pattern", "except", "owner", "group", "mode", "acls", "context", "type"];
        let at = node.at;
        let mut map = self.map(node, "an entry of permissions", KEYS)?;
        let sets = ["owner", "group", "mode", "acls", "context"];
        if !sets.iter().any(|key| map.place(key).is_some()) {
            self.warning(at, "this entry changes nothing: write at least one of owner, group, mode, acls, context");
        }
        let object =
            self.needed(&mut map, "object", "object: and an absolute path", |text| check::on_host(text.trim()));
        let pattern = map.take("pattern").map(|node| self.pattern(node));
        let except = map.take("except").map(|node| self.list(node, "except")).unwrap_or_default();
        let except = except.into_iter().filter_map(|node| self.except(node)).collect();
        let owner = map.take("owner").map(|node| self.checked(node, "owner", check::account));
        let group = map.take("group").map(|node| self.checked(node, "group", check::account));
        let mode = map.take("mode").map(|node| self.mode(node));
        let (files, directories) = self.kinds(&mut map);
        let acls = map.take("acls").map(|node| self.list(node, "acls")).unwrap_or_default();
        let acls: Vec<_> =
            acls.into_iter().filter_map(|node| self.checked(node, "an entry of acls", acl::parse)).collect();
        self.check_acls(&acls, mode.flatten(), directories);
        let context = map.take("context").map(|node| self.context(node));
        Some(Permission {
            object: object?,
            pattern: pattern.unwrap_or(Some("**".into()))?,
            except,
            owner: transposed(owner)?,
            group: transposed(group)?,
            mode: transposed(mode)?,
            acls,
            context: transposed(context)?,
            files,
            directories,
        })
    }

    fn pattern(&mut self, node: Node) -> Option<String> {
        let text = self.checked(node, "pattern", check::glob)?;
        if text.it.contains('/') {
            let given = shown(&text.it);
            self.warning(
                text.at,
                format!(
                    "the pattern {given} is for nothing: write ** for all below object, or a glob for the names of direct children"
                ),
            );
        }
        Some(text.it)
    }

    fn except(&mut self, node: Node) -> Option<String> {
        let at = node.at;
        let text = self.checked(node, "an entry of except", check::glob)?.it;
        if text.contains('/') {
            let text = shown(&text);
            self.warning(
                at,
                format!("{text} leaves out nothing: except looks at the names of direct children of object only"),
            );
        }
        Some(text)
    }

    fn mode(&mut self, node: Node) -> Option<u32> {
        let text = self.text(node, "mode")?;
        let mode = match check::mode(&text.it.text) {
            Ok(mode) => mode,
            Err(e) => return self.error(text.at, e),
        };
        if !text.it.quoted {
            let digits = text.it.text;
            self.warning(
                text.at,
                format!("mode without quotes is another number to other readers: write \"{digits}\""),
            );
        }
        Some(mode)
    }

    fn kinds(&mut self, map: &mut Fields) -> (bool, bool) {
        let Some(node) = map.take("type") else { return (true, true) };
        let at = node.at;
        let (mut files, mut directories) = (false, false);
        let before = self.problems.len();
        let list = self.list(node, "type");
        let is_empty = list.is_empty() && self.problems.len() == before;
        for node in list {
            let kind = self.checked(node, "an entry of type", |text| match text {
                "file" => Ok(false),
                "directory" => Ok(true),
                other => Err(format!("{} is no type: write file or directory", shown(other))),
            });
            files |= kind.as_ref().is_some_and(|kind| !kind.it);
            directories |= kind.is_some_and(|kind| kind.it);
        }
        if is_empty {
            self.warning(at, "type is empty, so this entry is for nothing: write [file, directory], or leave it out");
        }
        (files, directories)
    }

    fn check_acls(&mut self, acls: &[At<acl::Entry>], mode: Option<u32>, directories: bool) {
        for (n, entry) in acls.iter().enumerate() {
            if acls[..n].iter().any(|before| before.it.is_for_the_same(&entry.it)) {
                self.error::<()>(entry.at, "an earlier entry of acls is for the same already: keep one of them");
            }
            if entry.it.default && !directories {
                self.error::<()>(
                    entry.at,
                    "only directories have default entries: write type: [directory], or leave out d:",
                );
            }
            if let Some(mask) = acl::limit(acls.iter().map(|entry| &entry.it), &entry.it, mode) {
                let d = if entry.it.default { "d:" } else { "" };
                self.warning(
                    entry.at,
                    format!(
                        "more than the mask allows, which is what the group has ({mask}): add {d}m::{} to give it all",
                        entry.it.perm
                    ),
                );
            }
        }
    }

    fn context(&mut self, node: Node) -> Option<At<SeContext>> {
        let at = node.at;
        let mut map = self.map(node, "context", &["user", "name", "type", "range"])?;
        if let (Some(_), Some(at)) = (map.place("user"), map.place("name")) {
            self.error::<()>(at, "user and name are the same: keep one of them");
        }
        let user = map.take("user").or(map.take("name")).map(|node| self.checked(node, "user", check::label));
        let range = map.take("range").map(|node| self.checked(node, "range", check::range));
        let kind = self.needed(&mut map, "type", "type: and a type of SELinux", check::label)?.it;
        let (user, range) = (transposed(user)?.map(|user| user.it), transposed(range)?.map(|range| range.it));
        Some(At { it: SeContext { user, kind, range }, at })
    }

    fn hooks(&mut self, node: Node) -> Vec<(Event, Vec<Script>)> {
        if node.value == Value::Empty {
            return Vec::new();
        }
        let Value::Map(entries) = node.value else {
            let events =
                "events, each with a list of scripts: write `AfterInstall:` and below it `- location: scripts/x.sh`";
            self.error::<()>(node.at, format!("hooks is {}, and should have {events}", kind(&node.value)));
            return Vec::new();
        };
        let mut hooks = Vec::new();
        for (key, node) in entries.into_iter().filter(|(_, node)| node.value != Value::Empty) {
            let event = match check::event(&key.name) {
                Ok(event) => Some(event),
                Err(e) => self.error(key.at, e),
            };
            let scripts = self.list(node, &key.name).into_iter().filter_map(|node| self.script(node)).collect();
            hooks.extend(event.map(|event| (event, scripts)));
        }
        hooks
    }

    fn script(&mut self, node: Node) -> Option<Script> {
        if let Value::Text(text) = &node.value {
            let text = shown(&text.text);
            return self.error(node.at, format!("a script is a map: write location: {text}"));
        }
        // `sudo` requests root, and scripts run as root anyway.
        let mut map = self.map(node, "a script", &["location", "timeout", "runas", "sudo"])?;
        let location = self.needed(&mut map, "location", "location: and a path in the bundle", |text| {
            check::in_bundle(text.trim()).and_then(|path| match path.file_name() {
                Some(_) => Ok(path),
                None => Err("this is the bundle itself: name a script in it".into()),
            })
        });
        let timeout = map.take("timeout").map(|node| self.checked(node, "timeout", check::timeout));
        let runas = map.take("runas").map(|node| self.checked(node, "runas", |text| check::account(text.trim())));
        Some(Script {
            location: location?,
            timeout: transposed(timeout)?.map_or(TIMEOUT, |timeout| timeout.it),
            runas: transposed(runas)?,
        })
    }
}

/// Turns an optional value around: absent is fine, wrong is not.
fn transposed<T>(given: Option<Option<T>>) -> Option<Option<T>> {
    match given {
        None => Some(None),
        Some(None) => None,
        Some(good) => Some(good),
    }
}
