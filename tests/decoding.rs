//! An answer of the API server that cannot be decoded is told of without a word of it, changes no database, and stops nobody.
#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module as a whole"
)]

use anyhow::{Result, ensure};
use rds_password_operator::fingerprint::KEY_SECRET_NAME;
use testbed::bed::{ACCOUNT, INSTANCE};
use testbed::operator::PATIENCE;
use testbed::proxy::{ApiProxy, Matcher, Verb};
use testbed::{Operator, Search, Testbed, reason};

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");

/// Part of every password and every answer here.
const CANARY: &str = "Kanarienvogel";

/// Answers in place of the Secret, as a proxy with a fault of its own might give them. What the Secret holds is in the first.
const ANSWERS: [&str; 10] = [
    "CUT",
    "",
    "Kanarienvogel",
    "<html>Kanarienvogel</html>",
    r#""Kanarienvogel""#,
    r#"{ "kind": "Status", "message": "Kanarienvogel" }"#,
    r#"{ "kind": "Secret", "metadata": { "uid": "u", "resourceVersion": "1" }, "data": "Kanarienvogel" }"#,
    r#"{ "kind": "Secret", "metadata": { "uid": "u", "resourceVersion": "1" }, "data": { "password": "Kanarienvogel!" } }"#,
    r#"{ "kind": "Secret", "metadata": { "uid": "u", "resourceVersion": "1" }, "data": { "password": ["Kanarienvogel"] } }"#,
    "NOT UTF-8",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_cannot_be_decoded_is_held_and_not_told() -> Result<()> {
    let (bed, proxy, operator) = in_sync_behind_a_proxy().await?;
    for (number, answer) in ANSWERS.into_iter().enumerate() {
        let mangle = move |body: &mut Vec<u8>| match answer {
            "CUT" => body.truncate(body.len() / 2),
            "NOT UTF-8" => body.extend(b"Kanarienvogel\xff"),
            answer => *body = answer.as_bytes().to_vec(),
        };
        proxy.rewrite(reads("orders-db"), mangle);
        let value = format!("Kanarienvogel#Value{number}");
        bed.rotate("orders-db", &value).await?;
        let resource = bed
            .wait_for_reason("orders-app", "SecretUnreadable")
            .await?;
        for (type_, expected) in [
            ("SecretReady", Some("SecretUnreadable")),
            ("Stalled", Some("SecretUnreadable")),
            ("Reconciling", None),
        ] {
            assert_eq!(reason(&resource, type_), expected, "{answer}: {type_}");
        }
        let status = serde_json::to_string(&resource.status)?;
        assert_eq!(Search::of([CANARY])?.find(&status), [""; 0]);
        is_silent(&operator)?;
        assert_eq!(bed.resets().len(), number + 1, "{answer}");

        // Another change, and all goes on.
        proxy.mend();
        let value = format!("Kanarienvogel#Again{number}");
        bed.rotate("orders-db", &value).await?;
        bed.wait_for_password(&value).await?;
        bed.wait_until_ready("orders-app").await?;
    }
    is_silent(&operator)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_can_be_decoded_again_is_applied_without_another_change() -> Result<()> {
    let (bed, proxy, operator) = in_sync_behind_a_proxy().await?;
    proxy.rewrite(reads("orders-db"), |body| body.truncate(body.len() / 2));
    bed.rotate("orders-db", "Kanarienvogel#Second2").await?;
    bed.wait_for_reason("orders-app", "SecretUnreadable")
        .await?;
    proxy.mend();
    bed.wait_for_password("Kanarienvogel#Second2").await?;
    bed.wait_until_ready("orders-app").await?;
    is_silent(&operator)
}

/// The reason phrase and the message of a failure are somebody's free text as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_whose_message_holds_the_value_is_not_told() -> Result<()> {
    let (bed, proxy, operator) = in_sync_behind_a_proxy().await?;
    for code in [400, 403, 409, 429, 500, 503] {
        for body in [
            format!(
                r#"{{ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "{CANARY}", "message": "{CANARY}", "code": {code} }}"#
            ),
            CANARY.to_owned(),
        ] {
            let known = proxy.exchanges().len();
            proxy.answer_instead(reads("orders-db"), 1, code, body);
            let value = format!("Kanarienvogel#Number{known}");
            bed.rotate("orders-db", &value).await?;
            let read = reads("orders-db");
            proxy
                .wait_for(PATIENCE, |exchanges| {
                    let mut later = exchanges[known..].iter();
                    later.any(|it| read.matches(&it.request) && it.status == Some(code))
                })
                .await?;
            // What may pass is tried again at once; for the rest, here is another change.
            let value = format!("Kanarienvogel#Later{known}");
            bed.rotate("orders-db", &value).await?;
            bed.wait_for_password(&value).await?;
        }
    }
    bed.wait_until_ready("orders-app").await?;
    is_silent(&operator)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_that_cannot_be_decoded_right_before_its_reset_waits() -> Result<()> {
    let (bed, proxy, operator) = in_sync_behind_a_proxy().await?;
    let resource = Matcher::resource("databaseaccountpasswords")
        .verb(Verb::Get)
        .name("orders-app");
    // It is read right before a reset where the intent meets a conflict.
    let intent = Matcher::resource("databaseaccountpasswords/status").verb(Verb::Update);
    proxy.refuse(intent, 2, 409);
    let known = proxy.exchanges().len();
    proxy.answer_instead(
        resource.clone(),
        2,
        200,
        format!(r#"{{ "spec": "{CANARY}" }}"#),
    );
    bed.rotate("orders-db", "Kanarienvogel#Second2").await?;
    bed.wait_for_password("Kanarienvogel#Second2").await?;
    let exchanges = proxy.exchanges().split_off(known);
    let reads = exchanges.iter().filter(|it| resource.matches(&it.request));
    assert_eq!(reads.count(), 2, "both could not be decoded");
    bed.wait_until_ready("orders-app").await?;
    is_silent(&operator)
}

/// The watch asks for metadata alone, and whoever answers may send more.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_and_a_watch_that_cannot_be_decoded_are_asked_for_again() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let proxy = bed.proxy().await?;
    for resource in ["secrets", "databaseaccountpasswords"] {
        let of = |verb| Matcher::resource(resource).verb(verb);
        for list in [
            format!(r#"{{ "kind": "List", "items": "{CANARY}" }}"#),
            format!(r#"{{ "items": [{{ "metadata": "{CANARY}" }}] }}"#),
        ] {
            proxy.answer_instead(of(Verb::List), 1, 200, list);
        }
        for event in [
            format!(r#"{{ "type": "ADDED", "object": "{CANARY}" }}"#),
            format!(r#"{{ "type": "{CANARY}", "object": {{}} }}"#),
            CANARY.to_owned(),
        ] {
            proxy.answer_instead(of(Verb::Watch), 1, 200, format!("{event}\n"));
        }
    }
    let operator = bed.operator_at(&proxy.url(), None).await?.start().await?;
    operator.wait_for_log("could not be decoded").await?;
    bed.create_secret("orders-db", "Kanarienvogel#First1")
        .await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;
    operator.wait_until_leading().await?;
    bed.rotate("orders-db", "Kanarienvogel#Second2").await?;
    bed.wait_for_password("Kanarienvogel#Second2").await?;
    is_silent(&operator)
}

/// Without the key nothing can be compared, so nothing is reset, and no other key is made.
#[tokio::test(flavor = "multi_thread")]
async fn a_fingerprint_key_that_cannot_be_decoded_is_waited_for() -> Result<()> {
    let (bed, _, operator) = in_sync_behind_a_proxy().await?;
    operator.terminate().await?;
    let proxy = bed.proxy().await?;
    proxy.rewrite(reads(KEY_SECRET_NAME), |body| body.truncate(body.len() - 2));
    let operator = bed.operator_at(&proxy.url(), None).await?.start().await?;
    operator.wait_for_log("no fingerprint key").await?;
    let (status, obstacles) = operator.get("/readyz").await?;
    ensure!(
        status == 503 && obstacles.contains("fingerprint key"),
        "{obstacles}"
    );
    bed.rotate("orders-db", "Kanarienvogel#Second2").await?;
    assert!(bed.rds.login(INSTANCE, ACCOUNT, "Kanarienvogel#First1"));

    proxy.mend();
    operator.wait_until_leading().await?;
    bed.wait_for_password("Kanarienvogel#Second2").await?;
    bed.settle().await?;
    let resource = bed.wait_until_ready("orders-app").await?;
    let status = resource.status.unwrap_or_default();
    assert_eq!(status.history.len(), 2);
    is_silent(&operator)
}

async fn in_sync_behind_a_proxy() -> Result<(Testbed, ApiProxy, Operator)> {
    let bed = Testbed::start(OPERATOR).await?;
    let proxy = bed.proxy().await?;
    let operator = bed.operator_at(&proxy.url(), None).await?.start().await?;
    operator.wait_until_leading().await?;
    bed.create_secret("orders-db", "Kanarienvogel#First1")
        .await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;
    Ok((bed, proxy, operator))
}

fn reads(secret: &str) -> Matcher {
    Matcher::resource("secrets").verb(Verb::Get).name(secret)
}

/// In the log at its highest level.
fn is_silent(operator: &Operator) -> Result<()> {
    let found = Search::of([CANARY])?.find(&operator.log());
    ensure!(found.is_empty(), "{found:#?}");
    Ok(())
}
