//! The AWS SDKs' own test cases for profiles: the inputs of aws-sdk-rust's `profile-parser-tests.json` and
//! `assume-role-tests.json` (smithy-rs, `aws-config/test-data`), and the results here. Each difference has its reason,
//! here and in docs/s3.md.

use super::credential_source::{CredentialSource, Role};
use super::profile;
use super::shared_files::SharedFiles;
use super::tests::Place;

/// The content of both files: `name{key=value key=value}` for each profile, or a word of the error.
type Outcome = Result<&'static str, &'static str>;

/// `~/.aws/config`, `~/.aws/credentials`, and the SDK's result. A key below another is written `above.key`.
const FILES: [(&str, &str, Outcome); 61] = [
    ("", "", Ok("")),
    ("[profile p]", "", Ok("p{}")),
    ("[profile Az-09:/_%.@+]\n[profile p!q]", "", Ok("Az-09:/_%.@+{}")),
    ("[profile p", "", Err("without ]")),
    ("[profile \tp \t]", "", Ok("p{}")),
    ("[profile\tp]", "", Ok("p{}")),
    ("k = v", "", Err("before the first [section]")),
    ("[profile p]\nk = v", "", Ok("p{k=v}")),
    ("[profile p]\r\nk = v", "", Ok("p{k=v}")),
    ("[profile p]\nk = a=b", "", Ok("p{k=a=b}")),
    ("[profile p]\nk = \u{1f642}", "", Ok("p{k=\u{1f642}}")),
    ("[profile p]\nk = v\nl = w", "", Ok("p{k=v l=w}")),
    ("[profile p]\nl = w\nk = v", "", Ok("p{k=v l=w}")),
    ("[profile p]\nk \t=  \tv \t", "", Ok("p{k=v}")),
    ("[profile p]\nk =", "", Ok("p{k=}")),
    ("[profile p]\n= v", "", Err("without a key")),
    ("[profile p]\nk : v", "", Err("neither key = value")),
    ("[profile p]\n[profile q]", "", Ok("p{} q{}")),
    ("[profile p]\nk = v\n[profile q]\nl = w", "", Ok("p{k=v} q{l=w}")),
    ("\t \n[profile p]\n\t\n \nk = v\n\t \n[profile q]\n \t", "", Ok("p{k=v} q{}")),
    ("# a\n[profile p] # b\nk = v # c # d", "", Ok("p{k=v}")),
    ("; a\n[profile p] ; b\nk = v ; c ; d", "", Ok("p{k=v}")),
    ("# a\n[profile p] ; b\nk = v # c ; d", "", Ok("p{k=v}")),
    (";\n[profile p];\nk = v ;\n", "", Ok("p{k=v}")),
    ("[profile p]; a\n[profile q]# b", "", Ok("p{} q{}")),
    ("[profile p]\nk = v; a\nl = w# b", "", Ok("p{k=v; a l=w# b}")),
    ("[profile p]\nk = v\n -w", "", Ok("p{k=v|-w}")),
    ("[profile p]\nk = v\n -w\n -x", "", Ok("p{k=v|-w|-x}")),
    ("[profile p]\nk = v\n \t -w \t ", "", Ok("p{k=v|-w}")),
    ("[profile p]\nk = v\n -w # a", "", Ok("p{k=v|-w # a}")),
    ("[profile p]\nk = v\n -w ; a", "", Ok("p{k=v|-w ; a}")),
    (" -w", "", Err("neither key = value")),
    ("[profile p]\n -w", "", Err("neither key = value")),
    ("[profile p]\nk = v\n[profile p]\n -w", "", Err("neither key = value")),
    ("[profile p]\nk = v\n[profile p]\nl = w", "", Ok("p{k=v l=w}")),
    ("[profile p]\nk = v\nk = w", "", Ok("p{k=w}")),
    ("[profile p]\nk = v\n[profile p]\nk = w", "", Ok("p{k=w}")),
    ("[profile p]\nK = v\n[profile p]\nk = w", "", Ok("p{k=w}")),
    ("[profile default]\nk = v\n[default]\nl = w", "", Ok("default{k=v}")),
    ("[default]\nl = w\n[profile default]\nk = v", "", Ok("default{k=v}")),
    ("[profile a b]\nk = v", "[a b c]\nl = w", Ok("")),
    ("[profile p]\na b = v", "", Ok("p{}")),
    ("[profile AZaz09-_]", "", Ok("AZaz09-_{}")),
    ("[profile p]\nAZaz09-_ = v", "", Ok("p{azaz09-_=v}")),
    ("[profile p]\ns3 =\n k = v", "", Ok("p{s3.k=v}")),
    ("[profile p]\ns3 =\n v", "", Err("below a key without a value")),
    ("[profile p]\ns3 =\n k =", "", Ok("p{s3.k=}")),
    ("[profile p]\ns3 =\n = v", "", Err("without a key")),
    ("[profile p]\ns3 =\n a b = v", "", Ok("p{s3.a b=v}")),
    ("[profile p]\ns3 =\n k = v\n\t \n l = w", "", Ok("p{s3.k=v s3.l=w}")),
    ("[profile p]\nk = v", "[p]\nl = w", Ok("p{k=v l=w}")),
    ("[profile default]\nk = v\n[default]\nl = w\n[profile default]\nm = x", "", Ok("default{k=v m=x}")),
    (
        "[profile default]\nk = v\n[default]\nl = w\n[profile default]\nm = x",
        "[default]\nn=y",
        Ok("default{k=v m=x n=y}"),
    ),
    ("[profile p]\nk = v", "[p]\nk = w", Ok("p{k=w}")),
    ("[p]\nk = v", "", Ok("")),
    ("", "[profile p]\nk = v", Ok("")),
    ("[profilep]\nk = v\n[profile q]", "", Ok("q{}")),
    ("[   profile p    ]\nk = v\n[profile q]", "", Ok("p{k=v} q{}")),
    ("", "[   p    ]\nk = v\n[profile q]", Ok("p{k=v}")),
    ("[profile p]\nk = v\n[profile a b]\nx = 1\n[profile q]\nk = w", "", Ok("p{k=v} q{k=w}")),
    ("[sso-session s]\nk = v\n[profile q]", "[sso-sessions]\nl = w", Ok("q{} sso-sessions{l=w}")),
];

