//! Bundles with an appspec, installed by the binary: each rule accepted and refused, what belongs to whom, and the way back.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::needs::{has, needs};
use crate::support::phrases::{DEPLOYED, IS_A_DIRECTORY, NO_USER, NOT_A_FILE, UNPACKED};
use crate::support::sandbox::{Run, Sandbox};
use crate::support::servers::{Raw, object};
use crate::support::tree::{everything, without_times};

/// A host with a place to install to, and what deploys to it.
pub struct Host {
    pub sandbox: Sandbox,
}

/// What every bundle of these tests has, besides its appspec.
const FILES: &[(&str, &str)] = &[
    ("a", "A"),
    ("run", "#!/bin/sh\n"),
    ("conf/x.conf", "X"),
    ("conf/y.txt", "Y"),
    ("conf/deep/z.conf", "Z"),
    ("conf/link", "-> x.conf"),
];

impl Host {
    pub fn new() -> Self {
        let sandbox = Sandbox::new();
        sandbox.write("repo-deploy.cfg", "activation = install\nid = test\n");
        fs::create_dir(sandbox.path("dest")).unwrap();
        Self { sandbox }
    }

    /// A bundle; DEST in its appspec is the place to install to.
    pub fn bundle(&self, appspec: &str, files: &[(&str, &str)]) {
        let text = self.spell(appspec);
        let mut all = vec![("appspec.yml", text.as_str())];
        all.extend(files);
        self.sandbox.zip("app.zip", &all);
    }

    fn spell(&self, text: &str) -> String {
        text.replace("DEST", self.dest("").to_str().unwrap().trim_end_matches('/'))
    }

    pub fn dest(&self, name: &str) -> PathBuf {
        self.sandbox.path("dest").join(name)
    }

    pub fn store(&self) -> PathBuf {
        self.sandbox.path("state/test")
    }

    pub fn deploy(&self) -> Run {
        self.sandbox.deploy(self.sandbox.path("app.zip").to_str().unwrap(), &[])
    }

    /// Everything at the place to install to.
    pub fn tree(&self) -> BTreeMap<String, String> {
        everything(&self.dest(""))
    }

    /// A file of somebody else's.
    pub fn found(&self, name: &str, content: &str) {
        self.sandbox.write(self.dest(name), content);
    }

    #[track_caller]
    fn has(&self, name: &str, line: &str) {
        let tree = without_times(&self.tree());
        let found = tree.get(name).map_or("-", String::as_str);
        assert_eq!(found, line, "{name} in {tree:#?}");
    }

    fn say(&self, file: &str) -> String {
        fs::read_to_string(self.sandbox.path(file)).unwrap_or_default()
    }
}

const HEAD: &str = "version: 0.0\nos: linux\n";
/// Everything to DEST/app.
const ALL: &str = "version: 0.0\nos: linux\nfiles:\n- source: /\n  destination: DEST/app\n";
/// `conf` to DEST/app.
const CONF: &str = "version: 0.0\nos: linux\nfiles:\n- source: conf\n  destination: DEST/app\n";

/// What is there, path by path; `-`: nothing.
type Expected = &'static [(&'static str, &'static str)];

