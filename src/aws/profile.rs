//! Interprets a profile: a role to assume (with a web identity, another profile or another source), keys, or a program
//! that prints them. No I/O: token files that it names are read when they are needed.

use super::credential_source::{CredentialSource, Role, WebIdentity};
use super::credentials::Credentials;
use super::environment::Environment;
use super::shared_files::{Profile, SharedFiles};
use super::{container, imds, static_keys};
use crate::error::{Context, Error, Result};

/// How long a chain of source profiles may be.
const LONGEST: usize = 16;
/// The session durations that AWS allows, in seconds.
const DURATION: std::ops::RangeInclusive<u32> = 900..=43_200;

/// The credential source of the profile `name`; `None` if it configures none.
pub(super) fn recipe(files: &SharedFiles, name: &str, env: &Environment) -> Result<Option<CredentialSource>> {
    let mut path = Vec::new();
    Reader { files, env }.profile(name, &mut path)
}

struct Reader<'a> {
    files: &'a SharedFiles,
    env: &'a Environment,
}

impl<'a> Reader<'a> {
    /// `path` has the profiles that led to this one.
    fn profile(&self, name: &str, path: &mut Vec<String>) -> Result<Option<CredentialSource>> {
        let profile = self.files.profile(name).ok_or_else(|| self.files.unknown(name))?;
        path.push(name.to_owned());
        let what = || format!("cannot use {}", profile.called());
        if let Some((arn, _)) = profile.find("role_arn") {
            return self.role(profile, arn, path).with_context(what).map(Some);
        }
        own(profile).with_context(what)
    }

    fn role(&self, profile: Profile<'_>, arn: &str, path: &mut Vec<String>) -> Result<CredentialSource> {
        if profile.get("mfa_serial").is_some() {
            return Err(Error::failed("it wants a code (mfa_serial), and nobody is here to type one"));
        }
        let session = profile.get("role_session_name").map(str::to_owned);
        let named = format!("role {arn} of {}", profile.called());
        if let Some((file, place)) = profile.find("web_identity_token_file") {
            let whose = format!("{named} in {}, by its web identity token", place.display());
            return Ok(CredentialSource::WebIdentity(WebIdentity {
                arn: arn.to_owned(),
                session,
                file: file.into(),
                whose,
            }));
        }
        let base = self.base(profile, path)?;
        let duration = profile.get("duration_seconds").map(duration).transpose()?;
        let external_id = profile.get("external_id").map(str::to_owned);
        let arn = arn.to_owned();
        Ok(CredentialSource::Role(Role { arn, session, external_id, duration, base: Box::new(base), whose: named }))
    }

    /// The credentials that assume the role.
    fn base(&self, profile: Profile<'_>, path: &mut Vec<String>) -> Result<CredentialSource> {
        match (profile.get("source_profile"), profile.get("credential_source")) {
            (Some(_), Some(_)) => Err(Error::failed("it has both source_profile and credential_source: keep one")),
            (None, None) => Err(Error::failed("it has a role_arn without source_profile or credential_source")),
            (None, Some(source)) => self.source(source),
            (Some(name), None) if path.last().is_some_and(|last| last == name) => {
                // A profile that is its own source: its keys assume its role.
                own(profile)?.ok_or_else(|| Error::failed("it is its own source_profile and has no keys"))
            }
            (Some(name), None) if path.iter().any(|seen| seen == name) || path.len() >= LONGEST => {
                Err(Error::failed(format!("its source_profile goes in a circle: {} -> {name}", path.join(" -> "))))
            }
            (Some(name), None) => self
                .lent(name, path)?
                .ok_or_else(|| Error::failed(format!("its source_profile {name:?} has no credentials"))),
        }
    }

    /// The credentials of a source profile: its own keys take precedence over its other settings.
    fn lent(&self, name: &str, path: &mut Vec<String>) -> Result<Option<CredentialSource>> {
        let keys = self.files.profile(name).map(keys).transpose()?.flatten();
        if keys.is_some() { Ok(keys) } else { self.profile(name, path) }
    }

