//! What changed while the operator could not watch is found when it lists again: all of it, and nothing else, however many
//! pages the list has.
#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module as a whole"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::stream::{self, TryStreamExt as _};
use kube::ResourceExt;
use kube::api::ListParams;
use rds_password_operator::api::DatabaseAccountPassword;
use rds_simulator::{Account, Instance, Password};
use serde_json::json;
use testbed::bed::{INITIAL_PASSWORD, INSTANCE};
use testbed::operator::{OperatorBuilder, PATIENCE};
use testbed::proxy::{ApiProxy, Exchange, Matcher, Verb, failure};
use testbed::{Operator, Testbed, condition, reason, wait_until};
use tokio::time::Instant;

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");

const RESOURCES: &str = "databaseaccountpasswords";

/// More than fit on one page of a list, which has 500.
const COUNT: usize = 520;
const ACCOUNTS_OF_AN_INSTANCE: usize = 20;

/// How many requests the test has under way at once.
const AT_ONCE: usize = 16;

/// What happens to a resource while nobody watches. Each to every 26th, so to some on each page.
const GROUPS: usize = 26;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Rotated,
    SecretLabelled,
    Labelled,
    Deleted,
    SecretDeleted,
    SecretCreatedAgain,
    Requested,
    CreatedAgainForAnotherAccount,
    PointedAtAnotherSecret,
    AnotherCreated,
    HandedOver,
    Nothing,
}

/// One account, its resource and its Secret.
#[derive(Clone, Copy, Debug)]
struct Case(usize);

impl Case {
    fn change(self) -> Change {
        [
            Change::Rotated,
            Change::SecretLabelled,
            Change::Labelled,
            Change::Deleted,
            Change::SecretDeleted,
            Change::SecretCreatedAgain,
            Change::Requested,
            Change::CreatedAgainForAnotherAccount,
            Change::PointedAtAnotherSecret,
            Change::AnotherCreated,
            Change::HandedOver,
        ]
        .get(self.0 % GROUPS)
        .copied()
        .unwrap_or(Change::Nothing)
    }

    /// Of the resource and its Secret.
    fn name(self) -> String {
        format!("orders-{:03}", self.0)
    }

    /// Of whatever comes beside them.
    fn other(self) -> String {
        format!("other-{:03}", self.0)
    }

    fn instance(self) -> String {
        format!("rm-{}", self.0 / ACCOUNTS_OF_AN_INSTANCE)
    }

    fn account(self) -> String {
        format!("app{}", self.0)
    }

    fn spare_account(self) -> String {
        format!("spare{}", self.0)
    }

    fn password(self) -> String {
        format!("First#Password{}", self.0)
    }

    fn other_password(self) -> String {
        format!("Other#Password{}", self.0)
    }

    fn resource(self, bed: &Testbed, name: &str, account: String) -> DatabaseAccountPassword {
        let mut resource = bed.resource(name, name);
        resource.spec.instance_id = self.instance();
        resource.spec.account_name = account;
        resource
    }

    async fn create(self, bed: &Testbed) -> Result<()> {
        let (name, other) = (self.name(), self.other());
        bed.create_secret(&name, &self.password()).await?;
        bed.create_secret(&other, &self.other_password()).await?;
        bed.create(&self.resource(bed, &name, self.account()))
            .await?;
        Ok(())
    }

    /// Stands by for the account, of which the resource of this case is the owner.
    async fn create_other(self, bed: &Testbed) -> Result<()> {
        bed.create(&self.resource(bed, &self.other(), self.account()))
            .await?;
        Ok(())
    }