/// Appspecs that can be installed: the text after the head, and what comes of it.
const GOOD: &[(&str, Expected)] = &[
    (
        "files: [{source: /, destination: DEST/app}]",
        &[("app", "d 755 0:0 {}"), ("app/a", "f 644 0:0 A {}"), ("app/appspec.yml", "")],
    ),
    ("files: [{source: '', destination: DEST/app}]", &[]),
    (
        "files: [{source: /a, destination: DEST/app}]",
        &[("app/a", "f 644 0:0 A {}"), ("app/run", "-"), ("app/appspec.yml", "-")],
    ),
    ("files: [{source: a, destination: DEST/app}]", &[("app/a", "f 644 0:0 A {}")]),
    ("files: [{source: ./a, destination: DEST/app/}]", &[("app/a", "f 644 0:0 A {}")]),
    ("files: [{source: run, destination: DEST}]", &[("run", "f 755 0:0 #!/bin/sh\n {}")]),
    (
        "files: [{source: conf, destination: DEST/app}]",
        &[("app/x.conf", "f 644 0:0 X {}"), ("app/deep/z.conf", "f 644 0:0 Z {}"), ("app/conf", "-")],
    ),
    ("files: [{source: conf/deep, destination: DEST/app}]", &[("app/z.conf", "f 644 0:0 Z {}")]),
    ("files: [{source: conf/link, destination: DEST/app}]", &[("app/link", "l 0:0 x.conf")]),
    ("files: [{source: conf, destination: DEST/app}]", &[("app/link", "l 0:0 x.conf")]),
    (
        "files: [{source: a, destination: DEST/one/two/three}]",
        &[("one/two", "d 755 0:0 {}"), ("one/two/three/a", "f 644 0:0 A {}")],
    ),
    (
        "files: [{source: a, destination: DEST/p}, {source: a, destination: DEST/q}]",
        &[("p/a", "f 644 0:0 A {}"), ("q/a", "f 644 0:0 A {}")],
    ),
    (
        "files: [{source: conf, destination: DEST/p}, {source: a, destination: DEST/p/deep}]",
        &[("p/deep/a", "f 644 0:0 A {}"), ("p/deep/z.conf", "f 644 0:0 Z {}")],
    ),
    ("files: [{source: a, destination: 'DEST/with blank'}]", &[("with blank/a", "f 644 0:0 A {}")]),
    ("files: [{source: a, destination: DEST/link}]", &[("real/a", "f 644 0:0 A {}"), ("link/a", "-")]),
    // Permissions: who is meant.
    (
        "files: [{source: /, destination: DEST/app}]\npermissions: [{object: DEST/app, pattern: '**', owner: nobody, group: daemon}]",
        &[
            ("app", "d 755 0:0 {}"),
            ("app/a", "f 644 65534:1 A {}"),
            ("app/conf", "d 755 65534:1 {}"),
            ("app/conf/deep/z.conf", "f 644 65534:1 Z {}"),
            ("app/conf/link", "l 65534:1 x.conf"),
        ],
    ),
    (
        "files: [{source: /, destination: DEST/app}]\npermissions: [{object: DEST/app, owner: '7', group: '8'}]",
        &[("app/a", "f 644 7:8 A {}"), ("app/conf/x.conf", "f 644 7:8 X {}")],
    ),
    (
        "files: [{source: conf, destination: DEST/app}]\npermissions: [{object: DEST/app, pattern: '*', mode: '600'}]",
        &[("app/x.conf", "f 600 0:0 X {}"), ("app/deep", "d 600 0:0 {}"), ("app/deep/z.conf", "f 644 0:0 Z {}")],
    ),
    (
        "files: [{source: conf, destination: DEST/app}]\npermissions: [{object: DEST/app, pattern: '*.conf', mode: '600'}]",
        &[("app/x.conf", "f 600 0:0 X {}"), ("app/y.txt", "f 644 0:0 Y {}"), ("app/deep/z.conf", "f 644 0:0 Z {}")],
    ),
    (
        "files: [{source: conf, destination: DEST/app}]\npermissions: [{object: DEST/app, pattern: '**', except: ['*.conf', deep], mode: '600'}]",
        &[
            ("app/x.conf", "f 644 0:0 X {}"),
            ("app/y.txt", "f 600 0:0 Y {}"),
            ("app/deep", "d 755 0:0 {}"),
            ("app/deep/z.conf", "f 600 0:0 Z {}"),
        ],
    ),
    (
        "files: [{source: conf, destination: DEST/app}]\npermissions: [{object: DEST/app, type: [file], mode: '600'}]",
        &[("app/deep", "d 755 0:0 {}"), ("app/deep/z.conf", "f 600 0:0 Z {}")],
    ),
    (
        "files: [{source: conf, destination: DEST/app}]\npermissions: [{object: DEST/app, type: [directory], mode: '700'}]",
        &[("app/deep", "d 700 0:0 {}"), ("app/deep/z.conf", "f 644 0:0 Z {}")],
    ),
    (
        "files: [{source: conf, destination: DEST/app}]\npermissions: [{object: DEST/app/y.txt, mode: '600'}]",
        &[("app/y.txt", "f 600 0:0 Y {}"), ("app/x.conf", "f 644 0:0 X {}")],
    ),
    (
        "files: [{source: conf, destination: DEST/app}]\npermissions: [{object: DEST/app/deep, mode: '600'}]",
        &[("app/deep", "d 755 0:0 {}"), ("app/deep/z.conf", "f 600 0:0 Z {}")],
    ),
    (
        "files: [{source: a, destination: DEST/link}]\npermissions: [{object: DEST/link, mode: '600'}]",
        &[("real/a", "f 600 0:0 A {}")],
    ),
    (
        "files: [{source: a, destination: DEST/theirs}]\npermissions: [{object: DEST, mode: '0700'}]",
        &[("theirs", "d 751 5:6 {}"), ("theirs/file", "f 640 5:6 T {}"), ("theirs/a", "f 700 0:0 A {}")],
    ),
    (
        "files: [{source: a, destination: DEST/app}]\npermissions: [{object: DEST/elsewhere, mode: '600'}]",
        &[("app/a", "f 644 0:0 A {}")],
    ),
    // Modes are texts.
    (
        "files: [{source: a, destination: DEST/app}]\npermissions: [{object: DEST/app, mode: 0644}]",
        &[("app/a", "f 644 0:0 A {}")],
    ),
    (
        "files: [{source: a, destination: DEST/app}]\npermissions: [{object: DEST/app, mode: 4755}]",
        &[("app/a", "f 4755 0:0 A {}")],
    ),
    (
        "files: [{source: a, destination: DEST/app}]\npermissions: [{object: DEST/app, mode: 4755, owner: nobody}]",
        &[("app/a", "f 4755 65534:0 A {}")],
    ),
    (
        "files: [{source: a, destination: DEST/app}]\npermissions: [{object: DEST/app, mode: '7'}]",
        &[("app/a", "f 7 0:0 A {}")],
    ),
    (
        "files: [{source: a, destination: DEST/app}]\npermissions: [{object: DEST/app, mode: '0'}]",
        &[("app/a", "f 0 0:0 A {}")],
    ),
    // What is there already.
    (
        "file_exists_behavior: RETAIN\nfiles: [{source: file, destination: DEST/theirs}, {source: a, destination: DEST/theirs}]\npermissions: [{object: DEST/theirs, mode: '600'}]",
        &[("theirs/file", "f 640 5:6 T {}"), ("theirs/a", "f 600 0:0 A {}")],
    ),
    (
        "file_exists_behavior: OVERWRITE\nfiles: [{source: file, destination: DEST/theirs}]",
        &[("theirs/file", "f 644 0:0 mine {}")],
    ),
    (
        "file_exists_behavior: OVERWRITE\nfiles: [{source: file, destination: DEST/linked}]",
        &[("linked/file", "f 644 0:0 mine {}"), ("theirs/file", "f 640 5:6 T {}")],
    ),
    (
        "file_exists_behavior: RETAIN\nfiles: [{source: file, destination: DEST/linked}]",
        &[("linked/file", "l 0:0 ../theirs/file")],
    ),
    (
        "file_exists_behavior: DISALLOW\nfiles: [{source: a, destination: DEST/theirs}]",
        &[("theirs", "d 751 5:6 {}"), ("theirs/file", "f 640 5:6 T {}"), ("theirs/a", "f 644 0:0 A {}")],
    ),
    // The rest of the text.
    ("files:\n  - source: a # a comment\n    destination: DEST/app\nhooks: {}", &[("app/a", "f 644 0:0 A {}")]),
    (
        "files: [{source: a, destination: DEST/app}]\nhooks:\n  AfterInstall: [{location: run, timeout: 5, runas: nobody}]",
        &[("app/a", "f 644 0:0 A {}")],
    ),
];

