//! A Secret without a value that RDS can take changes no database: nothing is sent, the database keeps the password that it
//! has, and the status says what is wrong with the Secret and never what is in it.
#![expect(clippy::tests_outside_test_module, reason = "tests")]

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::ByteString;
use rds_password_operator::api::DatabaseAccountPassword;
use serde_json::{Value, json};
use testbed::bed::{ACCOUNT, INITIAL_PASSWORD, INSTANCE};
use testbed::{Operator, Testbed, condition, reason};

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");

/// How a Secret loses its value.
#[derive(Clone, Copy, Debug)]
enum Loss {
    KeyEmptied,
    KeyRemoved,
    DataRemoved,
    SecretDeleted,
}

impl Loss {
    async fn happen(self, bed: &Testbed) -> Result<()> {
        match self {
            Self::KeyEmptied => bed.rotate("orders-db", "").await.map(drop),
            Self::KeyRemoved => {
                let patch = json!({ "data": { "password": null, "user": "YXBw" } });
                bed.patch_secret("orders-db", patch).await.map(drop)
            }
            Self::DataRemoved => {
                let patch = json!({ "data": null });
                bed.patch_secret("orders-db", patch).await.map(drop)
            }
            Self::SecretDeleted => bed.delete_secret("orders-db").await,
        }
    }

    async fn be_undone(self, bed: &Testbed, password: &str) -> Result<()> {
        match self {
            Self::SecretDeleted => bed.create_secret("orders-db", password).await.map(drop),
            _ => bed.rotate("orders-db", password).await.map(drop),
        }
    }

