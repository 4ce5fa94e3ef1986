//! No secret is told: whatever happens, passwords, the access key's secret, the security token and the fingerprints' keys are in
//! no log line at the highest level, no object but the user's own Secret, no probe and no metric, in no spelling; and no hash
//! of a password is there from which it could be guessed.
#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module as a whole"
)]

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, DynamicObject, ListParams, PostParams};
use kube::discovery::{Discovery, verbs};
use kube::{Client, ResourceExt as _};
use rds_password_operator::api::DatabaseAccountPassword;
use rds_password_operator::fingerprint::{KEY_BYTES, KEY_SECRET_NAME};
use rds_simulator::{AccessKey, Account, Action, DenialCode, Fault, Timestamp};
use serde_json::{Value, json};
use testbed::bed::{ACCOUNT, INITIAL_PASSWORD, INSTANCE, NAMESPACE};
use testbed::{Operator, Search, Testbed, condition, reason, wait_until};

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");

/// Part of every secret here, and of nothing else: what holds any of them, or a good piece of one, is found by it.
const CANARY: &str = "Kanarienvogel";

const ACCESS_KEY_ID: &str = "temporary";
const ACCESS_KEY_SECRET: &str = "Kanarienvogel/access+key";
const SECURITY_TOKEN: &str = "Kanarienvogel/security+token==";

/// Where the user keeps the passwords: the one object that may hold them.
const SECRET: &str = "orders-db";

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_told_in_json() -> Result<()> {
    no_secret_is_told("json").await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_told_in_text() -> Result<()> {
    no_secret_is_told("text").await
}

async fn no_secret_is_told(log_format: &str) -> Result<()> {
    let mut world = World::start(log_format).await?;

    world.rotate("Kanarienvogel%&First=1").await?;
    world.bed.wait_until_ready("orders-app").await?;
    world.is_silent("the first reset").await?;

    world.rotate("Kanarienvogel^*Second+2").await?;
    world
        .wait("reset again", |status| status["history"][1].is_object())
        .await?;
    world.is_silent("a rotation").await?;

    world.invalid_values().await?;
    world.signature_that_does_not_match().await?;
    world.answers_that_hold_the_password().await?;
    world.lost_answers().await?;
    world.refusals().await?;
    world.states_in_the_clouds_words().await?;

    world.rotate("Kanarienvogel_Last-9").await?;
    world.bed.wait_for_password("Kanarienvogel_Last-9").await?;
    world.bed.wait_until_ready("orders-app").await?;
    world.is_silent("the end").await?;
    let calls = world.bed.calls();
    assert!(calls.iter().all(|call| !call.password_in_url));

    // So that the silence means something: it has spoken of all this.
    let World { operator, bed, .. } = world;
    let (status, log) = operator.terminate().await?;
    ensure!(status.success(), "{log}");
    for words in [
        "password reset",
        "password not reset",
        "looked at",
        "stopping",
    ] {
        assert!(log.contains(words), "{words}");
    }
    let events = bed.events().await?;
    let reasons: BTreeSet<_> = events
        .iter()
        .filter_map(|it| it.reason.as_deref())
        .collect();
    for reason in [
        "PasswordReset",
        "ResetFailed",
        "NotReset",
        "WaitingForInstance",
    ] {
        assert!(reasons.contains(reason), "no Event {reason}");
    }
    Ok(())
}

/// The search, and the places where it looks, are held against secrets that were put there.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_was_planted_is_found() -> Result<()> {
    let mut world = World::start("json").await?;
    world.rotate("Kanarienvogel%&First=1").await?;
    world.bed.wait_until_ready("orders-app").await?;
    world.is_silent("nothing yet").await?;
    let client = &world.bed.client;

    // What is told of a resource is its account, so here the account is the canary.
    let mut resource = world.bed.resource("telltale", SECRET);
    CANARY.clone_into(&mut resource.spec.account_name);
    let account = Account::new(CANARY, INITIAL_PASSWORD);
    world.bed.rds.add_account(INSTANCE, account)?;
    world.bed.create(&resource).await?;
    world
        .bed
        .wait_for_event("telltale", "PasswordReset")
        .await?;
    let config_map: ConfigMap = serde_json::from_value(json!({
        "metadata": { "name": "planted" },
        "binaryData": { "a": BASE64_STANDARD.encode(CANARY) },
    }))?;
    Api::namespaced(client.clone(), "default")
        .create(&PostParams::default(), &config_map)
        .await?;
    let secret: Secret = serde_json::from_value(json!({
        "metadata": { "name": "planted" },
        "stringData": { "a": format!("a {CANARY}") },
    }))?;
    Api::namespaced(client.clone(), NAMESPACE)
        .create(&PostParams::default(), &secret)
        .await?;
    let annotation = json!({ "metadata": { "annotations": { "b": CANARY } } });
    world.bed.patch("orders-app", annotation).await?;

    let leaks = world.leaks().await?;
    for place in [
        "the log",
        "DatabaseAccountPassword shop/telltale",
        "DatabaseAccountPassword shop/orders-app",
        "Event shop/",
        "ConfigMap default/planted",
        "Secret shop/planted",
    ] {
        let is_found = leaks.iter().any(|leak| leak.starts_with(place));
        assert!(is_found, "nothing in {place}, but {leaks:#?}");
    }
    Ok(())
}