/// What stands at DEST before each case.
fn furnish(host: &Host) {
    host.found("theirs/file", "T");
    fs::create_dir(host.dest("real")).unwrap();
    fs::create_dir(host.dest("linked")).unwrap();
    symlink("real", host.dest("link")).unwrap();
    symlink("../theirs/file", host.dest("linked/file")).unwrap();
    symlink("real", host.dest("their-link")).unwrap();
    std::os::unix::fs::lchown(host.dest("their-link"), Some(5), None).unwrap();
    fs::create_dir(host.dest("full")).unwrap();
    fs::create_dir(host.dest("full/a")).unwrap();
    host.found("full/a/inside", "theirs");
    host.found("plain", "a file");
    rustix::fs::mkfifoat(fs::File::open(host.dest("real")).unwrap(), "run", rustix::fs::Mode::RWXU).unwrap();
    for (name, mode) in [("theirs/file", 0o640), ("theirs", 0o751)] {
        std::os::unix::fs::chown(host.dest(name), Some(5), Some(6)).unwrap();
        fs::set_permissions(host.dest(name), fs::Permissions::from_mode(mode)).unwrap();
    }
}

#[test]
fn appspecs_that_are_good_then_each_path_is_as_they_say_and_the_rest_as_it_was() {
    needs!(root);
    for (body, expected) in GOOD {
        let host = Host::new();
        furnish(&host);
        let before = host.tree();
        host.bundle(&format!("{HEAD}{body}\n"), &[FILES, &[("file", "mine")]].concat());
        let run = host.deploy();
        if body.contains("source: ''") {
            // An empty path is no path.
            run.expect(1).says("source");
            assert_eq!(host.tree(), before, "{body}");
            continue;
        }
        run.expect(0);
        let after = without_times(&host.tree());
        for (path, line) in *expected {
            let found = after.get(*path).map_or("-", String::as_str);
            assert!(found == *line || (line.is_empty() && found != "-"), "{body}\n{path} is {found}, not {line}");
        }
        let is_expected = |path: &String| expected.iter().any(|(p, _)| path == p);
        for (path, line) in without_times(&before).iter().filter(|(path, _)| !is_expected(path)) {
            assert_eq!(after.get(path), Some(line), "{body}\n{path} is not ours");
        }
        let log = host.deploy().expect(0).log;
        assert!(!log.contains(DEPLOYED), "{body}: nothing is new\n{log}");
    }
}

