//! Tables of validators.

use super::*;

fn identity(headers: &[(&'static str, &str)]) -> ResponseIdentity {
    let pairs = headers.iter().map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_str(v).unwrap()));
    ResponseIdentity::of(&pairs.collect())
}

const MON: &str = "Mon, 02 Nov 2026 10:00:00 GMT";
const TUE: &str = "Tue, 03 Nov 2026 10:00:00 GMT";

#[test]
fn revision_table() {
    for (headers, expected) in [
        (&[("etag", "\"a\"")][..], Some("etag:\"a\"".to_owned())),
        (&[("etag", "W/\"a\""), ("last-modified", MON)], Some("etag:W/\"a\"".to_owned())),
        (&[("last-modified", MON), ("content-length", "7")], Some(format!("modified:{MON}+7"))),
        (&[("last-modified", MON), ("transfer-encoding", "chunked")], Some(format!("modified:{MON}"))),
        (&[("content-length", "7")], None),
        (&[("etag", "")], None),
        (&[("etag", "\"a\tb\"")], None),
        (&[], None),
    ] {
        assert_eq!(identity(headers).revision().map(|r| r.to_string()), expected, "{headers:?}");
    }
    assert_eq!(identity(&[("etag", &"x".repeat(1025))]).revision(), None);
}

#[test]
fn only_a_quoted_etag_without_w_is_strong() {
    for (etag, strong) in [("\"a\"", true), ("W/\"a\"", false), ("a", false), ("\"", false), ("\"\"", true)] {
        assert_eq!(identity(&[("etag", etag)]).strong_etag().is_some(), strong, "{etag}");
    }
}

#[test]
fn what_is_made_of_times_names_nothing_while_it_is_young() {
    let seconds = of_http_date(MON).unwrap();
    let nginx = format!("\"{seconds:x}-7\"");
    for (etag, after, expected) in [
        ("", 0, true),
        ("", 1, true),
        ("", 2, false),
        ("", -1, true),
        ("", -2, false),
        ("W/\"x\"", 1, true),
        ("W/\"x\"", 2, false),
        (&nginx, 1, true),
        (&nginx, 2, false),
        ("\"d41d8cd98f00b204e9800998ecf8427e\"", 0, false), // a strong one, perhaps of the content
    ] {
        let date = crate::sys::clock::http_date(seconds.saturating_add_signed(after));
        let mut headers = vec![("last-modified", MON), ("date", &date), ("content-length", "7")];
        headers.extend((!etag.is_empty()).then_some(("etag", etag)));
        let seen = identity(&headers);
        let got = (seen.revision().is_none(), seen.strong_etag().is_none() || etag.is_empty());
        assert_eq!(got, (expected, expected || !is_strong(etag)), "{etag} {after}");
        // The poll is unconditional; a response with the same validators is then identified by its content, and is
        // final.
        let (revision, validators) = (Revision::new("sha256:00"), seen.validators("here"));
        let known =
            ResponseIdentity::remembered(Known { revision: &revision, validators: &validators }, "here").unwrap();
        assert_eq!(known.conditions().is_empty(), expected, "{etag} {after}");
        let old = identity(&headers[..1].iter().chain(&headers[2..]).copied().collect::<Vec<_>>());
        assert_eq!((known.is_still(&old), old.revision().is_some()), (!expected, true), "{etag} {after}");
        let now = old.after(Some(&known));
        assert_eq!(now.revision().is_none(), expected, "{etag} {after}");
        assert_eq!(now.validators("here").get(YOUNG), None);
        let other = identity(&[("etag", "\"other\"")]).after(Some(&known));
        assert_eq!(other.revision(), Some(Revision::new("etag:\"other\"")));
    }
    assert_eq!(identity(&[("last-modified", MON)]).young, None, "a server without a clock");
    let version = HeaderName::from_static("x-amz-version-id");
    let headers: HeaderMap = [("last-modified", MON), ("date", MON), ("x-amz-version-id", "v1")]
        .iter()
        .map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v)))
        .collect();
    assert_eq!(
        ResponseIdentity::of(&headers).with_version(&headers, &version).revision(),
        Some(Revision::new("version:v1"))
    );
}

