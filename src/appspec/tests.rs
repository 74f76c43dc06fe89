//! Rules that the text of an appspec decides, matching of permissions, and access control lists as Linux has them.

use std::path::{Path, PathBuf};

use super::acl::{Resolved, Whom, attribute};
use super::*;

const HEAD: &str = "version: 0.0\nos: linux\n";
const FILES: &str = "files:\n- {source: /, destination: /srv/app}\n";

fn whole(rest: &str) -> String {
    format!("{HEAD}{FILES}{rest}")
}

/// The problems, a line each.
fn problems(text: &str) -> Vec<String> {
    let (appspec, problems) = parse(text.as_bytes());
    assert_eq!(appspec.is_none(), problems.iter().any(|problem| !problem.is_warning), "{problems:?}");
    let lines: Vec<_> = problems.iter().map(Problem::to_string).collect();
    assert!(lines.iter().all(|line| !line.contains(char::is_control) && line.len() < 400), "{lines:?}");
    lines
}

#[track_caller]
fn accepted(text: &str) -> Appspec {
    let (appspec, problems) = parse(text.as_bytes());
    assert_eq!(problems, [], "{text}");
    appspec.unwrap()
}

/// Asserts that this is the only problem.
#[track_caller]
fn refused(text: &str, words: &str) {
    let problems = problems(text);
    assert_eq!(problems.len(), 1, "{text}\n{problems:#?}\nshould be: {words}");
    assert!(problems[0].contains(words), "{text}\n{:?} should say {words:?}", problems[0]);
}

#[test]
fn an_appspec_with_everything_is_read() {
    let text = r#"
version: 0.0                       # required
os: linux
file_exists_behavior: RETAIN
files:
  - source: /
    destination: /srv/app
  - source: ./conf//app.conf
    destination: /etc/./app/
permissions:
  - object: /srv/app
    pattern: "**"
    except: ["*.conf"]
    owner: app
    group: 33
    mode: "0644"
    acls: ["u:deploy:rw", "d:g:web:r", m::6]
    context: {name: system_u, type: httpd_sys_content_t, range: "s0-s0:c0.c1023"}
    type: [directory]
hooks:
  AfterInstall:
    - location: /scripts/after.sh
      timeout: 180
      runas: app
    - location: scripts/more.sh
  ValidateService:
"#;
    let appspec = accepted(text);
    assert_eq!(appspec.behaviour, Some(Behaviour::Retain));
    let files: Vec<_> =
        appspec.files.iter().map(|f| (f.source.it.to_str().unwrap(), f.destination.it.to_str().unwrap())).collect();
    assert_eq!(files, [("", "/srv/app"), ("conf/app.conf", "/etc/app")]);
    assert_eq!(appspec.files[1].destination.at, Place { line: 9, column: 18 });
    let permission = &appspec.permissions[0];
    assert_eq!(
        (permission.object.it.as_path(), permission.object.at),
        (Path::new("/srv/app"), Place { line: 11, column: 13 })
    );
    assert_eq!((permission.pattern.as_str(), &permission.except[..]), ("**", &["*.conf".to_owned()][..]));
    assert_eq!(permission.owner.as_ref().map(|o| o.it.as_str()), Some("app"));
    assert_eq!(permission.group.as_ref().map(|g| g.it.as_str()), Some("33"));
    assert_eq!((permission.mode, permission.files, permission.directories), (Some(0o644), false, true));
    let acls: Vec<_> =
        permission.acls.iter().map(|a| (a.it.default, a.it.whom, a.it.name.as_deref(), a.it.perm)).collect();
    let expected =
        [(false, Whom::User, Some("deploy"), 6), (true, Whom::Group, Some("web"), 4), (false, Whom::Mask, None, 6)];
    assert_eq!(acls, expected);
    let context = &permission.context.as_ref().unwrap().it;
    assert_eq!((context.user.as_deref(), context.kind.as_str()), (Some("system_u"), "httpd_sys_content_t"));
    assert_eq!(context.range.as_deref(), Some("s0-s0:c0.c1023"));
    let [(Event::AfterInstall, scripts)] = &appspec.hooks[..] else { panic!("{:?}", appspec.hooks) };
    let scripts: Vec<_> =
        scripts.iter().map(|s| (s.location.it.clone(), s.timeout, s.runas.as_ref().map(|r| r.it.as_str()))).collect();
    let path = PathBuf::from;
    assert_eq!(scripts, [(path("scripts/after.sh"), 180, Some("app")), (path("scripts/more.sh"), 3600, None)]);
}