/// Appspecs that cannot be installed: the text after the head, and what is said.
const BAD: &[(&str, &[&str])] = &[
    (
        "files: [{source: a, destination: DEST/their-link/app}]",
        &["/dest/their-link is a link of user 5, which is not followed"],
    ),
    ("files: [{source: none, destination: DEST/app}]", &["appspec.yml:3:18: ", "source: none is not in the bundle"]),
    ("files: [{source: a/b, destination: DEST/app}]", &["source: cannot look at a/b"]),
    ("files: [{source: ../a, destination: DEST/app}]", &["3:18", "..", "write the path without"]),
    ("files: [{source: a, destination: DEST/../../../etc}]", &["..", "write the path without"]),
    ("files: [{source: a, destination: app}]", &["app is relative"]),
    ("files: [{source: a, destination: /}]", &["cannot take /"]),
    ("files: [{source: a, destination: /proc/self}]", &["/proc", "kernel"]),
    ("files: [{source: a, destination: /dev}]", &["/dev", "kernel"]),
    ("files: [{source: a, destination: DEST/plain}]", &["/dest/plain is to be a directory, and it is a file"]),
    ("files: [{source: a, destination: DEST/full}]", &["/dest/full/a is to be a file, and ", IS_A_DIRECTORY]),
    (
        "file_exists_behavior: OVERWRITE\nfiles: [{source: a, destination: DEST/full}]",
        &["is to be a file, and ", IS_A_DIRECTORY],
    ),
    (
        "file_exists_behavior: RETAIN\nfiles: [{source: a, destination: DEST/full}]",
        &["is to be a file, and ", IS_A_DIRECTORY],
    ),
    ("files: [{source: run, destination: DEST/real}]", &[NOT_A_FILE, " at /", "/dest/real/run"]),
    (
        "files: [{source: file, destination: DEST/theirs}]",
        &["/dest/theirs/file exists, and no deployment of ours put it there", "OVERWRITE or RETAIN"],
    ),
    (
        "file_exists_behavior: DISALLOW\nfiles: [{source: file, destination: DEST/linked}]",
        &["/dest/linked/file exists"],
    ),
    (
        "file_exists_behavior: overwrite\nfiles: [{source: a, destination: DEST/app}]",
        &["3:23", "overwrite", "DISALLOW, OVERWRITE or RETAIN"],
    ),
    ("files: [{source: a, destination: DEST/app}, {source: conf/../a, destination: DEST/app}]", &[".."]),
    (
        "files: [{source: a, destination: DEST/app}, {source: other/a, destination: DEST/app}]",
        &["would be copied twice, from the source of line 3", "/dest/app/a"],
    ),
    (
        "files: [{source: a, destination: DEST/app}, {source: run, destination: DEST/app/a}]",
        &["would be a file and a directory, with the source of line 3"],
    ),
    (
        "files: [{source: run, destination: DEST/app/a}, {source: a, destination: DEST/app}]",
        &["would be a file and a directory, with the source of line 3"],
    ),
    ("files: [{source: a}]", &["destination"]),
    ("files: [{destination: DEST/app}]", &["source"]),
    (
        "files: [{source: a, destination: DEST/app}]\npermissions: [{object: DEST/app, owner: no-such-user}]",
        &["appspec.yml:4:", NO_USER, " no-such-user"],
    ),
    (
        "files: [{source: a, destination: DEST/app}]\npermissions: [{object: DEST/app, group: no-such-group}]",
        &["/etc/group has no group no-such-group"],
    ),
    (
        "files: [{source: a, destination: DEST/app}]\npermissions: [{object: DEST/app, acls: ['u:no-such-user:rw']}]",
        &[NO_USER, " no-such-user"],
    ),
    ("files: [{source: a, destination: DEST/app}]\npermissions: [{object: DEST/app, mode: '0888'}]", &["octal"]),
    ("files: [{source: a, destination: DEST/app}]\npermissions: [{object: DEST/app, mode: '07777'}]", &["octal"]),
    ("files: [{source: a, destination: DEST/app}]\npermissions: [{object: DEST/app, mode: rw-r--r--}]", &["octal"]),
    ("files: [{source: a, destination: DEST/app}]\npermissions: [{object: app, mode: '644'}]", &["app is relative"]),
    ("files: [{source: a, destination: DEST/app}]\npermissions: [{object: DEST/app, acls: ['x:1:rw']}]", &["x:1:rw"]),
    (
        "files: [{source: a, destination: DEST/app}]\npermissions: [{object: DEST/app, mode: '600'}, {object: DEST/app/a, mode: '644'}]",
        &["/dest/app/a is meant by this entry and by the one of line 4"],
    ),
    (
        "files: [{source: a, destination: DEST/app}]\nhooks:\n  AfterInstall: [{location: none.sh}]",
        &["5:29", "location: none.sh is not in the bundle"],
    ),
    ("files: [{source: a, destination: DEST/app}]\nhooks:\n  AfterInstall: [{location: ../../run}]", &[".."]),
    (
        "files: [{source: a, destination: DEST/app}]\nhooks:\n  AfterInstall: [{location: conf}]",
        &["location: conf is no file"],
    ),
    (
        "files: [{source: a, destination: DEST/app}]\nhooks:\n  AfterInstall: [{location: run, runas: no-such-user}]",
        &[NO_USER, " no-such-user"],
    ),
    (
        "files: [{source: a, destination: DEST/app}]\nhooks:\n  AfterInstall: [{location: run, timeout: 0}]",
        &["0 is no time"],
    ),
    ("files: [{source: a, destination: DEST/app}]\nhooks:\n  AfterIntsall: [{location: run}]", &["AfterIntsall"]),
    ("files: [{source: a, destination: DEST/app}]\nhooks:\n  Install: [{location: run}]", &["Install"]),
    ("files: [{source: !x a, destination: DEST/app}]", &["appspec.yml:3:18: ", "the tag !x does not fit here"]),
    ("files:\n\t- source: a", &["tab"]),
    ("files: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", &["appspec.yml:3:"]),
];

