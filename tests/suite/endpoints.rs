//! Where S3 and STS are asked: what the profile says, roots of AWS_CA_BUNDLE, and Amazon's hosts as botocore names them.

use std::process::Command;

use super::aws::{OFF, World, ini, mode, private};
use super::http::{live, refused};
use super::s3::{configure, keys};
use crate::support::moto::python;
use crate::support::needs::needs;
use crate::support::phrases::{CANNOT_POLL, CANNOT_USE, DEPLOYED, OTHERS_MAY_WRITE, TAKES};
use crate::support::sandbox::{Run, Sandbox};
use crate::support::servers::{Authority, Nginx, Raw, ok, status};

/// One check of `private/app.zip` without `s3-endpoint`.
fn check(sandbox: &Sandbox, config: &str, env: &[(&str, &str)]) -> Run {
    private(sandbox, "repo-deploy.cfg", config);
    let mut command = sandbox.command(&["-v", "--remote", "s3://private/app.zip"]);
    command.env(OFF.0, OFF.1).envs(env.iter().copied()).output().unwrap().into()
}

#[test]
fn a_profile_names_the_endpoints_then_they_are_asked_and_variables_come_before_them() {
    let Some(world) = World::new() else { return };
    let (url, role) = (world.moto.url(), &world.moto.role);
    let all = format!("endpoint_url = {url}");
    let services =
        format!("services = ours\n[services ours]\ns3 =\n  endpoint_url = {url}\nsts =\n  endpoint_url = {url}");
    for endpoints in [&all, &services] {
        let sandbox = Sandbox::new();
        private(&sandbox, "home/.aws/credentials", ini("base", &world.moto.keys));
        sandbox.write(
            "home/.aws/config",
            format!("[profile app]\nrole_arn = {role}\nsource_profile = base\n{endpoints}\n"),
        );
        check(&sandbox, "aws-profile = app", &[]).expect(0).says(&format!("role {role} of profile app"));
        assert_eq!(live(&sandbox), "through S3");
        check(&sandbox, "aws-profile = app", &[]).expect(0).never_says(DEPLOYED);
        let elsewhere = Raw::always(status("403 Forbidden", ""));
        let variable = ("AWS_ENDPOINT_URL_S3", elsewhere.url(""));
        check(&sandbox, "aws-profile = app", &[(variable.0, &variable.1)]).expect(1);
        assert_eq!(elsewhere.seen().len(), 1);
    }
    for (endpoints, words) in [
        ("services = lost", "profile app has services = lost, and there is no [services lost]"),
        (
            "endpoint_url = http://u:hunter2@h",
            &*format!("{CANNOT_USE} endpoint_url of profile app: {TAKES} http:// or https://"),
        ),
    ] {
        let sandbox = Sandbox::new();
        private(&sandbox, "home/.aws/credentials", ini("app", &world.moto.keys));
        sandbox.write("home/.aws/config", format!("[profile app]\n{endpoints}\n"));
        let run = check(&sandbox, "aws-profile = app", &[]).expect(78).never_says("hunter2");
        assert_eq!(run.complaints().len(), 1, "{}", run.log);
        run.says(words);
    }
}

#[test]
fn an_endpoint_has_a_path_then_it_is_part_of_what_is_asked_and_signed() {
    let Some(world) = World::new() else { return };
    let moto = &world.moto;
    let aside = Sandbox::new();
    let zip = aside.zip("made.zip", &[("file", "below")]);
    // moto takes the first name for the bucket, and checks the signature over all of the path.
    moto.put("private", "a_b/~c/bucket/x y/app.zip", &zip);
    for (path, remote) in
        [("/private", "s3://a_b/~c/bucket/x y/app.zip"), ("/private/a_b/~c/", "s3://bucket/x y/app.zip")]
    {
        for by_key in [true, false] {
            let sandbox = Sandbox::new();
            let endpoint = format!("{}{path}", moto.url());
            let keys = format!("aws-access-key = {}\naws-secret-key = {}\n", moto.keys.id, moto.keys.secret);
            let key = if by_key { format!("s3-endpoint = {endpoint}\ns3-path-style = yes\n") } else { String::new() };
            private(&sandbox, "repo-deploy.cfg", keys + &key);
            let mut command = sandbox.command(&["--remote", remote]);
            command.env(OFF.0, OFF.1).env("AWS_ENDPOINT_URL_S3", if by_key { "http://127.0.0.1:1" } else { &endpoint });
            let run: Run = command.output().unwrap().into();
            run.expect(0);
            assert_eq!(live(&sandbox), "below");
        }
    }
    // The bucket in the host: a proxy sees what is asked.
    let proxy = Raw::always(status("403 Forbidden", ""));
    let sandbox = Sandbox::new();
    configure(&sandbox, "http://s3.example/gate/way", Some(&keys()), "");
    let mut command = sandbox.command(&["--remote", "s3://bucket/app.zip"]);
    command.env(OFF.0, OFF.1).env("http_proxy", proxy.url(""));
    Run::from(command.output().unwrap()).expect(1);
    assert_eq!(proxy.seen()[0].target(), "http://bucket.s3.example/gate/way/app.zip");
    for bad in ["http://h/a%20b", "http://h/a//b", "http://h/?x", "http://h/a#b", "http://h/(a)"] {
        configure(&sandbox, bad, Some(&keys()), "");
        sandbox.deploy("s3://bucket/app.zip", &[]).expect(78).says("s3-endpoint").says("and perhaps a port and a path");
    }
}

