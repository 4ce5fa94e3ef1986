//! What a rotation costs a loop that does only the necessary: one that makes the same requests one after the other, with the
//! operator's own clients, and decides nothing.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::api::{Api, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rds_password_operator::api::DatabaseAccountPassword;
use rds_password_operator::controller::trigger::PAGE;
use rds_password_operator::kubernetes;
use rds_password_operator::rds::client::{Nonce, RdsClient, Signer, Timeouts};
use rds_password_operator::rds::credentials::Credentials;
use rds_password_operator::rds::endpoint::Endpoint;
use rds_password_operator::rds::password::Password;
use rds_password_operator::rds::signature::SignatureMethod;
use rds_simulator::{Action, Fault};
use tokio::time::{Instant, sleep};

use super::fleet::Fleet;
use super::report::Distribution;
use crate::Testbed;
use crate::bed::{ACCESS_KEY_ID, ACCESS_KEY_SECRET, NAMESPACE};
use crate::install::{OPERATOR, write_kubeconfig};

/// The simulated time that the cloud takes for an answer.
pub(super) const LATENCIES: [Duration; 2] = [Duration::ZERO, Duration::from_millis(30)];

/// How changes follow on each other: back to back, or each long after everything that the one before has set off, when caches
/// and processors have gone cold.
pub(super) const PACES: [(&str, Duration); 2] = [
    ("back to back", Duration::ZERO),
    ("spaced out", Duration::from_millis(250)),
];

/// How long rotations take.
#[derive(Default)]
pub(super) struct Rotations {
    /// Until the reset arrives.
    pub(super) to_reset: Distribution,
    /// Until the status is written.
    pub(super) to_ready: Distribution,
}

/// Makes so many rotations for each of these latencies of the cloud and pauses between two. No operator runs meanwhile; one has
/// run before, so that the statuses are what an operator writes.
pub(super) async fn measure(
    operator: &Path,
    rotations: u32,
    conditions: &[(Duration, Duration)],
) -> Result<Vec<Rotations>> {
    let bed = Testbed::start(operator).await?;
    let fleet = Fleet::in_sync(&bed, "floor", rotations, 1).await?;
    let plain = PlainLoop::new(&bed).await?;
    // Connections are opened, and the API server has seen each request once.
    for number in 0..rotations.min(10) {
        plain.rotate(&fleet, number).await?;
    }
    let mut all = Vec::new();
    for (round, (latency, pause)) in (1..).zip(conditions) {
        answer_after(&bed, *latency);
        let mut measured = Rotations::default();
        for number in 0..rotations {
            sleep(*pause).await;
            fleet.rotate(number, round).await?;
            let began = Timestamp::now();
            plain.rotate(&fleet, number).await?;
            let ended = Timestamp::now();
            let calls = bed.calls();
            let mut resets = calls.iter().rev();
            let reset = resets.find(|call| call.is(Action::ResetAccountPassword));
            let arrived = reset.context("no reset")?.arrived;
            measured.to_reset.add(arrived.duration_since(began));
            measured.to_ready.add(ended.duration_since(began));
        }
        all.push(measured);
    }
    Ok(all)
}

/// Lets the cloud take so long for each answer.
pub(super) fn answer_after(bed: &Testbed, latency: Duration) {
    bed.rds.clear_faults();
    if !latency.is_zero() {
        bed.rds.add_fault(Fault::delay(latency));
    }
}

struct PlainLoop {
    resources: Api<DatabaseAccountPassword>,
    secrets: Api<Secret>,
    rds: RdsClient,
    endpoint: Endpoint,
    credentials: Credentials,
}

impl PlainLoop {
    async fn new(bed: &Testbed) -> Result<Self> {
        let client = client(bed).await?;
        Ok(Self {
            resources: Api::namespaced(client.clone(), NAMESPACE),
            secrets: Api::namespaced(client, NAMESPACE),
            rds: RdsClient::new(SignatureMethod::HmacSha1, Timeouts::default())?,
            endpoint: bed.rds.url().parse()?,
            credentials: Credentials {
                access_key_id: ACCESS_KEY_ID.to_owned(),
                access_key_secret: ACCESS_KEY_SECRET.into(),
                security_token: None,
            },
        })
    }

    async fn rotate(&self, fleet: &Fleet<'_>, number: u32) -> Result<()> {
        let name = fleet.name(number);
        let (rds, endpoint) = (&self.rds, &self.endpoint);
        let mut resource = self.resources.get(&name).await?;
        let secret = self.secrets.get(&name).await?;
        let value = secret
            .data
            .and_then(|mut data| data.remove("password"))
            .context("no value")?;
        let password = Password::from_bytes(&value.0)?;
        let (instance, account) = (&resource.spec.instance_id, &resource.spec.account_name);
        rds.describe_db_instance_attribute(endpoint, self.signer(), instance)
            .await?;
        let request_id = rds
            .reset_account_password(endpoint, self.signer(), instance, account, &password)
            .await?;
        rds.describe_accounts(endpoint, self.signer(), instance, account)
            .await?;
        let reset = resource
            .status
            .as_mut()
            .and_then(|status| status.last_reset.as_mut());
        reset.context("no reset")?.request_id = request_id.to_string();
        self.resources
            .replace_status(&name, &PostParams::default(), &resource)
            .await?;
        Ok(())
    }

    fn signer(&self) -> Signer<'_> {
        Signer {
            credentials: &self.credentials,
            now: Timestamp::now(),
            nonce: Nonce::from_random(rand::random()),
        }
    }
}

/// The operator's own client of the Kubernetes API, with its own rights.
async fn client(bed: &Testbed) -> Result<Client> {
    let file = bed.directory().join("floor.kubeconfig");
    let authority = bed.control_plane.certificate_authority();
    write_kubeconfig(
        &bed.client,
        (OPERATOR, OPERATOR),
        (&bed.control_plane.server(), Some(&authority)),
        &file,
    )
    .await?;
    let kubeconfig = Kubeconfig::read_from(&file)?;
    let mut config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    Ok(kubernetes::client(config, std::sync::Arc::new(|| ()))?)
}

/// How long a plain loop takes that lists all resources and the metadata of all Secrets, in seconds.
pub(super) async fn list_everything(bed: &Testbed) -> Result<f64> {
    let client = client(bed).await?;
    let (resources, secrets) = (
        Api::<DatabaseAccountPassword>::all(client.clone()),
        Api::<Secret>::all(client),
    );
    let began = Instant::now();
    pages(async |page| Ok(resources.list(&page).await?.metadata)).await?;
    pages(async |page| Ok(secrets.list_metadata(&page).await?.metadata)).await?;
    Ok(began.elapsed().as_secs_f64())
}

/// Lists page by page to the end.
async fn pages(list: impl AsyncFn(ListParams) -> Result<ListMeta>) -> Result<()> {
    let mut page = ListParams::default().limit(PAGE);
    loop {
        match list(page.clone()).await?.continue_ {
            Some(next) if !next.is_empty() => page.continue_token = Some(next),
            _ => return Ok(()),
        }
    }
}
