//! What a resource names, its author must be allowed to use.

use anyhow::Result;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, PostParams};
use rds_password_operator::api::DatabaseAccountPassword;
use serde_json::{Value, json};
use testbed::bed::{INSTANCE, NAMESPACE};
use testbed::{Testbed, wait_until};

use crate::OPERATOR;
use crate::person::{
    Person, SECRET, create_token, ensure_refused, get_secret, request, reset, with_credentials,
};

fn label(value: &str) -> Value {
    json!({ "metadata": { "labels": { "team": value } } })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_author_needs_the_right_to_read_the_secrets_that_the_resource_names() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let plain = bed.resource("plain", SECRET);
    let keyed = with_credentials(
        bed.resource("keyed", SECRET),
        json!({ "secretRef": { "name": "access-key" } }),
    )?;
    let author = Person::with(&bed, "author", &[reset(INSTANCE)]).await?;

    let sentence = author.lacks(get_secret(SECRET));
    ensure_refused(author.create(&plain).await, &sentence, "a create")?;
    ensure_refused(author.apply(&plain).await, &sentence, "an apply")?;
    author.grant(get_secret(SECRET)).await?;
    author.create(&plain).await?;

    let repointed = json!({ "spec": { "passwordSecretRef": { "name": "of-others" } } });
    ensure_refused(
        author.merge("plain", &repointed).await,
        &author.lacks(get_secret("of-others")),
        "another Secret",
    )?;

    let sentence = author.lacks(get_secret("access-key"));
    ensure_refused(author.create(&keyed).await, &sentence, "a create")?;
    let keys = json!({ "spec": { "credentials": { "secretRef": { "name": "access-key" } } } });
    ensure_refused(
        author.merge("plain", &keys).await,
        &sentence,
        "an AccessKey",
    )?;
    author.grant(get_secret("access-key")).await?;
    author.create(&keyed).await?;
    author.merge("plain", &keys).await?;

    for secret in [SECRET, "access-key"] {
        author.revoke(get_secret(secret)).await?;
        let sentence = author.lacks(get_secret(secret));
        let asked = author.merge("keyed", &request("now")).await;
        ensure_refused(asked, &sentence, "a request")?;
        author.merge("keyed", &label(secret)).await?;
        author.grant(get_secret(secret)).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_author_needs_the_right_to_a_token_of_the_service_account_that_the_resource_names()
-> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let resource = with_credentials(
        bed.resource("orders-app", SECRET),
        json!({ "serviceAccountName": "orders-rds" }),
    )?;
    let author = Person::with(
        &bed,
        "author",
        &[reset(INSTANCE), get_secret(SECRET), create_token("another")],
    )
    .await?;

    let sentence = author.lacks(create_token("orders-rds"));
    ensure_refused(author.create(&resource).await, &sentence, "a create")?;
    author.create(&bed.resource("plain", SECRET)).await?;
    let borrowed = json!({ "spec": { "credentials": { "serviceAccountName": "orders-rds" } } });
    ensure_refused(author.merge("plain", &borrowed).await, &sentence, "a patch")?;
    author.grant(create_token("orders-rds")).await?;
    author.create(&resource).await?;
    author.merge("plain", &borrowed).await?;

    author.revoke(create_token("orders-rds")).await?;
    let asked = author.merge("orders-app", &request("now")).await;
    ensure_refused(asked, &sentence, "a request")?;
    author.merge("orders-app", &label("shop")).await?;
    Ok(())
}

/// Some clients send every field: null is a value too, and names nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_null_asks_for_no_right() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let rights = [
        reset(INSTANCE),
        get_secret(SECRET),
        get_secret("access-key"),
        create_token("orders-rds"),
    ];
    let author = Person::with(&bed, "author", &rights).await?;
    for credentials in [
        json!(null),
        json!({ "serviceAccountName": null, "secretRef": { "name": "access-key" } }),
        json!({ "serviceAccountName": "orders-rds", "secretRef": null }),
    ] {
        let mut resource = serde_json::to_value(bed.resource("nulls", SECRET))?;
        resource["spec"]["credentials"] = credentials;
        let api = ApiResource::erase::<DatabaseAccountPassword>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(author.client.clone(), NAMESPACE, &api);
        let resource = serde_json::from_value(resource)?;
        api.create(&PostParams::default(), &resource).await?;
        author.delete("nulls").await?;
    }
    Ok(())
}

/// A policy that is left out takes nothing but its own question with it.
#[tokio::test(flavor = "multi_thread")]
async fn each_policy_can_be_left_out_alone() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let author = Person::with(&bed, "author", &[reset(INSTANCE)]).await?;
    let stranger = Person::new(&bed, "stranger").await?;
    let resource = bed.resource("orders-app", SECRET);
    let sentence = author.lacks(get_secret(SECRET));
    ensure_refused(author.create(&resource).await, &sentence, "a create")?;

    let name = "rds-password-operator-secrets";
    let (policies, bindings) = (
        Api::<ValidatingAdmissionPolicy>::all(bed.client.clone()),
        Api::<ValidatingAdmissionPolicyBinding>::all(bed.client.clone()),
    );
    bindings.delete(name, &DeleteParams::default()).await?;
    policies.delete(name, &DeleteParams::default()).await?;
    wait_until("the Secret is not asked about", async || {
        Ok(author.create(&resource).await.is_ok())
    })
    .await?;
    ensure_refused(
        stranger.merge("orders-app", &request("now")).await,
        &stranger.lacks(reset(INSTANCE)),
        "a request",
    )
}
