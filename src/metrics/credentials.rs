//! Whether the operator can identify itself to the cloud.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

use super::computed::gauge;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RefreshLabels {
    source: &'static str,
    result: &'static str,
}

/// The operator's own credentials, since the first try to obtain them.
#[derive(Debug, Clone, Copy)]
struct Own {
    is_usable: bool,
    /// `None` for a permanent `AccessKey`, and while none were obtained.
    expires: Option<Timestamp>,
}

/// The cloud credentials.
pub struct CredentialMetrics {
    refreshes: Family<RefreshLabels, Counter>,
    own: Arc<Mutex<Option<Own>>>,
}

impl CredentialMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let refreshes = Family::default();
        let own = Arc::default();
        registry.register(
            "credential_refreshes",
            "Tries to obtain cloud credentials, by source and by how they ended",
            refreshes.clone(),
        );
        registry.register_collector(Box::new(OwnCredentials(Arc::clone(&own))));
        Self { refreshes, own }
    }

    /// Credentials were obtained from this source, or were not.
    pub fn refreshed(&self, source: &'static str, is_success: bool) {
        let result = if is_success { "success" } else { "failure" };
        self.refreshes
            .get_or_create(&RefreshLabels { source, result })
            .inc();
    }

    /// The operator's own credentials were obtained; `expires` is `None` for those without an end that is known.
    pub fn own_obtained(&self, expires: Option<Timestamp>) {
        *lock(&self.own) = Some(Own {
            is_usable: true,
            expires,
        });
    }

    /// The operator's own credentials could not be obtained. Those at hand are used until they expire.
    pub fn own_failed(&self) {
        let mut own = lock(&self.own);
        *own = Some(Own {
            is_usable: false,
            expires: own.and_then(|own| own.expires),
        });
    }
}

fn lock(own: &Mutex<Option<Own>>) -> MutexGuard<'_, Option<Own>> {
    own.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct OwnCredentials(Arc<Mutex<Option<Own>>>);

impl Collector for OwnCredentials {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let Some(own) = *lock(&self.0) else {
            return Ok(());
        };
        gauge(
            &mut encoder,
            "credentials_usable",
            "1 if the last try to obtain the operator's own credentials succeeded, else 0",
            None,
            &i64::from(own.is_usable),
        )?;
        match own.expires {
            None => Ok(()),
            Some(expires) => gauge(
                &mut encoder,
                "credentials_expiry_timestamp",
                "When the operator's own temporary credentials expire",
                Some(&Unit::Seconds),
                &expires.as_second(),
            ),
        }
    }
}
