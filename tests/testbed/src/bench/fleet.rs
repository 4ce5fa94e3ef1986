//! Many resources, each with a Secret and an account of its own.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rds_password_operator::api::DatabaseAccountPassword;
use rds_simulator::{Action, Call, Instance};
use tokio::time::{Instant, sleep};

use super::{UNLIMITED, start};
use crate::bed::for_each;
use crate::{Operator, Testbed};

/// A fleet is waited for as long as this for each of its resources, and a minute.
const PATIENCE_FOR_EACH: Duration = Duration::from_millis(500);

/// How often a wait looks at the operator's metrics, which takes the operator time that is measured. No figure depends on it.
const LOOK: Duration = Duration::from_secs(1);

/// The same for each resource of a small fleet.
const LOOK_FOR_EACH: Duration = Duration::from_millis(10);

/// The metric that counts the resets whose success stands in the status.
const SUCCEEDED: &str = "rds_password_operator_resets_total{trigger=";

/// Resources `NAME-0`, `NAME-1`, ….
pub(super) struct Fleet<'a> {
    bed: &'a Testbed,
    name: &'static str,
    size: u32,
    accounts_of_an_instance: u32,
}

impl<'a> Fleet<'a> {
    pub(super) fn new(
        bed: &'a Testbed,
        name: &'static str,
        size: u32,
        accounts_of_an_instance: u32,
    ) -> Self {
        Self {
            bed,
            name,
            size,
            accounts_of_an_instance,
        }
    }

    /// One that is there, and that an operator has brought in sync, which does not run any more.
    pub(super) async fn in_sync(
        bed: &'a Testbed,
        name: &'static str,
        size: u32,
        accounts_of_an_instance: u32,
    ) -> Result<Self> {
        let fleet = Self::new(bed, name, size, accounts_of_an_instance);
        fleet.create(0).await?;
        let operator = start(bed, UNLIMITED).await?;
        fleet.wait_until_reset(&operator, 0.0).await?;
        operator.terminate().await?;
        Ok(fleet)
    }

    pub(super) fn size(&self) -> u32 {
        self.size
    }

    /// The one whose resource and Secret come after those of all others where the API server lists them.
    pub(super) fn last_in_lists(&self) -> Option<u32> {
        (0..self.size).max_by_key(|number| self.name(*number))
    }

    pub(super) fn name(&self, number: u32) -> String {
        format!("{}-{number}", self.name)
    }

    pub(super) fn instance(&self, number: u32) -> String {
        format!("rm-{}-{}", self.name, number / self.accounts_of_an_instance)
    }

    pub(super) fn instances(&self) -> impl Iterator<Item = String> {
        (0..self.size)
            .step_by(self.accounts_of_an_instance as usize)
            .map(|number| self.instance(number))
    }

    /// Creates those that are not there yet, from this number on.
    pub(super) async fn create(&self, from: u32) -> Result<()> {
        let mut resources = Vec::new();
        for number in from..self.size {
            let instance = self.instance(number);
            if number.is_multiple_of(self.accounts_of_an_instance) {
                self.bed.rds.add_instance(Instance::new(&instance));
            }
            let name = self.name(number);
            resources.push(self.bed.add_account(&name, &instance, &name)?);
        }
        for_each(&resources, async |resource: &DatabaseAccountPassword| {
            let secret = &resource.spec.password_secret_ref.name;
            self.bed.create_secret(secret, &password(0)).await?;
            self.bed.create(resource).await?;
            Ok(())
        })
        .await
    }

    /// Writes the value of this round to one Secret.
    pub(super) async fn rotate(&self, number: u32, round: u32) -> Result<()> {
        self.bed
            .rotate(&self.name(number), &password(round))
            .await?;
        Ok(())
    }

    /// Writes the value of this round to all Secrets, as fast as it goes, in an order in which those of an instance do not come
    /// together.
    pub(super) async fn rotate_all(&self, round: u32) -> Result<()> {
        let mut numbers: Vec<u32> = (0..self.size).collect();
        // The same in each run.
        numbers.shuffle(&mut StdRng::seed_from_u64(1));
        for_each(numbers, |number| self.rotate(number, round)).await
    }

    /// Waits until an account has the value of this round.
    pub(super) async fn wait_until_applied(&self, number: u32, round: u32) -> Result<()> {
        let (instance, account) = (self.instance(number), self.name(number));
        self.bed
            .wait_for_login((&instance, &account), &password(round))
            .await
    }

    /// Waits until the operator has written down so many more resets than `before`.
    pub(super) async fn wait_until_reset(&self, operator: &Operator, before: f64) -> Result<()> {
        let all = before + f64::from(self.size);
        let what = format!("{} resets", self.size);
        self.wait(&what, async || Ok(resets(operator).await? >= all))
            .await
    }

    /// Waits until something is so, for as long as a fleet of this size may take.
    pub(super) async fn wait(
        &self,
        what: &str,
        mut is_so: impl AsyncFnMut() -> Result<bool>,
    ) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60) + PATIENCE_FOR_EACH * self.size;
        while !is_so().await? {
            ensure!(Instant::now() < deadline, "in vain waited for: {what}");
            sleep(LOOK.min(LOOK_FOR_EACH * self.size)).await;
        }
        Ok(())
    }

    /// The calls about the fleet's instances, from this one on.
    pub(super) fn calls(&self, from: usize) -> Vec<Call> {
        let prefix = format!("rm-{}-", self.name);
        let mut calls = self.bed.calls();
        calls.drain(..from.min(calls.len()));
        calls.retain(|call| {
            call.instance
                .as_ref()
                .is_some_and(|instance| instance.starts_with(&prefix))
        });
        calls
    }

    /// When the last accepted reset arrived among these calls.
    pub(super) fn last_reset(calls: &[Call]) -> Result<jiff::Timestamp> {
        let resets = calls
            .iter()
            .filter(|call| call.is(Action::ResetAccountPassword) && call.succeeded());
        resets.map(|call| call.arrived).max().context("no reset")
    }
}

/// How many resets the operator has written down.
pub(super) async fn resets(operator: &Operator) -> Result<f64> {
    let (_, text) = operator.get("/metrics").await?;
    let samples = text
        .lines()
        .filter(|line| line.starts_with(SUCCEEDED) && line.contains("result=\"success\""));
    Ok(samples
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum())
}

/// A value that RDS takes, another one for each round.
pub(super) fn password(round: u32) -> String {
    format!("Round#Password{round:06}")
}