    async fn happen(self, bed: &Testbed) -> Result<()> {
        let (name, other) = (self.name(), self.other());
        let labels = json!({ "metadata": { "labels": { "team": "a" } } });
        match self.change() {
            Change::Rotated => drop(bed.rotate(&name, &self.other_password()).await?),
            Change::SecretLabelled => drop(bed.patch_secret(&name, labels).await?),
            Change::Labelled => drop(bed.patch(&name, labels).await?),
            Change::Deleted => {
                bed.delete(&name).await?;
                bed.rotate(&name, &self.other_password()).await?;
            }
            Change::SecretDeleted => bed.delete_secret(&name).await?,
            Change::SecretCreatedAgain => {
                bed.delete_secret(&name).await?;
                bed.create_secret(&name, &self.password()).await?;
            }
            Change::Requested => bed.request_reset(&name, "now").await?,
            Change::CreatedAgainForAnotherAccount => {
                bed.delete(&name).await?;
                bed.create(&self.resource(bed, &name, self.spare_account()))
                    .await?;
            }
            Change::PointedAtAnotherSecret => {
                let reference = json!({ "spec": { "passwordSecretRef": { "name": other } } });
                bed.patch(&name, reference).await?;
            }
            Change::AnotherCreated => {
                bed.create(&self.resource(bed, &other, self.spare_account()))
                    .await?;
            }
            Change::HandedOver => bed.delete(&name).await?,
            Change::Nothing => {}
        }
        Ok(())
    }