/// A cluster with a resource whose password is always a canary.
struct World {
    bed: Testbed,
    operator: Operator,
    /// For what was a secret so far.
    search: Search,
    /// For the keys of the fingerprints, which are in a Secret of their own.
    keys: Search,
}

impl World {
    async fn start(log_format: &str) -> Result<Self> {
        let bed = Testbed::start(OPERATOR).await?;
        bed.rds.add_access_key(access_key(ACCESS_KEY_SECRET));
        let operator = bed
            .operator()
            .await?
            .env("ALIBABA_CLOUD_ACCESS_KEY_ID", ACCESS_KEY_ID)
            .env("ALIBABA_CLOUD_ACCESS_KEY_SECRET", ACCESS_KEY_SECRET)
            .env("ALIBABA_CLOUD_SECURITY_TOKEN", SECURITY_TOKEN)
            .flag("log-format", log_format)
            // Many values have no answer here, one after the other, and none comes late.
            .flag("reset-settling-time", "1s")
            .start()
            .await?;
        operator.wait_until_leading().await?;
        bed.create(&bed.resource("orders-app", SECRET)).await?;
        bed.wait_for_reason("orders-app", "SecretNotFound").await?;

        let keys = Api::<Secret>::namespaced(bed.client.clone(), testbed::install::OPERATOR);
        let keys = keys.get(KEY_SECRET_NAME).await?.data.unwrap_or_default();
        // The entry `current` names a key, and is none.
        let keys = keys.into_values().map(|key| key.0);
        let keys: Vec<_> = keys.filter(|key| key.len() == KEY_BYTES).collect();
        ensure!(keys.len() == 1, "{} keys", keys.len());
        Ok(Self {
            bed,
            operator,
            search: Search::of([CANARY, ACCESS_KEY_SECRET, SECURITY_TOKEN])?,
            keys: Search::of(keys)?,
        })
    }

    async fn rotate(&mut self, value: &str) -> Result<()> {
        self.rotate_bytes(value.as_bytes()).await
    }

