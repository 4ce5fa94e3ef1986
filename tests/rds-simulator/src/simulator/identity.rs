//! Who may call: access keys, roles, identity providers, and where keys come from.

use std::{io, net::Ipv4Addr, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{net::TcpListener, sync::watch};

use super::RdsSimulator;
use crate::{
    credentials_uri::{self, CredentialsUri},
    endpoint::{CredentialsEndpoint, Endpoint},
    metadata::MetadataService,
    ram::{access_key::AccessKey, oidc_provider::OidcProvider, role::Role},
    secret::Password,
    server,
};

impl RdsSimulator {
    /// Adds an access key, or replaces the one with its id.
    pub fn add_access_key(&self, key: AccessKey) {
        self.shared.update(|state| state.access_keys.add(key));
    }

    /// Removes an access key.
    pub fn remove_access_key(&self, id: &str) {
        self.shared.update(|state| state.access_keys.remove(id));
    }

    /// Adds a role, or replaces the one with its ARN; keys that were issued for it have the new one's rights at once.
    pub fn add_role(&self, role: Role) {
        self.shared
            .update(|state| state.roles.insert(role.arn.clone(), role));
    }

    /// Removes a role; what was issued for it may do nothing any more.
    pub fn remove_role(&self, arn: &str) {
        self.shared.update(|state| state.roles.remove(arn));
    }

    /// Adds an OIDC identity provider, or replaces the one with its ARN.
    pub fn add_oidc_provider(&self, provider: OidcProvider) {
        self.shared
            .update(|state| state.oidc_providers.insert(provider.arn.clone(), provider));
    }

    /// Removes an OIDC identity provider; keys that were issued by its tokens stay.
    pub fn remove_oidc_provider(&self, arn: &str) {
        self.shared.update(|state| state.oidc_providers.remove(arn));
    }

    /// Lets temporary keys that are issued from now on live no longer than this, whatever was asked for. Less than a
    /// second is no life at all, since their end is told to the second.
    pub fn set_token_lifetime(&self, longest: Duration) {
        self.shared
            .update(|state| state.token_lifetime = Some(longest));
    }

    /// Lets all temporary keys that were issued until now expire at once.
    pub fn expire_tokens(&self) {
        self.shared.update(|state| {
            let cloud_time = state.cloud_time(Timestamp::now());
            state.access_keys.expire_issued(cloud_time);
        });
    }

    /// Every secret of a temporary key and every token of any kind that was given out or sent so far, to search logs,
    /// objects and metrics for.
    #[must_use]
    pub fn tokens_and_secrets(&self) -> Vec<Password> {
        self.shared
            .read(|state| state.secrets.iter().map(Password::new).collect())
    }

    /// Starts an ECS instance's metadata service on a free port of 127.0.0.1. Its role is one of [`RdsSimulator::add_role`].
    ///
    /// Requests are in the journal, faults and pauses concern them, by `Action`.
    ///
    /// # Errors
    /// If no port can be opened.
    pub async fn start_metadata_service(
        &self,
        service: MetadataService,
    ) -> io::Result<CredentialsEndpoint> {
        self.start_endpoint(Endpoint::Metadata(service), "").await
    }

    /// Starts a server for a credentials URI on a free port of 127.0.0.1. Its role is one of [`RdsSimulator::add_role`].
    ///
    /// Requests are in the journal, faults and pauses concern them, by `Action`.
    ///
    /// # Errors
    /// If no port can be opened.
    pub async fn start_credentials_uri(
        &self,
        uri: CredentialsUri,
    ) -> io::Result<CredentialsEndpoint> {
        self.start_endpoint(Endpoint::CredentialsUri(uri), credentials_uri::PATH)
            .await
    }

    async fn start_endpoint(
        &self,
        endpoint: Endpoint,
        path: &'static str,
    ) -> io::Result<CredentialsEndpoint> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(());
        tokio::spawn(server::serve(
            listener,
            endpoint,
            Arc::clone(&self.shared),
            stopped,
        ));
        Ok(CredentialsEndpoint::new(address, path, stop))
    }
}
