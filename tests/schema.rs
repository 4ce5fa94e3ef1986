//! The API server refuses a resource that cannot work, with a sentence that says what to write instead; it fills in what may
//! be left out, and prints the columns that a person looks for.
#![expect(clippy::tests_outside_test_module, reason = "tests")]

use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::{CustomResourceExt as _, Resource as _};
use rds_password_operator::api::DatabaseAccountPassword;
use serde_json::{Map, Value, json};
use testbed::bed::NAMESPACE;
use testbed::install::{CRD_FILE, repository_file};
use testbed::{Testbed, condition, reason};

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");

/// Resources as a person writes them, in JSON that may be wrong.
fn written(client: &Client) -> Api<DynamicObject> {
    let kind = ApiResource::erase::<DatabaseAccountPassword>(&());
    Api::namespaced_with(client.clone(), NAMESPACE, &kind)
}

fn object(name: &str, spec: &Value) -> Result<DynamicObject> {
    Ok(serde_json::from_value(json!({
        "apiVersion": DatabaseAccountPassword::api_version(&()),
        "kind": DatabaseAccountPassword::kind(&()),
        "metadata": { "name": name },
        "spec": spec,
    }))?)
}

/// The smallest spec that is right, with something merged into it; `null` removes.
fn spec(changes: &Value) -> Value {
    let mut spec = json!({
        "instanceId": "rm-uf6wjk5xxxxxxx",
        "accountName": "app",
        "passwordSecretRef": { "name": "orders-db" },
    });
    merge(&mut spec, changes);
    spec
}

/// A JSON merge patch (RFC 7386).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    for (name, value) in patch {
        if value.is_null() {
            target.as_object_mut().map(|target| target.remove(name));
        } else {
            merge(&mut target[name], value);
        }
    }
}

const INSTANCE: &str = "instanceId must be the instance's ID as the RDS console shows it, for example rm-uf6wjk5xxxxxxx: lower-case letters, digits and hyphens";
const ACCOUNT: &str = "accountName must be the account's name as the RDS console shows it: printable ASCII without spaces";
const REGION: &str = "regionId must be a region ID such as cn-shanghai: lower-case letters, digits and hyphens; not an endpoint";
const SECRET: &str = "passwordSecretRef.name must be the name of a Secret in the same namespace: lower-case letters, digits, hyphens and dots; it cannot name another namespace";
const KEY: &str = "passwordSecretRef.key must be a key of the Secret's data: letters, digits, hyphens, underscores and dots";