    /// The values that the account, and its spare, are given: in the end, and in this order.
    fn given(self) -> (Vec<String>, Vec<String>) {
        let (first, other) = (self.password(), self.other_password());
        match self.change() {
            Change::Rotated | Change::PointedAtAnotherSecret | Change::HandedOver => {
                (vec![first, other], vec![])
            }
            Change::Requested => (vec![first.clone(), first], vec![]),
            Change::CreatedAgainForAnotherAccount => (vec![first.clone()], vec![first]),
            Change::AnotherCreated => (vec![first], vec![other]),
            Change::SecretLabelled
            | Change::Labelled
            | Change::Deleted
            | Change::SecretDeleted
            | Change::SecretCreatedAgain
            | Change::Nothing => (vec![first], vec![]),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pages_after_a_restart_of_the_api_server() -> Result<()> {
    let mut bed = Testbed::start(OPERATOR).await?;
    // A lost leadership would begin anew with everything, and here the same term has to go on.
    let (proxy, _operator) = behind_proxy(&bed, &["--no-leader-election"]).await?;
    for number in 0..COUNT / ACCOUNTS_OF_AN_INSTANCE {
        let cases = (0..COUNT).map(Case);
        let cases = cases.filter(|case| case.0 / ACCOUNTS_OF_AN_INSTANCE == number);
        let instance = Instance::new(format!("rm-{number}"));
        bed.rds.add_instance(cases.fold(instance, |instance, case| {
            instance
                .account(Account::new(case.account(), INITIAL_PASSWORD))
                .account(Account::new(case.spare_account(), INITIAL_PASSWORD))
        }));
    }
    each(|_| true, async |case| case.create(&bed).await).await?;
    become_of(&bed, |_| "InSync").await?;
    let is_handed_over = |case: Case| case.change() == Change::HandedOver;
    each(is_handed_over, async |case| case.create_other(&bed).await).await?;
    let stands_by = |name: &str| name.starts_with("other");
    become_of(&bed, |name| match name {
        name if stands_by(name) => "Conflict",
        _ => "InSync",
    })
    .await?;

    proxy.cut();
    each(|_| true, async |case| case.happen(&bed).await).await?;
    bed.control_plane.stop()?;
    bed.control_plane.start_again().await?;
    let known = proxy.exchanges().len();
    proxy.mend();
    // And a list that fails in the middle is one that begins anew.
    let second_page = |resource: &str| {
        let list = Matcher::resource(resource).verb(Verb::List);
        list.when(|request| request.query.contains("continue="))
    };
    for resource in [RESOURCES, "secrets"] {
        proxy.refuse(second_page(resource), 1, 500);
    }

    until_none_is_left("accounts", async || Ok(differing(&bed))).await?;
    let gone: BTreeSet<String> = (0..COUNT)
        .map(Case)
        .filter(|case| case.change() == Change::SecretDeleted)
        .map(Case::name)
        .collect();
    let reason = |is_gone| if is_gone { "SecretNotFound" } else { "InSync" };
    become_of(&bed, |name| reason(gone.contains(name))).await?;
    bed.settle().await?;
    assert_eq!(differing(&bed), [""; 0]);

    // So that this was about what it says: a page that failed, and one or more that followed the first at the next try.
    let exchanges = proxy.exchanges().split_off(known);
    for resource in [RESOURCES, "secrets"] {
        let page = second_page(resource);
        let pages = exchanges.iter().filter(|it| page.matches(&it.request));
        let answers: Vec<Option<u16>> = pages.map(|it| it.status).collect();
        assert_eq!(answers[..2], [Some(500), Some(200)], "{resource}");
    }
    Ok(())
}

/// The only news of it is that it is not there any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_deleted_while_its_watch_is_down() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let (proxy, _operator) = behind_proxy(&bed, &[]).await?;
    for lists_again in [false, true] {
        let name = format!("orders-{lists_again}");
        in_sync(&bed, &name).await?;
        let known = proxy.exchanges().len();
        cut_watch(&proxy, "secrets", lists_again).await?;
        bed.delete_secret(&name).await?;
        proxy.mend();
        bed.wait_for_reason(&name, "SecretNotFound").await?;
        assert!(bed.rds.login(INSTANCE, &name, "First#Password1"));

        let lists = Matcher::resource("secrets").verb(Verb::List);
        let exchanges = proxy.exchanges().split_off(known);
        let listed = exchanges
            .iter()
            .any(|exchange| lists.matches(&exchange.request) && exchange.status == Some(200));
        assert_eq!(listed, lists_again);
    }
    assert_eq!(bed.resets().len(), 2);
    Ok(())
}

/// Of the owner that was deleted, nothing tells the one that stood by but that it is not there any more.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_is_deleted_while_the_watch_is_down() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let (proxy, _operator) = behind_proxy(&bed, &[]).await?;
    for lists_again in [false, true] {
        let name = format!("orders-{lists_again}");
        let other = format!("other-{lists_again}");
        in_sync(&bed, &name).await?;
        bed.create_secret(&other, "Other#Password1").await?;
        let mut resource = bed.resource(&other, &other);
        resource.spec.account_name.clone_from(&name);
        bed.create(&resource).await?;
        bed.wait_for_reason(&other, "Conflict").await?;

        cut_watch(&proxy, RESOURCES, lists_again).await?;
        bed.delete(&name).await?;
        proxy.mend();
        bed.wait_until_ready(&other).await?;
        assert!(bed.rds.login(INSTANCE, &name, "Other#Password1"));
    }
    assert_eq!(bed.resets().len(), 4);
    Ok(())
}

/// Each has a back-off of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_down_does_not_hold_up_the_other() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let (proxy, operator) = behind_proxy(&bed, &[]).await?;
    in_sync(&bed, "orders").await?;

    cut_watch(&proxy, RESOURCES, true).await?;
    bed.rotate("orders", "Second#Password2").await?;
    bed.wait_for_login((INSTANCE, "orders"), "Second#Password2")
        .await?;
    operator.wait_for_log("not watching").await?;
    let (status, obstacles) = operator.get("/readyz").await?;
    assert_eq!(status, 503, "{obstacles}");
    proxy.mend();
    operator.wait_until_ready().await?;

    cut_watch(&proxy, "secrets", true).await?;
    bed.request_reset("orders", "now").await?;
    bed.wait_for("orders", "reset again", |resource| {
        let status = resource.status.as_ref();
        status.is_some_and(|status| status.last_handled_request.is_some())
    })
    .await?;
    bed.rotate("orders", "Third#Password3").await?;
    proxy.mend();
    bed.wait_for_login((INSTANCE, "orders"), "Third#Password3")
        .await?;
    operator.wait_until_ready().await?;
    Ok(())
}

