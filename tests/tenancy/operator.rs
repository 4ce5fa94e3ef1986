//! What the policies let the operator do.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use rds_password_operator::api::API_GROUP;
use serde_json::{Value, json};
use testbed::bed::{ACCOUNT, INSTANCE, NAMESPACE};
use testbed::install::{self, OPERATOR as OPERATOR_NAME};
use testbed::{Testbed, reason, wait_until};

use crate::person::{
    Person, Right, SECRET, bind, create_token, ensure_refused, get_secret, is_allowed, request,
    reset, wait_until_allowed,
};
use crate::{OPERATOR, SAMPLE};

const OPERATOR_USER: &str = "system:serviceaccount:rds-password-operator:rds-password-operator";

/// The operator writes statuses and tenants use what they were granted; a right that is taken away stops later edits alone.
#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_rotated_with_the_policies_on() -> Result<()> {
    let (bed, operator) = Testbed::start_with_operator(OPERATOR).await?;
    bed.create_secret(SECRET, "First#Password1").await?;
    let author = Person::with(&bed, "author", &[reset(INSTANCE), get_secret(SECRET)]).await?;
    author.create(&bed.resource("orders-app", SECRET)).await?;
    bed.wait_until_ready("orders-app").await?;
    assert!(bed.rds.login(INSTANCE, ACCOUNT, "First#Password1"));
    author.merge("orders-app", &request("now")).await?;
    bed.wait_for("orders-app", "reset on request", |resource| {
        let status = resource.status.as_ref();
        status.is_some_and(|status| status.last_handled_request.as_deref() == Some("now"))
    })
    .await?;

    let stranger = Person::new(&bed, "stranger").await?;
    let label = json!({ "metadata": { "labels": { "team": "shop" } } });
    stranger.merge("orders-app", &label).await?;
    // Of what a status write carries, the API server takes the status alone: no request comes that way.
    let write_status = Right {
        verb: "patch",
        group: API_GROUP,
        resource: "databaseaccountpasswords/status",
        name: "orders-app",
    };
    stranger.grant(write_status).await?;
    let written = stranger
        .resources()
        .patch_status(
            "orders-app",
            &PatchParams::default(),
            &Patch::Merge(request("later")),
        )
        .await?;
    assert_eq!(written.request(), Some("now"));

    author.revoke(reset(INSTANCE)).await?;
    ensure_refused(
        author.merge("orders-app", &request("later")).await,
        &author.lacks(reset(INSTANCE)),
        "a request",
    )?;
    bed.rotate(SECRET, "Second#Password2").await?;
    bed.wait_for_password("Second#Password2").await?;
    let resource = bed
        .wait_for("orders-app", "reset a third time", |resource| {
            let status = resource.status.as_ref();
            status.is_some_and(|status| status.history.len() == 3)
        })
        .await?;
    assert_eq!(reason(&resource, "Ready"), Some("InSync"));
    assert_eq!(bed.resets().len(), 3);

    let (status, log) = operator.terminate().await?;
    ensure!(status.success(), "{status}:\n{log}");
    Ok(())
}

/// An operator that watches some namespaces needs no right in the others.
#[tokio::test(flavor = "multi_thread")]
async fn the_operator_can_be_kept_to_its_namespaces() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let everywhere = Api::<ClusterRoleBinding>::all(bed.client.clone());
    everywhere
        .delete(OPERATOR_NAME, &DeleteParams::default())
        .await?;
    let subject =
        json!({ "kind": "ServiceAccount", "namespace": OPERATOR_NAME, "name": OPERATOR_NAME });
    let role = ("ClusterRole", OPERATOR_NAME);
    bind(&bed.client, NAMESPACE, OPERATOR_NAME, role, &subject).await?;
    let token = install::issue_token(&bed.client, (OPERATOR_NAME, OPERATOR_NAME)).await?;
    let identity = bed.control_plane.client_with_token(&token).await?;
    wait_until_allowed(&identity, NAMESPACE, get_secret(SECRET)).await?;
    wait_until("no right elsewhere", async || {
        Ok(!is_allowed(&identity, "default", get_secret(SECRET)).await?)
    })
    .await?;

    let operator = bed
        .operator()
        .await?
        .argument(format!("--watch-namespace={NAMESPACE}"))
        .start()
        .await?;
    operator.wait_until_leading().await?;
    bed.create_secret(SECRET, "First#Password1").await?;
    bed.create(&bed.resource("orders-app", SECRET)).await?;
    bed.wait_until_ready("orders-app").await?;
    bed.wait_for_event("orders-app", "PasswordReset").await?;
    Ok(())
}

