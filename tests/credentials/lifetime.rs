//! Temporary credentials over time, through the cache.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::SignedDuration;
use rds_password_operator::credentials::cache::Cache;
use rds_password_operator::credentials::{CredentialsError, Kind, OperatorCredentials};
use rds_password_operator::rds::credentials::Credentials;
use rds_simulator::{Action, Fault};

use crate::world::World;

const PATIENCE: Duration = Duration::from_secs(60);

/// One identity of an operator, with the world's clock.
struct Operator {
    own: Arc<OperatorCredentials>,
    cache: Arc<Cache<&'static str>>,
}

impl Operator {
    fn of(world: &World) -> Self {
        let clock = world.surroundings.clone();
        Self {
            own: Arc::new(world.operator()),
            cache: Arc::new(Cache::new(move || clock.now(), || 0.5)),
        }
    }

    async fn credentials(&self) -> Result<Arc<Credentials>, CredentialsError> {
        let own = self.own.clone();
        let fetch = || async move { own.obtain().await };
        self.cache.get(&"operator", fetch).await
    }
}

fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_mins(minutes)
}

/// Waits for a renewal that is under way.
async fn wait_for_others(operator: &Operator, than: &Credentials) {
    let renewed = async {
        while operator.credentials().await.unwrap().access_key_id == than.access_key_id {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, renewed).await.unwrap();
}

/// A hundred users of one identity, each at work every minute for two hours. Each call is one that RDS takes.
#[tokio::test]
async fn two_hours_of_a_hundred_users_take_three_calls() {
    let world = World::new().await.with_rrsa();
    let operator = Operator::of(&world);
    for minute in 0..120 {
        world.set_time_ahead(minutes(minute));
        let token = world.issuer.token_with(&serde_json::json!({
            "exp": (world.surroundings.now() + SignedDuration::from_hours(1)).as_second(),
        }));
        world.surroundings.write(crate::world::TOKEN_FILE, token);
        let users = (0..100).map(|_| operator.credentials());
        let first = join_all(users).await.swap_remove(0).unwrap();
        world.call(&first).await.unwrap();
        // Four fifths of an hour have passed twice.
        if minute == 48 || minute == 96 {
            wait_for_others(&operator, &first).await;
        }
    }
    assert_eq!(world.calls(Action::AssumeRoleWithOidc).len(), 3);
}

#[tokio::test]
async fn a_failed_renewal_goes_unnoticed_until_the_end() {
    let world = World::new().await.with_role_of_key();
    let operator = Operator::of(&world);
    let first = operator.credentials().await.unwrap();
    let fault = Fault::error(503, "ServiceUnavailable", "no").on(Action::AssumeRole);
    let fault = world.cloud.add_fault(fault);
    let journal = world.cloud.journal();
    let no_call_is_under_way =
        |calls: &[rds_simulator::Call]| calls.iter().all(|call| call.finished.is_some());
    for minute in 50..59 {
        world.set_time_ahead(minutes(minute));
        let same = operator.credentials().await.unwrap();
        assert_eq!(same.access_key_id, first.access_key_id);
        world.call(&same).await.unwrap();
        journal
            .wait_for(PATIENCE, no_call_is_under_way)
            .await
            .unwrap();
    }
    // It was tried again and again.
    assert!(world.calls(Action::AssumeRole).len() > 2);
    world.set_time_ahead(minutes(60));
    assert_eq!(
        operator.credentials().await.unwrap_err().kind(),
        Kind::Transient
    );
    world.cloud.clear_fault(fault);
    world.set_time_ahead(minutes(61));
    let next = operator.credentials().await.unwrap();
    world.call(&next).await.unwrap();
}

#[tokio::test]
async fn credentials_that_the_cloud_ended_early_are_replaced() {
    let world = World::new().await.with_rrsa();
    let operator = Operator::of(&world);
    let first = operator.credentials().await.unwrap();
    world.call(&first).await.unwrap();
    world.cloud.expire_tokens();
    let error = world.call(&first).await.unwrap_err();
    assert!(error.credentials_rejected());
    assert!(operator.cache.invalidate(&"operator", &first.access_key_id));
    let second = operator.credentials().await.unwrap();
    world.call(&second).await.unwrap();
}
