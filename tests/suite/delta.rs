//! A ZIP that is fetched as a delta of the live one: few bytes on the wire, and the right bytes in the end, whatever the
//! server, the seed or a crash does.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use crate::crash::traced;
use crate::http::Unmount;
use crate::memory::peak;
use crate::plan::ranged;
use crate::s3::configure;
use crate::support::moto::Moto;
use crate::support::needs::needs;
use crate::support::phrases::TAKES;
use crate::support::rawzip::{Member, archive};
use crate::support::sandbox::{Run, Sandbox, tree};
use crate::support::servers::{Authority, Nginx, Raw, Seen, Step, cut, ok, raw, status};
use crate::support::walk::{points, sample};

/// Names and contents.
type Files = BTreeMap<String, Vec<u8>>;

/// Bytes that do not compress.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A ZIP whose members were changed in that year.
fn zipped(files: &Files, year: u16, method: zip::CompressionMethod) -> Vec<u8> {
    let mut out = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let time = zip::DateTime::from_date_and_time(year, 1, 2, 3, 4, 6).unwrap();
    let options = zip::write::SimpleFileOptions::default().compression_method(method).last_modified_time(time);
    for (name, content) in files {
        out.start_file(name.as_str(), options).unwrap();
        out.write_all(content).unwrap();
    }
    out.finish().unwrap().into_inner()
}

fn stored(files: &Files) -> Vec<u8> {
    zipped(files, 2024, zip::CompressionMethod::Stored)
}

/// A pair of archives of some megabytes that differ in one of their members.
fn pair() -> (Vec<u8>, Vec<u8>) {
    let mut files: Files = (0..60).map(|n| (format!("lib/{n:02}"), noise(n, 40_000))).collect();
    let old = stored(&files);
    files.insert("lib/30".to_owned(), noise(1000, 41_000));
    (old, stored(&files))
}

/// The archive in the cache.
fn seed(sandbox: &Sandbox) -> Option<PathBuf> {
    let names = fs::read_dir(sandbox.path("cache/default")).into_iter().flatten().map(|entry| entry.unwrap().path());
    let all: Vec<PathBuf> = names.collect();
    assert!(all.len() <= 1, "more than the seed: {all:?}");
    let seed = all.into_iter().next()?;
    assert!(seed.file_name().unwrap().to_str().unwrap().starts_with("seed-"), "{seed:?}");
    Some(seed)
}

/// Asserts that the live tree and the seed are those of `zip`.
#[track_caller]
fn is_live(sandbox: &Sandbox, zip: &[u8], at: &str) {
    assert!(fs::read(seed(sandbox).unwrap_or_else(|| panic!("{at}: no seed"))).unwrap() == zip, "{at}: other bytes");
    has_tree(sandbox, zip, at);
}

#[track_caller]
fn has_tree(sandbox: &Sandbox, zip: &[u8], at: &str) {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(zip)).unwrap();
    let names: Vec<String> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
    for name in &names {
        let mut content = Vec::new();
        std::io::copy(&mut archive.by_name(name).unwrap(), &mut content).unwrap();
        let path = sandbox.local().join(name);
        assert!(path.is_dir() || fs::read(path).unwrap() == content, "{at}: {name}");
    }
    let files = tree(&sandbox.local()).values().filter(|what| !what.starts_with('d')).count();
    assert_eq!(files, names.iter().filter(|name| !name.ends_with('/')).count(), "{at}");
}