#[test]
fn a_name_that_stays_young_is_relied_upon_when_it_is_read_long_after_it_was_seen_first() {
    let seen = |at: u64| ResponseIdentity { young: Some(at), ..identity(&[("last-modified", MON), ("date", MON)]) };
    let first = seen(1000);
    for (at, young) in [(1000, Some(1000)), (1002, Some(1000)), (1003, None), (999, Some(999))] {
        let now = seen(at).after(Some(&first));
        assert_eq!((now.young, now.revision()), (young, None), "{at}: the content tells once more");
    }
    // Read again within the same fetch, or known as final: it stays as it is.
    let settled = seen(1003).after(Some(&first));
    assert_eq!(seen(1004).after(Some(&settled)), ResponseIdentity { young: None, ..seen(1004) });
    let sure = identity(&[("last-modified", MON)]);
    assert_eq!(seen(1004).after(Some(&sure)).revision(), sure.revision());
    let other = identity(&[("last-modified", TUE), ("date", TUE)]);
    assert!(other.young.is_some());
    assert_eq!(other.clone().after(Some(&first)), other);
}

#[test]
fn is_still_table() {
    for (known, now, expected) in [
        (&[("etag", "\"a\"")][..], &[("etag", "\"a\"")][..], true),
        (&[("etag", "\"a\"")], &[("etag", "W/\"a\"")], true),
        (&[("etag", "\"a\"")], &[("etag", "\"b\"")], false),
        (&[("etag", "\"a\""), ("last-modified", MON)], &[("etag", "\"b\""), ("last-modified", MON)], false),
        (&[("last-modified", MON)], &[("last-modified", MON)], true),
        (&[("last-modified", MON)], &[("last-modified", TUE)], false),
        (&[("last-modified", MON), ("content-length", "1")], &[("last-modified", MON), ("content-length", "2")], false),
        (&[("etag", "\"a\"")], &[("last-modified", MON)], false),
        (&[], &[], false),
    ] {
        assert_eq!(identity(known).is_still(&identity(now)), expected, "{known:?} {now:?}");
    }
}

#[test]
fn what_is_remembered_is_what_was_seen() {
    let revision = Revision::new("any");
    for headers in [
        &[("etag", "\"a\""), ("last-modified", MON), ("content-length", "7")][..],
        &[("etag", "W/\"a=b; c\"")],
        &[("last-modified", MON), ("content-length", "0")],
    ] {
        let seen = identity(headers);
        let validators = seen.validators("here");
        let known = Known { revision: &revision, validators: &validators };
        assert_eq!(ResponseIdentity::remembered(known, "here"), Some(seen), "{headers:?}");
        assert_eq!(ResponseIdentity::remembered(known, "elsewhere"), None, "{headers:?}");
    }
}

#[test]
fn remembered_without_validators_is_what_the_revision_says() {
    let none = Validators::default();
    for (revision, condition) in [
        ("etag:\"a\"", Some("if-none-match: \"a\"")),
        ("etag:", None),
        ("sha256:00", None),
        ("etag:\"a\r\nX: y\"", None),
    ] {
        let revision = Revision::new(revision);
        let known = Known { revision: &revision, validators: &none };
        let conditions = ResponseIdentity::remembered(known, "here").map(|i| i.conditions());
        let shown = conditions.map(|c| format!("{}: {}", c[0].0, c[0].1.to_str().unwrap()));
        assert_eq!(shown.as_deref(), condition, "{revision}");
    }
}

#[test]
fn a_condition_is_the_etag_or_else_the_date() {
    let both = identity(&[("etag", "\"a\""), ("last-modified", MON)]).conditions();
    assert_eq!(both, [(header::IF_NONE_MATCH, HeaderValue::from_static("\"a\""))]);
    let date = identity(&[("last-modified", MON)]).conditions();
    assert_eq!(date, [(header::IF_MODIFIED_SINCE, HeaderValue::from_static(MON))]);
}