#[test]
fn appspecs_that_are_bad_then_every_problem_is_a_line_and_nothing_is_touched() {
    needs!(root);
    for (body, words) in BAD {
        let host = Host::new();
        furnish(&host);
        let before = host.tree();
        host.bundle(&format!("{HEAD}{body}\n"), &[FILES, &[("file", "mine"), ("other/a", "A2")]].concat());
        host.sandbox.hook("pre.d", "10-ran", &format!("touch {}", host.sandbox.path("pre-ran").display()));
        let run = host.deploy().expect(1);
        for words in *words {
            assert!(run.log.contains(words), "{body}\nthe log should say {words:?}:\n{}", run.log);
        }
        assert_eq!(run.complaints().len(), run.log.lines().count() - 1, "one line of unpacking: {}", run.log);
        assert_eq!(host.tree(), before, "{body}");
        assert!(!host.sandbox.path("pre-ran").exists(), "{body}: no hook runs for what cannot be installed");
        // Nothing that was said is a surprise, and it is looked at again: what is in the way may have gone.
        let again = host.deploy().expect(1);
        assert!(again.log.contains(words[0]) && !again.log.contains(UNPACKED), "{body}: {}", again.log);
    }
}

#[test]
fn heads_that_are_wrong_are_named() {
    for (text, words) in [
        ("os: linux\nfiles: [{source: a, destination: DEST/app}]\n", "version is missing"),
        ("version: 0.0\nfiles: [{source: a, destination: DEST/app}]\n", "os is missing"),
        ("version: 1.0\nos: linux\nfiles: [{source: a, destination: DEST/app}]\n", "version is 1.0"),
        ("version: 0.0\nos: windows\nfiles: [{source: a, destination: DEST/app}]\n", "os is windows"),
        ("", "appspec.yml:1:1"),
        ("version: 0.0\nversion: 0.0\nos: linux\n", "2:1"),
    ] {
        let host = Host::new();
        host.bundle(text, FILES);
        host.deploy().expect(1).says(words);
        assert!(host.tree().is_empty(), "{text}");
    }
    for version in ["0.0", "0", "\"0.0\""] {
        let host = Host::new();
        host.bundle(&ALL.replace("0.0", version), FILES);
        host.deploy().expect(0);
    }
}

