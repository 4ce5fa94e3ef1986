//! What the command line says about credentials, and which endpoints follow from it.

use std::fmt;
use std::str::FromStr;

use reqwest::Url;
use thiserror::Error;

use super::error::{CredentialsError, SourceName};
use super::host::Host;
use super::sts::endpoint_of;
use crate::rds::endpoint::{Endpoint, Region};

/// The metadata service of an ECS instance
/// (<https://www.alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata>).
const SERVICE: &str = "http://100.100.100.200";

/// What the command line says about credentials.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The one source that counts, whatever else is configured.
    pub pinned: Option<SourceName>,
    /// Whether the role of the node may be used at all.
    pub allow_node_role: bool,
    /// STS' endpoint instead of that of a region.
    pub sts_endpoint: Option<Endpoint>,
    /// Where the metadata service is.
    pub metadata_endpoint: MetadataEndpoint,
    /// The operator's region.
    pub region: Region,
}

#[cfg(test)]
impl Settings {
    #[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    pub(super) fn for_test() -> Self {
        Self {
            pinned: None,
            allow_node_role: false,
            sts_endpoint: None,
            metadata_endpoint: "http://100.100.100.200".parse().unwrap(),
            region: "cn-test".parse().unwrap(),
        }
    }
}

/// What a profile says about STS' endpoint.
#[derive(Default)]
pub(super) struct StsRegion<'a> {
    pub(super) region: Option<&'a str>,
    pub(super) in_vpc: bool,
}

const STS_REGION: &str = "ALIBABA_CLOUD_STS_REGION";
const VPC_ENDPOINT: &str = "ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED";

impl Settings {
    /// The override, else that of the region that is named, else the global one.
    ///
    /// Inside a VPC there is no global one, so that the operator's own region stands in. (The official SDKs would go out to
    /// the internet then.)
    pub(super) fn sts_endpoint(
        &self,
        host: &Host,
        origin: SourceName,
        said: &StsRegion<'_>,
    ) -> Result<Endpoint, CredentialsError> {
        if let Some(endpoint) = &self.sts_endpoint {
            return Ok(endpoint.clone());
        }
        let in_vpc = said.in_vpc || host.is_true(VPC_ENDPOINT);
        let named = said
            .region
            .map(str::to_owned)
            .or_else(|| host.variable(STS_REGION));
        let region = match named {
            None => in_vpc.then(|| self.region.clone()),
            Some(named) => Some(named.parse::<Region>().map_err(|_| {
                CredentialsError::misconfigured(
                    origin,
                    "the region of STS must be a region ID such as cn-shanghai; correct ALIBABA_CLOUD_STS_REGION or the profile's sts_region",
                )
            })?),
        };
        Ok(endpoint_of(region.as_ref(), in_vpc))
    }
}

/// Where the metadata service is: at its one address, or on this machine in a test.
#[derive(Clone, PartialEq, Eq)]
pub struct MetadataEndpoint(Url);

/// An address that is not the metadata service's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "the metadata service is at http://100.100.100.200; for tests, http://HOST of this machine itself"
)]
pub struct MetadataEndpointError;

impl FromStr for MetadataEndpoint {
    type Err = MetadataEndpointError;

    fn from_str(text: &str) -> Result<Self, MetadataEndpointError> {
        let is_loopback = text
            .parse::<Endpoint>()
            .is_ok_and(|endpoint| !endpoint.is_encrypted());
        if !is_loopback && text.trim_end_matches('/') != SERVICE {
            return Err(MetadataEndpointError);
        }
        Url::parse(text)
            .map(Self)
            .map_err(|_| MetadataEndpointError)
    }
}

impl fmt::Display for MetadataEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for MetadataEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MetadataEndpoint({self})")
    }
}

impl MetadataEndpoint {
    pub(super) fn at(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(path);
        url
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::host::fake::{NONE, host};
    use super::*;

    const ON: (&str, &str) = (VPC_ENDPOINT, "true");

    #[rstest]
    #[case(&[], None, false, "https://sts.aliyuncs.com")]
    #[case(&[(STS_REGION, "cn-beijing")], None, false, "https://sts.cn-beijing.aliyuncs.com")]
    #[case(&[(STS_REGION, "cn-beijing"), ON], None, false, "https://sts-vpc.cn-beijing.aliyuncs.com")]
    #[case(&[ON], None, false, "https://sts-vpc.cn-test.aliyuncs.com")]
    #[case(&[(VPC_ENDPOINT, "false")], None, false, "https://sts.aliyuncs.com")]
    #[case(&[(STS_REGION, "cn-beijing")], Some("cn-hongkong"), true, "https://sts-vpc.cn-hongkong.aliyuncs.com")]
    #[case(&[], None, true, "https://sts-vpc.cn-test.aliyuncs.com")]
    fn endpoints(
        #[case] variables: &[(&str, &str)],
        #[case] region: Option<&str>,
        #[case] in_vpc: bool,
        #[case] endpoint: &str,
    ) {
        let host = host(variables, NONE);
        let said = || StsRegion { region, in_vpc };
        let found = Settings::for_test().sts_endpoint(&host, SourceName::Oidc, &said());
        assert_eq!(
            found.map(|found| found.to_string()).ok().as_deref(),
            Some(endpoint)
        );
        let overridden = Settings {
            sts_endpoint: "http://127.0.0.1:1".parse().ok(),
            ..Settings::for_test()
        };
        let found = overridden.sts_endpoint(&host, SourceName::Oidc, &said());
        assert!(found.is_ok_and(|found| found.to_string() == "http://127.0.0.1:1"));
    }

    #[test]
    fn a_region_that_leads_elsewhere_is_refused() {
        let host = host(&[(STS_REGION, "evil.example/")], NONE);
        let found =
            Settings::for_test().sts_endpoint(&host, SourceName::Oidc, &StsRegion::default());
        assert!(found.is_err_and(|error| error.to_string().contains(STS_REGION)));
    }
}
