//! Archives of other hands deploy; archives of ill will leave one line, and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::needs::{leave_out, needs};
use crate::support::phrases::NO_ARCHIVE;
use crate::support::rawzip::{self, Member, archive};
use crate::support::sandbox::{Run, Sandbox, tree};

/// A sandbox with a directory `app` that has something of everything, and the tree it should become.
fn app() -> (Sandbox, BTreeMap<String, String>) {
    let sandbox = Sandbox::new();
    let files = [
        ("app/README", "hello\n".repeat(100), 0o644),
        ("app/bin/run", "#!/bin/sh\nexit 0\n".into(), 0o755),
        ("app/conf/grüße.txt", "größe\n".into(), 0o644),
        ("app/conf/日本", String::new(), 0o644),
        ("app/deep/er/still/x", "x".into(), 0o644),
        ("app/with space", "y".into(), 0o644),
    ];
    for (name, content, mode) in files {
        let path = sandbox.write(name, content);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    for dir in ["app", "app/bin", "app/conf", "app/deep", "app/deep/er", "app/deep/er/still"] {
        fs::set_permissions(sandbox.path(dir), fs::Permissions::from_mode(0o755)).unwrap();
    }
    symlink("bin/run", sandbox.path("app/start")).unwrap();
    symlink("../deep/er", sandbox.path("app/conf/up")).unwrap();
    let expected = tree(&sandbox.path("app"));
    (sandbox, expected)
}

/// Runs a shell command in the sandbox, which must succeed.
#[track_caller]
fn shell(sandbox: &Sandbox, locale: &str, script: &str) {
    let mut command = Command::new("sh");
    command
        .arg("-euc")
        .arg(script)
        .current_dir(sandbox.path(""))
        .env("LC_ALL", locale)
        .env("HOME", sandbox.path("home"));
    command.env("GIT_CONFIG_NOSYSTEM", "1");
    let run = command.output().unwrap();
    assert!(run.status.success(), "{script}: {}", String::from_utf8_lossy(&run.stderr));
}

/// One check of `app.zip`, with `keys` in the configuration.
#[track_caller]
fn deploys(sandbox: &Sandbox, keys: &str, expected: &BTreeMap<String, String>) {
    let remote = sandbox.path("app.zip");
    sandbox.write("repo-deploy.cfg", keys);
    sandbox.deploy(remote.to_str().unwrap(), &[]).expect(0);
    assert_eq!(&tree(&sandbox.local()), expected);
}

#[test]
fn git_archive_deploys() {
    needs!("git");
    let (sandbox, expected) = app();
    let commit = "cd app; git init -q; git add .; git -c user.name=t -c user.email=t@t commit -qm x";
    shell(&sandbox, "C.UTF-8", commit);
    shell(&sandbox, "C.UTF-8", "cd app; git archive -o ../app.zip HEAD");
    deploys(&sandbox, "", &expected);
    shell(&sandbox, "C.UTF-8", "cd app; git archive -0 --prefix=app-1.0/ -o ../app.zip HEAD");
    deploys(&sandbox, "strip-components = 1\n", &expected);
}

#[test]
fn zip_deploys_in_every_way_it_writes() {
    needs!("zip");
    let (sandbox, expected) = app();
    for locale in ["C", "C.UTF-8"] {
        for options in ["-y", "-y -0", "-y -9 -X", "-y -D", "-y -fz", "-y -UN=UTF8"] {
            shell(&sandbox, locale, &format!("rm -f app.zip; cd app; zip -qr {options} ../app.zip ."));
            deploys(&sandbox, "", &expected);
        }
        // Through a pipe: data descriptors, and sizes in ZIP64. It cannot do links and empty files there.
        shell(&sandbox, locale, "cd app; zip -qr - README bin deep | cat > ../app.zip");
        let some = ["README", "bin", "deep"];
        let part = expected.iter().filter(|(path, _)| some.iter().any(|s| path.starts_with(s)));
        deploys(&sandbox, "", &part.map(|(path, node)| (path.clone(), node.clone())).collect());
    }
}

#[test]
fn bsdtar_deploys_as_a_file_and_through_a_pipe() {
    needs!("bsdtar");
    let (sandbox, expected) = app();
    for options in ["", "--options zip:compression=store", "--options zip:zip64", "--options zip:!zip64"] {
        shell(&sandbox, "C.UTF-8", &format!("rm -f app.zip; bsdtar --format zip {options} -cf app.zip -C app ."));
        // It writes the names as it got them: `./README`.
        deploys(&sandbox, "", &expected);
        shell(&sandbox, "C.UTF-8", &format!("cd app; bsdtar --format zip {options} -cf ../app.zip *"));
        deploys(&sandbox, "", &expected);
        shell(&sandbox, "C.UTF-8", &format!("cd app; bsdtar --format zip {options} -cf - * | cat > ../app.zip"));
        deploys(&sandbox, "", &expected);
    }
}

#[test]
fn tar_deploys_gzipped_and_plain_whatever_its_name() {
    needs!("tar", "gzip", "bsdtar");
    let (sandbox, expected) = app();
    for script in [
        "tar -czf app.zip -C app .",
        "tar --format=posix -cf app.zip -C app .",
        "bsdtar -czf - -C app . | cat >app.zip",
    ] {
        shell(&sandbox, "C.UTF-8", &format!("rm -f app.zip; {script}"));
        deploys(&sandbox, "", &expected);
    }
    shell(&sandbox, "C.UTF-8", "tar -czf app.zip app");
    deploys(&sandbox, "strip-components = 1\n", &expected);
}

#[test]
fn a_second_name_of_a_file_is_a_copy() {
    needs!("tar", "bsdtar", "python3", "cpio");
    let (sandbox, _) = app();
    shell(&sandbox, "C", "ln app/README app/second; ln app/bin/run app/conf/third; ln -P app/start app/fourth");
    let expected = tree(&sandbox.path("app"));
    let python = "import tarfile as t; a = t.open('app.zip', 'w:gz'); a.add('app', arcname=''); a.close()";
    for script in [
        "tar -czf app.zip --sort=name -C app .",
        "tar --format=posix -cf app.zip -C app .",
        "bsdtar --format gnutar -czf app.zip -C app .",
        "cd app; find . | cpio -o --quiet -H ustar >../app.zip",
        // The top has an empty name.
        &format!("python3 -c \"{python}\""),
    ] {
        shell(&sandbox, "C.UTF-8", &format!("rm -f app.zip; {script}"));
        deploys(&sandbox, "", &expected);
    }
    assert_eq!(fs::metadata(sandbox.local().join("second")).unwrap().nlink(), 1);
    verified(&sandbox);
    // Copies count like anything else.
    let bytes: u64 = expected
        .values()
        .filter_map(|node| node.get(6..).filter(|_| node.starts_with('f')))
        .map(|c| c.len() as u64)
        .sum();
    let remote = sandbox.path("app.zip");
    for (less, code) in [(0, 0), (1, 1)] {
        fs::remove_dir_all(sandbox.path("deploy")).unwrap();
        sandbox.write("repo-deploy.cfg", format!("max-unpacked = {}\n", bytes - less));
        sandbox.deploy(remote.to_str().unwrap(), &[]).expect(code);
    }
}

/// What is live is what its release was made of.
#[track_caller]
fn verified(sandbox: &Sandbox) {
    let remote = sandbox.path("app.zip");
    let run: Run = sandbox.daemon(&["verify", "--remote", remote.to_str().unwrap()]).output().unwrap().into();
    run.expect(0);
}

#[test]
fn sparse_files_deploy_as_every_tar_writes_them() {
    needs!("tar", "bsdtar");
    let (sandbox, _) = app();
    // A hole in front, one in between, and one at the end.
    let file = "truncate -s 400000 app/sparse; printf x | dd of=app/sparse bs=1 seek=200000 conv=notrunc status=none";
    shell(&sandbox, "C", &format!("{file}; printf end | dd of=app/sparse bs=1 seek=300000 conv=notrunc status=none"));
    let expected = tree(&sandbox.path("app"));
    for script in [
        "tar --sparse --format=gnu -czf app.zip -C app .",
        "tar --sparse --format=posix --sparse-version=0.0 -czf app.zip -C app .",
        "tar --sparse --format=posix --sparse-version=0.1 -czf app.zip -C app .",
        "tar --sparse --format=posix --sparse-version=1.0 -cf app.zip -C app .",
        "bsdtar -czf app.zip -C app .",
        "bsdtar --format pax -cf app.zip -C app .",
    ] {
        shell(&sandbox, "C.UTF-8", &format!("rm -f app.zip; {script}"));
        deploys(&sandbox, "", &expected);
    }
    verified(&sandbox);
}

#[test]
fn backups_labels_and_tars_of_unix_v7_deploy() {
    needs!("tar", "bsdtar");
    let (sandbox, expected) = app();
    for script in [
        "tar --label=backup -czf app.zip -C app .",
        "tar --format=posix --label=backup -czf app.zip -C app .",
        "rm -f snapshot; tar --listed-incremental=snapshot -czf app.zip -C app .",
        "tar --format=v7 -cf app.zip -C app .",
        "tar --format=oldgnu -cf app.zip -C app .",
        // The second time a file comes it is a hard link to itself.
        "tar --format=ustar -czf app.zip -C app ././ ./bin",
        "bsdtar --format v7tar -cf app.zip -C app .",
    ] {
        shell(&sandbox, "C.UTF-8", &format!("rm -f app.zip; {script}"));
        deploys(&sandbox, "", &expected);
    }
    shell(&sandbox, "C", "head -c 300000 /dev/zero >app/large; tar -cM -L 200 -f a1 -f a2 -C app large; cp a2 app.zip");
    let run = sandbox.deploy(sandbox.path("app.zip").to_str().unwrap(), &[]).expect(1);
    run.says("member large: it goes on from another volume: pack it without --multi-volume");
}

#[test]
fn p7zip_and_7_zip_deploy() {
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.parts/7zip-bin/package/linux/x64/7za");
    needs!("7zz");
    if !old.exists() {
        return leave_out("7za is missing: run tests/parts.sh");
    }
    let (sandbox, mut expected) = app();
    let old = format!("{} a", old.display());
    for program in ["7zz a -snl", "7zz a -snl -mx0", &old, &format!("{old} -mx9"), &format!("{old} -l")] {
        shell(&sandbox, "C.UTF-8", &format!("rm -f app.zip; cd app; {program} ../app.zip . >/dev/null"));
        if program.ends_with(" a") || program.contains(" a -mx9") || program.ends_with("-l") {
            // This one follows links.
            expected.retain(|name, _| !name.starts_with("start") && !name.starts_with("conf/up"));
            sandbox.deploy(sandbox.path("app.zip").to_str().unwrap(), &[]).expect(0);
            let mut live = tree(&sandbox.local());
            live.retain(|name, _| !name.starts_with("start") && !name.starts_with("conf/up"));
            assert_eq!(live, expected, "{program}");
        } else {
            deploys(&sandbox, "", &expected);
        }
    }
}

#[test]
fn npm_deploys_packages_and_workspaces() {
    needs!("npm", "tar", "zip", "git");
    let sandbox = Sandbox::new();
    let tool = r#"{"name": "mytool", "version": "1.0.0", "bin": {"mytool": "cli.js"}}"#;
    sandbox.write("app/packages/tool/package.json", tool);
    let cli = sandbox.write("app/packages/tool/cli.js", "#!/usr/bin/env node\n");
    fs::set_permissions(cli, fs::Permissions::from_mode(0o755)).unwrap();
    sandbox.write("app/package.json", r#"{"name": "app", "version": "1.0.0", "workspaces": ["packages/*"]}"#);
    shell(&sandbox, "C", "cd app; npm install --offline --no-audit --no-fund >/dev/null");
    shell(
        &sandbox,
        "C",
        "chmod -R go-w app; cd app/packages/tool; npm pack --offline >/dev/null; mv *.tgz ../../../tool.tgz",
    );
    let expected = tree(&sandbox.path("app"));
    assert!(expected["node_modules/.bin/mytool"].starts_with("l ../mytool/"), "{expected:?}");
    for script in ["tar -czf app.zip -C app .", "cd app; zip -qry ../app.zip ."] {
        shell(&sandbox, "C", &format!("rm -f app.zip; {script}"));
        deploys(&sandbox, "", &expected);
    }
    let commit = "cd app; git init -q; git add .; git -c user.name=t -c user.email=t@t commit -qm x";
    sandbox.deploy(sandbox.path("app").to_str().unwrap(), &[]).expect(0);
    assert_eq!(tree(&sandbox.local()), expected);
    shell(&sandbox, "C", commit);
    sandbox.deploy(sandbox.path("app").to_str().unwrap(), &[]).expect(0);
    assert_eq!(tree(&sandbox.local()), expected);
    sandbox.write("repo-deploy.cfg", "strip-components = 1\n");
    sandbox.deploy(sandbox.path("tool.tgz").to_str().unwrap(), &[]).expect(0);
    assert_eq!(sandbox.read("deploy/current/package.json"), tool);
}

#[test]
fn a_backslash_is_a_character_like_any_other() {
    needs!("tar", "git", "zip", "python3");
    let sandbox = Sandbox::new();
    sandbox.write("app/srv-my\\x2dapp.mount", "[Mount]\n");
    shell(
        &sandbox,
        "C",
        "chmod 755 app; cp -r app repository; tar -czf app.tgz -C app .; cd app; zip -qr ../app.zip .",
    );
    shell(&sandbox, "C", "cd repository; git init -q; git add .; git -c user.name=t -c user.email=t@t commit -qm x");
    let expected = tree(&sandbox.path("app"));
    for remote in ["app", "app.tgz", "app.zip", "repository"] {
        sandbox.deploy(sandbox.path(remote).to_str().unwrap(), &[]).expect(0);
        assert_eq!(tree(&sandbox.local()), expected, "{remote}");
    }
    let windows = "import zipfile as z; i = z.ZipInfo('x'); i.filename = r'a\\b'; i.create_system = 0
with z.ZipFile('app.zip', 'w') as a: a.writestr(i, 'x')";
    sandbox.write("pack.py", windows);
    shell(&sandbox, "C", "python3 pack.py");
    let run = sandbox.deploy(sandbox.path("app.zip").to_str().unwrap(), &[]).expect(1);
    run.says("member a\\\\b: its name has a backslash in it and is not from Unix");
}

#[test]
fn a_virtualenv_deploys_where_any_link_may_be() {
    needs!("python3", "tar", "zip");
    for activation in ["symlink", "in-place"] {
        let sandbox = Sandbox::new();
        shell(&sandbox, "C", "umask 022; python3 -m venv --without-pip app; ln -s ../../../outside app/bin/out");
        shell(&sandbox, "C", "tar -czf app.tgz -C app .; cd app; zip -qry ../app.zip .");
        let expected = tree(&sandbox.path("app"));
        assert!(expected["bin/python3"].starts_with("l /"), "{expected:?}");
        let keys = format!("activation = {activation}\n");
        sandbox.write("repo-deploy.cfg", &keys);
        for remote in ["app.tgz", "app.zip", "app"] {
            let run = sandbox.deploy(sandbox.path(remote).to_str().unwrap(), &[]).expect(1);
            run.says("symlinks = any");
        }
        let keys = format!("{keys}symlinks = any\n");
        for remote in ["app.tgz", "app", "app.zip"] {
            if activation == "symlink" {
                deploys_from(&sandbox, remote, &keys, &expected);
                continue;
            }
            sandbox.write("repo-deploy.cfg", &keys);
            sandbox.deploy(sandbox.path(remote).to_str().unwrap(), &[]).expect(0);
            assert_eq!(tree(&sandbox.local()), expected);
        }
        verified(&sandbox);
        // Changed by hand, a link is found and put back; nothing is written through it.
        let outside = sandbox.write("outside/file", "untouched");
        let link = sandbox.local().join("bin/python3");
        fs::remove_file(&link).unwrap();
        symlink(&outside, &link).unwrap();
        let remote = sandbox.path("app.zip");
        let repair = ["verify", "--repair", "--remote", remote.to_str().unwrap()];
        Run::from(sandbox.daemon(&repair).output().unwrap()).expect(0);
        assert_eq!(tree(&sandbox.local()), expected, "{activation}");
        assert_eq!(fs::read_to_string(&outside).unwrap(), "untouched");
    }
}

#[track_caller]
fn deploys_from(sandbox: &Sandbox, remote: &str, keys: &str, expected: &BTreeMap<String, String>) {
    sandbox.write("repo-deploy.cfg", keys);
    sandbox.deploy(sandbox.path(remote).to_str().unwrap(), &[]).expect(0);
    assert_eq!(&tree(&sandbox.local()), expected);
}

#[test]
fn a_tar_gz_that_grows_a_thousandfold_costs_no_memory() {
    needs!("tar", "gzip");
    let sandbox = Sandbox::new();
    let script = "mkdir app; yes | head -c 100000000 >app/large; tar -czf app.tgz -C app .";
    shell(&sandbox, "C", script);
    let remote = sandbox.path("app.tgz");
    assert!(fs::metadata(&remote).unwrap().len() < 1 << 20);
    sandbox.hook("post.d", "peak", &format!("grep VmHWM /proc/$PPID/status > {}", sandbox.path("peak").display()));
    sandbox.deploy(remote.to_str().unwrap(), &[]).expect(0);
    assert_eq!(fs::metadata(sandbox.local().join("large")).unwrap().len(), 100_000_000);
    let peak = sandbox.read("peak");
    let kibibytes: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kibibytes < 16 * 1024, "{peak}");
    sandbox.write("repo-deploy.cfg", "max-unpacked = 50M\n");
    fs::remove_dir_all(sandbox.path("deploy")).unwrap();
    let run = sandbox.deploy(remote.to_str().unwrap(), &[]).expect(1);
    run.says("member large: with it the content is over max-unpacked = 50.0 MiB");
}

#[test]
fn python_deploys_from_files_and_streams_and_in_zip64() {
    needs!("python3");
    let (sandbox, expected) = app();
    fs::remove_file(sandbox.path("app/start")).unwrap();
    fs::remove_file(sandbox.path("app/conf/up")).unwrap();
    let expected = expected.into_iter().filter(|(_, node)| !node.starts_with("l ")).collect();
    let script = r"
import os, sys, zipfile
class Pipe:
    def __init__(self, f): self.f = f
    def write(self, b): return self.f.write(b)
    def flush(self): self.f.flush()
kind, method = sys.argv[1:]
with open('app.zip', 'wb') as f:
    with zipfile.ZipFile(Pipe(f) if kind == 'stream' else f, 'w', int(method)) as z:
        for dir, dirs, files in os.walk('app'):
            for name in files + dirs:
                path = os.path.join(dir, name)
                if kind == 'zip64' and name in files:
                    info = zipfile.ZipInfo.from_file(path, path[4:])
                    info.compress_type = int(method)
                    with z.open(info, 'w', force_zip64=True) as out: out.write(open(path, 'rb').read())
                else: z.write(path, path[4:])
";
    sandbox.write("pack.py", script);
    for kind in ["plain", "stream", "zip64"] {
        for method in ["0", "8"] {
            shell(&sandbox, "C.UTF-8", &format!("python3 pack.py {kind} {method}"));
            deploys(&sandbox, "", &expected);
        }
    }
}

#[test]
fn a_directory_deploys_and_a_fifo_in_it_is_named() {
    let (sandbox, expected) = app();
    let remote = sandbox.path("app");
    sandbox.deploy(remote.to_str().unwrap(), &[]).expect(0);
    assert_eq!(tree(&sandbox.local()), expected);
    shell(&sandbox, "C", "mkfifo app/bin/fifo");
    let run = sandbox.deploy(remote.to_str().unwrap(), &[]).expect(1);
    let run = run.says(&format!("cannot copy {}: member bin/fifo: ", remote.display()));
    assert_eq!(run.complaints().len(), 1, "{}", run.log);
    assert_eq!(tree(&sandbox.local()), expected);
}

/// One check of this archive with `keys` in the configuration, which must be refused: exit code 1, one error line, and
/// nothing left.
#[track_caller]
fn refused(sandbox: &Sandbox, bytes: &[u8], keys: &str, words: &str) {
    let before = sandbox.local().exists().then(|| (fs::read_link(sandbox.local()).unwrap(), tree(&sandbox.local())));
    let releases = names(&sandbox.store().join("releases"));
    let remote = sandbox.write("hostile.zip", bytes);
    sandbox.write("repo-deploy.cfg", keys);
    let run = sandbox.deploy(remote.to_str().unwrap(), &[]).expect(1);
    assert_eq!(run.complaints().len(), 1, "{}", run.log);
    assert!(run.complaints()[0].contains(" ERROR "), "{}", run.log);
    assert!(run.complaints()[0].contains(words), "should say {words:?}:\n{}", run.log);
    assert_eq!(names(&sandbox.store().join("partial")), [""; 0]);
    assert_eq!(names(&sandbox.store().join("releases")), releases);
    let after = sandbox.local().exists().then(|| (fs::read_link(sandbox.local()).unwrap(), tree(&sandbox.local())));
    assert_eq!(before, after);
}

/// What is in a directory; nothing when it is not there.
fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Each class of what is refused, with what its line says.
fn hostile() -> Vec<(Vec<u8>, String)> {
    let no_archive = format!("hostile.zip {NO_ARCHIVE}");
    let [no_end, a_page] = ["like one but has no end", "like an HTML page"]
        .map(|begins| format!("{no_archive} and no tar.gz: it begins {begins}"));
    let one = |member: Member| archive(&[Member::file("honest", "x"), member], b"").bytes;
    let plain = archive(&[Member::deflated("liar", "hello hello hello")], b"");
    let mut table = vec![
        (one(Member::file("../evil", "x")), "member ../evil: its name has . or .."),
        (one(Member::file("/etc/cron.d/evil", "x")), "member /etc/cron.d/evil: its name is absolute"),
        (one(Member { host: 0, ..Member::file("a\\b", "x") }), "member a\\\\b: its name has a backslash"),
        (one(Member::file("a\x1b[2Jb", "x")), "member a\\u{1b}[2Jb: its name has a control character"),
        (one(Member::file(b"\xff", "x")), "its name is not UTF-8"),
        (one(Member::file("honest", "y")), "member honest: it is there twice"),
        (one(Member::file("honest/x", "y")), "member honest/x: it lies in honest, which is no directory"),
        (one(Member::link("l", "/etc/passwd")), "member l: a link to /etc/passwd, which is absolute"),
        (one(Member::link("l", "../../x")), "member l: a link to ../../x, which leads outside"),
        (one(Member::file("dev", "").mode(0o020_666)), "member dev: it is neither file nor directory nor link"),
        (plain.clone().both16(0, rawzip::FLAGS, 1).bytes, "member liar: it is encrypted"),
        (plain.clone().both16(0, rawzip::METHOD, 12).bytes, "member liar: it is packed by method 12"),
        (plain.clone().both32(0, rawzip::CRC, 1).bytes, "member liar: its content does not match its checksum"),
        (plain.clone().both32(0, rawzip::SIZE, 5).bytes, "member liar: it has more than the 5 bytes it announces"),
        (plain.clone().put16(plain.local[0] + 8, 0).bytes, "member liar: "),
        (plain.clone().put16(plain.end + 4, 1).bytes, "several disks"),
        ([b"x", plain.bytes.as_slice(), b"x"].concat(), "it may be a member of one that was cut off"),
        (plain.bytes[1..].to_vec(), "its directory is not where its end says"),
        (plain.bytes[..plain.end].to_vec(), no_end.as_str()),
        (b"<html><title>Sign in</title>".to_vec(), a_page.as_str()),
        (b"\x1f\x8b\x08\0\0\0\0\0".to_vec(), "hostile.zip: its compressed data breaks off"),
        (archive(&[], b"").bytes, "there is nothing in it"),
    ];
    // Some of its bits, and its end at some places.
    for at in [plain.data[0] + 3, plain.central[0] + 20, plain.central[0] + 46, plain.end + 10, plain.end + 16] {
        let mut bytes = plain.bytes.clone();
        bytes[at] ^= 0x04;
        table.push((bytes, "hostile.zip"));
    }
    table.extend((1..plain.end).step_by(40).map(|end| (plain.bytes[..end].to_vec(), no_archive.as_str())));
    table.into_iter().map(|(bytes, words)| (bytes, words.to_owned())).collect()
}

#[test]
fn a_refused_archive_as_the_first_one_leaves_nothing() {
    for (bytes, words) in hostile() {
        let sandbox = Sandbox::new();
        refused(&sandbox, &bytes, "", &words);
        assert!(fs::symlink_metadata(sandbox.local()).is_err());
    }
}

#[test]
fn a_refused_archive_leaves_the_live_tree_alone() {
    for (bytes, words) in hostile() {
        let sandbox = Sandbox::new();
        let good = sandbox.zip("hostile.zip", &[("index.html", "live")]);
        sandbox.deploy(good.to_str().unwrap(), &[]).expect(0);
        refused(&sandbox, &bytes, "", &words);
    }
}

#[test]
fn limits_and_the_keys_that_set_them_are_named() {
    let members = [Member::file("a/b", "12345"), Member::link("l", "a")];
    let bytes = archive(&members, b"").bytes;
    let sandbox = Sandbox::new();
    refused(&sandbox, &bytes, "symlinks = refuse\n", "member l: it is a symbolic link (symlinks = inside");
    let sandbox = Sandbox::new();
    refused(&sandbox, &bytes, "max-files = 2\n", "max-files = 2");
    let sandbox = Sandbox::new();
    refused(&sandbox, &bytes, "max-unpacked = 4\n", "max-unpacked = 4 B");
    let sandbox = Sandbox::new();
    refused(&sandbox, &bytes, "strip-components = 3\n", "strip-components = 3 leaves nothing of it");
    let sandbox = Sandbox::new();
    let remote = sandbox.write("good.zip", bytes);
    sandbox.write("repo-deploy.cfg", "max-files = 3\nmax-unpacked = 6\n");
    sandbox.deploy(remote.to_str().unwrap(), &[]).expect(0);
}

#[test]
fn ten_gibibytes_that_say_they_are_small_cost_nothing() {
    // A piece of deflate that stands for itself, over and over.
    let mut packer = flate2::Compress::new(flate2::Compression::best(), false);
    let mut piece = Vec::with_capacity(64 * 1024);
    packer.compress_vec(&vec![0; 1 << 20], &mut piece, flate2::FlushCompress::Full).unwrap();
    assert_eq!(packer.total_in(), 1 << 20);
    let mut packed = piece.repeat(10 * 1024);
    packed.extend_from_slice(&[3, 0]);
    let small = Member { packed: Some(packed.clone()), ..Member::deflated("zeros", vec![0; 1000]) };
    let sandbox = Sandbox::new();
    refused(&sandbox, &archive(&[small], b"").bytes, "", "member zeros: it has more than the 1000 bytes it announces");
    let honest = Member { packed: Some(packed), wide: true, ..Member::deflated("zeros", "") };
    let raw = archive(&[honest], b"");
    let (local, central) = (raw.data[0] - 16, raw.central[0] + 46 + 5 + 4);
    let size = (10_u64 << 30).to_le_bytes();
    let raw = raw.put(local, &size).put(central, &size);
    let sandbox = Sandbox::new();
    let words = "member zeros: with it the content is over max-unpacked = 1.0 GiB";
    refused(&sandbox, &raw.bytes, "max-unpacked = 1G\n", words);
}

#[test]
fn modes_do_not_depend_on_the_umask() {
    let members = [
        Member::file("d/f", "x").mode(0o100_600),
        Member::file("run", "x").mode(0o106_777),
        Member::dir("open/").mode(0o41_777),
        Member::link("l", "run"),
    ];
    let expected = [("d", "d 755"), ("d/f", "f 644 x"), ("l", "l run"), ("open", "d 755"), ("run", "f 755 x")];
    let expected: BTreeMap<_, _> = expected.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    for umask in ["000", "022", "077", "777"] {
        let sandbox = Sandbox::new();
        let remote = sandbox.write("app.zip", archive(&members, b"").bytes);
        let plain = sandbox.command(&["--remote", remote.to_str().unwrap()]);
        let mut under = Command::new("sh");
        under
            .arg("-c")
            .arg(format!("umask {umask}; exec \"$0\" \"$@\""))
            .arg(plain.get_program())
            .args(plain.get_args());
        under.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", sandbox.path("home")).current_dir(sandbox.path(""));
        Run::from(under.output().unwrap()).expect(0);
        assert_eq!(tree(&sandbox.local()), expected, "umask {umask}");
        let top = fs::metadata(sandbox.local()).unwrap().permissions().mode() & 0o7777;
        assert_eq!(top, 0o755, "umask {umask}");
    }
}

#[test]
fn a_disk_that_is_too_small_is_told_before_anything_is_written() {
    needs!("unshare", "mount");
    let large = archive(&[Member::file("large", vec![b'x'; 3 << 20])], b"").bytes;
    let many: Vec<_> = (0..200).map(|n| Member::file(format!("d{n}/f"), "x")).collect();
    let many = archive(&many, b"").bytes;
    let cases =
        [(large, "size=1m", "it needs 3.0 MiB, and "), (many, "size=8m,nr_inodes=100", "it needs 400 inodes, and ")];
    for (bytes, options, words) in cases {
        let sandbox = Sandbox::new();
        let remote = sandbox.write("app.zip", bytes);
        let plain = sandbox.command(&["--remote", remote.to_str().unwrap()]);
        let mut small = Command::new("unshare");
        // What is left in the store is looked at before the file system goes.
        let script = "mount -t tmpfs -o \"$0\" tmpfs deploy || exit 99; \"$@\"; code=$?; ls deploy/.current.deploy/partial deploy/.current.deploy/releases; exit $code";
        small.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, options]);
        small.arg(plain.get_program()).args(plain.get_args());
        small.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", sandbox.path("home")).current_dir(sandbox.path(""));
        let run = Run::from(small.output().unwrap());
        let run = run.expect(1).says(words).says("are free on the store's file system");
        assert_eq!(run.complaints().len(), 1, "{}", run.log);
        let left: Vec<_> = run.out.lines().filter(|l| !l.is_empty() && !l.ends_with(':')).collect();
        assert_eq!(left, [""; 0]);
    }
}