/// What is wrong, and what the API server says.
fn refused() -> Vec<(Value, &'static str)> {
    let long = "a".repeat(65);
    vec![
        (json!({ "regionId": "cn.shanghai" }), REGION),
        (json!({ "regionId": "cn-shanghai/evil" }), REGION),
        (
            json!({ "regionId": "rds.cn-shanghai.aliyuncs.com" }),
            REGION,
        ),
        (json!({ "regionId": "CN-SHANGHAI" }), REGION),
        (json!({ "regionId": "evil.example:80#" }), REGION),
        (json!({ "regionId": "cn-shanghai\n" }), REGION),
        (json!({ "regionId": "" }), REGION),
        (json!({ "regionId": long }), "spec.regionId: Too long"),
        (json!({ "instanceId": "RM-UF6WJK5XXXXXXX" }), INSTANCE),
        (json!({ "instanceId": "my instance" }), INSTANCE),
        (
            json!({ "instanceId": "rm-uf6wjk5xxxxxxx.mysql.rds.aliyuncs.com" }),
            INSTANCE,
        ),
        (json!({ "instanceId": "" }), INSTANCE),
        (json!({ "instanceId": long }), "spec.instanceId: Too long"),
        (
            json!({ "instanceId": null }),
            "spec.instanceId: Required value",
        ),
        (json!({ "accountName": "my app" }), ACCOUNT),
        (json!({ "accountName": "b\u{fc}cher" }), ACCOUNT),
        (json!({ "accountName": "" }), ACCOUNT),
        (
            json!({ "accountName": null }),
            "spec.accountName: Required value",
        ),
        (
            json!({ "passwordSecretRef": { "name": "other/orders-db" } }),
            SECRET,
        ),
        (
            json!({ "passwordSecretRef": { "name": "Orders_DB" } }),
            SECRET,
        ),
        (json!({ "passwordSecretRef": { "name": "" } }), SECRET),
        (
            json!({ "passwordSecretRef": { "name": null, "key": "password" } }),
            "spec.passwordSecretRef.name: Required value",
        ),
        (
            json!({ "passwordSecretRef": null }),
            "spec.passwordSecretRef: Required value",
        ),
        (json!({ "passwordSecretRef": { "key": "pass word" } }), KEY),
        (json!({ "passwordSecretRef": { "key": "a/b" } }), KEY),
        (json!({ "passwordSecretRef": { "key": "" } }), KEY),
        (json!({ "suspend": "yes" }), "must be of type boolean"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_resource_is_refused_with_what_to_write_instead() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let api = written(&bed.client);
    let parameters = PostParams::default();
    api.create(&parameters, &object("right", &spec(&json!({})))?)
        .await?;
    let mut wrong = Vec::new();
    for (changes, sentence) in refused() {
        let bad = object("wrong", &spec(&changes))?;
        let answer = match api.create(&parameters, &bad).await {
            Ok(_) => "nothing against it".to_owned(),
            Err(kube::Error::Api(refusal)) => refusal.message.clone(),
            Err(error) => return Err(error.into()),
        };
        if !answer.contains(sentence) {
            wrong.push(format!("{changes}: {answer}"));
        }
        // What cannot be created cannot be made of a right one either.
        let patch = Patch::Merge(json!({ "spec": changes }));
        let patched = api.patch("right", &PatchParams::default(), &patch).await;
        ensure!(patched.is_err(), "{changes}: taken by an update");
    }
    ensure!(
        wrong.is_empty(),
        "does not say what to write:\n{}",
        wrong.join("\n")
    );
    let whole = object("wrong", &Value::Null)?;
    let refusal = api.create(&parameters, &whole).await;
    let sentence = refusal.err().context("taken without a spec")?.to_string();
    ensure!(sentence.contains("spec: Required value"), "{sentence}");
    Ok(())
}

/// `kubectl` asks the API server to refuse fields that it does not know, so that nobody believes in one that does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_there_is_not_is_refused() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let api = written(&bed.client);
    let strict = PatchParams::apply("person").validation_strict();
    for (changes, field) in [
        (
            json!({ "passwordSecretRef": { "namespace": "other" } }),
            ".spec.passwordSecretRef.namespace",
        ),
        (
            json!({ "endpoint": "https://evil.example" }),
            ".spec.endpoint",
        ),
        (json!({ "password": "Canary#Password1" }), ".spec.password"),
    ] {
        let bad = object("wrong", &spec(&changes))?;
        let refusal = api.patch("wrong", &strict, &Patch::Apply(&bad)).await;
        let Err(refusal) = refusal else {
            bail!("{field} is taken")
        };
        let sentence = refusal.to_string();
        ensure!(
            sentence.contains(&format!("{field}: field not declared in schema")),
            "{sentence}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_out_is_filled_in() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let mut smallest = object("smallest", &spec(&json!({})))?;
    // What only the operator may say cannot come with the resource.
    smallest.data["status"] =
        json!({ "observedGeneration": 1, "pendingSince": "2026-01-01T00:00:00Z" });
    let created = written(&bed.client)
        .create(&PostParams::default(), &smallest)
        .await?;
    assert_eq!(created.data["spec"]["passwordSecretRef"]["key"], "password");
    assert_eq!(created.data["spec"]["suspend"], false);
    // kstatus takes an object without a status for one that is as it should be.
    assert_eq!(created.data["status"], json!({ "observedGeneration": -1 }));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_shows_what_a_person_looks_for() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("in-sync", "orders-db")).await?;
    bed.wait_until_ready("in-sync").await?;
    let mut waiting = bed.resource("waiting", "nowhere");
    "reports".clone_into(&mut waiting.spec.account_name);
    bed.create(&waiting).await?;
    bed.wait_for_reason("waiting", "SecretNotFound").await?;

    let path = DatabaseAccountPassword::url_path(&(), Some(NAMESPACE));
    let mut list = Request::new(path).list(&kube::api::ListParams::default())?;
    list.headers_mut().insert(
        "accept",
        "application/json;as=Table;v=v1;g=meta.k8s.io".parse()?,
    );
    let table: Value = bed.client.request(list).await?;
    let columns: Vec<(&str, i64)> = table["columnDefinitions"]
        .as_array()
        .context("no columns")?
        .iter()
        .map(|column| {
            let name = column["name"].as_str().unwrap_or_default();
            (name, column["priority"].as_i64().unwrap_or_default())
        })
        .collect();
    assert_eq!(
        columns,
        [
            ("Name", 0),
            ("Instance", 0),
            ("Account", 0),
            ("Ready", 0),
            ("Reason", 0),
            ("Last-Reset", 0),
            ("Age", 0),
            // With -o wide.
            ("Request-Id", 1),
            ("Next-Attempt", 1),
        ]
    );

    let row = |name: &str| {
        let rows = table["rows"].as_array();
        rows.into_iter()
            .flatten()
            .map(|row| row["cells"].clone())
            .find(|cells| cells[0] == name)
            .with_context(|| format!("no row for {name}: {table:#}"))
    };
    let resets = bed.resets();
    let cells = row("in-sync")?;
    for (column, expected) in [
        (1, "rm-shop"),
        (2, "app"),
        (3, "True"),
        (4, "InSync"),
        (7, resets[0].request_id.as_str()),
    ] {
        assert_eq!(cells[column], expected, "{cells}");
    }
    assert!(cells[5].is_string(), "an age: {cells}");
    let cells = row("waiting")?;
    for (column, expected) in [(2, "reports"), (3, "False"), (4, "SecretNotFound")] {
        assert_eq!(cells[column], expected, "{cells}");
    }
    Ok(())
}

/// A definition may be older than the operator, or have been installed with less.
#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_leads_elsewhere_is_refused_by_the_operator_too() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let definitions = Api::<CustomResourceDefinition>::all(bed.client.clone());
    let mut definition = definitions.get(DatabaseAccountPassword::crd_name()).await?;
    let version = &mut definition.spec.versions[0];
    let region = version
        .schema
        .as_mut()
        .and_then(|schema| schema.open_api_v3_schema.as_mut())
        .and_then(|schema| schema.properties.as_mut()?.get_mut("spec"))
        .and_then(|spec| spec.properties.as_mut()?.get_mut("regionId"))
        .context("no regionId in the schema")?;
    region.x_kubernetes_validations = None;
    definitions
        .replace(
            DatabaseAccountPassword::crd_name(),
            &PostParams::default(),
            &definition,
        )
        .await?;

    let operator = bed.operator().await?.start().await?;
    operator.wait_until_leading().await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    let mut resource = bed.resource("orders-app", "orders-db");
    resource.spec.region_id = Some("evil.example/?".to_owned());
    // The API server takes up the new schema in its own time.
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    while let Err(refusal) = bed.create(&resource).await {
        ensure!(tokio::time::Instant::now() < deadline, "{refusal}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let refused = bed.wait_for_reason("orders-app", "Rejected").await?;
    assert_eq!(reason(&refused, "Stalled"), Some("Rejected"));
    let ready = condition(&refused, "Ready").context("no Ready")?;
    assert!(
        ready
            .message
            .contains("spec.regionId must be a region ID such as cn-shanghai"),
        "{ready:?}"
    );
    bed.settle().await?;
    let calls = bed.calls();
    assert!(
        calls
            .iter()
            .all(|call| call.instance.as_deref() != Some(testbed::bed::INSTANCE)),
        "{calls:#?}"
    );
    Ok(())
}

#[test]
fn the_definition_in_the_repository_is_the_one_of_the_program() -> Result<()> {
    let printed = Command::new(OPERATOR).arg("crd").output()?;
    ensure!(printed.status.success(), "{printed:?}");
    let kept = std::fs::read_to_string(repository_file(CRD_FILE))?;
    ensure!(
        String::from_utf8(printed.stdout)? == kept,
        "write it anew: cargo run -- crd > {CRD_FILE}"
    );
    Ok(())
}

/// A definition that is older than the operator: the API server drops the fields of the status that it does not know. What was sent without
/// an answer would be forgotten, so nothing is sent, and `/readyz` says what to do.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_with_a_definition_that_forgets_it() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let definitions = Api::<CustomResourceDefinition>::all(bed.client.clone());
    let name = DatabaseAccountPassword::crd_name();
    let current = definitions.get(name).await?;
    let mut old = current.clone();
    let fields = old.spec.versions[0]
        .schema
        .as_mut()
        .and_then(|schema| schema.open_api_v3_schema.as_mut())
        .and_then(|schema| schema.properties.as_mut()?.get_mut("status"))
        .and_then(|status| status.properties.as_mut());
    let removed = fields.and_then(|fields| fields.remove("unansweredSends"));
    ensure!(removed.is_some(), "the definition has no unansweredSends");
    definitions
        .replace(name, &PostParams::default(), &old)
        .await?;

    let operator = bed.operator().await?.start().await?;
    operator.wait_until_leading().await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    // The API server takes up the new schema in its own time; the operator may have reset before.
    let told = testbed::wait_until("/readyz names the definition", async || {
        let (status, text) = operator.get("/readyz").await?;
        let is_told = status == 503 && text.contains("is older than the operator");
        if !is_told {
            bed.request_reset(
                "orders-app",
                &k8s_openapi::jiff::Timestamp::now().to_string(),
            )
            .await?;
        }
        Ok(is_told)
    });
    told.await?;
    let sent = bed.resets().len();
    bed.rotate("orders-db", "Second#Password2").await?;
    operator.wait_for_log("no reset is sent").await?;
    assert_eq!(bed.resets().len(), sent, "{:#?}", bed.resets());

    // It is updated.
    let mut updated = definitions.get(name).await?;
    updated.spec = current.spec;
    definitions
        .replace(name, &PostParams::default(), &updated)
        .await?;
    bed.wait_for_password("Second#Password2").await?;
    bed.wait_until_ready("orders-app").await?;
    operator.wait_until_ready().await?;
    Ok(())
}