/// The API server has lost the key that one Secret is encrypted with, so that no list of Secrets succeeds. The others are read one
/// by one meanwhile, and their changes applied; the resource of that one says what is wrong; and nothing else is done.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_cannot_be_decrypted_holds_up_no_other() -> Result<()> {
    let mut bed = Testbed::start(OPERATOR).await?;
    // Another term would look at everything once.
    let operator = bed.operator().await?.argument("--no-leader-election");
    let operator = operator.start().await?;
    operator.wait_until_leading().await?;
    for name in ["orders", "reports", "lost"] {
        in_sync(&bed, name).await?;
    }
    // Its watch would tell of it.
    bed.control_plane.stop()?;
    bed.control_plane.encrypt_secrets(&["first"])?;
    bed.control_plane.start_again().await?;
    bed.rotate("lost", "Second#Password2").await?;
    bed.wait_for_login((INSTANCE, "lost"), "Second#Password2")
        .await?;
    bed.control_plane.stop()?;
    bed.control_plane.encrypt_secrets(&["second"])?;
    bed.control_plane.start_again_without_readiness().await?;

    // A watch that goes on needs the API server's cache of all Secrets, which it fails to fill.
    wait_until_not_watching(&operator, "429 (TooManyRequests)").await?;
    bed.rotate("orders", "Third#Password3").await?;
    // Each is looked at once a minute, and that one four times in a row.
    let deadline = Instant::now() + 3 * PATIENCE;
    loop {
        let is_applied = bed.rds.login(INSTANCE, "orders", "Third#Password3");
        let lost = bed.resources().get("lost").await?;
        let reason = reason(&lost, "Ready");
        if is_applied && reason == Some("SecretUnreadable") {
            break;
        }
        ensure!(
            Instant::now() < deadline,
            "applied: {is_applied}, lost: {reason:?}\n{}",
            operator.log()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    bed.wait_until_ready("orders").await?;
    let lost = bed.resources().get("lost").await?;
    let stalled = condition(&lost, "Stalled").context("not stalled")?;
    ensure!(
        stalled.message.contains("HTTP status 500 (InternalError)")
            && stalled.message.contains("EncryptionConfiguration"),
        "{stalled:?}"
    );
    assert_eq!(bed.rds.password_history(INSTANCE, "reports").len(), 1);
    assert_eq!(bed.resets().len(), 5, "{:#?}", bed.resets());

    // The next one begins with a list.
    drop(operator.kill());
    let operator = bed.operator().await?.argument("--no-leader-election");
    let operator = operator.start().await?;
    wait_until_not_watching(&operator, "500 (").await?;
    bed.rotate("orders", "Fourth#Password4").await?;
    let deadline = Instant::now() + 3 * PATIENCE;
    while !bed.rds.login(INSTANCE, "orders", "Fourth#Password4") {
        ensure!(Instant::now() < deadline, "{}", operator.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    bed.control_plane.stop()?;
    bed.control_plane.encrypt_secrets(&["second", "first"])?;
    bed.control_plane.start_again().await?;
    bed.wait_for_reason("lost", "InSync").await?;
    operator.wait_until_ready().await?;
    assert_eq!(bed.resets().len(), 6, "{:#?}", bed.resets());
    Ok(())
}

/// Waits until `/readyz` says with which status the watch of Secrets fails.
async fn wait_until_not_watching(operator: &Operator, status: &str) -> Result<()> {
    let failure = format!("Secrets: the API server answered with HTTP status {status}");
    let is_told = async || Ok(operator.get("/readyz").await?.1.contains(&failure));
    wait_until(&failure, is_told)
        .await
        .with_context(|| operator.log())
}

/// A resource and its Secret of this name, for an account of this name.
async fn in_sync(bed: &Testbed, name: &str) -> Result<()> {
    bed.create_secret(name, "First#Password1").await?;
    bed.create(&bed.add_account(name, INSTANCE, name)?).await?;
    bed.wait_until_ready(name).await?;
    Ok(())
}

/// Breaks a watch off; where it `lists_again`, the place where it was is told to be too far back to go on from.
async fn cut_watch(proxy: &ApiProxy, resource: &str, lists_again: bool) -> Result<()> {
    let known = proxy.exchanges().len();
    let watch = Matcher::resource(resource).verb(Verb::Watch);
    if lists_again {
        let event = json!({ "type": "ERROR", "object": failure(410) });
        proxy.answer_instead(watch.clone(), 1, 200, format!("{event}\n"));
    }
    proxy.cut_watches(resource);
    let tried = |exchange: &Exchange| watch.matches(&exchange.request) && !exchange.open;
    proxy
        .wait_for(PATIENCE, |exchanges| {
            let later = exchanges.get(known..).unwrap_or_default();
            later.iter().any(tried)
        })
        .await?;
    Ok(())
}

/// An operator that leads, and the network between it and the API server.
async fn behind_proxy(bed: &Testbed, arguments: &[&str]) -> Result<(ApiProxy, Operator)> {
    let proxy = bed.proxy().await?;
    let operator = bed.operator_at(&proxy.url(), None).await?;
    let operator = arguments.iter().fold(operator, OperatorBuilder::argument);
    let operator = operator.start().await?;
    operator.wait_until_leading().await?;
    Ok((proxy, operator))
}

/// Does something for each of these cases, for many at a time.
async fn each<F: Future<Output = Result<()>>>(
    concerned: impl Fn(Case) -> bool,
    act: impl Fn(Case) -> F,
) -> Result<()> {
    let cases = (0..COUNT).map(Case).filter(|case| concerned(*case));
    stream::iter(cases.map(Ok))
        .try_for_each_concurrent(AT_ONCE, act)
        .await
}

/// Waits until `Ready` of each resource has the reason that is expected for its name.
async fn become_of(bed: &Testbed, expected: impl Fn(&str) -> &'static str) -> Result<()> {
    until_none_is_left("resources", async || {
        let resources = bed.resources().list(&ListParams::default()).await?;
        let names = resources.iter().filter(|resource| {
            let ready = condition(resource, "Ready");
            let is_as_expected = ready.is_some_and(|ready| {
                ready.reason == expected(&resource.name_any())
                    && ready.observed_generation == resource.metadata.generation
            });
            !is_as_expected
        });
        Ok(names.map(ResourceExt::name_any).collect())
    })
    .await
}

/// The accounts whose passwords were not those that they should have been given, in this order.
fn differing(bed: &Testbed) -> Vec<String> {
    let mut differing = Vec::new();
    for case in (0..COUNT).map(Case) {
        let (account, spare) = case.given();
        for (account, expected) in [(case.account(), account), (case.spare_account(), spare)] {
            let given = bed.rds.password_history(&case.instance(), &account);
            let given: Vec<&str> = given.iter().map(Password::expose).collect();
            if given != expected {
                let change = case.change();
                differing.push(format!(
                    "{account} ({change:?}): {given:?}, not {expected:?}"
                ));
            }
        }
    }
    differing
}

/// As patient as with a single condition, anew after each progress.
async fn until_none_is_left(what: &str, left: impl AsyncFn() -> Result<Vec<String>>) -> Result<()> {
    let mut fewest = usize::MAX;
    let mut deadline = Instant::now() + PATIENCE;
    loop {
        let left = left().await?;
        if left.is_empty() {
            return Ok(());
        }
        if left.len() < fewest {
            fewest = left.len();
            deadline = Instant::now() + PATIENCE;
        }
        ensure!(
            Instant::now() < deadline,
            "{what} that are not as they should be: {left:#?}"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
