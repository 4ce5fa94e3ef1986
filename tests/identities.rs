//! Each resource's calls are made in the name that it asks for, and no namespace borrows another's role.
#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module as a whole"
)]

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role as RbacRole, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use rds_password_operator::api::{
    AccessKeySecretRef, CredentialsReference, DatabaseAccountPassword,
};
use rds_simulator::{AccessKey, Account, Action, DenialCode, Instance, OidcProvider, Role};
use serde_json::{Value, json};
use testbed::bed::{ACCESS_KEY_ID, ACCOUNT, INITIAL_PASSWORD, INSTANCE, NAMESPACE};
use testbed::operator::OperatorBuilder;
use testbed::{Operator, Testbed, condition};

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");

const PROVIDER: &str = "acs:ram::1000000000000001:oidc-provider/cluster";
const ROLE: &str = "acs:ram::1000000000000001:role/shop-orders";
const SERVICE_ACCOUNT: &str = "orders-rds";

/// A cluster whose OIDC provider the cloud knows, with one role that trusts one ServiceAccount of the tests' namespace. The
/// operator's own AccessKey may do nothing.
async fn two_parties() -> Result<Testbed> {
    let bed = Testbed::start(OPERATOR).await?;
    let get = |path: &str| kube::core::Request::new(path).list(&ListParams::default());
    let keys = bed.client.request_text(get("/openid/v1/jwks")?).await?;
    let discovery = get("/.well-known/openid-configuration")?;
    let discovery: Value = serde_json::from_str(&bed.client.request_text(discovery).await?)?;
    let issuer = discovery["issuer"].as_str().context("no issuer")?;
    bed.rds
        .add_oidc_provider(OidcProvider::new(PROVIDER, issuer, &keys)?);
    let subject = format!("system:serviceaccount:{NAMESPACE}:{SERVICE_ACCOUNT}");
    bed.rds
        .add_role(Role::new(ROLE).trusts_oidc(PROVIDER, issuer, "sts.aliyuncs.com", subject));
    bed.rds.remove_access_key(ACCESS_KEY_ID);
    let powerless = AccessKey::new(ACCESS_KEY_ID, testbed::bed::ACCESS_KEY_SECRET);
    bed.rds
        .add_access_key(powerless.denied(DenialCode::NoPermission, None, None));
    bed.create_secret("orders-db", "First#Password1").await?;
    Ok(bed)
}

fn knowing_the_provider(operator: OperatorBuilder, bed: &Testbed) -> OperatorBuilder {
    operator
        .flag("oidc-provider-arn", PROVIDER)
        .flag("sts-endpoint", bed.rds.url())
}

async fn start(bed: &Testbed) -> Result<Operator> {
    let operator = knowing_the_provider(bed.operator().await?, bed)
        .start()
        .await?;
    operator.wait_until_leading().await?;
    Ok(operator)
}

async fn create_service_account(
    bed: &Testbed,
    namespace: &str,
    annotations: &[(&str, &str)],
) -> Result<()> {
    let annotations = annotations
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let account = ServiceAccount {
        metadata: ObjectMeta {
            name: Some(SERVICE_ACCOUNT.to_owned()),
            annotations: Some(annotations.collect()),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    };
    let accounts = Api::<ServiceAccount>::namespaced(bed.client.clone(), namespace);
    accounts.create(&PostParams::default(), &account).await?;
    Ok(())
}

/// The rights that `deploy/samples/tenant.yaml` gives the operator.
async fn let_the_operator_have_tokens(bed: &Testbed, namespace: &str) -> Result<()> {
    let role: RbacRole = serde_json::from_value(json!({
        "metadata": { "name": "rds-password-operator" },
        "rules": [
            { "apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": [SERVICE_ACCOUNT], "verbs": ["get"] },
            { "apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": [SERVICE_ACCOUNT], "verbs": ["create"] },
        ],
    }))?;
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": { "name": "rds-password-operator" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "rds-password-operator" },
        "subjects": [{ "kind": "ServiceAccount", "name": "rds-password-operator", "namespace": "rds-password-operator" }],
    }))?;
    let parameters = PostParams::default();
    Api::namespaced(bed.client.clone(), namespace)
        .create(&parameters, &role)
        .await?;
    Api::namespaced(bed.client.clone(), namespace)
        .create(&parameters, &binding)
        .await?;
    Ok(())
}

fn by_service_account(mut resource: DatabaseAccountPassword) -> DatabaseAccountPassword {
    resource.spec.credentials = Some(CredentialsReference {
        service_account_name: Some(SERVICE_ACCOUNT.to_owned()),
        secret_ref: None,
    });
    resource
}

