use super::*;

fn parsed(text: &str) -> (String, String, String) {
    let git = GitRemote::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    assert!(GitRemote::is_meant_by(text), "{text}");
    (git.place.for_git(), git.path, git.reference.map_or(String::new(), |r| r.to_string()))
}

#[test]
fn every_form_is_divided_into_repository_path_and_ref() {
    for (text, place, path, reference) in [
        ("git@github.com:org/app.git", "git@github.com:org/app.git", "", ""),
        ("git@github.com:org/app.git/path#branch", "git@github.com:org/app.git", "path", "branch"),
        ("user@host:app#v1", "user@host:app", "", "v1"),
        ("user@[::1]:app.git/a/b/", "user@[::1]:app.git", "a/b", ""),
        ("host:~/app.git#a/b", "host:~/app.git", "", "a/b"),
        ("ssh://git@host:22/org/app.git/p#x", "ssh://git@host:22/org/app.git", "p", "x"),
        ("ssh://host/srv/app", "ssh://host/srv/app", "", ""),
        ("ssh://[::1]:2222/app.git", "ssh://[::1]:2222/app.git", "", ""),
        ("git+ssh://host/a.git", "ssh://host/a.git", "", ""),
        ("git+https://host/a#b", "https://host/a", "", "b"),
        ("git+http://host/a.git/c", "http://host/a.git", "c", ""),
        ("https://u:p@host:8443/x.git/dir with blank#f#1", "https://host:8443/x.git", "dir with blank", "f#1"),
        ("HTTPS://host/x.git", "https://host/x.git", "", ""),
        ("git://host/x.git#main", "git://host/x.git", "", "main"),
        ("git://host:9999/x.git/y.git", "git://host:9999/x.git", "y.git", ""),
        ("file:///srv/app.git/web#live", "/srv/app.git", "web", "live"),
        ("/srv/app.git", "/srv/app.git", "", ""),
        ("/srv/app/.git/web", "/srv/app/.git", "web", ""),
    ] {
        assert_eq!(parsed(text), (place.into(), path.into(), reference.into()), "{text}");
    }
    for text in [
        "https://host/app.zip",
        "https://git.host/app",
        "https://x.git/app.zip",
        "file:///a.zip",
        "/srv/app",
        "s3://b/k.git",
    ] {
        assert!(!GitRemote::is_meant_by(text), "{text}");
    }
}

#[test]
fn what_could_be_a_command_or_an_option_is_refused() {
    for text in [
        "ext::sh -c touch% /tmp/x",
        "ext::sh -c x/a.git",
        "fd::7",
        "https::https://host/x.git",
        "a-b::c/x.git",
        "-u:x.git",
        "--upload-pack=touch /tmp/x:app.git",
        "-oProxyCommand=x@host:app.git",
        "user@-oProxyCommand=x:app.git",
        "ssh://-oProxyCommand=x/app.git",
        "ssh://user@-host/app.git",
        "ssh://-user@host/app.git",
        "ssh://u ser@host/app.git",
        "ssh://host;id/app.git",
        "ssh://$(id)@host/app.git",
        "ssh://`id`/app.git",
        "ssh://user:password@host/app.git",
        "ssh://host:0/app.git",
        "ssh://host:22x/app.git",
        "ssh://host:99999/app.git",
        "ssh://[::1/app.git",
        "ssh://host",
        "ssh:///app.git",
        "ssh://host/-app.git",
        "user@host:-app.git",
        "user@host:../app.git",
        "user@host:",
        "user@host:a/../../b.git",
        "git://user@host/x.git",
        "git://-host/x.git",
        "git://host/../x.git",
        "https://host/../x.git",
        "https://host/a/%2e%2e/x.git",
        "https:///x.git",
        "https://-host/x.git",
        "https://host/x.git?upload-pack=x",
        "https://host/x.git/../y",
        "https://host/x.git/a//b",
        "https://host/x.git/./y",
        "https://host/x.git/-y",
        "https://host/x.git/a\u{7}b",
        "https://host/x.git#--upload-pack=x",
        "https://host/x.git#",
        "https://host/x.git#a..b",
        "https://host/x.git#a:b",
        "https://host/x.git#refs/heads/*",
        "/srv/../x.git",
        "file://host/x.git",
        "/srv/x.git/..",
        "ssh://host/a\nb.git",
        "transport+x://host/a.git",
    ] {
        assert!(GitRemote::parse(text).is_err(), "{text:?} is taken: {:?}", GitRemote::parse(text));
    }
}

#[test]
fn what_is_shown_has_no_password() {
    for text in ["https://user:hunter2@host/x.git/p#r", "https://hunter2@host/x.git"] {
        let git = GitRemote::parse(text).unwrap();
        let shown = format!("{git} {git:?} {}", git.place.for_git());
        assert!(!shown.contains("hunter2") && shown.contains("https://host/x.git"), "{shown}");
    }
    assert_eq!(GitRemote::parse("git@h:a.git/p#r").unwrap().to_string(), "git@h:a.git/p#r");
}

#[test]
fn submodules_are_found_from_their_parent() {
    for (parent, text, place) in [
        ("https://h/org/app.git", "../lib.git", "https://h/org/lib.git"),
        ("https://h/org/app.git", "./lib", "https://h/org/app.git/lib"),
        ("https://h/app.git", "../../lib", ""),
        ("https://h/org/app.git", "https://other/x", "https://other/x"),
        ("git@h:org/app.git", "../lib.git", "git@h:org/lib.git"),
        ("git@h:app.git", "../lib.git", "git@h:lib.git"),
        ("git@h:app.git", "../../lib.git", ""),
        ("ssh://h:2/org/app.git", "../../x/lib.git", "ssh://h:2/x/lib.git"),
        ("git://h/org/app.git", "../lib.git", "git://h/org/lib.git"),
        ("/srv/app.git", "../lib.git", "/srv/lib.git"),
        ("/srv/app.git", "../../../lib.git", ""),
        ("https://h/app.git", "ext::sh -c x", ""),
        ("https://h/app.git", "-x", ""),
        ("https://h/app.git", "../-x", ""),
        ("git@h:app.git", "../-x", ""),
        ("https://h/app.git", "lib", ""),
    ] {
        let found = Place::parse(parent).unwrap().submodule(text);
        assert_eq!(found.as_ref().map(Place::for_git).unwrap_or_default(), place, "{parent} {text}: {found:?}");
    }
}