#[test]
fn what_can_be_left_out_has_a_default() {
    let appspec = accepted(&whole("permissions:\n- object: /srv/app\n  owner: root\nhooks:\n"));
    assert_eq!((appspec.behaviour, appspec.hooks), (None, vec![]));
    let permission = &appspec.permissions[0];
    assert_eq!((permission.pattern.as_str(), permission.except.len()), ("**", 0));
    assert_eq!((permission.mode, permission.files, permission.directories), (None, true, true));
    for version in ["0.0", "0", "\"0.0\"", "'0'", "0.00", "00"] {
        accepted(&format!("version: {version}\nos: linux\n{FILES}permissions:\n"));
    }
    for event in Event::ALL {
        let text = whole(&format!("hooks:\n  {}:\n  - location: x\n    timeout: \"1\"\n", event.name()));
        assert_eq!(accepted(&text).hooks[0].0, event);
    }
}

#[test]
fn the_top_is_checked() {
    refused("", "1:1: error: an appspec is empty, and should have keys: version, os");
    refused("- a", "1:1: error: an appspec is a list");
    refused(&format!("os: linux\n{FILES}"), "1:1: error: version is missing: write version: 0.0");
    refused(&format!("version: 0.0\n{FILES}"), "os is missing: write os: linux");
    refused(&format!("version: 1.0\nos: linux\n{FILES}"), "1:10: error: version is 1.0, and only 0.0 is known");
    refused(&format!("version: 0.0\nos: windows\n{FILES}"), "2:5: error: os is windows, and only linux is known");
    refused(&format!("version:\nos: linux\n{FILES}"), "1:1: error: version is missing: write version: 0.0");
    for none in ["", "files:", "files: ~", "files: null", "files: []", "files: {}"] {
        assert_eq!(accepted(&format!("{HEAD}{none}\n")).files, []);
    }
    accepted(&whole("file_exists_behavior:\npermissions: ~\nhooks: null\nothers:\n"));
    refused(&format!("{HEAD}files: /srv\n"), "3:8: error: files is a text, and should be a list");
    refused(
        &format!("{HEAD}files:\n  source: /\n"),
        "4:3: error: files is a map, and should be a list: put `- ` in front",
    );
    refused(&whole("Hooks: {}\n"), "5:1: warning: an appspec has no key Hooks, so it does nothing: known are version,");
    for (written, words) in
        [("overwrite", "write DISALLOW, OVERWRITE or RETAIN, in capitals"), ("[RETAIN]", "is a list")]
    {
        refused(&whole(&format!("file_exists_behavior: {written}\n")), words);
    }
}

#[test]
fn files_are_checked() {
    let files = |entry: &str| format!("{HEAD}files:\n- {entry}\n");
    let table = [
        ("{source: /}", "4:3: error: destination is missing: write destination:"),
        ("{destination: /srv}", "4:3: error: source is missing: write source: /"),
        ("{source: /, destination: srv/app}", "destination: srv/app is relative: write an absolute path"),
        ("{source: /, destination: ~/app}", "~/app is relative"),
        ("{source: /, destination: /srv/../etc}", "destination: /srv/../etc has .. in it"),
        ("{source: /, destination: /}", "a deployment cannot take / for itself"),
        ("{source: /, destination: //.}", "a deployment cannot take / for itself"),
        ("{source: /, destination: ''}", "destination: this is empty"),
        ("{source: /, destination: 'C:\\srv'}", "has a backslash in it"),
        ("{source: /, destination: \"/srv/a\\nb\"}", "/srv/a\\nb has a control character"),
        ("{source: ../x, destination: /srv}", "4:12: error: source: ../x has .. in it"),
        ("{source: a/.., destination: /srv}", "source: a/.. has .. in it"),
        ("{source: , destination: /srv}", "4:4: error: source is missing: write source: /"),
        ("{source: ~, destination: /srv}", "4:4: error: source is missing: write source: /"),
        ("", "4:3: error: an entry of files is empty, and should have keys"),
        ("{source: '', destination: /srv}", "source: this is empty"),
        ("{source: [a], destination: /srv}", "source is a list, and should be a text"),
        ("/srv", "an entry of files is a text, and should have keys: source, destination"),
        ("{source: /, destination: /srv, mode: x}", "warning: an entry of files has no key mode"),
        (
            "{source: a, destination: /srv}\n- {source: /a/, destination: /srv/}",
            "the same source goes to the same destination in line 4",
        ),
    ];
    for (entry, words) in table {
        refused(&files(entry), words);
    }
    let appspec = accepted(&files("{source: //a/./b, destination: //srv//app/}"));
    assert_eq!(appspec.files[0].source.it, Path::new("a/b"));
    assert_eq!(appspec.files[0].destination.it.to_str(), Some("/srv/app"));
}