    /// The reason, whether the operator expects it to end by itself, and a part of the message.
    fn told(self) -> (&'static str, bool, &'static str) {
        match self {
            Self::KeyEmptied => ("PasswordInvalid", false, "the password is empty"),
            Self::KeyRemoved | Self::DataRemoved => {
                ("KeyNotFound", true, r#"has no key "password""#)
            }
            Self::SecretDeleted => ("SecretNotFound", true, r#"no Secret "orders-db""#),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_value_changes_nothing_and_a_restored_one_is_applied() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    let mut password = "First#Password1".to_owned();
    bed.create_secret("orders-db", &password).await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;

    let losses = [
        Loss::KeyEmptied,
        Loss::KeyRemoved,
        Loss::DataRemoved,
        Loss::SecretDeleted,
    ];
    for (number, loss) in losses.into_iter().enumerate() {
        bed.rds.journal().clear();
        let before = bed.wait_until_ready("orders-app").await?;

        loss.happen(&bed).await?;
        let held = bed.wait_for_reason("orders-app", loss.told().0).await?;
        assert_tells(&held, loss)?;
        assert_eq!(
            last_reset(&held)?,
            last_reset(&before)?,
            "{loss:?}: what was done stays done"
        );
        ensure!(bed.rds.login(INSTANCE, ACCOUNT, &password), "{loss:?}");

        // What the database has comes back: nothing to do.
        loss.be_undone(&bed, &password).await?;
        let restored = bed.wait_until_ready("orders-app").await?;
        assert_eq!(restored.status.context("no status")?.pending_since, None);
        assert!(bed.calls().is_empty(), "{loss:?}: {:#?}", bed.calls());

        // Another value comes back: that is a change.
        loss.happen(&bed).await?;
        bed.wait_for_reason("orders-app", loss.told().0).await?;
        password = format!("Restored#Password{number}");
        loss.be_undone(&bed, &password).await?;
        bed.wait_for_password(&password).await?;
        let restored = bed.wait_until_ready("orders-app").await?;
        assert_eq!(bed.resets().len(), 1, "{loss:?}: {:#?}", bed.calls());
        let trigger = format!("{:?}", last_reset(&restored)?.trigger);
        assert_eq!(trigger, "SecretChanged", "{loss:?}");
    }
    Ok(())
}

fn assert_tells(resource: &DatabaseAccountPassword, loss: Loss) -> Result<()> {
    let (expected, is_awaited, message) = loss.told();
    let ready = condition(resource, "Ready").context("no Ready")?;
    assert_eq!(ready.status, "False", "{loss:?}");
    for part in [message, "the database keeps the password that it has"] {
        assert!(ready.message.contains(part), "{loss:?}: {ready:?}");
    }
    let secret = condition(resource, "SecretReady").context("no SecretReady")?;
    assert_eq!((&*secret.status, &*secret.reason), ("False", expected));
    // Somebody may just be about to bring the value; only a bad one needs a person.
    let (present, absent) = if is_awaited {
        ("Reconciling", "Stalled")
    } else {
        ("Stalled", "Reconciling")
    };
    assert_eq!(reason(resource, present), Some(expected), "{loss:?}");
    assert_eq!(reason(resource, absent), None, "{loss:?}");
    Ok(())
}

fn last_reset(resource: &DatabaseAccountPassword) -> Result<&rds_password_operator::api::Reset> {
    let status = resource.status.as_ref().context("no status")?;
    status.last_reset.as_ref().context("no lastReset")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_waits_for_its_secret_and_for_its_key() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    let mut resource = bed.resource("orders-app", "orders-db");
    resource.spec.password_secret_ref.key = "app-password".to_owned();
    bed.create(&resource).await?;
    let waiting = bed.wait_for_reason("orders-app", "SecretNotFound").await?;
    assert_eq!(reason(&waiting, "Reconciling"), Some("SecretNotFound"));
    assert_eq!(reason(&waiting, "InstanceReady"), Some("NotAsked"));
    bed.wait_for_event("orders-app", "NotReset").await?;

    bed.create_secret("orders-db", "Another#Key1").await?;
    let waiting = bed.wait_for_reason("orders-app", "KeyNotFound").await?;
    let ready = condition(&waiting, "Ready").context("no Ready")?;
    assert!(
        ready.message.contains(r#"no key "app-password""#),
        "{ready:?}"
    );
    assert!(bed.calls().is_empty(), "{:#?}", bed.calls());

    let patch = json!({ "stringData": { "app-password": "First#Password1" } });
    bed.patch_secret("orders-db", patch).await?;
    bed.wait_until_ready("orders-app").await?;
    ensure!(bed.rds.login(INSTANCE, ACCOUNT, "First#Password1"));
    assert_eq!(bed.resets().len(), 1);
    Ok(())
}

/// A value that RDS does not take, and the words that name the rule that it breaks.
const INVALID: &[(&[u8], &str)] = &[
    (b"Qz7vWx#", "too short; RDS wants 8 to 32 characters"),
    (
        b"Qz7vWx#Qz7vWx#Qz7vWx#Qz7vWx#Qz7vW",
        "too long; RDS wants 8 to 32 characters",
    ),
    (
        b"qz7vwxqz7vwx",
        "too few kinds of characters; RDS wants at least three of upper case, lower case, digits",
    ),
    (
        b"Qz7vWx/.Qz7",
        "a character that RDS does not take; allowed are letters, digits and !@#$&%^*()_+-=",
    ),
    (b"Qz7vWx Qz7", "white space, which RDS does not take"),
    (
        b"Qz7vWx#Qz7\n",
        "ends with a newline; write the value without one (printf or echo -n instead of echo)",
    ),
    (b"Qz7vWx#Qz7\r\n", "ends with a newline"),
    (
        "Qz7vWx#Qz7\u{fc}".as_bytes(),
        "not ASCII; RDS takes ASCII letters",
    ),
    (b"Qz7vWx#Qz7\xff\xfe", "not UTF-8 text"),
    (b"", "the password is empty"),
];

/// In every invalid value that is not empty, and in nothing else.
const CANARIES: &[&str] = &["Qz7vW", "qz7vw"];

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_password_is_named_and_never_sent() -> Result<()> {
    let (bed, operator) = Testbed::start_with_operator(OPERATOR).await?;
    // One that has never been reset, and one that has: for neither is anything sent.
    bed.create_secret_of_bytes("new-db", INVALID[0].0).await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;
    let mut new = bed.resource("new-app", "new-db");
    new.spec.account_name = "never-asked-for".to_owned();
    bed.create(&new).await?;
    bed.rds.journal().clear();

    for (value, rule) in INVALID {
        let data = json!({ "data": { "password": ByteString(value.to_vec()) } });
        for secret in ["new-db", "orders-db"] {
            bed.patch_secret(secret, data.clone()).await?;
        }
        for name in ["new-app", "orders-app"] {
            let resource = bed
                .wait_for(name, rule, |resource| {
                    condition(resource, "Ready").is_some_and(|ready| ready.message.contains(rule))
                })
                .await?;
            for type_ in ["Ready", "SecretReady", "Stalled"] {
                assert_eq!(
                    reason(&resource, type_),
                    Some("PasswordInvalid"),
                    "{rule}: {type_}"
                );
            }
            assert_eq!(reason(&resource, "Reconciling"), None, "{rule}");
            assert_unseen(&serde_json::to_value(&resource)?, rule)?;
        }
    }
    bed.wait_for_event("orders-app", "NotReset").await?;
    assert!(bed.calls().is_empty(), "{:#?}", bed.calls());
    ensure!(bed.rds.login(INSTANCE, ACCOUNT, "First#Password1"));
    assert_silent(&bed, &operator).await?;

    bed.rotate("orders-db", "Second#Password2").await?;
    bed.wait_for_password("Second#Password2").await?;
    ensure!(!bed.rds.login(INSTANCE, ACCOUNT, INITIAL_PASSWORD));
    Ok(())
}

async fn assert_silent(bed: &Testbed, operator: &Operator) -> Result<()> {
    assert_unseen(&json!(operator.log()), "log")?;
    assert_unseen(&json!(operator.get("/metrics").await?.1), "metrics")?;
    assert_unseen(&serde_json::to_value(bed.events().await?)?, "Events")
}

/// Neither as it is nor in base64, in any text of `value`.
fn assert_unseen(value: &Value, place: &str) -> Result<()> {
    let text = value.to_string();
    for canary in CANARIES {
        // Three bytes are four letters of base64, whatever follows; each value begins with a canary.
        let encoded = json!(ByteString(canary.as_bytes()[..3].to_vec()));
        let encoded = encoded.as_str().context("bytes are text in JSON")?;
        for trace in [canary, encoded] {
            ensure!(
                !text.contains(trace),
                "{place} shows {trace} of the value: {text}"
            );
        }
    }
    Ok(())
}