/// Cases with another result here: number in [`FILES`], the result, the reason.
const OTHERWISE: [(usize, &str, &str); 7] = [
    (2, "Az-09:/_%.@+{} p!q{}", "a name may have any sign, as the AWS command line has it"),
    (14, "p{}", "an empty value is none"),
    (40, "a b c{l=w}", "in the credentials file all of it is the name, as the AWS command line has it"),
    (41, "p{a b=v}", "it is nobody's key"),
    (46, "p{}", "an empty value is none"),
    (55, "profile p{k=v}", "in the credentials file all of it is the name, as the AWS command line has it"),
    (58, "p{k=v} profile q{}", "in the credentials file all of it is the name, as the AWS command line has it"),
];

fn read(config: &str, credentials: &str) -> Result<String, String> {
    let place = Place::new();
    place.write(".aws/config", config);
    place.write(".aws/credentials", credentials);
    let files = SharedFiles::read(&place.env(&[])).map_err(|e| e.to_string())?;
    Ok(files.shown().replace('\n', "|"))
}

#[test]
fn files_are_read_as_the_sdks_read_them_but_for_what_is_told() {
    let mut agree = 0;
    for (number, (config, credentials, sdk)) in FILES.iter().enumerate() {
        let ours = read(config, credentials);
        let other = OTHERWISE.iter().find(|(other, ..)| *other == number);
        let expected = other.map_or(*sdk, |(_, text, _)| Ok(text));
        match (&ours, expected) {
            (Ok(ours), Ok(expected)) => assert_eq!(ours, expected, "{number}: {config:?} {credentials:?}"),
            (Err(ours), Err(words)) => assert!(ours.contains(words), "{number}: {config:?}: {ours}"),
            _ => panic!("{number}: {config:?} {credentials:?}: {ours:?}, not {expected:?}"),
        }
        assert!(other.is_none_or(|(_, text, _)| *sdk != Ok(*text)), "{number} is no difference");
        agree += usize::from(other.is_none());
    }
    assert_eq!((agree, FILES.len()), (54, 61), "docs/s3.md says so");
}