#[test]
fn permissions_are_checked() {
    let entry = |rest: &str| whole(&format!("permissions:\n- object: /srv/app\n  {rest}\n"));
    let table = [
        ("mode: \"0648\"", "mode: 0648 is no mode: write 1 to 4 octal digits"),
        ("mode: \"00644\"", "is no mode"),
        ("mode: 0o644", "mode: 0o644 is no mode"),
        ("mode: +644", "is no mode"),
        ("mode: u=rw", "is no mode"),
        ("mode: ''", "is no mode"),
        ("mode: 0644", "7:9: warning: mode without quotes is another number to other readers: write \"0644\""),
        ("{}", ""),
        ("pattern: \"**\"", "6:3: warning: this entry changes nothing"),
        ("owner: a b", "owner: a b is no name"),
        ("group: -x", "group: -x is no name"),
        ("owner: ''", "is no name"),
        ("owner:", "6:3: warning: this entry changes nothing"),
        ("mode: null\n  acls: ~", "6:3: warning: this entry changes nothing"),
        ("owner: x\n  pattern: conf/*", "8:12: warning: the pattern conf/* is for nothing: write ** for all"),
        ("owner: x\n  pattern: \"**/*\"", "warning: the pattern **/* is for nothing"),
        ("owner: x\n  except: [a/b]", "8:12: warning: a/b leaves out nothing"),
        ("owner: x\n  except: a", "except is a text, and should be a list"),
        ("owner: x\n  except: ['']", "matches nothing"),
        ("owner: x\n  type: [dir]", "dir is no type: write file or directory"),
        ("owner: x\n  type: file", "type is a text, and should be a list"),
        ("owner: x\n  type: []", "warning: type is empty, so this entry is for nothing"),
        ("acls: [\"u:a:rw\", \"user:a:r\"]", "7:20: error: an earlier entry of acls is for the same"),
        ("acls: [\"d:u:a:rw\"]\n  type: [file]", "only directories have default entries"),
        ("context: {user: u}", "7:12: error: type is missing: write type:"),
        ("context: {type: t, user: u, name: v}", "user and name are the same"),
        ("context: {type: a b}", "no part of a label"),
        ("context: {type: 't:s0'}", "no part of a label"),
        ("context: {type: t, range: s1-s0}", "range: s1-s0 is no range of SELinux: write it like s0, s0-s3"),
        ("context: {type: t, range: 's0:c1,c1'}", "is no range"),
        ("context: {type: t, range: 's0:c0.c3,c2'}", "is no range"),
        ("context: {type: t, range: 's0:c3.c2'}", "is no range"),
        ("context: {type: t, range: 's0:c1024'}", "is no range"),
        ("context: {type: t, range: 's0:c0-s0:c5'}", "is no range"),
        ("context: {type: t, range: 's0:'}", "is no range"),
        ("context: {type: t, range: s}", "is no range"),
        ("context: {type: t, range: s0-}", "is no range"),
        ("context: {type: t, range: s0-s1-s2}", "is no range"),
        ("context: {type: t, range: ''}", "is no range"),
        (
            "mode: '0640'\n  acls: ['u:a:rw']",
            "8:10: warning: more than the mask allows, which is what the group has (4): add m::6",
        ),
        (
            "acls: ['d:g::r', 'd:u:a:rwx']",
            "7:20: warning: more than the mask allows, which is what the group has (4): add d:m::7",
        ),
        ("context: t", "context is a text, and should have keys: user, name, type, range"),
    ];
    for (rest, words) in table.into_iter().filter(|(rest, _)| *rest != "{}") {
        refused(&entry(rest), words);
    }
    refused(&whole("permissions:\n- owner: x\n"), "6:3: error: object is missing");
    refused(&whole("permissions:\n- object: srv\n  owner: x\n"), "object: srv is relative");
    refused(&whole("permissions:\n- object: /srv/../x\n  owner: x\n"), "has .. in it");
    for range in ["s0", "s0-s15", "s0-s15:c0.c1023", "s3:c9,c1", "s0:c0.c3,c5.c5"] {
        accepted(&entry(&format!("context: {{type: t, range: '{range}'}}")));
    }
    for rest in [
        "mode: '0660'\n  acls: ['u:a:rw']",
        "mode: '0640'\n  acls: ['u:a:rw', 'm::rw']",
        "mode: '0640'\n  acls: ['u:a:r', 'd:u:a:r']",
        "acls: ['u:a:rwx']",
        "owner: x\n  type:",
        "owner: x\n  mode:\n  group: ~\n  pattern: null\n  except:\n  acls:\n  context:\n  type:",
    ] {
        let permission = &accepted(&entry(rest)).permissions[0];
        assert_eq!((permission.pattern.as_str(), permission.files, permission.directories), ("**", true, true));
    }
    for (mode, bits) in
        [("0", 0), ("7", 7), ("44", 0o44), ("644", 0o644), ("0644", 0o644), ("4755", 0o4755), ("7777", 0o7777)]
    {
        assert_eq!(accepted(&entry(&format!("mode: '{mode}'"))).permissions[0].mode, Some(bits));
    }
}

