//! How credentials are come by, once the configuration has been read: the one part that does I/O.

use std::path::PathBuf;

use reqwest::Url;

use super::chain::Settings;
use super::error::{CredentialsError, SourceName};
use super::host::Host;
use super::http::Http;
use super::issued::IssuedCredentials;
use super::sts::{Role, StsClient, endpoint_of};
use super::{node_role, oidc, process, uri};
use crate::rds::credentials::Credentials;
use crate::rds::endpoint::{Endpoint, Region};
use crate::rds::signature::{Nonce, Signer};

/// How credentials are come by.
pub(super) enum Method {
    /// They are at hand.
    Key(Credentials),
    /// By a role that other credentials assume.
    AssumeRole {
        role: Role,
        endpoint: Endpoint,
        from: Box<Method>,
    },
    /// By a role that an OIDC token assumes.
    AssumeRoleWithOidc {
        role: Role,
        provider_arn: String,
        token_file: PathBuf,
        endpoint: Endpoint,
    },
    /// By the metadata service of the node.
    NodeRole {
        role_name: Option<String>,
        /// Whether the service may be asked without a token where it gives none.
        allow_v1: bool,
    },
    /// By a program and its arguments.
    Process(Vec<String>),
    /// By a URI.
    Uri(Url),
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

/// What the methods need.
pub(super) struct Means<'a> {
    pub(super) host: &'a Host,
    pub(super) settings: &'a Settings,
    pub(super) http: &'a Http,
    pub(super) sts: &'a StsClient,
    pub(super) origin: SourceName,
}

impl Means<'_> {
    pub(super) async fn obtain(
        &self,
        method: Method,
    ) -> Result<IssuedCredentials, CredentialsError> {
        match method {
            Method::Key(credentials) => Ok(IssuedCredentials::without_expiration(
                self.origin,
                credentials,
            )),
            Method::AssumeRole {
                role,
                endpoint,
                from,
            } => {
                // No deeper than there are profiles: they cannot name each other in a circle.
                let issued = Box::pin(self.obtain(*from)).await?;
                let signer = Signer {
                    credentials: &issued.credentials,
                    now: self.host.now(),
                    nonce: Nonce::from_random(rand::random()),
                };
                self.sts
                    .assume_role(self.origin, &endpoint, &signer, &role)
                    .await
            }
            Method::AssumeRoleWithOidc {
                role,
                provider_arn,
                token_file,
                endpoint,
            } => {
                let token = oidc::read_token(self.host, self.origin, &token_file)?;
                self.sts
                    .assume_role_with_oidc(
                        self.origin,
                        &endpoint,
                        self.host.now(),
                        &role,
                        &provider_arn,
                        &token,
                    )
                    .await
            }
            Method::NodeRole {
                role_name,
                allow_v1,
            } => {
                let endpoint = &self.settings.metadata_endpoint;
                let role_name = role_name.as_deref();
                node_role::obtain(self.http, endpoint, self.origin, role_name, allow_v1).await
            }
            Method::Process(words) => process::obtain(self.origin, &words).await,
            Method::Uri(uri) => uri::obtain(self.http, &uri).await,
        }
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