/// Profiles as `name key=value …` lines, and the chain of profile `A`: keys or a source, then roles, `<` between them.
const CHAINS: [(&str, Outcome); 21] = [
    ("A role_arn=RA source_profile=B\nB aws_access_key_id=KB aws_secret_access_key=s", Ok("KB < RA")),
    (
        "A aws_access_key_id=KA aws_secret_access_key=s role_arn=RA source_profile=B\nB aws_access_key_id=KB aws_secret_access_key=s",
        Ok("KB < RA"),
    ),
    (
        "A role_arn=RA role_session_name=n source_profile=B\nB aws_access_key_id=KB aws_secret_access_key=s",
        Ok("KB < RA as n"),
    ),
    (
        "A role_arn=RA external_id=e source_profile=B\nB aws_access_key_id=KB aws_secret_access_key=s",
        Ok("KB < RA for e"),
    ),
    ("A aws_access_key_id=KA aws_secret_access_key=s role_arn=RA source_profile=A", Ok("KA < RA")),
    ("A role_arn=RA credential_source=Ec2InstanceMetadata", Ok("instance < RA")),
    ("A role_arn=RA", Err("without source_profile or credential_source")),
    (
        "A role_arn=RA credential_source=Environment source_profile=B\nB aws_access_key_id=KB aws_secret_access_key=s",
        Err("both source_profile and credential_source"),
    ),
    ("A role_arn=RA source_profile=B\nB aws_access_key_id=KB", Err("only one of aws_access_key_id")),
    ("A role_arn=RA source_profile=B\nB aws_secret_access_key=s", Err("only one of aws_access_key_id")),
    ("A role_arn=RA source_profile=B\nB", Err("\"B\" has no credentials")),
    ("A role_arn=RA source_profile=B", Err("no profile \"B\"")),
    ("", Err("no profile \"A\"")),
    (
        "A role_arn=RA source_profile=B\nB role_arn=RB source_profile=C\nC aws_access_key_id=KC aws_secret_access_key=s",
        Ok("KC < RB < RA"),
    ),
    (
        "A role_arn=RA aws_access_key_id=KA aws_secret_access_key=s source_profile=B\n\
         B role_arn=RB source_profile=C aws_access_key_id=KB aws_secret_access_key=s\n\
         C aws_access_key_id=KC aws_secret_access_key=s",
        Ok("KB < RA"),
    ),
    ("A role_arn=RA source_profile=B\nB role_arn=RB source_profile=A", Err("goes in a circle: A -> B -> A")),
    (
        "A role_arn=RA aws_access_key_id=KA aws_secret_access_key=s source_profile=B\nB role_arn=RB source_profile=A",
        Err("goes in a circle: A -> B -> A"),
    ),
    ("A role_arn=RA web_identity_token_file=/t", Ok("/t by RA")),
    ("A role_arn=RA web_identity_token_file=/t role_session_name=n", Ok("/t by RA as n")),
    ("A web_identity_token_file=/t", Err("without role_arn")),
    (
        "A role_arn=RA source_profile=B\nB role_arn=RB web_identity_token_file=/t role_session_name=n",
        Ok("/t by RB as n < RA"),
    ),
];

fn shown(recipe: &CredentialSource) -> String {
    let named =
        |before: &str, name: &Option<String>| name.as_ref().map_or_else(String::new, |n| format!(" {before} {n}"));
    match recipe {
        CredentialSource::Keys(keys) => keys.access_key.clone(),
        CredentialSource::Instance(_) => "instance".to_owned(),
        CredentialSource::WebIdentity(web) => {
            format!("{} by {}{}", web.file.display(), web.arn, named("as", &web.session))
        }
        CredentialSource::Role(Role { arn, session, external_id, base, .. }) => {
            format!("{} < {arn}{}{}", shown(base), named("as", session), named("for", external_id))
        }
        CredentialSource::Process { .. } | CredentialSource::Container(_) => panic!("none of the cases has one"),
    }
}

#[test]
fn chains_of_roles_are_those_of_the_sdks() {
    for (profiles, expected) in CHAINS {
        let text: String = profiles
            .lines()
            .map(|line| format!("[profile {}\n", line.replacen(' ', "]\n", 1).replace(' ', "\n")))
            .collect();
        let text = text.replace("[profile B\n", "[profile B]\n"); // the one without values
        let place = Place::new();
        place.write(".aws/config", &text);
        let env = place.env(&[]);
        let got = profile::recipe(&SharedFiles::read(&env).unwrap(), "A", &env);
        match (got, expected) {
            (Ok(got), Ok(expected)) => assert_eq!(shown(&got.unwrap()), expected, "{profiles}"),
            (Err(got), Err(words)) => assert!(got.to_string().contains(words), "{profiles}: {got}"),
            (got, _) => panic!("{profiles}: {got:?}"),
        }
    }
}