#[test]
fn keys_stand_in_the_configuration_then_the_default_profile_does_not_say_where_to_ask() {
    let elsewhere = Raw::always(status("403 Forbidden", ""));
    let proxy = Raw::always(status("403 Forbidden", ""));
    let proxy_url = proxy.url("");
    for broken in [false, true] {
        let sandbox = Sandbox::new();
        let text = format!("[default]\nendpoint_url = {}\n", elsewhere.url(""));
        let path = sandbox.write("home/.aws/config", if broken { "nonsense".to_owned() } else { text });
        mode(&path, 0o600);
        let keys = "aws-access-key = AK\naws-secret-key = s\naws-region = eu-west-1";
        check(&sandbox, keys, &[("https_proxy", &proxy_url)]).expect(1).says("the proxy refuses the tunnel");
    }
    let asked: Vec<_> = proxy.seen().iter().map(|seen| seen.target().to_owned()).collect();
    assert_eq!(asked, ["private.s3.eu-west-1.amazonaws.com:443"; 2]);
    assert_eq!(elsewhere.seen().len(), 0);
}

#[test]
fn roots_of_aws_ca_bundle_are_believed_by_s3_sts_and_containers_and_by_nothing_else() {
    needs!("nginx", "openssl");
    let Some(world) = World::new() else { return };
    let sandbox = Sandbox::new();
    let authority = Authority::new(&sandbox);
    let (keys, token) = world.moto.assumed();
    sandbox.write("www/creds", super::aws::json(&keys, &token, "Token"));
    sandbox.zip("www/app.zip", &[("file", "through S3")]);
    let pass = format!("location / {{ proxy_pass {}; proxy_set_header Host $http_host; }}", world.moto.url());
    let files = "location = /creds { } location = /app.zip { }";
    let config = format!("{}\n{pass}\n{files}", authority.certificate("IP:127.0.0.1", &[]));
    let nginx = Nginx::start(&sandbox, "ssl", &config);
    let (https, creds) = (nginx.https("127.0.0.1", ""), nginx.https("127.0.0.1", "/creds"));
    let bundle = ("AWS_CA_BUNDLE", authority.ca().to_str().unwrap().to_owned());
    let bundle = (bundle.0, bundle.1.as_str());
    let endpoint = ("AWS_ENDPOINT_URL", https.as_str());
    let (id, secret) = (world.moto.keys.id.as_str(), world.moto.keys.secret.as_str());
    let by_keys = [("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret)];
    let by_agent = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", creds.as_str())];
    let role = format!("[profile app]\nrole_arn = {}\ncredential_source = Environment\n", world.moto.role);
    for (config, env, whom) in [
        ("", &by_keys[..], &*format!("{CANNOT_POLL} s3://private/app.zip: its certificate comes from a CA")),
        ("aws-profile = app", &by_keys, "asked 127.0.0.1: its certificate comes from a CA"),
        ("", &by_agent, "container endpoint 127.0.0.1: its certificate comes from a CA"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.write("home/.aws/config", &role);
        let line = refused(&sandbox, check(&sandbox, config, &[env, &[endpoint]].concat()));
        assert!(line.contains(whom), "{line}");
        check(&sandbox, config, &[env, &[endpoint, bundle]].concat()).expect(0);
        assert_eq!(live(&sandbox), "through S3");
    }
    // It is added: nothing that was believed before is not any more. And it is AWS's.
    let sandbox = Sandbox::new();
    private(&sandbox, "repo-deploy.cfg", "");
    let mut command = sandbox.command(&["--remote", &nginx.https("127.0.0.1", "/app.zip")]);
    let line = refused(&sandbox, Run::from(command.env(bundle.0, bundle.1).output().unwrap()));
    assert!(line.contains("its certificate comes from a CA"), "{line}");

    for (content, bits, words) in [
        ("nothing", 0o644, "there is no usable certificate"),
        ("", 0o666, OTHERS_MAY_WRITE),
        ("-", 0o644, "no such file"),
    ] {
        let sandbox = Sandbox::new();
        let file = sandbox.path("bundle.pem");
        if content != "-" {
            mode(&sandbox.write("bundle.pem", content), bits);
        }
        let env = [&by_keys[..], &[endpoint, ("AWS_CA_BUNDLE", file.to_str().unwrap())]].concat();
        let line = refused(&sandbox, check(&sandbox, "", &env));
        assert!(line.contains(&format!("AWS_CA_BUNDLE {}: ", file.display())) && line.contains(words), "{line}");
    }
}

/// The hosts of S3 and STS as botocore has them, one region and variant a line; `-` where it knows none.
const HOSTS: &str = r"
import sys, botocore.session
from botocore.config import Config
from urllib.parse import urlsplit
regions = ['eu-west-1', 'us-gov-west-1', 'cn-north-1', 'us-iso-east-1', 'us-isob-east-1', 'eu-isoe-west-1',
           'us-isof-south-1', 'eusc-de-east-1']
for region in regions:
    for dual, fips in [(False, False), (True, False), (False, True), (True, True)]:
        hosts = []
        for service, what, how in [('s3', 'get_object', {'Bucket': 'bucket', 'Key': 'k'}), ('sts', 'get_caller_identity', {})]:
            config = Config(use_dualstack_endpoint=dual, use_fips_endpoint=fips, signature_version='s3v4' if service == 's3' else 'v4',
                            s3={'addressing_style': 'virtual'})
            try:
                client = botocore.session.get_session().create_client(service, region_name=region, config=config,
                    aws_access_key_id='a', aws_secret_access_key='b')
                hosts.append(urlsplit(client.generate_presigned_url(what, Params=how)).netloc)
            except Exception:
                hosts.append('-')
        print(region, str(dual).lower(), str(fips).lower(), *hosts)
";

#[test]
fn amazons_hosts_are_those_that_botocore_knows() {
    needs!(time);
    let Some(mut python) = python() else { return };
    let env = [("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_STS_REGIONAL_ENDPOINTS", "regional")];
    let output = python.args(["-c", HOSTS]).env_clear().envs(env).output().unwrap();
    let known = String::from_utf8(output.stdout).unwrap();
    assert_eq!(known.lines().count(), 32, "{}", String::from_utf8_lossy(&output.stderr));
    // Nobody is asked: the proxy says no, and notes whom it was to ask.
    let proxy = Raw::always(status("403 Forbidden", ""));
    for line in known.lines() {
        let [region, dual, fips, s3, sts] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        for (host, config) in [(s3, ""), (sts, "aws-profile = app\n")] {
            let sandbox = Sandbox::new();
            let has_keys = if config.is_empty() { Some(keys()) } else { None };
            configure(&sandbox, "", has_keys.as_ref(), &format!("{config}aws-region = {region}"));
            let role = "[profile app]\nrole_arn = r\ncredential_source = Environment\n";
            sandbox.write("home/.aws/config", role);
            let mut command = sandbox.command(&["--remote", "s3://bucket/k"]);
            command.env("https_proxy", proxy.url("")).env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b");
            command.env("AWS_USE_DUALSTACK_ENDPOINT", dual).env("AWS_USE_FIPS_ENDPOINT", fips);
            let before = proxy.seen().len();
            let run = Run::from(command.output().unwrap());
            assert!(run.code != 0 && run.complaints().len() == 1, "{}", run.log);
            let asked: Vec<_> = proxy.seen()[before..].iter().map(|seen| seen.target().to_owned()).collect();
            let expected = if host == "-" { Vec::new() } else { vec![format!("{host}:443")] };
            assert_eq!(asked, expected, "{line}\n{}", run.log);
        }
    }
}

#[test]
fn a_custom_endpoint_is_asked_whatever_variant_is_wanted() {
    let sandbox = Sandbox::new();
    let body = std::fs::read(sandbox.zip("made.zip", &[("file", "one")])).unwrap();
    let server = Raw::always(ok("ETag: \"1\"", &body));
    configure(&sandbox, &server.url(""), Some(&keys()), "");
    let mut command: Command = sandbox.command(&["--remote", "s3://private/app.zip"]);
    command.env("AWS_USE_FIPS_ENDPOINT", "true").env("AWS_USE_DUALSTACK_ENDPOINT", "true");
    Run::from(command.output().unwrap()).expect(0);
    assert_eq!(live(&sandbox), "one");
}