#[test]
fn memory_does_not_grow_with_the_size_of_what_is_unpacked() {
    needs!(time);
    // Five thousand files and one that is larger than all memory it may use.
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().unix_permissions(0o644);
    for number in 0..5_000 {
        zip.start_file(format!("app/directory{:02}/a-file-with-a-name-{number:05}", number % 60), options).unwrap();
        zip.write_all(number.to_string().as_bytes()).unwrap();
    }
    zip.start_file("app/large", options).unwrap();
    (0..48).for_each(|_| zip.write_all(&vec![b'x'; 1 << 20]).unwrap());
    let sandbox = Sandbox::new();
    let remote = sandbox.write("app.zip", zip.finish().unwrap().into_inner());
    sandbox.hook("post.d", "peak", &format!("grep VmHWM /proc/$PPID/status > {}", sandbox.path("peak").display()));
    sandbox.deploy(remote.to_str().unwrap(), &[]).expect(0);
    assert_eq!(fs::metadata(sandbox.local().join("app/large")).unwrap().len(), 48 << 20);
    let peak = sandbox.read("peak");
    let kibibytes: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kibibytes < 8 * 1024, "{peak}");
}

#[test]
fn a_closed_terminal_and_no_input_change_nothing() {
    let sandbox = Sandbox::new();
    let remote = sandbox.write("app.zip", archive(&[Member::file("a", "x")], b"").bytes);
    let mut command = sandbox.command(&["--remote", remote.to_str().unwrap()]);
    let code = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().code();
    assert_eq!(code, Some(0));
    assert_eq!(sandbox.read("deploy/current/a"), "x");
}
