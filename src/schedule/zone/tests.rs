use super::*;

/// The zone of this value of TZ.
pub fn zone(name: &str) -> Zone {
    load::zone(None, Some(name)).unwrap_or_else(|why| panic!("{why}"))
}

/// The changes of a zone within a period: time, old offset, new offset.
fn changes(zone: &Zone, from: i64, to: i64) -> Vec<(i64, i64, i64)> {
    let mut found = Vec::new();
    let mut span = zone.span(from);
    while span.end < to {
        let next = zone.span(span.end);
        assert_eq!(next.start, span.end);
        assert!(next.end > next.start);
        if next.offset != span.offset {
            found.push((next.start, span.offset, next.offset));
        }
        span = next;
    }
    found
}

const YEAR_2026: i64 = 1_767_225_600;
const YEAR_2027: i64 = 1_798_761_600;

#[test]
fn rules_change_the_clock_when_they_say() {
    let hour = 3600;
    for (text, expected) in [
        ("UTC0", &[][..]),
        ("<+0545>-5:45", &[]),
        // 2026-03-29 01:00 and 2026-10-25 01:00 UTC.
        ("CET-1CEST,M3.5.0,M10.5.0/3", &[(1_774_746_000, hour, 2 * hour), (1_792_890_000, 2 * hour, hour)]),
        // 2026-03-08 07:00 and 2026-11-01 06:00 UTC.
        ("EST5EDT", &[(1_772_953_200, -5 * hour, -4 * hour), (1_793_512_800, -4 * hour, -5 * hour)]),
        // Southern half, and half an hour: 2026-04-04 15:00 and 2026-10-03 15:30 UTC.
        ("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", &[(1_775_314_800, 39_600, 37_800), (1_791_041_400, 37_800, 39_600)]),
        // Greenland, before the midnight of the day: 2026-03-29 01:00 and 2026-10-25 01:00 UTC.
        ("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", &[(1_774_746_000, -2 * hour, -hour), (1_792_890_000, -hour, -2 * hour)]),
        // Gaza, days behind it: the 50th hour of the fourth Thursday in March is on Saturday.
        ("EET-2EEST,M3.4.4/50,M10.4.4/50", &[(1_774_656_000, 2 * hour, 3 * hour), (1_792_796_400, 3 * hour, 2 * hour)]),
        // Days by number: the 60th without the leap day is 1 March; the 60th from zero on is 2 March.
        ("AAA0BBB,J60,J300/0", &[(1_772_330_400, 0, hour), (1_793_055_600, hour, 0)]),
        ("AAA0BBB,60,300/0", &[(1_772_416_800, 0, hour), (1_793_142_000, hour, 0)]),
        // Summer without an end.
        ("XXX3EDT4,0/0,J365/23", &[]),
        ("EST5EDT,0/0,J365/25", &[]),
    ] {
        assert_eq!(changes(&zone(text), YEAR_2026 + 86_400, YEAR_2027 - 86_400), expected, "{text}");
    }
    assert_eq!(zone("EST5EDT,0/0,J365/25").span(YEAR_2027).offset, -4 * hour);
}

#[test]
fn what_is_no_rule_is_refused() {
    for text in [
        "CET",
        "CE-1",
        "CET-25",
        "CET-1:60",
        "CET-1CEST,M3.5.0",
        "CET-1CEST,M3.5.0,M10.5.0/3,",
        "CET-1CEST,M3.5.0,M10.5.0/168",
        "CET-1CEST,M13.5.0,M10.5.0",
        "CET-1CEST,M3.6.0,M10.5.0",
        "CET-1CEST,M3.0.0,M10.5.0",
        "CET-1CEST,M3.5.7,M10.5.0",
        "CET-1CEST,J0,J366",
        "CET-1CEST,366,1",
        "<CET-1",
        "<>1",
        "CET-1CEST,M3.5,M10.5.0",
        "CET--1",
        "CET-1 ",
        "ÄÖÜ-1",
        "99999999999999999999",
    ] {
        assert_eq!(Rule::parse(text), None, "{text}");
    }
}

