//! The Security Token Service of a region: assumes a role with a web identity token (not signed) or with other
//! credentials (signed).

use ureq::http::Method;
use ureq::http::header::{self, HeaderValue};
use url::Url;
use url::form_urlencoded::Serializer;

use super::credential_source::{Role, WebIdentity};
use super::credentials::Credentials;
use super::endpoint::{Place, Service};
use super::files::read_token;
use super::web::CA_BUNDLE;
use super::xml::{element, raw_element};
use super::{answer, sigv4, web};
use crate::config::{Http, Secret};
use crate::error::{Context, Error, Result};
use crate::http::client::{Ask, Caller, Client};
use crate::http::message::Headers;
use crate::sys::clock::{self, Deadline};

const CONTENT_TYPE: &str = "application/x-www-form-urlencoded";
/// The default name of a session.
const SESSION: &str = "repo-deploy";

/// STS in one region.
pub(super) struct Sts<'a> {
    url: Url,
    region: String,
    http: &'a Http,
}

impl<'a> Sts<'a> {
    /// STS in `region`.
    pub(super) fn of(region: &str, place: &Place, http: &'a Http) -> Result<Self> {
        let url = place.url(Service::Sts, region)?;
        Ok(Self { url, region: region.to_owned(), http })
    }

    /// AssumeRoleWithWebIdentity. The token is read now, since it is renewed regularly.
    pub(super) fn web_identity(&self, role: &WebIdentity, deadline: Deadline) -> Result<Credentials> {
        let what = || format!("cannot get credentials of {}", role.whose);
        let token = read_token("web identity token", &role.file).with_context(what)?;
        let mut form = Serializer::new(String::new());
        form.append_pair("Action", "AssumeRoleWithWebIdentity").append_pair("Version", "2011-06-15");
        form.append_pair("RoleArn", &role.arn);
        form.append_pair("RoleSessionName", role.session.as_deref().unwrap_or(SESSION));
        form.append_pair("WebIdentityToken", token.reveal());
        self.ask(form.finish(), None, Some(&token), &role.whose, deadline).with_context(what)
    }

    /// AssumeRole with the credentials `base`.
    pub(super) fn assume(&self, role: &Role, base: &Credentials, deadline: Deadline) -> Result<Credentials> {
        let mut form = Serializer::new(String::new());
        form.append_pair("Action", "AssumeRole").append_pair("Version", "2011-06-15");
        form.append_pair("RoleArn", &role.arn);
        form.append_pair("RoleSessionName", role.session.as_deref().unwrap_or(SESSION));
        if let Some(id) = &role.external_id {
            form.append_pair("ExternalId", id);
        }
        if let Some(seconds) = role.duration {
            form.append_pair("DurationSeconds", &seconds.to_string());
        }
        let whose = format!("{}, assumed as {}", role.whose, base.whose);
        let what = || format!("cannot get credentials of {whose}");
        self.ask(form.finish(), Some(base.clone()), base.token.as_ref(), &whose, deadline).with_context(what)
    }

    /// Sends a request signed with `keys`. The secret `told` in it is removed from messages.
    fn ask(
        &self,
        form: String,
        keys: Option<Credentials>,
        told: Option<&Secret>,
        whose: &str,
        deadline: Deadline,
    ) -> Result<Credentials> {
        let headers: Headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE))];
        let (region, body, url) = (self.region.clone(), form.clone(), self.url.clone());
        let sign = move |_: &Url, _: &Headers| match &keys {
            Some(keys) => signature(&url, &region, body.as_bytes(), keys),
            None => Ok(Headers::new()),
        };
        let caller = Caller { whose: None, sign: Box::new(sign) };
        let client = Client::new(self.url.clone(), self.http.clone(), caller).trusting(CA_BUNDLE);
        let ask = Ask { method: Method::POST, headers: &headers, body: Some(form.as_bytes()) };
        let what = || format!("asked {}", self.url.host_str().unwrap_or_default());
        let reply = web::patiently(&client, self.http, &ask, deadline).with_context(what)?;
        if reply.status != 200 {
            return Err(refusal(&reply, told)).with_context(what);
        }
        credentials(&reply.text, whose).with_context(what)
    }
}

fn signature(url: &Url, region: &str, body: &[u8], keys: &Credentials) -> Result<Headers> {
    let (content_type, service, now) = (CONTENT_TYPE, "sts", clock::now());
    let request = sigv4::Request { method: "POST", url, content_type, body, region, service, now };
    let signed = sigv4::sign(&request, keys)?;
    let mut headers = vec![web::secret_header("authorization", &signed.authorization)?];
    headers.push(web::secret_header("x-amz-date", &Secret::new(signed.date))?);
    if let Some(token) = &keys.token {
        headers.push(web::secret_header("x-amz-security-token", token)?);
    }
    Ok(headers)
}

/// The error of a refusal: `403 AccessDenied: …`. Only its first line: the others repeat the signed data.
fn refusal(reply: &web::Reply, told: Option<&Secret>) -> Error {
    let code = element(&reply.text, "Code").unwrap_or_default();
    let message = element(&reply.text, "Message").unwrap_or_default();
    let words = [code, message].map(|text| web::quoted(&text, told)).into_iter().filter(|t| !t.is_empty());
    let words: Vec<String> = words.collect();
    let words = if words.is_empty() { String::new() } else { format!(" {}", words.join(": ")) };
    Error::failed(format!("it refused: {}{words}", reply.status))
}

fn credentials(text: &str, whose: &str) -> Result<Credentials> {
    let part = raw_element(text, "Credentials").ok_or_else(|| Error::failed("its answer has no Credentials"))?;
    let need = |name: &str| element(part, name).ok_or_else(|| Error::failed(format!("its answer has no {name}")));
    let expires = answer::expiration(&need("Expiration")?)?;
    let token = need("SessionToken")?;
    Credentials::checked(&need("AccessKeyId")?, &need("SecretAccessKey")?, Some(&token), Some(expires), whose)
}
