//! The three calls of the cloud API, each as it is made everywhere: with credentials, within the limits, counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;

use super::outcome::Account;
use crate::api::{DatabaseAccountPasswordSpec, Target};
use crate::credentials::{CredentialsError, Source};
use crate::metrics::Metrics;
use crate::rds::classification::Class;
use crate::rds::client::{Nonce, RdsClient, Signer};
use crate::rds::credentials::Credentials;
use crate::rds::endpoint::{Endpoint, Network, Region};
use crate::rds::error::CallError;
use crate::rds::identifier::RequestId;
use crate::rds::limit::{BudgetKey, InstanceTurn, Limits, Permit};
use crate::rds::password::Password;
use crate::rds::response::{AccountStatus, DbInstance};

/// How long the look at the account may take that follows a reset. The success is not written down before it has ended, so
/// it must be short beside the timeout of a call; an account that was not seen in that time counts as not told.
const ACCOUNT_LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the gate closes after a throttled answer that does not say: the first wait of that class.
const THROTTLED_FOR: Duration = Duration::from_secs(2);

/// The cloud API, shared by all passes.
pub struct Cloud {
    client: RdsClient,
    source: Source,
    limits: Limits,
    region: Region,
    network: Network,
    endpoint: Option<Endpoint>,
    metrics: Arc<Metrics>,
}

/// Where the calls for one resource go, and in whose name.
#[derive(Clone)]
pub struct Route {
    credentials: Credentials,
    endpoint: Endpoint,
    budget: BudgetKey,
}

/// Why no call can be made for a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// There are no credentials.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The resource's region is none. The schema refuses it; this is for a definition that was installed without.
    #[error(
        "spec.regionId must be a region ID such as cn-shanghai: lower-case letters, digits and hyphens"
    )]
    Region,
}

impl Cloud {
    /// `endpoint` overrides what the region would give.
    #[must_use]
    pub fn new(
        client: RdsClient,
        source: Source,
        limits: Limits,
        (region, network, endpoint): (Region, Network, Option<Endpoint>),
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            client,
            source,
            limits,
            region,
            network,
            endpoint,
            metrics,
        }
    }

    /// The route of a resource's calls.
    ///
    /// # Errors
    /// Where there is none.
    pub fn route(&self, spec: &DatabaseAccountPasswordSpec) -> Result<Route, RouteError> {
        let region: Region = match &spec.region_id {
            Some(region) => region.parse().map_err(|_| RouteError::Region)?,
            None => self.region.clone(),
        };
        let credentials = self.source.credentials()?;
        let endpoint = self
            .endpoint
            .clone()
            .unwrap_or_else(|| Endpoint::of_region(&region, self.network));
        let budget = BudgetKey {
            identity: credentials.access_key_id.as_str().into(),
            region,
        };
        Ok(Route {
            credentials,
            endpoint,
            budget,
        })
    }

    /// The instance's turn: at most one reset of an instance is in flight.
    pub async fn turn(&self, instance_id: &str) -> InstanceTurn {
        self.limits.turn(instance_id).await
    }

    /// A place in the request budget.
    pub async fn permit(&self, route: &Route) -> Permit {
        self.limits.permit(&route.budget).await
    }

    /// The instance's state, read once for all who ask in the same few seconds.
    ///
    /// # Errors
    /// When the read fails.
    pub async fn instance(
        &self,
        route: &Route,
        instance_id: &str,
    ) -> Result<DbInstance, CallError> {
        let read = async {
            let _permit = self.permit(route).await;
            let call = self.client.describe_db_instance_attribute(
                &route.endpoint,
                signer(&route.credentials),
                instance_id,
            );
            self.counted("DescribeDBInstanceAttribute", route, call)
                .await
        };
        // Boxed: while it waits for another's read, it need not have room for its own.
        let read = Box::pin(read);
        self.limits.instance(&route.budget, instance_id, read).await
    }

    /// Sends the value. The caller holds the turn and a permit, and has made sure of everything else.
    ///
    /// # Errors
    /// When RDS did not accept it, or its answer was lost.
    pub async fn reset(
        &self,
        route: &Route,
        target: &Target,
        password: &Password,
    ) -> Result<RequestId, CallError> {
        let call = self.client.reset_account_password(
            &route.endpoint,
            signer(&route.credentials),
            &target.instance_id,
            &target.account_name,
            password,
        );
        let answer = self.counted("ResetAccountPassword", route, call).await;
        if answer
            .as_ref()
            .is_err_and(|error| error.class() == Class::InstanceBusy)
        {
            self.limits
                .forget_instance(&route.budget, &target.instance_id)
                .await;
        }
        answer
    }

    /// Looks at the account after a reset: bounded, and never an error.
    pub async fn account(&self, route: &Route, target: &Target) -> Account {
        let look = async {
            let _permit = self.permit(route).await;
            let call = self.client.describe_accounts(
                &route.endpoint,
                signer(&route.credentials),
                &target.instance_id,
                &target.account_name,
            );
            self.counted("DescribeAccounts", route, call).await
        };
        match tokio::time::timeout(ACCOUNT_LOOK_TIMEOUT, look).await {
            Ok(Ok(AccountStatus::Available)) => Account::Available,
            Ok(Ok(_)) => Account::NotAvailable,
            Ok(Err(error)) if error.class() == Class::PersonNeeded => Account::NotTold,
            Ok(Err(_)) | Err(_) => Account::NotSeen,
        }
    }

    async fn counted<T>(
        &self,
        action: &'static str,
        route: &Route,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let began = Instant::now();
        let answer = call.await;
        let code = answer.as_ref().err().map_or("OK", CallError::label);
        self.metrics.cloud_call(action, code, began.elapsed());
        if let Err(error) = &answer
            && error.class() == Class::Throttled
        {
            let period = error.retry_after().unwrap_or(THROTTLED_FOR);
            self.limits.close(&route.budget, period).await;
        }
        answer
    }
}

/// A fresh nonce and time for each send, as the cloud refuses a nonce that it has seen.
fn signer(credentials: &Credentials) -> Signer<'_> {
    Signer {
        credentials,
        now: Timestamp::now(),
        nonce: Nonce::from_random(rand::random()),
    }
}
