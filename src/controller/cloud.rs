//! The three calls of the cloud API, each as it is made everywhere: with credentials, within the limits, counted.
//!
//! Where the cloud rejects temporary credentials, others are got: a read is then asked once more on the spot, a reset by its
//! caller, who has to look at everything else again first.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Semaphore;
use tracing::debug;
use zeroize::Zeroizing;

use super::identity::Identity;
use super::outcome::Account;
use super::tenant::{self, TokenExchange};
use crate::api::{DatabaseAccountPassword, Target};
use crate::credentials::cache::{Cache, Refresh};
use crate::credentials::{CredentialsError, OperatorCredentials, SourceName};
use crate::metrics::Metrics;
use crate::metrics::cloud::OK;
use crate::rds::classification::Class;
use crate::rds::client::{Nonce, RdsClient, Signer};
use crate::rds::credentials::Credentials;
use crate::rds::endpoint::{Endpoint, Endpoints, RegionProblem};
use crate::rds::error::CallError;
use crate::rds::identifier::RequestId;
use crate::rds::limit::{BudgetKey, InstanceTurn, Limits, Permit, SeenInstance};
use crate::rds::password::Password;
use crate::rds::response::{AccountStatus, DbInstance};

/// How long the look at the account may take that follows a reset. The success is not written down before it has ended, so
/// it must be short beside the timeout of a call; an account that was not seen in that time counts as not told.
const ACCOUNT_LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the gate closes after a throttled answer that does not say: the first wait of that class.
const THROTTLED_FOR: Duration = Duration::from_secs(2);

/// How many credentials of resources' own identities are fetched at once: a restart may need as many as there are
/// identities, each of which is two requests to the API server and one to STS. The operator's own are not among them, so that
/// nobody's identity holds it up.
const CONCURRENT_FETCHES: usize = 16;

/// The cloud API, shared by all passes.
pub struct Cloud {
    client: RdsClient,
    kubernetes: Client,
    exchange: Result<TokenExchange, CredentialsError>,
    operator: Arc<OperatorCredentials>,
    credentials: Arc<Cache<Identity>>,
    fetches: Arc<Semaphore>,
    limits: Arc<Limits>,
    endpoints: Endpoints,
    metrics: Arc<Metrics>,
}

/// Where the calls for one resource go, and in whose name.
#[derive(Clone)]
pub struct Route {
    identity: Identity,
    /// Those at hand when the route was made. Whoever waits long may find newer ones.
    credentials: Arc<Credentials>,
    endpoint: Endpoint,
    budget: BudgetKey,
}

impl Route {
    /// The instance, as these calls see it.
    #[must_use]
    pub fn seen_instance(&self, instance_id: &str) -> SeenInstance {
        SeenInstance::new(&self.budget, instance_id)
    }
}

/// Why no call can be made for a resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// There are no credentials.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The resource names no identity, or two.
    #[error("spec.credentials must name exactly one of serviceAccountName and secretRef")]
    Identity,
    /// The resource's region is not called.
    #[error(transparent)]
    Region(#[from] RegionProblem),
}

/// Why an instance's state is not known.
#[derive(Debug, Clone)]
pub enum InstanceError {
    /// RDS asked to be left alone for a while, so it was not asked.
    BudgetClosed,
    /// The read failed.
    Call(CallError),
}

/// A reset that did not succeed.
#[derive(Debug)]
pub struct ResetError {
    /// How.
    pub error: CallError,
    /// Whether it was for credentials alone, and others can be had: the whole try may be repeated once.
    pub try_again: bool,
}

impl Cloud {
    /// `provider_arn` is for ServiceAccounts that name no OIDC provider.
    #[must_use]
    pub fn new(
        client: RdsClient,
        kubernetes: Client,
        (operator, provider_arn): (OperatorCredentials, Option<String>),
        limits: Arc<Limits>,
        endpoints: Endpoints,
        metrics: Arc<Metrics>,
    ) -> Self {
        let endpoint_of_sts = operator.sts_endpoint(SourceName::ServiceAccount);
        let exchange = endpoint_of_sts.map(|endpoint| TokenExchange {
            sts: operator.sts().clone(),
            endpoint,
            provider_arn,
        });
        let credentials = Cache::new(Timestamp::now, rand::random).observed_by({
            let metrics = metrics.clone();
            move |identity, refresh| count_refresh(&metrics, identity, refresh)
        });
        Self {
            client,
            kubernetes,
            exchange,
            operator: Arc::new(operator),
            credentials: Arc::new(credentials),
            fetches: Arc::new(Semaphore::new(CONCURRENT_FETCHES)),
            limits,
            endpoints,
            metrics,
        }
    }

