//! The operator itself with temporary credentials: they end, they are rejected, they cannot be had.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rds_password_operator::api::DatabaseAccountPassword;
use rds_simulator::{Action, CredentialsUri, Fault, OidcProvider, Role};
use testbed::bed::NAMESPACE;
use testbed::operator::{OperatorBuilder, PATIENCE};
use testbed::{Testbed, condition};

use crate::issuer::{AUDIENCE, ISSUER, Issuer, SUBJECT};
use crate::world::{PROVIDER, ROLE};

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");

/// With RRSA's variables instead of an access key.
async fn with_rrsa(bed: &Testbed, issuer: &Issuer, token: &Path) -> Result<OperatorBuilder> {
    let provider = OidcProvider::new(PROVIDER, ISSUER, &issuer.key_set())?;
    bed.rds.add_oidc_provider(provider);
    Ok(bed
        .operator()
        .await?
        .without_access_key()
        .env("ALIBABA_CLOUD_ROLE_ARN", ROLE)
        .env("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", PROVIDER)
        .env("ALIBABA_CLOUD_OIDC_TOKEN_FILE", token)
        .flag("sts-endpoint", bed.rds.url()))
}

fn role() -> Role {
    Role::new(ROLE).trusts_oidc(PROVIDER, ISSUER, AUDIENCE, SUBJECT)
}

/// Every try of its life was a success.
fn assert_never_failed(resource: &DatabaseAccountPassword) {
    let status = resource.status.as_ref().unwrap();
    assert!(status.last_attempt.is_none());
    assert!(
        status.history.iter().all(|entry| entry.code.is_none()),
        "{:#?}",
        status.history
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_end_while_it_runs() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let issuer = Issuer::new();
    let token = bed.directory().join("token");
    fs::write(&token, issuer.token())?;
    bed.rds.add_role(role());
    // On a slow machine a call may come to the cloud when its key has just ended; it is then made once more.
    bed.rds
        .set_token_lifetime(std::time::Duration::from_secs(8));
    let operator = with_rrsa(&bed, &issuer, &token).await?.start().await?;
    operator.wait_until_leading().await?;

    bed.create_secret("orders-db", "Password#0").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    let assumed = || {
        let calls = bed.calls().into_iter();
        calls
            .filter(|call| call.is(Action::AssumeRoleWithOidc))
            .count()
    };
    let mut number = 0;
    while assumed() < 3 {
        number += 1;
        let password = format!("Password#{number}");
        bed.rotate("orders-db", &password).await?;
        bed.wait_for_password(&password).await?;
    }
    let resource = bed.wait_until_ready("orders-app").await?;
    assert_never_failed(&resource);
    for part in fs::read_to_string(&token)?.split('.') {
        ensure!(!operator.log().contains(part), "the token is in the log");
    }
    Ok(())
}

/// First at the look at the instance, whose answer is then kept, then at the reset itself: the Secret has another value by the
/// time that it is tried again, and that is sent.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_rejected_are_replaced_within_the_pass() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    bed.rds.add_role(role());
    let server = bed
        .rds
        .start_credentials_uri(CredentialsUri::of_role(ROLE))
        .await?;
    let operator = bed
        .operator()
        .await?
        .env("ALIBABA_CLOUD_CREDENTIALS_URI", server.url())
        .flag("credentials-source", "uri")
        .start()
        .await?;
    operator.wait_until_leading().await?;
    let fault = Fault::error(400, "InvalidSecurityToken.Expired", "no").times(1);
    bed.rds
        .add_fault(fault.clone().on(Action::DescribeDBInstanceAttribute));
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    let resource = bed.wait_until_ready("orders-app").await?;
    assert_never_failed(&resource);
    let given = || {
        let calls = bed.calls().into_iter();
        calls
            .filter(|call| call.is(Action::GetCredentialsUri))
            .count()
    };
    assert_eq!(given(), 2);
    drop(operator);

    let operator = bed
        .operator()
        .await?
        .env("ALIBABA_CLOUD_CREDENTIALS_URI", server.url())
        .flag("credentials-source", "uri")
        .start()
        .await?;
    operator.wait_until_leading().await?;
    bed.rds.add_fault(fault.on(Action::ResetAccountPassword));
    let pause = bed.rds.pause(Action::ResetAccountPassword);
    bed.rotate("orders-db", "Second#Password2").await?;
    pause.wait_for_held(1, PATIENCE).await?;
    bed.rotate("orders-db", "Third#Password3").await?;
    pause.release();
    bed.wait_for_password("Third#Password3").await?;
    let resource = bed.wait_until_ready("orders-app").await?;
    assert_never_failed(&resource);
    assert_eq!(given(), 4);
    let resets = bed.resets();
    let effects: Vec<bool> = resets.iter().map(|call| call.took_effect).collect();
    assert_eq!(effects, [true, false, true]);
    assert_ne!(resets[1].access_key_id, resets[2].access_key_id);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_cannot_be_assumed_is_told_and_heals() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let issuer = Issuer::new();
    let token = bed.directory().join("token");
    fs::write(&token, issuer.token())?;
    bed.rds.add_role(Role::new(ROLE));
    let operator = with_rrsa(&bed, &issuer, &token).await?.start().await?;
    operator.wait_until_leading().await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    let resource = bed.wait_for_reason("orders-app", "AccessDenied").await?;
    let ready = condition(&resource, "Ready").context("no condition")?;
    ensure!(ready.message.contains("trust policy"), "{}", ready.message);
    ensure!(
        ready.message.contains("credentials source: oidc"),
        "{}",
        ready.message
    );
    ensure!(condition(&resource, "Stalled").is_some());
    let attempt = resource.status.and_then(|status| status.last_attempt);
    let attempt = attempt.context("no lastAttempt")?;
    assert_eq!(
        attempt.code.as_deref(),
        Some("AuthenticationFail.NoPermission")
    );
    let calls = bed.calls();
    let refused = calls
        .iter()
        .find(|call| call.is(Action::AssumeRoleWithOidc));
    let request_id = refused.map(|call| call.request_id.as_str());
    assert_eq!(attempt.request_id.as_deref(), request_id);
    bed.wait_for_event("orders-app", "ResetFailed").await?;

    bed.rds.add_role(role());
    // A request within the pause after the failure finds the failure.
    let mut requests = 0..;
    let mut is_ready = false;
    while !is_ready {
        let request = format!("{:?}", requests.next());
        bed.request_reset("orders-app", &request).await?;
        let seen = |resource: &DatabaseAccountPassword| {
            let status = resource.status.as_ref();
            let attempt = status.and_then(|status| status.last_attempt.as_ref());
            attempt.is_none_or(|attempt| attempt.request.as_ref() == Some(&request))
        };
        let resource = bed.wait_for("orders-app", "a try", seen).await?;
        is_ready = condition(&resource, "Ready").is_some_and(|ready| ready.reason == "InSync");
    }
    let told = serde_json::to_string(&bed.resources().get("orders-app").await?)?
        + &serde_json::to_string(&bed.events().await?)?
        + &operator.log();
    for part in fs::read_to_string(&token)?
        .split('.')
        .filter(|part| part.len() > 20)
    {
        ensure!(!told.contains(part), "{NAMESPACE}: the token is told");
    }
    Ok(())
}