#[test]
fn several_problems_then_all_are_told_at_once() {
    let host = Host::new();
    host.found("app/a", "theirs");
    host.found("app/run", "theirs");
    host.bundle(
        &format!("{ALL}- source: none\n  destination: DEST/x\nhooks:\n  BeforeInstall: [{{location: none.sh}}]\n"),
        FILES,
    );
    let run = host.deploy().expect(1);
    for words in
        ["/dest/app/a exists", "/dest/app/run exists", "source: none", "location: none.sh", "(and 3 more, above)"]
    {
        assert!(run.log.contains(words), "{words}: {}", run.log);
    }
    assert_eq!(run.complaints().len(), 5, "{}", run.log);
}

#[test]
fn bundle_has_no_appspec_or_two_or_one_in_its_single_directory() {
    let host = Host::new();
    host.sandbox.zip("app.zip", FILES);
    host.deploy().expect(1).says("the bundle has no appspec.yml");
    let text = host.spell(CONF);
    host.sandbox.zip("app.zip", &[FILES, &[("appspec.yml", text.as_str()), ("appspec.yaml", text.as_str())]].concat());
    host.deploy().expect(1).says("appspec.yml and appspec.yaml are both in");
    host.sandbox.zip("app.zip", &[("one/appspec.yml", text.as_str()), ("two/x", "x")]);
    host.deploy().expect(1).says("the bundle has no appspec.yml");
    for (zip, appspec) in [("app-1.0/conf/x.conf", "app-1.0/appspec.yaml"), ("conf/x.conf", "appspec.yaml")] {
        let host = Host::new();
        let text = format!("{}hooks:\n  AfterInstall: [{{location: conf/say.sh}}]\n", host.spell(CONF));
        let say = format!("#!/bin/sh\npwd >{}\n", host.sandbox.path("cwd").display());
        let script = Path::new(zip).with_file_name("say.sh");
        host.sandbox.zip("app.zip", &[(appspec, text.as_str()), (zip, "X"), (script.to_str().unwrap(), &say)]);
        host.deploy().expect(0);
        host.has("app/x.conf", "f 644 0:0 X {}");
        let cwd = host.say("cwd");
        assert!(Path::new(cwd.trim()).join("conf/x.conf").is_file(), "the working directory is the bundle's: {cwd}");
    }
}