    fn source(&self, name: &str) -> Result<CredentialSource> {
        let found = match name {
            "Environment" => static_keys::env_keys(self.env)?.map(CredentialSource::Keys),
            "EcsContainer" => container::recipe(self.env)?.map(CredentialSource::Container),
            "Ec2InstanceMetadata" => imds::Service::of(self.env)?.map(CredentialSource::Instance),
            other => {
                let known = "Environment, EcsContainer and Ec2InstanceMetadata";
                return Err(Error::failed(format!("its credential_source {other:?} is none of {known}")));
            }
        };
        found.ok_or_else(|| Error::failed(format!("its credential_source {name} has nothing")))
    }
}

/// The keys in the profile.
fn keys(profile: Profile<'_>) -> Result<Option<CredentialSource>> {
    let Some((values, file)) = profile.whole(&["aws_access_key_id", "aws_secret_access_key"]) else { return Ok(None) };
    let get = |key: &str| values.get(key).map(String::as_str);
    let whose = format!("{} in {}", profile.called(), file.display());
    let (Some(id), Some(secret)) = (get("aws_access_key_id"), get("aws_secret_access_key")) else {
        let why = "has only one of aws_access_key_id and aws_secret_access_key";
        return Err(Error::failed(format!("{} {why} in {}", profile.called(), file.display())));
    };
    let token = get("aws_session_token").or_else(|| get("aws_security_token"));
    Credentials::checked(id, secret, token, None, whose).map(|keys| Some(CredentialSource::Keys(keys)))
}

/// The profile's keys or program, without its role.
fn own(profile: Profile<'_>) -> Result<Option<CredentialSource>> {
    if let Some(keys) = keys(profile)? {
        return Ok(Some(keys));
    }
    if let Some((command, file)) = profile.find("credential_process") {
        let whose = format!("credential_process of {} in {}", profile.called(), file.display());
        return Ok(Some(CredentialSource::Process { command: command.to_owned(), whose }));
    }
    if profile.get("web_identity_token_file").is_some() {
        return Err(Error::failed("it has a web_identity_token_file without role_arn"));
    }
    if profile.get("sso_session").or_else(|| profile.get("sso_start_url")).is_some() {
        let way = "credential_process = aws configure export-credentials --format process --profile NAME";
        return Err(Error::failed(format!("it signs in by SSO, which needs a person: another profile can have {way}")));
    }
    Ok(None)
}

fn duration(text: &str) -> Result<u32> {
    let seconds = text.parse().ok().filter(|seconds| DURATION.contains(seconds));
    seconds.ok_or_else(|| Error::failed(format!("its duration_seconds {text:?} is no number from 900 to 43200")))
}

#[cfg(test)]
mod tests {
    use crate::aws::profile::*;
    use crate::aws::tests::Place;

    fn read(place: &Place, name: &str, variables: &[(&str, &str)]) -> Result<Option<CredentialSource>> {
        let env = place.env(variables);
        recipe(&SharedFiles::read(&env).unwrap(), name, &env)
    }

    const KEYS: &str = "aws_access_key_id = AK\naws_secret_access_key = hunter2\n";

