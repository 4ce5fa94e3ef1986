//! Whose cloud identity the operator uses, and how it comes by temporary credentials.
//!
//! One file a source. `chain` chooses the source, each source reads its configuration into a `method`, and `obtain` carries
//! that out: by [`sts`], by the metadata service, by a URI or by a program. [`cache`] keeps what was issued, for the operator's
//! own identity and for any other that a caller has a key for. Nothing here knows Kubernetes.
//!
//! The first source that is configured is *the* source: if it fails, that is the error shown, never a quiet fall-through to
//! another identity.

pub mod cache;
mod chain;
mod environment;
mod error;
mod file;
mod host;
mod http;
mod issued;
mod key;
mod method;
mod node_role;
mod obtain;
mod oidc;
mod process;
mod profile;
mod settings;
pub mod sts;
mod text;
mod uri;

use std::sync::{Arc, OnceLock};

pub use chain::SourceNameError;
pub use error::{CredentialsError, Kind, SourceName};
pub use host::Host;
pub use issued::IssuedCredentials;
pub use key::PartNames;
pub use settings::{MetadataEndpoint, MetadataEndpointError, Settings};

use http::Http;
use obtain::Means;
use settings::StsRegion;
use sts::{CallObserver, StsClient};

use crate::rds::client::ClientError;
use crate::rds::endpoint::Endpoint;

/// The operator's own identity.
pub struct OperatorCredentials {
    host: Host,
    settings: Settings,
    http: Http,
    sts: StsClient,
    /// Chosen once: a file that vanishes later must not make another identity the operator's.
    source: OnceLock<SourceName>,
}

impl OperatorCredentials {
    /// The process must have installed rustls' default cryptographic provider before.
    ///
    /// # Errors
    /// If there is no such provider, or no certificate authorities to trust.
    pub fn new(host: Host, settings: Settings) -> Result<Self, ClientError> {
        let http = Http::new()?;
        Ok(Self {
            host,
            settings,
            sts: StsClient::with(http.clone(), Arc::new(|_, _, _| {})),
            http,
            source: OnceLock::new(),
        })
    }

    /// Tells `observer` of each call of STS that has ended.
    #[must_use]
    pub fn observed_by(self, observer: CallObserver) -> Self {
        Self {
            sts: StsClient::with(self.http.clone(), observer),
            ..self
        }
    }

    /// The source. While none is configured, each call looks again, since a file may be written after the start.
    ///
    /// # Errors
    /// Where no source is configured, or not the one that is pinned.
    pub fn source(&self) -> Result<SourceName, CredentialsError> {
        if let Some(source) = self.source.get() {
            return Ok(*source);
        }
        let selected = chain::select(&self.host, &self.settings)?;
        Ok(*self.source.get_or_init(|| selected))
    }

    /// Reads the source's configuration anew, and asks it for credentials.
    ///
    /// # Errors
    /// See [`CredentialsError`].
    pub async fn obtain(&self) -> Result<IssuedCredentials, CredentialsError> {
        let origin = self.source()?;
        let method = chain::method_of(origin, &self.host, &self.settings)?;
        let means = Means {
            host: &self.host,
            settings: &self.settings,
            http: &self.http,
            sts: &self.sts,
            origin,
        };
        means.obtain(method).await
    }

    /// The client of STS, for identities that are not the operator's own.
    #[must_use]
    pub fn sts(&self) -> &StsClient {
        &self.sts
    }

    /// The endpoint at which the operator calls STS, for identities that are not its own.
    ///
    /// # Errors
    /// Where `ALIBABA_CLOUD_STS_REGION` is no region; the error is in the name of `origin`.
    pub fn sts_endpoint(&self, origin: SourceName) -> Result<Endpoint, CredentialsError> {
        self.settings
            .sts_endpoint(&self.host, origin, &StsRegion::default())
    }
}