#[test]
fn acls_then_getfacl_reads_them_back() {
    needs!(root, "getfacl", "setfacl");
    let host = Host::new();
    let cases: [(&str, &str, &str); 9] = [
        ("['u:1:rw']", "0644", "user::rw-\nuser:1:rw-\t#effective:r--\ngroup::r--\nmask::r--\nother::r--\n"),
        ("['daemon:r', 'm:rwx']", "0640", "user::rw-\nuser:1:r--\ngroup::r--\nmask::rwx\nother::---\n"),
        (
            "['u:daemon:7', 'g:daemon:r-x']",
            "0600",
            "user::rw-\nuser:1:rwx\t#effective:---\ngroup::---\ngroup:1:r-x\t#effective:---\nmask::---\nother::---\n",
        ),
        ("['u:1:rwx', 'm::r']", "0644", "user::rw-\nuser:1:rwx\t#effective:r--\ngroup::r--\nmask::r--\nother::r--\n"),
        ("['u::rwx', 'g::x', 'o::0']", "0644", "user::rwx\ngroup::--x\nother::---\n"),
        ("['g:2:4', 'o::-']", "0755", "user::rwx\ngroup::r-x\ngroup:2:r--\nmask::r-x\nother::---\n"),
        ("['m::rwx']", "0640", "user::rw-\ngroup::r--\nmask::rwx\nother::---\n"),
        (
            "['default:user:1:rw']",
            "0750",
            "user::rwx\ngroup::r-x\nother::---\ndefault:user::rwx\ndefault:user:1:rw-\t#effective:r--\ndefault:group::r-x\ndefault:mask::r-x\ndefault:other::---\n",
        ),
        ("['u:1:r', 'd:g:web-x:rx']", "0755", ""),
    ];
    for (n, (acls, mode, expected)) in cases.iter().enumerate() {
        let is_directory = acls.contains("d:g") || acls.contains("default");
        let acls = acls.replace("web-x", "2");
        let kind = if is_directory { "directory" } else { "file" };
        host.bundle(
            &format!("{HEAD}files: [{{source: conf, destination: DEST/app}}]\npermissions: [{{object: DEST/app, type: [{kind}], mode: '{mode}', acls: {acls}}}]\n"),
            &[FILES, &[("n", n.to_string().as_str())]].concat(),
        );
        host.deploy().expect(0);
        let name = if is_directory { "app/deep" } else { "app/x.conf" };
        let out = Command::new("getfacl").args(["-cpn"]).arg(host.dest(name)).output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).replace("\t\t", "\t").trim_end().to_owned() + "\n";
        match expected.is_empty() {
            true => assert!(text.contains("user:1:r--\n") && text.contains("default:group:2:r-x\n"), "{acls}: {text}"),
            false => assert_eq!(text, *expected, "{acls}"),
        }
        // Nothing to do is nothing done.
        let inode = fs::metadata(host.dest(name)).unwrap().ino();
        fs::remove_file(host.store().join("state")).unwrap();
        host.deploy().expect(0);
        assert_eq!(fs::metadata(host.dest(name)).unwrap().ino(), inode, "{acls}: written again");
    }
}

#[test]
fn directory_with_a_default_acl_then_what_is_installed_there_has_it() {
    needs!(root, "getfacl", "setfacl");
    let host = Host::new();
    assert!(Command::new("setfacl").args(["-m", "d:u:33:rwx"]).arg(host.dest("")).status().unwrap().success());
    // What cp and mkdir make there is what we make there.
    host.found("cp/x.conf", "X");
    fs::set_permissions(host.dest("cp/x.conf"), fs::Permissions::from_mode(0o644)).unwrap();
    host.bundle(CONF, FILES);
    host.deploy().expect(0);
    let tree = without_times(&host.tree());
    assert_eq!(tree["app/x.conf"], tree["cp/x.conf"]);
    assert!(
        tree["app/x.conf"].contains("posix_acl_access") && tree["app/deep"].contains("posix_acl_default"),
        "{tree:#?}"
    );
    let inodes = || ["app/x.conf", "app/deep/z.conf"].map(|name| fs::metadata(host.dest(name)).unwrap().ino());
    let before = inodes();
    host.bundle(CONF, &[FILES, &[("more", "")]].concat());
    host.deploy().expect(0).says(DEPLOYED);
    assert_eq!(inodes(), before, "what is the same is not written again");
}

#[test]
fn bundle_over_http_from_a_directory_and_from_a_tar_is_installed() {
    let host = Host::new();
    host.bundle(CONF, FILES);
    let zip = fs::read(host.sandbox.path("app.zip")).unwrap();
    let server = Raw::start(move |seen, _| vec![object(seen, "\"v1\"", &zip)]);
    host.sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
    host.has("app/x.conf", "f 644 0:0 X {}");
    host.sandbox.write("src/appspec.yml", host.spell(CONF));
    host.sandbox.write("src/conf/x.conf", "from a directory");
    host.sandbox.deploy(host.sandbox.path("src").to_str().unwrap(), &[]).expect(0);
    host.has("app/x.conf", "f 644 0:0 from a directory {}");
    host.has("app/y.txt", "-");
    if has("bsdtar") {
        host.sandbox.write("src/conf/x.conf", "from a tar.gz");
        let mut tar = Command::new("bsdtar");
        tar.arg("-czf").arg(host.sandbox.path("app.tar.gz")).arg("-C").arg(host.sandbox.path("")).arg("src");
        assert!(tar.status().unwrap().success());
        host.sandbox.deploy(host.sandbox.path("app.tar.gz").to_str().unwrap(), &[]).expect(0);
        host.has("app/x.conf", "f 644 0:0 from a tar.gz {}");
    }
}