#[test]
fn acl_texts_are_checked() {
    let table = [
        ("u:deploy:rw:", "does not have two or three parts"),
        ("rwx", "does not have two or three parts"),
        ("d:d:u:a:r", "does not have two or three parts"),
        ("d:d:a:r", "does not say who it is for"),
        ("d:rwx", "does not say who it is for"),
        ("u:rwx", "does not say who it is for"),
        ("d:group:rwx", "does not say who it is for"),
        ("u:d:a:r", "does not have two or three parts"),
        ("x:deploy:rw", "does not say who it is for"),
        ("u:deploy", "does not say who it is for"),
        ("deploy:u", "has no permissions"),
        ("u:deploy:8", "has no permissions"),
        ("u:deploy:07", "has no permissions"),
        ("u:deploy:rwX", "has no permissions"),
        ("m:x:r", "names somebody"),
        ("o:x:r", "names somebody"),
        ("u:a b:r", "is no name of a user or a group"),
    ];
    for (text, words) in table {
        refused(&whole(&format!("permissions:\n- object: /srv\n  acls: [\"{text}\"]\n")), words);
    }
    for (text, perm) in [
        ("rwx", 7),
        ("xwr", 7),
        ("r-x", 5),
        ("r", 4),
        ("-", 0),
        ("---", 0),
        ("0", 0),
        ("7", 7),
        ("wx", 3),
        ("", 0),
        ("rr-r", 4),
    ] {
        assert_eq!(acl::parse(&format!("default:group::{text}")).unwrap().perm, perm, "{text}");
    }
    let table = [
        ("deploy:rw", (false, Whom::User, Some("deploy"))),
        ("m:rw", (false, Whom::Mask, None)),
        ("mask:rw", (false, Whom::Mask, None)),
        ("o:rw", (false, Whom::Other, None)),
        (":rw", (false, Whom::User, None)),
        ("d:deploy:rw", (true, Whom::User, Some("deploy"))),
        ("d::rw", (true, Whom::User, None)),
        ("default:m:rw", (true, Whom::Mask, None)),
        ("d:other:rw", (true, Whom::Other, None)),
        ("g:web:rw", (false, Whom::Group, Some("web"))),
        ("default:user:1000:rw", (true, Whom::User, Some("1000"))),
        ("d:g::rw", (true, Whom::Group, None)),
    ];
    for (text, expected) in table {
        let entry = acl::parse(text).unwrap();
        assert_eq!((entry.default, entry.whom, entry.name.as_deref()), expected, "{text}");
        assert_eq!(entry.perm, 6);
    }
}

