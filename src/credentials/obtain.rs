//! Comes by credentials in the way that the configuration says: the one part that does I/O.

use super::error::{CredentialsError, SourceName};
use super::host::Host;
use super::http::Http;
use super::issued::IssuedCredentials;
use super::method::Method;
use super::settings::Settings;
use super::sts::StsClient;
use super::{node_role, oidc, process, uri};
use crate::rds::signature::{Nonce, Signer};

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
