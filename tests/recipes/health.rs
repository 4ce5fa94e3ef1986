//! Argo CD's health check, run over the statuses that the operator writes.

use anyhow::{Result, anyhow, ensure};
use mlua::{Lua, LuaOptions, LuaSerdeExt as _, SerializeOptions, StdLib, Table};
use rds_password_operator::api::DatabaseAccountPassword;
use serde_json::{Value, json};
use testbed::{Testbed, condition};

use crate::OPERATOR;
use crate::examples::{RECIPES, document, documents};

const KEY: &str =
    "resource.customizations.health.rds.password-operator.dev_DatabaseAccountPassword";

/// The script of the recipe.
fn script() -> Result<String> {
    let config_map = document("ConfigMap", "argocd-cm")?;
    let script = config_map["data"][KEY].as_str();
    script
        .map(str::to_owned)
        .ok_or_else(|| anyhow!("{RECIPES} has no {KEY}"))
}

/// Runs the script as Argo CD does: in Lua 5.1, with the resource as `obj`, and without the libraries that it keeps from
/// scripts (`useOpenLibs`).
fn run(script: &str, resource: &Value) -> mlua::Result<(String, String)> {
    let lua = Lua::new_with(StdLib::TABLE, LuaOptions::new())?;
    // JSON's null is nothing.
    let options = SerializeOptions::new()
        .serialize_none_to_null(false)
        .serialize_unit_to_null(false);
    lua.globals()
        .set("obj", lua.to_value_with(resource, options)?)?;
    let health: Table = lua.load(script).eval()?;
    Ok((health.get("status")?, health.get("message")?))
}

/// Checks what the script says of a resource: this health, with the message of `Ready`.
fn assert_health(resource: &DatabaseAccountPassword, health: &str) -> Result<()> {
    let (status, message) = health_of(&serde_json::to_value(resource)?)?;
    ensure!(
        status == health,
        "{status} instead of {health}: {resource:#?}"
    );
    let ready = condition(resource, "Ready").map(|ready| ready.message.as_str());
    assert_eq!(Some(message.as_str()), ready);
    Ok(())
}

/// Checks that a resource counts as being worked on, whatever its conditions say.
fn assert_not_looked_at(resource: &Value) -> Result<()> {
    let (status, message) = health_of(resource)?;
    assert_eq!(
        (status.as_str(), message.as_str()),
        ("Progressing", "not looked at yet")
    );
    Ok(())
}

fn health_of(resource: &Value) -> Result<(String, String)> {
    run(&script()?, resource).map_err(|error| anyhow!("{error}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn argo_cd_sees_what_the_conditions_say() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let mut created = bed.create(&bed.resource("orders-app", "orders-db")).await?;
    assert_not_looked_at(&serde_json::to_value(&created)?)?;
    created.status = None;
    assert_not_looked_at(&serde_json::to_value(&created)?)?;

    let operator = bed.operator().await?.start().await?;
    let resource = bed.wait_for_reason("orders-app", "SecretNotFound").await?;
    assert!(condition(&resource, "Reconciling").is_some());
    assert_health(&resource, "Progressing")?;

    bed.create_secret("orders-db", "short").await?;
    let resource = bed.wait_for_reason("orders-app", "PasswordInvalid").await?;
    assert!(condition(&resource, "Stalled").is_some());
    assert_health(&resource, "Degraded")?;

    bed.rotate("orders-db", "First#Password1").await?;
    let resource = bed.wait_until_ready("orders-app").await?;
    assert_health(&resource, "Healthy")?;

    // The database has the value, so being suspended makes no difference until there is another one.
    bed.patch("orders-app", json!({ "spec": { "suspend": true } }))
        .await?;
    let resource = bed.wait_until_ready("orders-app").await?;
    assert!(condition(&resource, "Suspended").is_some());
    assert_health(&resource, "Healthy")?;
    bed.rotate("orders-db", "Second#Password2").await?;
    let resource = bed.wait_for_reason("orders-app", "Suspended").await?;
    assert_health(&resource, "Suspended")?;

    // Whoever asks between a change of the spec and the operator's look at it must not see the old answer.
    bed.patch("orders-app", json!({ "spec": { "suspend": false } }))
        .await?;
    let resource = bed.wait_until_ready("orders-app").await?;
    assert_health(&resource, "Healthy")?;
    operator.terminate().await?;
    let changed = bed
        .patch("orders-app", json!({ "spec": { "accountName": "other" } }))
        .await?;
    assert_not_looked_at(&serde_json::to_value(changed)?)
}

/// The reference shows it too.
#[test]
fn the_health_check_is_the_same_wherever_it_is_shown() -> Result<()> {
    let script = script()?;
    for page in [RECIPES, "docs/api.md"] {
        for document in documents(page)? {
            let shown = document["data"][KEY].as_str();
            ensure!(shown.is_none_or(|shown| shown == script), "{page}");
        }
    }
    Ok(())
}