#[test]
fn hooks_are_checked() {
    let table = [
        (
            "AfterInstal:\n  - location: x",
            "6:3: error: the event AfterInstal is unknown: known are BeforeBlockTraffic,",
        ),
        ("afterinstall:\n  - location: x", "the event afterinstall is unknown: write AfterInstall"),
        ("Install:\n  - location: x", "the event Install has no scripts: use the ones before and after it"),
        ("AfterInstall: x.sh", "AfterInstall is a text, and should be a list"),
        ("AfterInstall:\n  - x.sh", "7:5: error: a script is a map: write location: x.sh"),
        ("AfterInstall:\n  - timeout: 1", "location is missing"),
        ("AfterInstall:\n  - location: ../x", "location: ../x has .. in it"),
        ("AfterInstall:\n  - location: /", "this is the bundle itself"),
        ("AfterInstall:\n  - location: .", "this is the bundle itself"),
        ("AfterInstall:\n  - location: x\n    timeout: 0", "8:14: error: timeout: 0 is no time: write seconds"),
        ("AfterInstall:\n  - location: x\n    timeout: -1", "-1 is no time"),
        ("AfterInstall:\n  - location: x\n    timeout: +1", "+1 is no time"),
        ("AfterInstall:\n  - location: x\n    timeout: 1.5", "1.5 is no time"),
        ("AfterInstall:\n  - location: x\n    timeout: 010", "010 is no time"),
        ("AfterInstall:\n  - location:\n    timeout: 1", "7:5: error: location is missing"),
        ("AfterInstall:\n  - location: x\n    timeout: 99999999999", "is no time"),
        ("AfterInstall:\n  - location: x\n    runas: a b", "runas: a b is no name"),
        ("AfterInstall:\n  - location: x\n    run_as: a", "8:5: warning: a script has no key run_as"),
    ];
    for (hooks, words) in table {
        refused(&whole(&format!("hooks:\n  {hooks}\n")), words);
    }
    for hooks in [
        "",
        " ~",
        "\n  AfterInstall:\n  Nonsense: null\n  AfterInstal: ~",
        " {AfterInstall: []}",
        " {AfterInstall: {}}",
    ] {
        let scripts = accepted(&whole(&format!("hooks:{hooks}\n"))).hooks.into_iter().map(|(_, scripts)| scripts.len());
        assert_eq!(scripts.sum::<usize>(), 0, "{hooks}");
    }
    let text = whole("hooks:\n  AfterInstall:\n  - location: ' x '\n    timeout:\n    runas: ~\n    sudo: true\n");
    let script = &accepted(&text).hooks[0].1[0];
    assert_eq!((script.location.it.to_str(), script.timeout, &script.runas), (Some("x"), 3600, &None));
    refused(&whole("hooks: [AfterInstall]\n"), "hooks is a list, and should have events");
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_text() {
    let text = "version: 2\nos: macos\nfiles:\n- source: ../a\n  destination: b\npermissions:\n- mode: 999\nhooks:\n  Start:\n  - {}\nx: y\n";
    let found: Vec<_> = problems(text).iter().map(|line| line.split(": ").next().unwrap().to_owned()).collect();
    assert_eq!(found, ["1:10", "2:5", "4:11", "5:16", "7:3", "7:9", "9:3", "10:5", "11:1"]);
    let long = format!("version: {}\nos: linux\n{FILES}", "x\u{202e}".repeat(5000));
    refused(&long, "x\\u{202e}x");
}

fn permission(pattern: &str, except: &[&str]) -> Permission {
    let at = |path: &str| At { it: PathBuf::from(path), at: Place::START };
    Permission {
        object: at("/srv/app"),
        pattern: pattern.into(),
        except: except.iter().map(|glob| (*glob).to_owned()).collect(),
        owner: None,
        group: None,
        mode: None,
        acls: vec![],
        context: None,
        files: true,
        directories: true,
    }
}

#[test]
fn patterns_are_for_direct_children_and_two_stars_for_all() {
    let paths =
        ["/srv/app/a.conf", "/srv/app/b", "/srv/app/d/a.conf", "/srv/app/d/b", "/srv/application/b", "/srv/b", "/srv"];
    let table: [(&str, &[&str], [u8; 7]); 8] = [
        ("**", &[], [1, 1, 1, 1, 0, 0, 0]),
        ("**", &["*.conf"], [0, 1, 1, 1, 0, 0, 0]),
        ("**", &["d/b", "b"], [1, 0, 1, 1, 0, 0, 0]),
        ("*", &[], [1, 1, 0, 0, 0, 0, 0]),
        ("*.conf", &[], [1, 0, 0, 0, 0, 0, 0]),
        ("*.conf", &["a*"], [0, 0, 0, 0, 0, 0, 0]),
        ("b", &[], [0, 1, 0, 0, 0, 0, 0]),
        ("?", &[], [0, 0, 0, 0, 0, 0, 0]),
    ];
    for (pattern, except, expected) in table {
        let permission = permission(pattern, except);
        let matched = paths.map(|path| u8::from(permission.is_for(Path::new(path), false)));
        assert_eq!(matched, expected, "{pattern} {except:?}");
    }
    let (all, object) = (permission("**", &[]), Path::new("/srv/app"));
    assert!(all.is_for(object, false) && !all.is_for(object, true));
    assert!(all.is_for(Path::new("/srv/app/d"), true));
    let files = Permission { directories: false, ..permission("**", &[]) };
    assert!(files.is_for(Path::new("/srv/app/d"), false) && !files.is_for(Path::new("/srv/app/d"), true));
    let root = Permission { object: At { it: "/".into(), at: Place::START }, ..permission("*", &[]) };
    assert!(root.is_for(Path::new("/srv"), true) && !root.is_for(Path::new("/srv/app"), true));
}

/// The definition, regardless of its cost.
fn matches_plainly(glob: &[u8], name: &[u8]) -> bool {
    match glob.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|n| matches_plainly(rest, &name[n..])),
        Some((byte, rest)) => {
            name.split_first().is_some_and(|(first, name)| first == byte && matches_plainly(rest, name))
        }
    }
}