fn exchanges(bed: &Testbed) -> usize {
    bed.calls()
        .iter()
        .filter(|call| call.is(Action::AssumeRoleWithOidc))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_accounts_role_makes_the_calls_and_its_keys_are_renewed() -> Result<()> {
    let bed = two_parties().await?;
    let role_name = ("pod-identity.alibabacloud.com/role-name", "shop-orders");
    create_service_account(&bed, NAMESPACE, &[role_name]).await?;
    let_the_operator_have_tokens(&bed, NAMESPACE).await?;
    let operator = start(&bed).await?;
    bed.create(&by_service_account(bed.resource("orders-app", "orders-db")))
        .await?;
    bed.wait_until_ready("orders-app").await?;

    ensure!(bed.rds.login(INSTANCE, ACCOUNT, "First#Password1"));
    let calls = bed.calls();
    let exchange = calls
        .iter()
        .find(|call| call.is(Action::AssumeRoleWithOidc))
        .context("no exchange")?;
    assert_eq!(exchange.role.as_deref(), Some(ROLE));
    assert_eq!(
        exchange.role_session_name.as_deref(),
        Some("shop.orders-rds")
    );
    ensure!(!exchange.oidc_token_in_url);
    let keys = calls
        .iter()
        .filter(|call| call.instance.is_some())
        .map(|call| call.access_key_id.as_deref());
    let keys: Vec<&str> = keys.map(Option::unwrap_or_default).collect();
    ensure!(keys.iter().all(|key| key.starts_with("STS.")), "{keys:?}");

    // The keys end before their time: they are dropped, and the reset is made with others.
    bed.rds.expire_tokens();
    bed.rotate("orders-db", "Second#Password2").await?;
    bed.wait_for_password("Second#Password2").await?;
    assert_eq!(exchanges(&bed), 2);

    let log = operator.log();
    let metrics = operator.get("/metrics").await?.1;
    let resource = serde_json::to_string(&bed.wait_until_ready("orders-app").await?)?;
    let events = serde_json::to_string(&bed.events().await?)?;
    for (place, text) in [
        ("log", &log),
        ("metrics", &metrics),
        ("resource", &resource),
        ("events", &events),
    ] {
        // A JWT begins with the base64 of `{"`.
        ensure!(!text.contains("eyJ"), "an OIDC token in the {place}");
        for secret in bed.rds.tokens_and_secrets() {
            ensure!(
                !text.contains(secret.expose()),
                "a temporary key in the {place}"
            );
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_resources_of_one_service_account_exchange_one_token() -> Result<()> {
    let bed = two_parties().await?;
    create_service_account(
        &bed,
        NAMESPACE,
        &[("rds.password-operator.dev/role-arn", ROLE)],
    )
    .await?;
    let_the_operator_have_tokens(&bed, NAMESPACE).await?;
    for number in 0..100 {
        let instance = format!("rm-{number}");
        let account = Account::new(ACCOUNT, INITIAL_PASSWORD);
        bed.rds
            .add_instance(Instance::new(&instance).account(account));
        let mut resource = bed.resource(&format!("orders-{number}"), "orders-db");
        resource.spec.instance_id = instance;
        bed.create(&by_service_account(resource)).await?;
    }
    let _operator = start(&bed).await?;
    for number in 0..100 {
        bed.wait_until_ready(&format!("orders-{number}")).await?;
    }
    assert_eq!(exchanges(&bed), 1);
    Ok(())
}

/// Another namespace names the same role. Its token says who it is, and the role's trust policy refuses it.
#[tokio::test(flavor = "multi_thread")]
async fn no_namespace_borrows_anothers_role() -> Result<()> {
    let bed = two_parties().await?;
    bed.create_namespace("thief").await?;
    create_service_account(
        &bed,
        "thief",
        &[("rds.password-operator.dev/role-arn", ROLE)],
    )
    .await?;
    let_the_operator_have_tokens(&bed, "thief").await?;
    let secrets = Api::<Secret>::namespaced(bed.client.clone(), "thief");
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some("own".to_owned()),
            ..ObjectMeta::default()
        },
        string_data: Some(BTreeMap::from([(
            "password".to_owned(),
            "Stolen#Password1".to_owned(),
        )])),
        ..Secret::default()
    };
    secrets.create(&PostParams::default(), &secret).await?;
    let _operator = start(&bed).await?;
    let mut resource = by_service_account(bed.resource("orders-app", "own"));
    resource.metadata.namespace = Some("thief".to_owned());
    bed.create(&resource).await?;

    let resource = bed
        .wait_for_in("thief", "orders-app", "stalled", |resource| {
            condition(resource, "Stalled").is_some()
        })
        .await?;
    let ready = condition(&resource, "Ready").context("no Ready")?;
    ensure!(ready.message.contains("trust policy"), "{}", ready.message);
    ensure!(bed.resets().is_empty());
    ensure!(bed.rds.login(INSTANCE, ACCOUNT, INITIAL_PASSWORD));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named_and_found_once_it_is_there() -> Result<()> {
    let bed = two_parties().await?;
    let _operator = start(&bed).await?;
    bed.create(&by_service_account(bed.resource("orders-app", "orders-db")))
        .await?;
    let says = async |text: &str| {
        bed.wait_for("orders-app", text, |resource| {
            condition(resource, "Ready").is_some_and(|ready| ready.message.contains(text))
        })
        .await
    };
    says("deploy/samples/tenant.yaml").await?;
    let_the_operator_have_tokens(&bed, NAMESPACE).await?;
    bed.request_reset("orders-app", "1").await?;
    says("there is no ServiceAccount").await?;
    create_service_account(&bed, NAMESPACE, &[]).await?;
    bed.request_reset("orders-app", "2").await?;
    says("the ServiceAccount names no RAM role").await?;
    let annotation =
        json!({ "metadata": { "annotations": { "rds.password-operator.dev/role-arn": ROLE } } });
    let accounts = Api::<ServiceAccount>::namespaced(bed.client.clone(), NAMESPACE);
    accounts
        .patch(
            SERVICE_ACCOUNT,
            &PatchParams::default(),
            &Patch::Merge(annotation),
        )
        .await?;
    bed.request_reset("orders-app", "3").await?;
    bed.wait_until_ready("orders-app").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_key_of_the_namespace_makes_the_calls() -> Result<()> {
    let bed = two_parties().await?;
    bed.rds
        .add_access_key(AccessKey::new("tenant-key", "tenant-secret"));
    let _operator = start(&bed).await?;
    let mut resource = bed.resource("orders-app", "orders-db");
    let reference = json!({ "name": "orders-key" });
    let reference: AccessKeySecretRef = serde_json::from_value(reference)?;
    resource.spec.credentials = Some(CredentialsReference {
        service_account_name: None,
        secret_ref: Some(reference),
    });
    bed.create(&resource).await?;
    let resource = bed
        .wait_for_reason("orders-app", "CredentialsUnavailable")
        .await?;
    let ready = condition(&resource, "Ready").context("no Ready")?;
    ensure!(
        ready.message.contains("there is no Secret \"orders-key\""),
        "{}",
        ready.message
    );

    let data = BTreeMap::from([
        ("accessKeyId".to_owned(), "tenant-key\n".to_owned()),
        ("accessKeySecret".to_owned(), "tenant-secret\n".to_owned()),
    ]);
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some("orders-key".to_owned()),
            ..ObjectMeta::default()
        },
        string_data: Some(data),
        ..Secret::default()
    };
    bed.secrets()
        .create(&PostParams::default(), &secret)
        .await?;
    bed.request_reset("orders-app", "1").await?;
    bed.wait_until_ready("orders-app").await?;
    let calls = bed.calls();
    ensure!(
        calls
            .iter()
            .all(|call| call.access_key_id.as_deref() == Some("tenant-key")),
        "{calls:#?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_key_with_white_space_inside_is_named_as_that() -> Result<()> {
    let bed = two_parties().await?;
    bed.create_access_key("tenant-key").await?;
    let data = json!({ "stringData": { "accessKeySecret": "canary- secret" } });
    bed.secrets()
        .patch("tenant-key", &PatchParams::default(), &Patch::Merge(data))
        .await?;
    let _operator = start(&bed).await?;
    let mut resource = bed.resource("orders-app", "orders-db");
    let reference: AccessKeySecretRef = serde_json::from_value(json!({ "name": "tenant-key" }))?;
    resource.spec.credentials = Some(CredentialsReference {
        service_account_name: None,
        secret_ref: Some(reference),
    });
    bed.create(&resource).await?;
    let resource = bed
        .wait_for_reason("orders-app", "CredentialsUnavailable")
        .await?;
    let ready = condition(&resource, "Ready").context("no Ready")?;
    let sentence = "the key \"accessKeySecret\" of the Secret \"tenant-key\" of spec.credentials has white space inside";
    ensure!(ready.message.contains(sentence), "{}", ready.message);
    ensure!(!ready.message.contains("canary"), "{}", ready.message);
    ensure!(bed.calls().is_empty(), "{:#?}", bed.calls());
    Ok(())
}
