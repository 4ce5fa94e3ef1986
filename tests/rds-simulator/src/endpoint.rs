//! What listens on a port: the APIs, or one of the services that hand out a role's keys.

use std::net::SocketAddr;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::{
    action::{Action, Service},
    admission,
    answer::{ApiError, Format},
    credentials_uri::CredentialsUri,
    metadata::MetadataService,
    request::ParsedRequest,
    state::State,
    work::Admitted,
};

/// What a port serves.
#[derive(Debug, Clone)]
pub(crate) enum Endpoint {
    /// RDS and STS.
    Apis,
    Metadata(MetadataService),
    CredentialsUri(CredentialsUri),
}

impl Endpoint {
    /// What a request is for, if that can be told.
    pub(crate) fn action(&self, request: &ParsedRequest) -> Option<Action> {
        match self {
            Self::Apis => admission::find_action(request).ok(),
            Self::Metadata(_) => MetadataService::action(request).ok(),
            Self::CredentialsUri(_) => CredentialsUri::action(request).ok(),
        }
    }

    /// Which service answers a request, errors included.
    pub(crate) fn service(&self, request: &ParsedRequest) -> Service {
        match self {
            Self::Apis => request
                .version()
                .and_then(Service::of_version)
                .unwrap_or(Service::Rds),
            Self::Metadata(_) => Service::Metadata,
            Self::CredentialsUri(_) => Service::CredentialsUri,
        }
    }

    /// How answers to a request are written.
    pub(crate) fn format(&self, request: &ParsedRequest) -> Format {
        match self {
            Self::Apis => request.format().unwrap_or(Format::Xml),
            Self::Metadata(_) | Self::CredentialsUri(_) => Format::Json,
        }
    }

    /// Whether a request may be carried out.
    pub(crate) fn admit(
        &self,
        state: &mut State,
        now: Timestamp,
        request: &ParsedRequest,
    ) -> Result<Admitted, ApiError> {
        match self {
            Self::Apis => admission::admit(state, now, request),
            Self::Metadata(service) => service.admit(state, now, request),
            Self::CredentialsUri(uri) => uri.admit(state, request),
        }
    }
}

/// A running service that hands out a role's keys; dropping it stops it and closes its connections.
pub struct CredentialsEndpoint {
    address: SocketAddr,
    path: &'static str,
    _stop: watch::Sender<()>,
}

impl CredentialsEndpoint {
    pub(crate) fn new(address: SocketAddr, path: &'static str, stop: watch::Sender<()>) -> Self {
        Self {
            address,
            path,
            _stop: stop,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL: of the metadata service without a path, such as `http://127.0.0.1:40123`; of a credentials URI the whole.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}{}", self.address, self.path)
    }
}