/// Bytes of bodies that nginx has sent.
fn sent(nginx: &Nginx) -> u64 {
    nginx.all().iter().map(|line| line.rsplit('|').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// The bytes that the history says were fetched by the last deployment.
fn fetched(sandbox: &Sandbox, remote: &str) -> u64 {
    let history = sandbox.saying(&["history", "--json"], &["--remote", remote]).output().unwrap();
    let history: serde_json::Value = serde_json::from_str(&Run::from(history).expect(0).out).unwrap();
    history["deployments"][0]["history"][0]["bytes"].as_u64().unwrap()
}

/// Deploys `old` and `new` from nginx; returns the share of `new` that was sent, in hundredths of a percent.
#[track_caller]
fn share(sandbox: &Sandbox, old: &[u8], new: &[u8]) -> u64 {
    let nginx = Nginx::start(sandbox, "", "");
    let remote = nginx.url("/app.zip");
    sandbox.write("www/app.zip", old);
    sandbox.deploy(&remote, &[]).expect(0);
    is_live(sandbox, old, "the first");
    let before = (sent(&nginx), nginx.log(1).len());
    sandbox.write("www/app.zip", new);
    let run = sandbox.deploy(&remote, &["-v"]).expect(0).says(&format!(" of {} bytes as a delta: ", new.len()));
    is_live(sandbox, new, "the second");
    eprintln!("{}", run.log.lines().find(|line| line.contains(" as a delta: ")).unwrap_or_default());
    let requests = run.log.lines().filter(|line| line.contains("GET http")).count();
    nginx.log(before.1 + requests);
    let bytes = sent(&nginx) - before.0;
    assert!(requests <= 64 + 3, "{requests}");
    assert!(run.log.contains(&format!("fetched {bytes} of ")), "{bytes}: {}", run.log);
    assert_eq!(fetched(sandbox, &remote), bytes);
    sandbox.deploy(&remote, &[]).expect(0);
    assert!(nginx.log(before.1 + requests + 1).last().unwrap().ends_with("|304|0"));
    bytes * 10_000 / new.len() as u64
}

// ---- what it costs ----

#[test]
fn parts_are_fetched_in_a_row_then_they_have_one_connection_for_as_long_as_the_server_lets_them() {
    needs!("nginx", "openssl");
    // Every other file changes, and between them there is too much to fetch it too.
    let files = |version: u64| -> Files {
        let seed = |n: u64| if n.is_multiple_of(2) { n } else { n + 100 * version };
        (0..20)
            .map(|n| (format!("f{n:02}"), noise(seed(n), if n.is_multiple_of(2) { 150_000 } else { 10_000 })))
            .collect()
    };
    let (old, new) = (stored(&files(1)), stored(&files(2)));
    for (listen, config, per_connection) in
        [("", "", usize::MAX), ("ssl", "", usize::MAX), ("ssl", "keepalive_requests 2;", 2)]
    {
        let sandbox = Sandbox::new();
        let authority = Authority::new(&sandbox);
        let certificate = if listen == "ssl" { authority.certificate("IP:127.0.0.1", &[]) } else { String::new() };
        let nginx = Nginx::start(&sandbox, listen, &format!("{certificate}\n{config}"));
        let remote = if listen == "ssl" { nginx.https("127.0.0.1", "/app.zip") } else { nginx.url("/app.zip") };
        sandbox.write("repo-deploy.cfg", format!("ca-file = {}\n", authority.ca().display()));
        sandbox.write("www/app.zip", &old);
        sandbox.deploy(&remote, &[]).expect(0);
        let (requests, connections) = (nginx.log(1).len(), nginx.connections());
        sandbox.write("www/app.zip", &new);
        let run = sandbox.deploy(&remote, &["-v"]).expect(0).says(" as a delta: ");
        is_live(&sandbox, &new, config);
        let asked = run.log.lines().filter(|line| line.contains("GET http")).count();
        assert_eq!(nginx.log(requests + asked).len(), requests + asked);
        // One for the poll.
        assert!(asked > 3, "{asked}");
        let expected = 1 + (asked - 1).div_ceil(per_connection);
        assert_eq!(nginx.connections() - connections, expected, "{listen} {config}: {asked} requests");
    }
}

#[test]
fn three_thousand_small_files_and_sixteen_changed_then_at_most_5_percent_also_with_new_times() {
    needs!("nginx");
    let mut files: Files = (0..3000).map(|n| (format!("src/{}/{n}.txt", n % 40), noise(n, 4000))).collect();
    let old = zipped(&files, 2024, zip::CompressionMethod::Deflated);
    for n in 0..16_u64 {
        files.insert(format!("src/{}/{}.txt", (n * 187) % 40, n * 187), noise(9000 + n, 3900));
    }
    for year in [2024, 2025] {
        let new = zipped(&files, year, zip::CompressionMethod::Deflated);
        let share = share(&Sandbox::new(), &old, &new);
        eprintln!("3,000 files, 16 changed, {year}: {share} of 10,000");
        assert!(share <= 500, "{share}");
    }
}

#[test]
fn delta_of_twenty_thousand_members_takes_at_most_12_mib_more_memory_than_all_of_it() {
    needs!(time, "time");
    let sandbox = Sandbox::new();
    let mut files: Files = (0..20_000).map(|n| (format!("some/where/{}/name{n}", n % 100), noise(n, 1000))).collect();
    let old = stored(&files);
    files.insert("some/where/7/name7".to_owned(), noise(8, 999));
    let (one, two) = (old, stored(&files));
    let server = Raw::start(move |seen, n| match n {
        0 => vec![ranged(seen, "\"1\"", &one)],
        _ => vec![ranged(seen, "\"2\"", &two)],
    });
    let command = sandbox.command(&["-v", "--remote", &server.url("/app.zip")]);
    let (whole, kib) = peak(&sandbox, &command);
    whole.expect(0).never_says(" as a delta: ");
    let (delta, more) = peak(&sandbox, &command);
    delta.expect(0).says(" as a delta: 19999 of 20000 members ");
    eprintln!("20,000 members: {kib} KiB, as a delta {more} KiB");
    assert!(more <= kib + 12 * 1024, "{kib} KiB, as a delta {more} KiB");
}

#[test]
fn archive_of_200_stored_archives_and_one_changed_then_at_most_1_percent() {
    needs!("nginx");
    let jar = |n: u64| stored(&BTreeMap::from([("classes".to_owned(), noise(n, 100_000))]));
    let mut files: Files = (0..200).map(|n| (format!("BOOT-INF/lib/{n}.jar"), jar(n))).collect();
    let old = stored(&files);
    files.insert("BOOT-INF/lib/77.jar".to_owned(), jar(5000));
    let share = share(&Sandbox::new(), &old, &stored(&files));
    eprintln!("200 nested archives, 1 changed: {share} of 10,000");
    assert!(share <= 100, "{share}");
}

#[test]
fn node_modules_with_one_package_changed_then_at_most_3_percent() {
    needs!("nginx");
    let mut files = Files::new();
    for package in 0..150_u64 {
        for file in 0..12 {
            let length = 1000 + usize::try_from((package * 7 + file * 3) % 11).unwrap() * 1500;
            files.insert(format!("node_modules/p{package:03}/lib/{file}.js"), noise(package * 100 + file, length));
        }
    }
    let old = zipped(&files, 2024, zip::CompressionMethod::Deflated);
    for file in 0..12 {
        files.insert(format!("node_modules/p077/lib/{file}.js"), noise(70_000 + file, 6000));
    }
    let share = share(&Sandbox::new(), &old, &zipped(&files, 2024, zip::CompressionMethod::Deflated));
    eprintln!("150 packages, 1 changed: {share} of 10,000");
    assert!(share <= 300, "{share}");
}

#[test]
fn archives_of_info_zip_with_new_times_everywhere_are_fetched_as_a_delta() {
    needs!("nginx", "zip", "touch");
    let sandbox = Sandbox::new();
    for n in 0..200_u64 {
        sandbox.write(format!("src/d/{n}"), noise(n, 20_000));
    }
    let zip = |name: &str, date: &str| {
        let files = (0..200).map(|n| format!("d/{n}"));
        let touched = Command::new("touch").args(["-d", date]).args(files).current_dir(sandbox.path("src")).status();
        let zip = ["-qr", &format!("../{name}"), "d"];
        let made = Command::new("zip").args(zip).current_dir(sandbox.path("src")).status();
        assert!(touched.unwrap().success() && made.unwrap().success());
        fs::read(sandbox.path(name)).unwrap()
    };
    let old = zip("old.zip", "2024-02-03 04:05:06");
    sandbox.write("src/d/100", noise(7000, 19_000));
    let new = zip("new.zip", "2024-05-06 07:08:10");
    let share = share(&sandbox, &old, &new);
    assert!(share <= 500, "{share}");
}

#[test]
fn object_in_s3_is_fetched_as_a_delta_and_proven_by_its_etag_or_not_at_all() {
    let sandbox = Sandbox::new();
    let Some(moto) = Moto::start(&sandbox) else { return };
    let (old, new) = pair();
    let newest = stored(&(0..60).map(|n| (format!("lib/{n:02}"), noise(n / 5 * 5, 40_000))).collect());
    configure(&sandbox, &moto.url(), Some(&moto.keys), "");
    for bucket in ["private", "versioned"] {
        let remote = &format!("s3://{bucket}/app.zip");
        for (zip, is_delta) in [(&old, false), (&new, true), (&newest, false)] {
            moto.put(bucket, "app.zip", &sandbox.write("put.zip", zip));
            let run = sandbox.deploy(remote, &["-v"]).expect(0);
            assert_eq!(run.log.contains(" as a delta: "), is_delta, "{bucket}: {}", run.log);
            if is_delta {
                run.says("its MD5 is ");
            }
            is_live(&sandbox, zip, bucket);
        }
        fs::remove_dir_all(sandbox.path("cache")).unwrap();
    }
    // An object in parts has an ETag that is no MD5.
    let parts = "from boto3.s3.transfer import TransferConfig\n\
                 client('s3').upload_file(sys.argv[4], 'private', 'parts.zip', Config=TransferConfig(multipart_threshold=1))";
    for (zip, is_delta) in [(&old, false), (&new, true)] {
        moto.boto(parts, &[sandbox.write("put.zip", zip).to_str().unwrap()]);
        let run = sandbox.deploy("s3://private/parts.zip", &["-v"]).expect(0);
        assert_eq!(run.log.contains(" as a delta: "), is_delta, "{}", run.log);
        is_live(&sandbox, zip, "in parts");
    }
}

#[test]
fn archives_of_every_form_are_assembled_to_the_byte() {
    let content = |n: u64| noise(n, 30_000);
    let base: Vec<Member> = (0..50)
        .map(|n| {
            let (name, content) = (format!("d/{n:02}"), content(n));
            match n % 5 {
                0 => Member::deflated(name, content),
                1 => Member::file(name, content),
                2 => Member::deflated(name, content).described([12, 16, 20, 24][usize::try_from(n).unwrap() / 5 % 4]),
                3 => Member { wide: true, ..Member::file(name, content) },
                _ => Member { comment: b"a comment".to_vec(), ..Member::deflated(name, content) },
            }
        })
        .collect();
    let changed = |change: &dyn Fn(&mut Vec<Member>)| {
        let mut members = base.clone();
        change(&mut members);
        members
    };
    let prefixed = |zip: Vec<u8>| [&b"#!/bin/sh\n"[..], &zip].concat();
    let old = archive(&base, b"").bytes;
    for (name, new) in [
        ("reordered", archive(&changed(&|members| members.reverse()), b"").bytes),
        ("renamed", archive(&changed(&|members| members[21].name = b"other".to_vec()), b"").bytes),
        ("stored instead of deflated", archive(&changed(&|members| members[20].method = 0), b"").bytes),
        ("described", archive(&changed(&|members| members[7] = members[7].clone().described(16)), b"").bytes),
        ("not described", archive(&changed(&|m| m[12] = Member::deflated("d/12", content(12))), b"").bytes),
        ("no longer ZIP64", archive(&changed(&|members| members[13].wide = false), b"").bytes),
        ("comment", archive(&base, b"a comment of the archive").bytes),
        ("prefix", prefixed(archive(&changed(&|members| drop(members.remove(4))), b"").bytes)),
        ("times", {
            let mut raw = archive(&base, b"");
            for member in 0..base.len() {
                raw = raw.both32(member, (10, 12), 0x5b76_7000);
            }
            raw.bytes
        }),
    ] {
        let sandbox = Sandbox::new();
        let (one, two) = (old.clone(), new.clone());
        let server = Raw::start(move |seen, n| match n {
            0 => vec![ranged(seen, "\"1\"", &one)],
            _ => vec![ranged(seen, "\"2\"", &two)],
        });
        sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
        let run = sandbox.deploy(&server.url("/app.zip"), &["-v"]).expect(0);
        // That all are in another order is no reason to fetch more.
        assert!(run.log.contains(" as a delta: "), "{name}: {}", run.log);
        is_live(&sandbox, &new, name);
    }
}

#[test]
fn member_that_the_directory_calls_unchanged_is_another_then_its_etag_refuses_it() {
    let sandbox = Sandbox::new();
    let Some(moto) = Moto::start(&sandbox) else { return };
    configure(&sandbox, &moto.url(), Some(&moto.keys), "");
    let (old, mut new) = pair();
    moto.put("private", "app.zip", &sandbox.write("put.zip", &old));
    sandbox.deploy("s3://private/app.zip", &[]).expect(0);
    // In the content of a member that both directories describe alike.
    new[5_000] ^= 1;
    moto.put("private", "app.zip", &sandbox.write("put.zip", &new));
    let run = sandbox.deploy("s3://private/app.zip", &["-v"]).expect(1);
    let run = run.says("what came is not what was stored").says("fetching all of it");
    run.says("its content does not match its checksum");
    is_live(&sandbox, &old, "damaged at the source");
}

// ---- servers ----

/// What a hostile server answers to the `n`th request (from 0) of the second check.
type Answer = fn(&Seen, usize, &[u8]) -> Step;

/// A range of `body` with another `Content-Range` or other bytes.
fn lie(seen: &Seen, body: &[u8], change: fn(&mut String, &mut Vec<u8>)) -> Step {
    let Step::Send(bytes) = ranged(seen, "\"2\"", body) else { panic!() };
    let at = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let (mut head, mut content) = (String::from_utf8(bytes[..at].to_vec()).unwrap(), bytes[at..].to_vec());
    change(&mut head, &mut content);
    Step::Send([head.as_bytes(), &content].concat())
}

#[test]
fn server_lies_about_ranges_then_the_right_bytes_are_deployed() {
    let (old, new) = pair();
    let answers: [(&str, Answer); 12] = [
        ("no ranges at all", |_, _, body| ok("ETag: \"2\"", body)),
        ("a whole body after the end", |seen, n, body| match n {
            0 => ranged(seen, "\"2\"", body),
            _ => ok("ETag: \"2\"", body),
        }),
        ("another range of the end", |seen, _, body| match seen.header("Range") {
            None => ok("ETag: \"2\"", body),
            Some(_) => raw(
                &format!(
                    "206 Partial Content\nETag: \"2\"\nContent-Length: 10\nContent-Range: bytes 0-9/{}",
                    body.len()
                ),
                &body[..10],
            ),
        }),
        ("another range of a part", |seen, n, body| match (n, seen.header("Range")) {
            (1.., Some(_)) => lie(seen, body, |head, _| *head = head.replace("-Range: bytes 1", "-Range: bytes 2")),
            _ => ranged(seen, "\"2\"", body),
        }),
        ("another total", |seen, n, body| match (n, seen.header("Range")) {
            (1.., Some(_)) => lie(seen, body, |head, _| *head = head.replace("\r\n\r\n", "9\r\n\r\n")),
            _ => ranged(seen, "\"2\"", body),
        }),
        ("another ETag", |seen, n, body| match (n, seen.header("Range")) {
            (1.., Some(_)) => lie(seen, body, |head, _| *head = head.replace("\"2\"", "\"3\"")),
            _ => ranged(seen, "\"2\"", body),
        }),
        ("a weak ETag", |seen, n, body| match (n, seen.header("Range")) {
            (_, Some(_)) => lie(seen, body, |head, _| *head = head.replace("\"2\"", "W/\"2\"")),
            _ => ok("ETag: \"2\"", body),
        }),
        ("412 for each part", |seen, n, body| match (n, seen.header("Range")) {
            (1.., Some(_)) => status("412 Precondition Failed", ""),
            _ => ranged(seen, "\"2\"", body),
        }),
        ("403 for each part", |seen, n, body| match (n, seen.header("Range")) {
            (1.., Some(_)) => status("403 Forbidden", ""),
            _ => ranged(seen, "\"2\"", body),
        }),
        ("416 for the end", |seen, _, body| match seen.header("Range") {
            Some(_) => status("416 Range Not Satisfiable", ""),
            None => ok("ETag: \"2\"", body),
        }),
        ("parts that end at once", |seen, n, body| match (n, seen.header("Range")) {
            (1.., Some(_)) => cut(ranged(seen, "\"2\"", body), 10),
            _ => ranged(seen, "\"2\"", body),
        }),
        ("other bytes in each part", |seen, n, body| match (n, seen.header("Range")) {
            (1.., Some(_)) => lie(seen, body, |_, content| {
                let middle = content.len() / 2;
                content[middle] ^= 1;
            }),
            _ => ranged(seen, "\"2\"", body),
        }),
    ];
    for (name, answer) in answers {
        let sandbox = Sandbox::new();
        let (one, two) = (old.clone(), new.clone());
        let server = Raw::start(move |seen, n| match n {
            0 => vec![ranged(seen, "\"1\"", &one)],
            _ => vec![answer(seen, n - 1, &two)],
        });
        sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
        let run = sandbox.deploy(&server.url("/app.zip"), &["-v"]).expect(0);
        assert!(server.seen()[1].header("Range").is_some(), "{name}");
        assert!(run.complaints().is_empty(), "{name}: {}", run.log);
        is_live(&sandbox, &new, name);
    }
}

#[test]
fn parts_end_too_early_then_they_are_asked_for_again_from_there() {
    let (old, new) = pair();
    let sandbox = Sandbox::new();
    let (one, two) = (old, new.clone());
    let server = Raw::start(move |seen, n| match n {
        0 => vec![ranged(seen, "\"1\"", &one)],
        2 => vec![cut(ranged(seen, "\"2\"", &two), 30_000)],
        _ => vec![ranged(seen, "\"2\"", &two)],
    });
    sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
    sandbox
        .deploy(&server.url("/app.zip"), &["-v"])
        .expect(0)
        .says(" as a delta: ")
        .says("closed the connection too early");
    is_live(&sandbox, &new, "cut");
    let ranges: Vec<(usize, usize)> = server.seen()[2..]
        .iter()
        .map(|seen| {
            let range = seen.header("Range").unwrap().strip_prefix("bytes=").unwrap().split_once('-').unwrap();
            (range.0.parse().unwrap(), range.1.parse().unwrap())
        })
        .collect();
    assert_eq!((ranges.len(), ranges[1]), (2, (ranges[0].0 + 30_000, ranges[0].1)));
    assert!(server.seen()[2..].iter().all(|seen| seen.header("If-Match") == Some("\"2\"")));
}

#[test]
fn directory_that_lies_is_refused_or_the_right_bytes_are_deployed() {
    let (old, new) = pair();
    let start = new.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    // A size, a name, an offset, and the number of members.
    let end = new.len() - 22;
    for (name, at) in [("size", start + 24), ("name", start + 46), ("offset", start + 42 + 1), ("members", end + 10)] {
        let sandbox = Sandbox::new();
        let mut lying = new.clone();
        lying[at] ^= 1;
        let (one, two) = (old.clone(), lying);
        let server = Raw::start(move |seen, n| match n {
            0 => vec![ranged(seen, "\"1\"", &one)],
            _ => vec![ranged(seen, "\"2\"", &two)],
        });
        sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
        let run = sandbox.deploy(&server.url("/app.zip"), &["-v"]).expect(1);
        assert_eq!(run.complaints().len(), 1, "{name}: {}", run.log);
        is_live(&sandbox, &old, name);
    }
}

#[test]
fn replaced_while_its_parts_are_fetched_then_the_new_one_is_deployed() {
    let (old, new) = pair();
    let mut files: Files = (0..60).map(|n| (format!("lib/{n:02}"), noise(n, 40_000))).collect();
    files.insert("lib/05".to_owned(), noise(4000, 900));
    let newest = stored(&files);
    let sandbox = Sandbox::new();
    let (one, two, three) = (old, new, newest.clone());
    let server = Raw::start(move |seen, n| match n {
        0 => vec![ranged(seen, "\"1\"", &one)],
        1 => vec![ranged(seen, "\"2\"", &two)],
        _ => vec![ranged(seen, "\"3\"", &three)],
    });
    sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
    sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
    is_live(&sandbox, &newest, "replaced");
}

#[test]
fn archive_is_larger_than_max_download_then_it_is_refused_and_no_part_is_fetched() {
    let (old, new) = pair();
    let sandbox = Sandbox::new();
    let (one, two) = (old.clone(), new);
    let server = Raw::start(move |seen, n| match n {
        0 => vec![ranged(seen, "\"1\"", &one)],
        _ => vec![ranged(seen, "\"2\"", &two)],
    });
    sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
    sandbox.write("repo-deploy.cfg", "max-download = 2000000\n");
    sandbox.deploy(&server.url("/app.zip"), &[]).expect(1).says("max-download allows 2000000");
    assert_eq!(server.seen().len(), 2);
    is_live(&sandbox, &old, "too large");
}

// ---- seeds ----

#[test]
fn seed_is_damaged_or_gone_then_the_right_bytes_are_deployed() {
    let (old, new) = pair();
    let other = stored(&(0..40).map(|n| (format!("x{n}"), noise(n + 500, 40_000))).collect());
    let flip = |zip: &[u8], at: usize| {
        let mut zip = zip.to_vec();
        zip[at] ^= 0x10;
        zip
    };
    for (name, damage, is_delta) in [
        ("none", None, true),
        ("content", Some(flip(&old, 50_000)), false),
        ("a time in a local header", Some(flip(&old, 11)), false),
        ("directory", Some(flip(&old, old.len() - 100)), false),
        ("end", Some(flip(&old, old.len() - 22)), false),
        ("short", Some(old[..old.len() - 1].to_vec()), false),
        ("empty", Some(Vec::new()), false),
        ("no zip", Some(vec![7; old.len()]), false),
        ("another zip", Some(other), false),
    ] {
        let sandbox = Sandbox::new();
        let (one, two) = (old.clone(), new.clone());
        let server = Raw::start(move |seen, n| match n {
            0 => vec![ranged(seen, "\"1\"", &one)],
            _ => vec![ranged(seen, "\"2\"", &two)],
        });
        sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
        if let Some(damaged) = damage {
            fs::write(seed(&sandbox).unwrap(), damaged).unwrap();
        }
        let run = sandbox.deploy(&server.url("/app.zip"), &["-v"]).expect(0);
        assert_eq!(run.log.contains(" as a delta: "), is_delta, "{name}: {}", run.log);
        assert!(run.complaints().is_empty(), "{name}: {}", run.log);
        is_live(&sandbox, &new, name);
    }
}

#[test]
fn sum_does_not_match_what_was_assembled_then_all_of_it_is_fetched_and_deployed() {
    needs!("nginx", "zip", "touch", "sha256sum");
    let sandbox = Sandbox::new();
    let nginx = Nginx::start(&sandbox, "", "");
    sandbox.write("repo-deploy.cfg", "sha256-url = SHA256SUMS\n");
    // The time of last access is not in the directory of the archive, so that it is guessed.
    let zip = |accessed: &str| {
        for n in 0..100_u64 {
            let path = sandbox.write(format!("src/{n}"), noise(n, 20_000));
            for args in [["-m", "-d", "2024-02-03 04:05:06"], ["-a", "-d", accessed]] {
                assert!(Command::new("touch").args(args).arg(&path).status().unwrap().success());
            }
        }
        drop(fs::remove_file(sandbox.path("new.zip")));
        let made = Command::new("zip").args(["-qr", "../new.zip", "."]).current_dir(sandbox.path("src")).status();
        assert!(made.unwrap().success());
        let zip = fs::read(sandbox.path("new.zip")).unwrap();
        sandbox.write("www/app.zip", &zip);
        let sums = Command::new("sha256sum").arg("app.zip").current_dir(sandbox.path("www")).output().unwrap().stdout;
        sandbox.write("www/SHA256SUMS", sums);
        zip
    };
    let remote = nginx.url("/app.zip");
    let old = zip("2024-02-03 04:05:06");
    sandbox.deploy(&remote, &[]).expect(0);
    is_live(&sandbox, &old, "the first");
    let new = zip("2024-09-09 09:09:10");
    assert!(old != new);
    let run = sandbox.deploy(&remote, &["-v"]).expect(0);
    // The release is that of the content: nothing has changed but what no reader reads, or it is deployed anew.
    assert!(run.log.contains(" as a delta: ") && run.log.contains("is fetched whole: cannot trust "), "{}", run.log);
    is_live(&sandbox, &new, "the second");
}

#[test]
fn delta_is_off_or_no_seed_is_kept_then_all_of_it_is_fetched() {
    let (old, new) = pair();
    let sandbox = Sandbox::new();
    let served = Arc::new(Mutex::new((1, old.clone())));
    let object = served.clone();
    let server = Raw::start(move |seen, _| {
        let (etag, body) = &*object.lock().unwrap();
        vec![ranged(seen, &format!("\"{etag}\""), body)]
    });
    let put = |etag, zip: &[u8]| *served.lock().unwrap() = (etag, zip.to_vec());
    let check = |config: &str, args: &[&str]| {
        sandbox.write("repo-deploy.cfg", config);
        let before = server.seen().len();
        let run = sandbox.deploy(&server.url("/app.zip"), &[&["-v"], args].concat()).expect(0);
        (run, server.seen()[before..].iter().filter(|seen| seen.header("Range").is_some()).count())
    };
    check("", &[]);
    is_live(&sandbox, &old, "kept");
    put(2, &new);
    let (run, ranges) = check("delta = off\n", &[]);
    assert_eq!(ranges, 0, "{}", run.log);
    is_live(&sandbox, &new, "off");
    // At the next check, though there is nothing to deploy.
    let (_, ranges) = check("archive-seed = no\n", &[]);
    assert_eq!((ranges, seed(&sandbox)), (0, None));
    put(3, &old);
    let (_, ranges) = check("archive-seed = no\n", &[]);
    assert_eq!((ranges, seed(&sandbox)), (0, None));
    has_tree(&sandbox, &old, "no seed");
    put(4, &new);
    check("delta = auto\narchive-seed = yes\n", &[]);
    is_live(&sandbox, &new, "kept again");
    put(5, &old);
    let (run, ranges) = check("", &[]);
    assert!(ranges == 2 && run.log.contains(" as a delta: "), "{ranges}: {}", run.log);
    is_live(&sandbox, &old, "a delta again");
    for bad in ["delta = on", "archive-seed = auto"] {
        sandbox.write("repo-deploy.cfg", bad);
        sandbox.deploy(&server.url("/app.zip"), &[]).expect(78).says(TAKES);
    }
}

#[test]
fn blocked_release_keeps_its_archive_until_it_is_live_and_a_rolled_back_one_does_not() {
    let (old, new) = pair();
    let sandbox = Sandbox::new();
    let served = Arc::new(Mutex::new((1, old.clone())));
    let object = served.clone();
    let server = Raw::start(move |seen, _| {
        let (etag, body) = &*object.lock().unwrap();
        vec![ranged(seen, &format!("\"{etag}\""), body)]
    });
    let remote = &server.url("/app.zip");
    sandbox.deploy(remote, &[]).expect(0);
    *served.lock().unwrap() = (2, new.clone());
    sandbox.hook("pre.d", "10-no", "exit 1");
    sandbox.deploy(remote, &[]).expect(2);
    let kept = fs::read_dir(sandbox.path("cache/default")).unwrap().count();
    assert_eq!(kept, 2, "that of the live release and of the blocked one");
    fs::remove_file(sandbox.path("pre.d/10-no")).unwrap();
    sandbox.deploy(remote, &[]).expect(0);
    is_live(&sandbox, &new, "no longer blocked");
    *served.lock().unwrap() = (3, old);
    sandbox.hook("post.d", "10-no", "[ \"$REPO_DEPLOY_REASON\" = revert ] || exit 1");
    let run = sandbox.deploy(remote, &[]);
    assert_eq!(run.code, 1, "{}", run.log);
    is_live(&sandbox, &new, "rolled back");
}

#[test]
fn cache_has_room_for_one_archive_then_the_seed_makes_room_and_all_of_it_is_fetched() {
    let sandbox = Sandbox::new();
    let disk = sandbox.path("cache/default");
    fs::create_dir(&disk).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=3m,mode=700", "none"]).arg(&disk).status();
    if !mounted.is_ok_and(|status| status.success()) {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "cannot mount a tmpfs");
        eprintln!("left out: this machine cannot mount a tmpfs");
        return;
    }
    let unmount = Unmount(&disk);
    let (old, new) = pair();
    let (one, two) = (old.clone(), new.clone());
    let server = Raw::start(move |seen, n| match n {
        0 => vec![ranged(seen, "\"1\"", &one)],
        _ => vec![ranged(seen, "\"2\"", &two)],
    });
    sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
    is_live(&sandbox, &old, "the first");
    let run = sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
    assert!(run.complaints().is_empty(), "{}", run.log);
    is_live(&sandbox, &new, "the second");
    drop(unmount);
}

// ---- crashes ----

#[test]
fn killed_anywhere_in_a_delta_then_the_next_run_is_right() {
    needs!(time, "strace", "nginx");
    let sandbox = Sandbox::in_memory();
    let nginx = Nginx::start(&sandbox, "", "");
    let (old, new) = pair();
    sandbox.write("www/app.zip", &old);
    sandbox.deploy(&nginx.url("/app.zip"), &[]).expect(0);
    sandbox.write("www/app.zip", &new);
    const PLACES: [&str; 3] = ["cache", "deploy", "state"];
    let saved = sandbox.path("saved");
    let copy = |from: &str, to: &str| {
        for place in PLACES {
            let (from, to) = (sandbox.path(from).join(place), sandbox.path(to));
            drop(fs::remove_dir_all(to.join(place)));
            fs::create_dir_all(&to).unwrap();
            assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
        }
    };
    copy("", "saved");
    let remote = nginx.url("/app.zip");
    let command = sandbox.command(&["-v", "--remote", &remote]);
    let trace = sandbox.path("trace");
    let run = Run::from(traced(&command, &["-o", trace.to_str().unwrap()]).output().unwrap()).expect(0);
    run.says(" as a delta: ");
    let (mut trials, all) = (0, points(&sandbox.read("trace")));
    for point in sample("delta", 60, all) {
        copy("saved", "");
        let (name, n) = (&point.name, point.n);
        let (only, inject) = (format!("trace={name}"), format!("inject={name}:signal=KILL:when={n}"));
        let run = Run::from(traced(&command, &["-o", "/dev/null", "-e", &only, "-e", &inject]).output().unwrap());
        let at = format!("killed before {name} #{n}");
        if run.code == 137 {
            trials += 1;
        }
        let run = sandbox.deploy(&remote, &[]);
        assert_eq!(run.code, 0, "{at}: {}", run.log);
        has_tree(&sandbox, &new, &at);
        // What a download leaves is used or replaced by the next one; of archives, only that of the live release stays.
        let names: Vec<String> = fs::read_dir(sandbox.path("cache/default"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(names.iter().filter(|name| name.starts_with("seed-")).count() <= 1, "{at}: {names:?}");
        assert!(names.iter().all(|name| name.starts_with("seed-") || name.starts_with("download-")), "{at}: {names:?}");
    }
    assert!(trials > 20, "{trials}");
    assert!(saved.exists());
}