fn token_request(audiences: &[&str]) -> Result<TokenRequest> {
    Ok(serde_json::from_value(json!({
        "spec": { "audiences": audiences, "expirationSeconds": 600 },
    }))?)
}

/// The audiences that a token names.
fn audiences(issued: &TokenRequest) -> Result<Vec<String>> {
    let status = issued.status.as_ref().context("no token")?;
    let claims = status.token.split('.').nth(1).context("not a JWT")?;
    let mut claims: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims)?)?;
    Ok(serde_json::from_value(claims["aud"].take())?)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_gets_tokens_for_the_cloud_alone() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    install::apply_file(&bed.client, &install::repository_file(SAMPLE)).await?;
    let token = install::issue_token(&bed.client, (OPERATOR_NAME, OPERATOR_NAME)).await?;
    let operator = bed.control_plane.client_with_token(&token).await?;
    wait_until_allowed(&operator, NAMESPACE, create_token("orders-rds")).await?;
    let tokens = Api::<ServiceAccount>::namespaced(operator.clone(), NAMESPACE);
    let post = PostParams::default();
    tokens.get("orders-rds").await?;

    let issued = tokens
        .create_token_request("orders-rds", &post, &token_request(&["sts.aliyuncs.com"])?)
        .await?;
    assert_eq!(audiences(&issued)?, ["sts.aliyuncs.com"]);
    let api_server = "https://kubernetes.default.svc.cluster.local";
    let others: [&[&str]; 6] = [
        &[],
        &[api_server],
        &["sts.amazonaws.com"],
        &["sts.aliyuncs.com", api_server],
        &["sts.aliyuncs.com", "sts.aliyuncs.com"],
        &["STS.aliyuncs.com"],
    ];
    for audiences in others {
        let answer = tokens
            .create_token_request("orders-rds", &post, &token_request(audiences)?)
            .await;
        let sentence = "denied request: the operator's ServiceAccount may create tokens with the one audience \
                        \"sts.aliyuncs.com\", and with no other";
        ensure_refused(answer, sentence, audiences)?;
    }

    // Which ServiceAccounts it may ask for is what Roles say.
    for (namespace, service_account) in [(NAMESPACE, "pipeline"), (OPERATOR_NAME, OPERATOR_NAME)] {
        let answer = Api::<ServiceAccount>::namespaced(operator.clone(), namespace)
            .create_token_request(
                service_account,
                &post,
                &token_request(&["sts.aliyuncs.com"])?,
            )
            .await;
        let sentence =
            format!("User \"{OPERATOR_USER}\" cannot create resource \"serviceaccounts/token\"");
        ensure_refused(answer, &sentence, (namespace, service_account))?;
    }

    // Nobody else is concerned, not even one of the same name.
    let namesake = json!({ "metadata": { "name": OPERATOR_NAME } });
    let namesake: ServiceAccount = serde_json::from_value(namesake)?;
    Api::namespaced(bed.client.clone(), NAMESPACE)
        .create(&post, &namesake)
        .await?;
    for name in ["pipeline", OPERATOR_NAME] {
        let subject = json!({ "kind": "ServiceAccount", "namespace": NAMESPACE, "name": name });
        let role = ("Role", "rds-password-operator");
        let binding = format!("{name}-tokens");
        bind(&bed.client, NAMESPACE, &binding, role, &subject).await?;
        let token = install::issue_token(&bed.client, (NAMESPACE, name)).await?;
        let client = bed.control_plane.client_with_token(&token).await?;
        wait_until_allowed(&client, NAMESPACE, create_token("orders-rds")).await?;
        let tokens = Api::<ServiceAccount>::namespaced(client, NAMESPACE);
        for asked in [&[api_server][..], &["vault", "sts.aliyuncs.com"]] {
            let issued = tokens
                .create_token_request("orders-rds", &post, &token_request(asked)?)
                .await?;
            assert_eq!(audiences(&issued)?, asked, "of {name}");
        }
    }
    Ok(())
}
