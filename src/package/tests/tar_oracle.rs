//! An accepted tar means the same to Python's tarfile, GNU tar and bsdtar, and the archives that these write are
//! accepted.

use std::process::Command;

use super::*;

/// Runs a shell command in the scratch directory; it must succeed.
#[track_caller]
fn shell(scratch: &Scratch, script: &str) {
    let run = Command::new("sh").env("LC_ALL", "C.UTF-8").current_dir(&scratch.0).args(["-euc", script]).output();
    let run = run.unwrap();
    assert!(run.status.success(), "{script}: {}", String::from_utf8_lossy(&run.stderr));
}

/// A directory `app` with entries of every kind, and the tree it should become.
fn app(scratch: &Scratch) -> Tree {
    let long = "long-".repeat(20);
    let script = format!(
        "umask 022; mkdir -p app/bin app/empty app/{long}/{long}/{long}
        printf '#!/bin/sh\n' >app/bin/run; chmod 755 app/bin/run; ln -s bin/run app/start; : >app/none
        printf größe >'app/grüße 日本'; echo deep >app/{long}/{long}/{long}/{long}
        ln -s {long}/{long}/{long}/{long} app/far; yes 'same and same' | head -c 700000 >app/large"
    );
    shell(scratch, &script);
    tree(&scratch.path("app"))
}

#[test]
fn what_other_tools_write_is_laid_out_as_it_was() {
    if !needs(&["tar", "bsdtar", "gzip", "python3", "busybox", "git"]) {
        return;
    }
    let scratch = Scratch::new();
    let expected = app(&scratch);
    let python = "import sys, tarfile as t; a = t.open('a', sys.argv[1], format=int(sys.argv[2])); a.add('app', '.')";
    let pack = [
        "tar --format=gnu -czf a -C app .",
        "tar --format=posix -czf a -C app .",
        "tar --format=posix -cf a -C app bin empty none far large start 'grüße 日本' $(cd app; echo long*)",
        "tar --format=gnu -b 1 -cf a -C app .",
        "tar -cf - -C app . | gzip -9 >a",
        "bsdtar -czf a -C app .",
        "bsdtar -czf - -C app . | cat >a",
        "bsdtar --format pax -cf a -C app .",
        "bsdtar --format gnutar -cf - -C app . | cat >a",
        "bsdtar --options 'compression-level=1' -czf a -C app .",
        "busybox tar -czf a -C app .",
        &format!("python3 -I -c \"{python}; a.close()\" w:gz 1"),
        &format!("python3 -I -c \"{python}; a.close()\" w:gz 2"),
        &format!("python3 -I -c \"{python}; a.close()\" w 2"),
    ];
    for script in pack {
        shell(&scratch, &format!("rm -f a; {script}"));
        let bytes = fs::read(scratch.path("a")).unwrap();
        let tree = scratch.unzip(&bytes, &layout()).unwrap_or_else(|e| panic!("{script}: {e}"));
        assert_eq!(tree, expected, "{script}");
    }
    // git stores no empty directory.
    let git = "git -c init.defaultBranch=x init -q .; git add .; git -c user.name=t -c user.email=t@t commit -qm x";
    shell(&scratch, &format!("rmdir app/empty; cd app; {git}; git archive --format=tar.gz -o ../a HEAD"));
    let expected: Tree = expected.into_iter().filter(|(path, _)| path != b"empty").collect();
    assert_eq!(scratch.unzip(&fs::read(scratch.path("a")).unwrap(), &layout()).unwrap(), expected);
}

/// The files that Python reads from each of `count` archives; `None` if it complains. Name, then content or link text.
fn python(scratch: &Scratch, count: usize) -> Vec<Option<BTreeMap<Vec<u8>, Vec<u8>>>> {
    const SCRIPT: &str = r"
import os, sys, tarfile
def members(path):
    with tarfile.open(path, 'r:', errorlevel=2) as t:
        for i in t.getmembers():
            name = i.name[2:] if i.name.startswith('./') else i.name
            if i.issym(): yield os.fsencode(name).hex() + ':' + os.fsencode(i.linkname).hex()
            elif i.isreg(): yield os.fsencode(name).hex() + ':' + t.extractfile(i).read().hex()
            elif not i.isdir(): raise ValueError(i.type)
for n in range(int(sys.argv[2])):
    try: print('ok', *members('%s/%d.tar' % (sys.argv[1], n)))
    except Exception as e: print('no')
";
    let mut command = Command::new("python3");
    command.env("LC_ALL", "C.UTF-8").args(["-I", "-c", SCRIPT]).arg(&scratch.0).arg(count.to_string());
    let run = command.output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
    };
    let member = |word: &str| word.split_once(':').map(|(name, content)| (bytes(name), bytes(content))).unwrap();
    let out = String::from_utf8(run.stdout).unwrap();
    out.lines().map(|line| line.strip_prefix("ok").map(|rest| rest.split_whitespace().map(member).collect())).collect()
}