#[test]
fn globs_match_as_they_are_defined_and_never_take_long() {
    let words = |letters: &[u8], longest: u32| -> Vec<Vec<u8>> {
        (0..=longest)
            .flat_map(|length| (0..letters.len().pow(length)).map(move |n| (n, length)))
            .map(|(n, length)| (0..length).map(|place| letters[n / letters.len().pow(place) % letters.len()]).collect())
            .collect()
    };
    for glob in words(b"ab*", 5) {
        for name in words(b"ab", 6) {
            assert_eq!(matching::is_match(&glob, &name), matches_plainly(&glob, &name), "{glob:?} {name:?}");
        }
    }
    let (glob, name) = ("*a".repeat(100) + "b", "a".repeat(255));
    assert!(!matching::is_match(glob.as_bytes(), name.as_bytes()));
}

#[test]
fn attributes_are_those_that_setfacl_writes_and_getfacl_reads() {
    use std::os::unix::fs::PermissionsExt;
    let run = |program: &str, args: &[&str], path: &Path| -> Option<String> {
        let output = std::process::Command::new(program).env("LC_ALL", "C").args(args).arg(path).output();
        let is_required = std::env::var("CI").as_deref() == Ok("true");
        let output = match output {
            Ok(output) => output,
            Err(e) if is_required => panic!("missing: {program}: {e}"),
            Err(_) => return None,
        };
        assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8(output.stdout).unwrap())
    };
    let entry = |whom, id, perm| Resolved { whom, id, perm };
    let table: [(u32, &[Resolved], &str); 6] = [
        (0o640, &[entry(Whom::User, Some(1234), 6)], "u:1234:rw"),
        (
            0o604,
            &[entry(Whom::Group, Some(7), 1), entry(Whom::User, Some(9), 4), entry(Whom::User, Some(8), 2)],
            "g:7:x,u:9:r,u:8:w",
        ),
        (0o755, &[entry(Whom::User, Some(1), 7), entry(Whom::Mask, None, 5)], "u:1:rwx,m::rx"),
        (0o755, &[entry(Whom::Mask, None, 1)], "m::x"),
        (
            0o700,
            &[entry(Whom::Other, None, 1), entry(Whom::Group, None, 6), entry(Whom::User, None, 4)],
            "o::x,g::rw,u::r",
        ),
        (0o777, &[entry(Whom::Group, Some(u32::MAX - 1), 0), entry(Whom::Group, None, 0)], "g:4294967294:-,g::-"),
    ];
    let dir = std::env::temp_dir().join(crate::sys::fs::unique_name("repo-deploy-acl-").unwrap());
    std::fs::create_dir(&dir).unwrap();
    for (mode, entries, text) in table {
        let (theirs, ours) = (dir.join("theirs"), dir.join("ours"));
        for path in [&theirs, &ours] {
            std::fs::create_dir(path).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let default: String = text.split(',').map(|entry| format!("d:{entry}")).collect::<Vec<_>>().join(",");
        // Like CodeDeploy's agent, unlike setfacl: without a computed mask.
        if run("setfacl", &["-n", "-m", &format!("{default},{text}")], &theirs).is_none() {
            break;
        }
        for name in ["system.posix_acl_default", "system.posix_acl_access"] {
            let bytes = attribute(entries, mode);
            rustix::fs::setxattr(&ours, name, &bytes, rustix::fs::XattrFlags::empty()).unwrap();
        }
        let args = ["--numeric", "--omit-header", "--absolute-names"];
        let read = run("getfacl", &args, &ours).unwrap();
        assert_eq!(read, run("getfacl", &args, &theirs).unwrap(), "{text}");
        for path in [&theirs, &ours] {
            std::fs::remove_dir(path).unwrap();
        }
    }
    std::fs::remove_dir_all(&dir).unwrap();
}
