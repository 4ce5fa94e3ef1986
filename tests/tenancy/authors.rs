//! Who may order a reset of an instance, and what anybody may do who edits resources.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use rds_password_operator::api::REQUESTED_AT_ANNOTATION;
use serde_json::{Value, json};
use testbed::Testbed;
use testbed::bed::INSTANCE;

use crate::OPERATOR;
use crate::person::{
    Person, SECRET, create_token, ensure_refused, get_secret, request, reset, with_credentials,
};

#[tokio::test(flavor = "multi_thread")]
async fn who_creates_a_resource_needs_the_right_to_reset_its_instance() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    bed.create_namespace("elsewhere").await?;
    let resource = bed.resource("orders-app", SECRET);

    let stranger =
        Person::with(&bed, "stranger", &[get_secret(SECRET), reset("rm-another")]).await?;
    stranger.grant_in("elsewhere", reset(INSTANCE)).await?;
    let sentence = stranger.lacks(reset(INSTANCE));
    ensure_refused(stranger.create(&resource).await, &sentence, "a create")?;
    ensure_refused(stranger.apply(&resource).await, &sentence, "an apply")?;
    let mut suspended = resource.clone();
    suspended.spec.suspend = true;
    ensure_refused(stranger.create(&suspended).await, &sentence, "suspended")?;
    let mut generated = resource.clone();
    generated.metadata.name = None;
    generated.metadata.generate_name = Some("orders-".to_owned());
    ensure_refused(stranger.create(&generated).await, &sentence, "a new name")?;

    let author = Person::with(&bed, "author", &[get_secret(SECRET), reset(INSTANCE)]).await?;
    author.create(&resource).await?;
    author.delete("orders-app").await?;
    author.apply(&resource).await?;
    author.delete("orders-app").await?;
    // A cluster administrator passes without any Role.
    bed.create(&resource).await?;
    Ok(())
}

/// Every field of the spec steers what is reset with which value, also one that no rule has thought of.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_changes_nothing_that_orders_a_reset() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    bed.create(&bed.resource("plain", SECRET)).await?;
    let mut full = with_credentials(
        bed.resource("full", SECRET),
        json!({ "serviceAccountName": "orders-rds" }),
    )?;
    full.spec.region_id = Some("cn-shanghai".to_owned());
    full.metadata.annotations = Some(BTreeMap::from([(
        REQUESTED_AT_ANNOTATION.to_owned(),
        "monday".to_owned(),
    )]));
    bed.create(&full).await?;

    // All rights but the one.
    let stranger = Person::with(
        &bed,
        "stranger",
        &[
            get_secret(SECRET),
            get_secret("own"),
            create_token("orders-rds"),
            create_token("own"),
        ],
    )
    .await?;
    let spec = |spec: Value| json!({ "spec": spec });
    let changes = [
        spec(json!({ "instanceId": "rm-another" })),
        spec(json!({ "accountName": "root" })),
        spec(json!({ "regionId": "cn-hangzhou" })),
        spec(json!({ "passwordSecretRef": { "name": "own" } })),
        spec(json!({ "passwordSecretRef": { "key": "own" } })),
        spec(json!({ "credentials": { "serviceAccountName": "own" } })),
        spec(
            json!({ "credentials": { "serviceAccountName": null, "secretRef": { "name": "own" } } }),
        ),
        spec(json!({ "suspend": true })),
        request("tuesday"),
    ];
    let removals = [
        spec(json!({ "regionId": null })),
        spec(json!({ "credentials": null })),
        request(Value::Null),
        request(""),
    ];
    let dry_run = PatchParams::default().dry_run();
    for (name, patches) in [
        ("plain", &changes[..]),
        ("full", &changes[..]),
        ("full", &removals[..]),
    ] {
        for patch in patches {
            let before = bed.resources().get(name).await?;
            let what = format!("{patch} of {name}");
            let instance = patch["spec"]["instanceId"].as_str().unwrap_or(INSTANCE);
            let sentence = stranger.lacks(reset(instance));

            ensure_refused(stranger.merge(name, patch).await, &sentence, &what)?;
            // What it would become.
            let edited = bed
                .resources()
                .patch(name, &dry_run, &Patch::Merge(patch))
                .await?;
            let put = stranger.replace(&edited).await;
            ensure_refused(put, &sentence, format!("a PUT with {what}"))?;
            // Apply removes nothing that somebody else has set.
            if patches_add(patch) {
                let applied = stranger.apply(&edited).await;
                ensure_refused(applied, &sentence, format!("an apply of {what}"))?;
            }
            let after = bed.resources().get(name).await?;
            assert_eq!(after.resource_version(), before.resource_version());
        }
    }

    let json_patch = serde_json::from_value(json!([
        { "op": "replace", "path": "/spec/passwordSecretRef/name", "value": "own" },
    ]))?;
    let patched = stranger
        .resources()
        .patch(
            "plain",
            &PatchParams::default(),
            &Patch::<()>::Json(json_patch),
        )
        .await;
    ensure_refused(patched, &stranger.lacks(reset(INSTANCE)), "a JSON patch")?;
    Ok(())
}

/// Whether a merge patch sets values and removes none.
fn patches_add(patch: &Value) -> bool {
    match patch {
        Value::Null => false,
        Value::Object(fields) => fields.values().all(patches_add),
        _ => true,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_edits_and_deletes_what_orders_no_reset() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let mut full = with_credentials(
        bed.resource("full", SECRET),
        json!({ "secretRef": { "name": "access-key" } }),
    )?;
    full.metadata.annotations = Some(BTreeMap::from([
        (REQUESTED_AT_ANNOTATION.to_owned(), "monday".to_owned()),
        ("note".to_owned(), "first".to_owned()),
    ]));
    bed.create(&full).await?;
    bed.create(&bed.resource("plain", SECRET)).await?;
    let stranger = Person::new(&bed, "stranger").await?;

    for name in ["plain", "full"] {
        let metadata = |metadata: Value| json!({ "metadata": metadata });
        let edits = [
            metadata(json!({ "labels": { "team": "shop" } })),
            metadata(json!({ "labels": { "team": null } })),
            metadata(json!({ "annotations": { "note": "second" } })),
            metadata(json!({ "annotations": { "note": null } })),
            metadata(json!({ "finalizers": ["example.com/hold"] })),
            metadata(json!({ "finalizers": null })),
            metadata(json!({ "finalizers": ["example.com/hold"] })),
        ];
        for edit in edits {
            let changed = stranger.merge(name, &edit).await;
            changed.with_context(|| format!("{edit} of {name}"))?;
        }

        let mut resource = stranger.resources().get(name).await?;
        resource
            .labels_mut()
            .insert("by".to_owned(), "put".to_owned());
        resource = stranger.replace(&resource).await?;
        resource
            .labels_mut()
            .insert("by".to_owned(), "apply".to_owned());
        let resource = stranger.apply(&resource).await?;
        assert_eq!(resource.metadata.generation, Some(1), "no edit of the spec");

        stranger.delete(name).await?;
        let deleting = stranger.resources().get(name).await?;
        assert!(deleting.metadata.deletion_timestamp.is_some());
        stranger
            .merge(name, &metadata(json!({ "finalizers": null })))
            .await?;
        assert!(bed.resources().get_opt(name).await?.is_none());
    }

    // An empty request is none, as the operator sees it.
    bed.create(&bed.resource("plain", SECRET)).await?;
    stranger.merge("plain", &request("")).await?;
    stranger
        .resources()
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await?;
    assert!(bed.resources().get_opt("plain").await?.is_none());
    Ok(())
}