    /// As `kubectl apply` does: with a copy of everything in an annotation.
    async fn rotate_bytes(&mut self, value: &[u8]) -> Result<()> {
        self.search.add(value)?;
        let encoded = BASE64_STANDARD.encode(value);
        let applied = json!({
            "data": { "password": encoded },
            "stringData": { "password": String::from_utf8_lossy(value) },
        });
        let secret = json!({
            "metadata": { "name": SECRET, "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": applied.to_string(),
            } },
            "data": { "password": encoded },
        });
        if self.bed.secrets().get_opt(SECRET).await?.is_some() {
            self.bed.patch_secret(SECRET, secret).await?;
        } else {
            let secret: Secret = serde_json::from_value(secret)?;
            let parameters = PostParams::default();
            self.bed.secrets().create(&parameters, &secret).await?;
        }
        Ok(())
    }

    /// Waits until the status is as described.
    async fn wait(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Result<()> {
        let fulfils = |resource: &DatabaseAccountPassword| {
            let status = serde_json::to_value(&resource.status);
            status.is_ok_and(|status| condition(&status))
        };
        self.bed.wait_for("orders-app", what, fulfils).await?;
        Ok(())
    }

    /// Whether RDS was sent this value.
    fn has_arrived(&self, value: &str) -> bool {
        let resets = self.bed.resets();
        let mut values = resets.iter().filter_map(|call| call.password.as_ref());
        values.any(|sent| sent.expose() == value)
    }

    /// Rotates while something goes wrong, until the try has failed and has been searched for.
    async fn fails(&mut self, what: &str, value: &str, fault: Fault) -> Result<()> {
        let fault = self.bed.rds.add_fault(fault);
        let told = self.told_of_failures();
        self.rotate(value).await?;
        wait_until(what, async || Ok(self.has_arrived(value))).await?;
        // The intent of a try is told of before, and looks like an answer that was lost.
        wait_until(what, async || Ok(self.told_of_failures() > told)).await?;
        self.is_silent(what).await?;
        self.bed.rds.clear_fault(fault);
        Ok(())
    }

    /// How many tries have failed, by the log, which tells of one after the status does.
    fn told_of_failures(&self) -> usize {
        self.operator.log().matches("password not reset").count()
    }

    async fn invalid_values(&mut self) -> Result<()> {
        for (value, rule) in [
            (&b"Kanarienvogel"[..], "kinds of characters"),
            (b"Kanarienvogel+1\n", "newline"),
            (b"Kanarienvogel 1", "white space"),
            (b"Kanarienvogel-1\xc3\xa4", "not ASCII"),
            (b"Kanarienvogel\"1", "does not take"),
            (b"Kanarienvogel\xff1", "not UTF-8"),
            (b"Kanarienvogel_1_and_one_that_is_far_too_long", "too long"),
        ] {
            self.rotate_bytes(value).await?;
            let names_the_rule = |resource: &DatabaseAccountPassword| {
                let ready = condition(resource, "SecretReady");
                reason(resource, "SecretReady") == Some("PasswordInvalid")
                    && ready.is_some_and(|ready| ready.message.contains(rule))
            };
            self.bed
                .wait_for("orders-app", rule, names_the_rule)
                .await?;
            self.is_silent(rule).await?;
        }
        Ok(())
    }

    /// The answer repeats the string to sign, in which the password is percent-encoded twice.
    async fn signature_that_does_not_match(&mut self) -> Result<()> {
        // Not yet at the look at the instance, which sends no password. While its state is remembered, there is none.
        let look = self.bed.rds.pause(Action::DescribeDBInstanceAttribute);
        let mut number = 3;
        wait_until("a look at the instance", async || {
            let value = format!("Kanarienvogel%&Signature={number}");
            number += 1;
            self.rotate(&value).await?;
            wait_until("a look, or a reset", async || {
                Ok(look.held() > 0 || self.has_arrived(&value))
            })
            .await?;
            Ok(look.held() > 0)
        })
        .await?;
        self.bed.rds.add_access_key(access_key("another secret"));
        look.release();
        self.wait("refused", |status| {
            status["lastAttempt"]["code"] == "SignatureDoesNotMatch"
        })
        .await?;
        let resets = self.bed.resets();
        let last = resets.last().context("no reset")?;
        assert_eq!(last.code.as_deref(), Some("SignatureDoesNotMatch"));
        self.is_silent("a signature that does not match").await?;
        self.bed.rds.add_access_key(access_key(ACCESS_KEY_SECRET));
        Ok(())
    }

    async fn answers_that_hold_the_password(&mut self) -> Result<()> {
        let reset = Action::ResetAccountPassword;
        for (number, status) in [400, 403, 500].into_iter().enumerate() {
            // Letters and digits, as a code has; and what a code has not.
            for value in [
                format!("KanarienvogelCode{number}"),
                format!("Kanarienvogel%&Code={number}"),
            ] {
                let echo = Fault::echo_password(status).on(reset);
                self.fails("a code and message with the password", &value, echo)
                    .await?;
            }
        }
        for (number, (status, type_, body)) in [
            (200, "text/html", "<html>PASSWORD</html>"),
            (502, "text/html", "PASSWORD"),
            (307, "text/plain", "PASSWORD"),
            (200, "application/json", r#""PASSWORD""#),
            (200, "application/json", r#"{ "RequestId": "PASSWORD" }"#),
            (200, "application/json", r#"{ "RequestId": ["PASSWORD"] }"#),
            (
                400,
                "application/json",
                r#"{ "Code": "PASSWORD", "Message": "PASSWORD", "RequestId": "PASSWORD", "HostId": "PASSWORD", "Recommend": "https://PASSWORD" }"#,
            ),
            (
                400,
                "application/json",
                r#"{ "Code": "Throttling.PASSWORD", "Message": "PASSWORD", "RequestId": "0-PASSWORD" }"#,
            ),
            (200, "text/xml", "<RequestId>PASSWORD</RequestId>"),
        ]
        .into_iter()
        .enumerate()
        {
            let value = format!("KanarienvogelGarbage{number}");
            let garbage = Fault::garbage(status, type_, body.replace("PASSWORD", &value));
            self.fails(body, &value, garbage.on(reset)).await?;
        }
        Ok(())
    }

    async fn lost_answers(&mut self) -> Result<()> {
        let reset = Action::ResetAccountPassword;
        for (value, fault) in [
            ("Kanarienvogel%Closed1", Fault::close_connection()),
            (
                "Kanarienvogel%Closed2",
                Fault::close_connection().after_effect(),
            ),
            ("Kanarienvogel%Truncated3", Fault::truncated_body()),
        ] {
            self.fails("a lost answer", value, fault.on(reset)).await?;
        }
        Ok(())
    }

    async fn refusals(&mut self) -> Result<()> {
        let key = access_key(ACCESS_KEY_SECRET).denied(DenialCode::NoPermission, None, None);
        self.bed.rds.add_access_key(key);
        self.rotate("Kanarienvogel%Denied4").await?;
        self.bed
            .wait_for_reason("orders-app", "AccessDenied")
            .await?;
        self.is_silent("a denial").await?;

        let key = AccessKey::new(ACCESS_KEY_ID, ACCESS_KEY_SECRET);
        let key = key.security_token("another token", Timestamp::MAX);
        self.bed.rds.add_access_key(key);
        self.rotate("Kanarienvogel%Token5").await?;
        self.wait("refused", |status| {
            let code = status["lastAttempt"]["code"].as_str();
            code.is_some_and(|code| code.contains("SecurityToken"))
        })
        .await?;
        self.is_silent("a wrong token").await?;
        self.bed.rds.add_access_key(access_key(ACCESS_KEY_SECRET));
        Ok(())
    }

    /// The cloud's words for states are free text like all others.
    async fn states_in_the_clouds_words(&mut self) -> Result<()> {
        let rds = &self.bed.rds;
        rds.set_instance_status(INSTANCE, "Kanarienvogel")?;
        rds.set_lock_mode(INSTANCE, Some("Kanarienvogel"))?;
        self.rotate("Kanarienvogel%State6").await?;
        self.bed
            .wait_for_reason("orders-app", "InstanceNotRunning")
            .await?;
        self.is_silent("an unknown state of the instance").await?;
        self.bed.rds.set_instance_status(INSTANCE, "Running")?;
        self.bed
            .wait_for_reason("orders-app", "InstanceLocked")
            .await?;
        self.is_silent("an unknown lock of the instance").await?;

        let rds = &self.bed.rds;
        rds.set_lock_mode(INSTANCE, None)?;
        rds.set_account_status(INSTANCE, ACCOUNT, "Kanarienvogel")?;
        self.rotate("Kanarienvogel%State7").await?;
        self.bed
            .wait_for_reason("orders-app", "AccountNotAvailable")
            .await?;
        self.is_silent("an unknown state of the account").await?;
        self.bed
            .rds
            .set_account_status(INSTANCE, ACCOUNT, "Available")?;
        Ok(())
    }

    async fn is_silent(&self, after: &str) -> Result<()> {
        let leaks = self.leaks().await?;
        ensure!(leaks.is_empty(), "after {after}: {leaks:#?}");
        Ok(())
    }

    /// What is found, each with its place.
    async fn leaks(&self) -> Result<Vec<String>> {
        let mut places = vec![
            ("the log".to_owned(), self.operator.log()),
            (
                "the API server's audit log".to_owned(),
                fs::read_to_string(self.bed.control_plane.audit_log())?,
            ),
        ];
        for path in ["/livez", "/readyz", "/metrics"] {
            let (_, text) = self.operator.get(path).await?;
            places.push((path.to_owned(), text));
        }
        places.extend(objects(&self.bed.client).await?);
        let mut leaks = Vec::new();
        for (place, text) in places {
            let mut found = self.search.find(&text);
            if !place.ends_with(KEY_SECRET_NAME) {
                found.extend(self.keys.find(&text));
            }
            leaks.extend(found.into_iter().map(|found| format!("{place}: {found}")));
        }
        Ok(leaks)
    }
}

fn access_key(secret: &str) -> AccessKey {
    let key = AccessKey::new(ACCESS_KEY_ID, secret);
    key.security_token(SECURITY_TOKEN, Timestamp::MAX)
}

/// All objects of all kinds, but for the user's own Secret.
async fn objects(client: &Client) -> Result<Vec<(String, String)>> {
    let discovery = Discovery::new(client.clone()).run().await?;
    let mut objects = Vec::new();
    let mut kinds = BTreeSet::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            if !capabilities.supports_operation(verbs::LIST) {
                continue;
            }
            let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
            let list = api.list(&ListParams::default()).await;
            for object in list.with_context(|| resource.kind.clone())? {
                let namespace = object.namespace().unwrap_or_default();
                let name = object.name_any();
                if resource.kind == "Secret" && name == SECRET {
                    continue;
                }
                let place = format!("{} {namespace}/{name}", resource.kind);
                objects.push((place, serde_json::to_string(&object)?));
            }
            kinds.insert(resource.kind);
        }
    }
    for kind in [
        "DatabaseAccountPassword",
        "Event",
        "Lease",
        "ConfigMap",
        "Secret",
    ] {
        ensure!(kinds.contains(kind), "{kind} is not among {kinds:?}");
    }
    Ok(objects)
}