#[test]
fn zones_that_cannot_be_loaded_say_how_to_give_one() {
    for (named, environment, expected) in [
        (
            None,
            Some("Europe/Berln"),
            "cannot load the time zone Europe/Berln of TZ: it is no file in /usr/share/zoneinfo, ",
        ),
        (
            Some("../../../etc/passwd"),
            None,
            "cannot load the time zone ../../../etc/passwd of CRON_TZ: it is no file in ",
        ),
        (
            None,
            Some("/etc/hostname"),
            "cannot load the time zone /etc/hostname of TZ: /etc/hostname: it is no zone file: ",
        ),
        (None, Some("/no/such"), "cannot load the time zone /no/such of TZ: there is no /no/such: "),
        (
            Some("Europe"),
            None,
            "cannot load the time zone Europe of CRON_TZ: /usr/share/zoneinfo/Europe: it is no regular ",
        ),
        (Some("\u{fffd}"), Some("UTC"), "cannot load the time zone \u{fffd} of CRON_TZ: "),
    ] {
        let why = load::zone(named, environment).unwrap_err();
        assert!(why.starts_with(expected), "{why}\n{expected}");
        assert!(why.contains("TZ=CET-1CEST,M3.5.0,M10.5.0/3)"), "{why}");
    }
    for utc in ["", "UTC", "Etc/UTC", ":UTC", "GMT0", "UTC0"] {
        assert_eq!(zone(utc).span(0).offset, 0, "{utc}");
    }
}

/// The file of a zone and its rule have different authors, and agree on the years to come.
#[test]
fn files_and_rules_agree_after_the_last_change() {
    for (name, rule) in [
        ("Europe/Berlin", "CET-1CEST,M3.5.0,M10.5.0/3"),
        ("America/New_York", "EST5EDT,M3.2.0,M11.1.0"),
        ("Australia/Lord_Howe", "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0"),
        ("Asia/Kolkata", "IST-5:30"),
        ("America/Sao_Paulo", "<-03>3"),
    ] {
        let (file, rule) = (zone(name), zone(rule));
        let (from, to) = (YEAR_2026, YEAR_2026 + 100 * 365 * 86_400);
        assert_eq!(changes(&file, from, to), changes(&rule, from, to), "{name}");
    }
}

#[test]
fn a_file_is_damaged_then_it_is_an_error_and_never_a_panic() {
    for name in ["Europe/Berlin", "Asia/Kolkata", "America/Sao_Paulo"] {
        let whole = std::fs::read(format!("/usr/share/zoneinfo/{name}")).unwrap();
        assert!(file::parse(&whole).is_ok());
        for length in 0..whole.len() {
            assert!(file::parse(&whole[..length]).is_err(), "{name} cut at {length}");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bent = whole.clone();
                bent[at] ^= 1 << bit;
                // It may still be a valid zone, though another one; its functions then return.
                if let Ok(zone) = file::parse(&bent) {
                    for at in [i64::MIN / 8, -1, 0, YEAR_2026, i64::MAX / 8] {
                        assert!(zone.first_shown(at) <= zone.latest_shown(at).max(at) + 4 * 86_400);
                    }
                }
            }
        }
    }
}

#[test]
fn old_and_odd_files_are_read_or_refused() {
    // Version 1: no rule, so the last change holds for ever.
    let header = |version: u8, counts: [u32; 6]| {
        let mut bytes = b"TZif".to_vec();
        bytes.push(version);
        bytes.extend([0; 15]);
        counts.iter().for_each(|n| bytes.extend(n.to_be_bytes()));
        bytes
    };
    let mut old = header(0, [0, 0, 0, 2, 2, 4]);
    old.extend([0, 0, 0, 100, 0, 0, 0, 200, 1, 0]);
    old.extend([0, 0, 0x0e, 0x10, 0, 0, 0, 0, 0x1c, 0x20, 1, 0]);
    old.extend(b"ABC\0");
    let zone = file::parse(&old).unwrap();
    assert_eq!([99, 100, 199, 200, 1 << 40].map(|at| zone.span(at).offset), [3600, 7200, 7200, 3600, 3600]);
    let mut leaping = old.clone();
    leaping[31] = 1;
    assert_eq!(file::parse(&leaping), Err("it counts leap seconds, and no clock here does"));
    let mut backwards = old.clone();
    backwards[47] = 201;
    assert_eq!(file::parse(&backwards), Err("it is cut off or damaged"));
    assert_eq!(file::parse(b"#!/bin/sh"), Err("it is no zone file"));
    assert_eq!(file::parse(&header(b'2', [u32::MAX; 6])), Err("it is cut off or damaged"));
}
