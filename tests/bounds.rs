//! No answer of the API server is waited for without end, and what was asked is asked again.
#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module as a whole"
)]

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testbed::proxy::{Exchange, Matcher, Verb};
use testbed::{ApiProxy, Operator, Testbed};

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");
const PATIENCE: Duration = Duration::from_secs(90);

/// The operator's timeouts cannot be set, so this takes as long as they do: each call's, and then the pass' own back-off.
async fn behind_a_proxy() -> Result<(Testbed, ApiProxy, Operator)> {
    let bed = Testbed::start(OPERATOR).await?;
    let proxy = bed.proxy().await?;
    let operator = bed.operator_at(&proxy.url(), None).await?.start().await?;
    operator.wait_until_leading().await?;
    Ok((bed, proxy, operator))
}

/// Holds a request, and waits until it is made once more: not before the first one was given up, since a resource has one pass
/// at a time, and a watch one request.
async fn until_asked_again(
    proxy: &ApiProxy,
    matcher: &Matcher,
    trigger: impl AsyncFn() -> Result<()>,
) -> Result<()> {
    let asked = |exchanges: &[Exchange]| {
        let meant = exchanges.iter().map(|exchange| &exchange.request);
        meant.filter(|request| matcher.matches(request)).count()
    };
    let hold = proxy.hold(matcher.clone());
    let before = asked(&proxy.exchanges());
    trigger().await?;
    proxy
        .wait_for(PATIENCE, |exchanges| asked(exchanges) >= before + 2)
        .await?;
    hold.release();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_a_pass_that_hangs_is_given_up_and_made_again() -> Result<()> {
    let (bed, proxy, _operator) = behind_a_proxy().await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;
    let of = |resource: &str, verb| Matcher::resource(resource).verb(verb);
    let calls = [
        of("secrets", Verb::Get).name("orders-db"),
        of("databaseaccountpasswords/status", Verb::Update).name("orders-app"),
    ];
    for (number, matcher) in calls.iter().enumerate() {
        let password = format!("Rotated#Password{number}");
        let rotate = async || bed.rotate("orders-db", &password).await.map(|_| ());
        until_asked_again(&proxy, matcher, rotate).await?;
        bed.wait_for_password(&password).await?;
        bed.wait_until_ready("orders-app").await?;
    }
    assert_eq!(
        bed.rds
            .password_history(testbed::bed::INSTANCE, testbed::bed::ACCOUNT),
        ["First#Password1", "Rotated#Password0", "Rotated#Password1"],
        "each value once"
    );
    Ok(())
}

/// A watch that hangs would never be noticed: nothing else tells that there is a change.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_hangs_is_given_up_and_made_again() -> Result<()> {
    let (bed, proxy, _operator) = behind_a_proxy().await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;

    let watches = Matcher::resource("secrets").verb(Verb::Watch);
    // The open one ends, and the next one is held before it can be refused.
    let cut = async || {
        proxy.cut_watches("secrets");
        Ok(())
    };
    until_asked_again(&proxy, &watches, cut).await?;
    proxy.mend();
    bed.rotate("orders-db", "Second#Password2").await?;
    bed.wait_for_password("Second#Password2").await?;
    Ok(())
}

/// Nothing is known before the first list, so the process says that it is not ready, and why.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_list_that_hangs_is_given_up_and_made_again() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let proxy = bed.proxy().await?;
    let lists = Matcher::resource("secrets").verb(Verb::List);
    let hold = proxy.hold(lists.clone());
    let operator = bed.operator_at(&proxy.url(), None).await?.start().await?;
    proxy
        .wait_for(PATIENCE, |exchanges| {
            let requests = exchanges.iter().map(|exchange| &exchange.request);
            requests.filter(|request| lists.matches(request)).count() >= 2
        })
        .await
        .context("not asked again")?;
    let (status, text) = operator.get("/readyz").await?;
    assert_eq!(status, 503);
    ensure!(
        text.contains("Secrets: the API server did not answer in time"),
        "{text}"
    );
    hold.release();
    operator.wait_until_leading().await
}
