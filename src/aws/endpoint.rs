//! The endpoint of an AWS service: from a variable or the profile, else Amazon's host for the region, by its partition,
//! in the configured variant (dual stack, FIPS). Names only, without any request.

use url::Url;

use super::environment::Environment;
use super::shared_files::Profile;
use crate::config::{endpoint, is_region};
use crate::error::{Error, Result};

/// The AWS services in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    S3,
    Sts,
}

/// Determines the endpoint for a region.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The operator's endpoint; `None` for Amazon's.
    pub custom: Option<Url>,
    dual_stack: bool,
    fips: bool,
}

/// Partitions: prefix of the regions, domain of the hosts, domain of dual-stack hosts (empty if there are none).
const PARTITIONS: [(&str, &str, &str); 7] = [
    ("cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    ("us-iso-", "c2s.ic.gov", "api.aws.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov", "api.aws.scloud"),
    ("eu-isoe-", "cloud.adc-e.uk", ""),
    ("us-isof-", "csp.hci.ic.gov", ""),
    ("eusc-", "amazonaws.eu", "api.amazonwebservices.eu"),
    ("", "amazonaws.com", "api.aws"), // GovCloud too
];

impl Place {
    /// The operator's endpoint.
    pub fn at(url: Url) -> Self {
        Self { custom: Some(url), ..Self::default() }
    }

    /// The settings in the environment, else in the profile.
    pub(super) fn of(service: Service, env: &Environment, profile: Option<Profile<'_>>) -> Result<Self> {
        let is_true = |variable: &str, key: &str| {
            let text = env.get(variable).or_else(|| Some(profile?.get(key)?.to_owned()));
            text.is_some_and(|text| text.eq_ignore_ascii_case("true"))
        };
        let named = match is_true("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls") {
            true => None,
            false => named(service, env, profile)?,
        };
        let custom = named.map(|(place, text)| {
            // The value is not shown: it may contain a password.
            endpoint(&text).map_err(|why| Error::config(format!("cannot use {place}: {why}")))
        });
        Ok(Self {
            custom: custom.transpose()?,
            dual_stack: is_true("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint"),
            fips: is_true("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint"),
        })
    }

    /// The base URL for `region`.
    pub fn url(&self, service: Service, region: &str) -> Result<Url> {
        match &self.custom {
            Some(url) => Ok(url.clone()),
            None => self.amazons(service, region),
        }
    }

    fn amazons(&self, service: Service, region: &str) -> Result<Url> {
        let partition = PARTITIONS.iter().find(|(start, ..)| region.starts_with(start));
        let (_, plain, both) = partition.copied().unwrap_or_default();
        let lacks = |what: &str| Error::config(format!("cannot use {what} in {region}: its partition has none"));
        if self.dual_stack && both.is_empty() {
            return Err(lacks("AWS_USE_DUALSTACK_ENDPOINT"));
        }
        let fips = if self.fips { "-fips" } else { "" };
        let host = match service {
            Service::S3 if self.fips && region.starts_with("cn-") => return Err(lacks("AWS_USE_FIPS_ENDPOINT")),
            Service::S3 if self.dual_stack => format!("s3{fips}.dualstack.{region}.{plain}"),
            Service::S3 => format!("s3{fips}.{region}.{plain}"),
            Service::Sts if self.dual_stack => format!("sts{fips}.{region}.{both}"),
            // GovCloud's STS has only FIPS endpoints.
            Service::Sts if region.starts_with("us-gov-") => format!("sts.{region}.{plain}"),
            Service::Sts => format!("sts{fips}.{region}.{plain}"),
        };
        let url = Url::parse(&format!("https://{host}/")).ok().filter(|_| is_region(region));
        url.ok_or_else(|| Error::config(format!("cannot use {region:?} as a region: it takes a name as eu-west-1")))
    }
}

/// The name and the value of the endpoint setting: the service's before the general one, variables before the profile.
fn named(service: Service, env: &Environment, profile: Option<Profile<'_>>) -> Result<Option<(String, String)>> {
    let (variable, section) = match service {
        Service::S3 => ("AWS_ENDPOINT_URL_S3", "s3.endpoint_url"),
        Service::Sts => ("AWS_ENDPOINT_URL_STS", "sts.endpoint_url"),
    };
    let given = [variable, "AWS_ENDPOINT_URL"].into_iter().find_map(|name| Some((name.to_owned(), env.get(name)?)));
    let Some(profile) = profile.filter(|_| given.is_none()) else { return Ok(given) };
    let found = match profile.service(section)? {
        Some(text) => Some(text),
        None => profile.get("endpoint_url"),
    };
    Ok(found.map(|text| (format!("endpoint_url of {}", profile.called()), text.to_owned())))
}

#[cfg(test)]
mod tests {
    use crate::aws::endpoint::*;
    use crate::aws::shared_files::SharedFiles;
    use crate::aws::tests::Place as World;

    /// As in botocore 1.44.
    #[test]
    fn hosts_by_partition_and_variant() {
        for (region, dual_stack, fips, s3, sts) in [
            ("eu-west-1", false, false, "s3.eu-west-1.amazonaws.com", "sts.eu-west-1.amazonaws.com"),
            ("us-east-1", false, true, "s3-fips.us-east-1.amazonaws.com", "sts-fips.us-east-1.amazonaws.com"),
            ("us-east-1", true, false, "s3.dualstack.us-east-1.amazonaws.com", "sts.us-east-1.api.aws"),
            ("us-east-1", true, true, "s3-fips.dualstack.us-east-1.amazonaws.com", "sts-fips.us-east-1.api.aws"),
            ("us-gov-west-1", false, false, "s3.us-gov-west-1.amazonaws.com", "sts.us-gov-west-1.amazonaws.com"),
            ("us-gov-west-1", false, true, "s3-fips.us-gov-west-1.amazonaws.com", "sts.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", false, false, "s3.cn-north-1.amazonaws.com.cn", "sts.cn-north-1.amazonaws.com.cn"),
            (
                "cn-north-1",
                true,
                false,
                "s3.dualstack.cn-north-1.amazonaws.com.cn",
                "sts.cn-north-1.api.amazonwebservices.com.cn",
            ),
            ("us-iso-east-1", false, false, "s3.us-iso-east-1.c2s.ic.gov", "sts.us-iso-east-1.c2s.ic.gov"),
            ("us-isob-east-1", false, false, "s3.us-isob-east-1.sc2s.sgov.gov", "sts.us-isob-east-1.sc2s.sgov.gov"),
            ("eu-isoe-west-1", false, false, "s3.eu-isoe-west-1.cloud.adc-e.uk", "sts.eu-isoe-west-1.cloud.adc-e.uk"),
            (
                "us-isof-south-1",
                false,
                false,
                "s3.us-isof-south-1.csp.hci.ic.gov",
                "sts.us-isof-south-1.csp.hci.ic.gov",
            ),
            ("eusc-de-east-1", false, false, "s3.eusc-de-east-1.amazonaws.eu", "sts.eusc-de-east-1.amazonaws.eu"),
        ] {
            let place = Place { custom: None, dual_stack, fips };
            assert_eq!(place.url(Service::S3, region).unwrap().host_str(), Some(s3));
            assert_eq!(place.url(Service::Sts, region).unwrap().host_str(), Some(sts));
        }
        for (region, dual_stack, fips) in [("cn-north-1", false, true), ("eu-isoe-west-1", true, false)] {
            let error = Place { custom: None, dual_stack, fips }.url(Service::S3, region).unwrap_err();
            assert!(error.to_string().contains("its partition has none"), "{error}");
        }
        for region in ["", "evil.example/", "a.b", "A", "-x", "x-", "x@y", "x:1", &"x".repeat(64)] {
            assert!(Place::default().url(Service::S3, region).is_err(), "{region}");
        }
    }

    #[test]
    fn the_service_comes_before_all_and_variables_before_the_profile() {
        let world = World::new();
        world.write(
            ".aws/config",
            "[profile plain]\nendpoint_url = http://plain\n[profile both]\nendpoint_url = http://both\nservices = ours\n\
             [profile lost]\nservices = none-such\n[profile off]\nendpoint_url = http://off\n\
             ignore_configured_endpoint_urls = TRUE\n[services ours]\ns3 =\n  endpoint_url = http://service # here\n\
             dynamodb =\n  endpoint_url = http://another\n[profile bad]\nendpoint_url = http://u:hunter2@h\n",
        );
        let (all, s3) = (("AWS_ENDPOINT_URL", "http://all"), ("AWS_ENDPOINT_URL_S3", "http://s3"));
        let ignore = ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true");
        let got = |service, profile: &str, variables: &[(&str, &str)]| {
            let env = world.env(variables);
            let files = SharedFiles::read(&env).unwrap();
            let place = Place::of(service, &env, files.profile(profile));
            place.map(|place| place.custom.map_or_else(String::new, String::from)).map_err(|e| e.to_string())
        };
        for (service, profile, variables, expected) in [
            (Service::S3, "none", &[][..], ""),
            (Service::S3, "both", &[all, s3], "http://s3/"),
            (Service::Sts, "both", &[all, s3], "http://all/"),
            (Service::S3, "both", &[], "http://service/"),
            (Service::Sts, "both", &[], "http://both/"),
            (Service::S3, "plain", &[], "http://plain/"),
            (Service::S3, "off", &[], ""),
            (Service::S3, "plain", &[all, s3, ignore], ""),
        ] {
            assert_eq!(got(service, profile, variables).unwrap(), expected, "{service:?} {profile} {variables:?}");
        }
        let lost = got(Service::S3, "lost", &[]).unwrap_err();
        assert!(lost.contains("profile lost has services = none-such, and there is no [services none-such]"), "{lost}");
        let bad = got(Service::S3, "bad", &[]).unwrap_err();
        assert!(
            bad.starts_with("cannot use endpoint_url of profile bad: it takes") && !bad.contains("hunter2"),
            "{bad}"
        );
        let bad = got(Service::S3, "none", &[("AWS_ENDPOINT_URL", "http://u:hunter2@h")]).unwrap_err();
        assert!(bad.starts_with("cannot use AWS_ENDPOINT_URL: it takes") && !bad.contains("hunter2"), "{bad}");
    }
}