/// The files that a program extracts from archive `number`; `None` if it complains.
fn extracted(scratch: &Scratch, program: &str, number: usize) -> Option<BTreeMap<Vec<u8>, Vec<u8>>> {
    let into = scratch.path("theirs");
    let _ = fs::remove_dir_all(&into); // missing the first time
    fs::create_dir(&into).unwrap();
    let mut command = Command::new(program);
    command.env("LC_ALL", "C.UTF-8").arg("-xf").arg(scratch.path(&format!("{number}.tar"))).arg("-C").arg(&into);
    command.output().unwrap().status.success().then(|| contents(&tree(&into)))
}

fn contents(tree: &Tree) -> BTreeMap<Vec<u8>, Vec<u8>> {
    tree.iter().filter(|(_, node)| node.what != 'd').map(|(path, node)| (path.clone(), node.content.clone())).collect()
}

#[test]
fn what_is_accepted_means_the_same_to_python_gnu_tar_and_bsdtar() {
    const COUNT: usize = 240;
    if !needs(&["python3", "tar", "bsdtar"]) {
        return;
    }
    let scratch = Scratch::new();
    app(&scratch);
    let formats = ["--format=gnu", "--format=posix", "--format=ustar --exclude=long* --exclude=far"];
    let honest: Vec<Vec<u8>> = formats
        .iter()
        .map(|format| {
            shell(&scratch, &format!("rm -f app/large; tar {format} -b 1 -cf a -C app ."));
            fs::read(scratch.path("a")).unwrap()
        })
        .collect();
    let mut dice = Dice(2027);
    for number in 0..COUNT {
        let mut bytes = honest[number % honest.len()].clone();
        if number >= honest.len() {
            damage(&mut bytes, &mut dice);
        }
        fs::write(scratch.path(&format!("{number}.tar")), bytes).unwrap();
    }
    let (mut accepted, mut refusals) = (0, 0);
    for (number, python) in python(&scratch, COUNT).into_iter().enumerate() {
        let bytes = fs::read(scratch.path(&format!("{number}.tar"))).unwrap();
        match scratch.unzip(&bytes, &layout()) {
            Ok(tree) => {
                let ours = contents(&tree);
                assert_eq!(python.as_ref(), Some(&ours), "archive {number}, Python");
                for program in ["tar", "bsdtar"] {
                    assert_eq!(
                        extracted(&scratch, program, number).as_ref(),
                        Some(&ours),
                        "archive {number}, {program}"
                    );
                }
                accepted += 1;
            }
            Err(e) => {
                assert!(number >= honest.len(), "archive {number} is an honest one: {e}");
                refusals += 1;
            }
        }
    }
    assert!(accepted > COUNT / 8 && refusals > COUNT / 4, "{accepted} accepted, {refusals} refused");
}

/// Changes one byte in a header and fixes its checksum, or flips one bit anywhere.
fn damage(bytes: &mut [u8], dice: &mut Dice) {
    let headers: Vec<usize> =
        (0..bytes.len() / 512).map(|n| n * 512).filter(|at| &bytes[at + 257..at + 262] == b"ustar").collect();
    let header = headers[dice.roll(headers.len())];
    let at = match dice.roll(6) {
        0 => dice.roll(100),
        1 => 100 + dice.roll(8),
        2 => 124 + dice.roll(12),
        3 => 156 + dice.roll(20),
        4 => 257 + dice.roll(255),
        _ => {
            let at = dice.roll(bytes.len());
            bytes[at] ^= 1 << dice.roll(8);
            return;
        }
    };
    bytes[header + at] = [0, b'0', b'1', b'5', b'7', b' ', b'/', b'.', b'a', 0x80][dice.roll(10)];
    let block = &mut bytes[header..header + 512];
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