    /// The route of a resource's calls. Credentials may have to be fetched for it.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn route(&self, resource: &DatabaseAccountPassword) -> Result<Route, RouteError> {
        let (region, endpoint) = self.endpoints.of(resource.spec.region_id.as_deref())?;
        let identity = Identity::of(resource).ok_or(RouteError::Identity)?;
        // Boxed: who waits in a queue later need not have room for a fetch.
        let credentials = Box::pin(self.credentials(&identity)).await?;
        let budget = BudgetKey {
            identity: identity.budget(),
            region,
        };
        Ok(Route {
            identity,
            credentials,
            endpoint,
            budget,
        })
    }

    /// The credentials of an identity: from the cache, or fetched as that identity does.
    async fn credentials(&self, identity: &Identity) -> Result<Arc<Credentials>, CredentialsError> {
        match identity {
            Identity::Operator => {
                let operator = self.operator.clone();
                let fetch = || async move { operator.obtain().await };
                self.credentials.get(identity, fetch).await
            }
            Identity::ServiceAccount { namespace, name } => {
                let exchange = self.exchange.clone()?;
                let client = self.kubernetes.clone();
                let (namespace, name) = (namespace.clone(), name.clone());
                let fetches = self.fetches.clone();
                let fetch = || async move {
                    let _fetch = fetches.acquire().await;
                    tenant::assume_role(&client, &exchange, &namespace, &name).await
                };
                self.credentials.get(identity, fetch).await
            }
            Identity::Secret {
                namespace,
                reference,
            } => {
                let client = self.kubernetes.clone();
                let (namespace, reference) = (namespace.clone(), reference.clone());
                let fetches = self.fetches.clone();
                let fetch = || async move {
                    let _fetch = fetches.acquire().await;
                    tenant::read_access_key(&client, &namespace, &reference).await
                };
                self.credentials.get(identity, fetch).await
            }
        }
    }

    /// The instance's turn: at most one reset of an instance is in flight. An instance is one of an endpoint: who names the
    /// wrong region, which may not even answer, must not hold up those who name the right one.
    pub async fn turn(&self, route: &Route, instance_id: &str) -> InstanceTurn {
        let place = format!("{}/{instance_id}", route.endpoint.host());
        let turn = self.limits.turn(&place).await;
        self.metrics.cloud.waited_for_turn(turn.waited());
        turn
    }

    /// Waits until the request budget is not closed, without anything in hand.
    pub async fn budget_opened(&self, route: &Route) {
        let _waiting = self.metrics.cloud.waiting_for_budget();
        self.limits.opened(&route.budget).await;
    }

    /// A place in the request budget; `None` once it is closed.
    pub async fn permit(&self, route: &Route) -> Option<Permit> {
        let _waiting = self.metrics.cloud.waiting_for_budget();
        let permit = self.limits.permit_unless_closed(&route.budget).await?;
        self.metrics.cloud.waited_for_budget(permit.waited());
        Some(permit)
    }

    /// A place in the request budget, once it is open. For who has no turn.
    async fn permit_when_open(&self, route: &Route) -> Permit {
        let _waiting = self.metrics.cloud.waiting_for_budget();
        let permit = self.limits.permit(&route.budget).await;
        self.metrics.cloud.waited_for_budget(permit.waited());
        permit
    }

    /// Leave for one more request, for who has a permit; `None` once the budget is closed.
    async fn keep_for_another(&self, route: &Route, permit: Permit) -> Option<Permit> {
        let _waiting = self.metrics.cloud.waiting_for_budget();
        let permit = self.limits.keep_for_another(&route.budget, permit).await?;
        self.metrics.cloud.waited_for_budget(permit.waited());
        Some(permit)
    }

    /// The instance's state, read once for all who ask in the same few seconds.
    ///
    /// # Errors
    /// When the read fails, or the request budget is closed.
    pub async fn instance(
        &self,
        route: &Route,
        instance_id: &str,
    ) -> Result<DbInstance, InstanceError> {
        let read = async {
            let Some(_permit) = self.permit(route).await else {
                return Err(InstanceError::BudgetClosed);
            };
            let call = |credentials: Arc<Credentials>| async move {
                let signer = signer(&credentials);
                self.client
                    .describe_db_instance_attribute(&route.endpoint, signer, instance_id)
                    .await
            };
            let read = self.read("DescribeDBInstanceAttribute", route, call);
            read.await.map_err(InstanceError::Call)
        };
        // Boxed: while it waits for another's read, it need not have room for its own.
        let read = Box::pin(read);
        self.limits.instance(&route.budget, instance_id, read).await
    }

    /// Sends the value, and waits for the answer until the time-out. The caller holds the turn and a permit, and has made sure of everything else.
    ///
    /// # Errors
    /// When RDS did not accept it, or its answer was lost.
    pub async fn reset(
        &self,
        route: &Route,
        target: &Target,
        password: &Password,
        timeout: Duration,
    ) -> Result<RequestId, ResetError> {
        let credentials = self.at_hand(route);
        let call = self.client.reset_account_password(
            &route.endpoint,
            signer(&credentials),
            &target.instance_id,
            &target.account_name,
            password,
            timeout,
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
        answer.map_err(|error| ResetError {
            try_again: self.rejected(route, &credentials, &error),
            error,
        })
    }

    /// Looks at the account: bounded, and never an error. After a reset with the permit of that, since what is begun is ended
    /// before more is begun.
    pub async fn account(&self, route: &Route, target: &Target, held: Option<Permit>) -> Account {
        let look = async {
            let permit = match held {
                None => Some(self.permit_when_open(route).await),
                Some(permit) => self.keep_for_another(route, permit).await,
            };
            let _permit = permit?;
            let call = |credentials: Arc<Credentials>| async move {
                let signer = signer(&credentials);
                self.client
                    .describe_accounts(
                        &route.endpoint,
                        signer,
                        &target.instance_id,
                        &target.account_name,
                    )
                    .await
            };
            Some(self.read("DescribeAccounts", route, call).await)
        };
        match tokio::time::timeout(ACCOUNT_LOOK_TIMEOUT, look).await {
            Ok(Some(Ok(AccountStatus::Available))) => Account::Available,
            Ok(Some(Ok(AccountStatus::Locked))) => Account::Locked,
            Ok(Some(Ok(AccountStatus::NotAvailable(state)))) => Account::NotAvailable(state),
            Ok(Some(Ok(AccountStatus::Missing { listed_as }))) => Account::Missing { listed_as },
            Ok(Some(Err(error))) if error.class() == Class::PersonNeeded => Account::NotTold,
            Ok(Some(Err(_)) | None) | Err(_) => Account::NotSeen,
        }
    }

    /// Makes a call that changes nothing; once more with other credentials if those at hand are rejected.
    async fn read<T, F: Future<Output = Result<T, CallError>>>(
        &self,
        action: &'static str,
        route: &Route,
        call: impl Fn(Arc<Credentials>) -> F,
    ) -> Result<T, CallError> {
        // Those of the route may have expired in a queue.
        let latest = self.credentials(&route.identity).await;
        let credentials = latest.unwrap_or_else(|_| route.credentials.clone());
        let answer = self.counted(action, route, call(credentials.clone())).await;
        let Err(error) = &answer else {
            return answer;
        };
        if !self.rejected(route, &credentials, error) {
            return answer;
        }
        match self.credentials(&route.identity).await {
            Ok(others) if !are_equal(&others, &credentials) => {
                self.counted(action, route, call(others)).await
            }
            _ => answer,
        }
    }

    /// Drops credentials that this error rejects, and returns whether it makes sense to ask once more with others.
    fn rejected(&self, route: &Route, credentials: &Credentials, error: &CallError) -> bool {
        error.credentials_rejected()
            && self
                .credentials
                .invalidate(&route.identity, &credentials.access_key_id)
    }

    /// The newest credentials that need no waiting: right before a reset nothing may wait.
    fn at_hand(&self, route: &Route) -> Arc<Credentials> {
        let newest = self.credentials.at_hand(&route.identity);
        newest.unwrap_or_else(|| route.credentials.clone())
    }

    async fn counted<T>(
        &self,
        action: &'static str,
        route: &Route,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let began = Instant::now();
        let answer = call.await;
        let code = answer.as_ref().err().map_or(OK, CallError::label);
        self.metrics.cloud.called(action, code, began.elapsed());
        if let Err(error) = &answer
            && let Some(host) = error.host()
        {
            debug!(action, %host, %error, "no answer of RDS");
        }
        if let Err(error) = &answer
            && error.class() == Class::Throttled
        {
            let period = error.retry_after().unwrap_or(THROTTLED_FOR);
            self.limits.close(&route.budget, period).await;
        }
        answer
    }
}

fn count_refresh(metrics: &Metrics, identity: &Identity, refresh: &Refresh) {
    let metrics = &metrics.credentials;
    let is_success = refresh.result.is_ok();
    metrics.refreshed(refresh.source.as_str(), is_success);
    if *identity == Identity::Operator {
        match refresh.result {
            Ok(expires) => metrics.own_obtained(expires),
            Err(_) => metrics.own_failed(),
        }
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

/// The same key again, as a permanent one is, would only be rejected again.
fn are_equal(one: &Credentials, other: &Credentials) -> bool {
    let secret = |text: &SecretString| Zeroizing::new(text.expose_secret().to_owned());
    one.access_key_id == other.access_key_id
        && secret(&one.access_key_secret) == secret(&other.access_key_secret)
        && one.security_token.as_ref().map(secret) == other.security_token.as_ref().map(secret)
}