    #[test]
    fn a_profile_becomes_what_it_says() {
        let place = Place::new();
        place.write(".aws/credentials", &format!("[base]\n{KEYS}aws_session_token = t\n[both]\n{KEYS}"));
        place.write(
            ".aws/config",
            "[profile role]\nrole_arn = R\nsource_profile = base\nexternal_id = e\nrole_session_name = s\n\
             duration_seconds = 3600\n[profile chain]\nrole_arn = Q\nsource_profile = role\n\
             [profile both]\nrole_arn = R\nsource_profile = both\naws_access_key_id = HALF\n\
             [profile process]\ncredential_process = /bin/x --y\n[profile empty]\nregion = x\n\
             [profile web]\nrole_arn = R\nweb_identity_token_file = /t\n\
             [profile env]\nrole_arn = R\ncredential_source = Environment\n",
        );
        let got = |name: &str| read(&place, name, &[]).unwrap();
        let Some(CredentialSource::Keys(base)) = got("base") else { panic!() };
        assert_eq!((base.access_key.as_str(), base.secret_key.reveal()), ("AK", "hunter2"));
        assert_eq!(base.token.as_ref().unwrap().reveal(), "t");
        assert!(base.whose.starts_with("profile base in ") && base.whose.ends_with(".aws/credentials"));
        let Some(CredentialSource::Role(role)) = got("role") else { panic!() };
        assert_eq!((role.arn.as_str(), role.external_id.as_deref(), role.duration), ("R", Some("e"), Some(3600)));
        assert_eq!((*role.base.clone(), role.session.as_deref()), (CredentialSource::Keys(base), Some("s")));
        let Some(CredentialSource::Role(chain)) = got("chain") else { panic!() };
        assert_eq!(*chain.base, CredentialSource::Role(role));
        let Some(CredentialSource::Role(both)) = got("both") else { panic!() };
        assert!(matches!(*both.base, CredentialSource::Keys(keys) if keys.access_key == "AK"));
        assert!(matches!(got("process"), Some(CredentialSource::Process { command, .. }) if command == "/bin/x --y"));
        assert!(matches!(got("web"), Some(CredentialSource::WebIdentity(web)) if web.file.as_os_str() == "/t"));
        assert_eq!(got("empty"), None);
        let keys = [("AWS_ACCESS_KEY_ID", "E"), ("AWS_SECRET_ACCESS_KEY", "s")];
        let Some(CredentialSource::Role(env)) = read(&place, "env", &keys).unwrap() else { panic!() };
        assert!(matches!(*env.base, CredentialSource::Keys(keys) if keys.access_key == "E"));
    }

    #[test]
    fn a_broken_profile_is_one_clear_error() {
        let place = Place::new();
        for (text, words) in [
            ("aws_access_key_id = AK", "only one of aws_access_key_id and aws_secret_access_key"),
            ("aws_secret_access_key = hunter2", "only one of"),
            ("aws_access_key_id = AK\naws_secret_access_key = hunter2 x", "characters that no key has"),
            ("web_identity_token_file = /t", "web_identity_token_file without role_arn"),
            ("role_arn = R", "without source_profile or credential_source"),
            ("role_arn = R\nsource_profile = p", "its own source_profile and has no keys"),
            ("role_arn = R\nsource_profile = b", "goes in a circle: p -> b -> p"),
            ("role_arn = R\nsource_profile = c", "no profile \"c\""),
            ("role_arn = R\nsource_profile = none", "\"none\" has no credentials"),
            ("role_arn = R\nsource_profile = b\ncredential_source = x", "both source_profile and credential_source"),
            ("role_arn = R\ncredential_source = Elsewhere", "\"Elsewhere\" is none of Environment"),
            ("role_arn = R\ncredential_source = Environment", "Environment has nothing"),
            ("role_arn = R\ncredential_source = EcsContainer", "EcsContainer has nothing"),
            ("role_arn = R\nsource_profile = k\nduration_seconds = 60", "from 900 to 43200"),
            ("role_arn = R\nsource_profile = k\nmfa_serial = m", "nobody is here to type one"),
            ("sso_session = s", "needs a person"),
        ] {
            let others = "[profile b]\nrole_arn = S\nsource_profile = p\n[profile none]\nregion = x\n";
            place.write(".aws/config", &format!("[profile p]\n{text}\n{others}[profile k]\n{KEYS}"));
            let error = read(&place, "p", &[]).unwrap_err().to_string();
            assert!(error.starts_with("cannot use profile p: ") && error.contains(words), "{text}: {error}");
            assert!(!error.contains("hunter2") && !error.contains('\n'), "{error}");
        }
    }
}
