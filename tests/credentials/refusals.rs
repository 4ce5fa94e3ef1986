//! What goes wrong, told apart.

use std::time::Duration;

use jiff::SignedDuration;
use rds_password_operator::credentials::{CredentialsError, Kind, SourceName};
use rds_password_operator::rds::error::{Class, Code, RequestId};
use rds_simulator::{
    Action, CredentialsUri, Fault, MetadataService, OidcProvider, Role, WaitHeaders,
};
use rstest::rstest;
use serde_json::{Value, json};

use crate::issuer::{AUDIENCE, ISSUER, Issuer, SUBJECT};
use crate::world::{KEY_ID, KEY_SECRET, PROVIDER, ROLE, TOKEN_FILE, World};

fn assert_is(error: &CredentialsError, kind: Kind, code: Option<&str>, says: &str) {
    assert_eq!(error.kind(), kind, "{error}");
    assert_eq!(error.code().map(Code::as_str), code, "{error}");
    assert!(error.to_string().contains(says), "{error}");
}

#[rstest]
#[case::another_service_account(json!({"sub": "system:serviceaccount:other:other"}), "AuthenticationFail.NoPermission", "trust policy")]
#[case::another_audience(json!({"aud": ["https://kubernetes.default.svc"]}), "AuthenticationFail.OIDCToken.AudienceNotMatch", "audience sts.aliyuncs.com")]
#[case::expired(json!({"exp": 1_700_000_000}), "AuthenticationFail.OIDCToken.Expired", "expired")]
#[tokio::test]
async fn tokens_that_are_refused(#[case] claims: Value, #[case] code: &str, #[case] says: &str) {
    let world = World::new().await.with_rrsa();
    let provider = OidcProvider::new(PROVIDER, ISSUER, &world.issuer.key_set()).unwrap();
    world
        .cloud
        .add_oidc_provider(provider.client_ids([AUDIENCE]));
    world
        .surroundings
        .write(TOKEN_FILE, world.issuer.token_with(&claims));
    let error = world.failure().await;
    assert_is(&error, Kind::Denied, Some(code), says);
    let calls = world.calls(Action::AssumeRoleWithOidc);
    let request_id = error.request_id().map(RequestId::as_str);
    assert_eq!(request_id, Some(calls[0].request_id.as_str()));
}

#[tokio::test]
async fn a_token_of_another_cluster() {
    let world = World::new().await.with_rrsa();
    world.surroundings.write(TOKEN_FILE, Issuer::new().token());
    let error = world.failure().await;
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.to_string().contains("OIDC provider"), "{error}");
}

#[tokio::test]
async fn an_unknown_role() {
    let world = World::new().await.with_rrsa();
    world.cloud.remove_role(ROLE);
    let error = world.failure().await;
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.to_string().contains("credentials source: oidc"));
}

#[tokio::test]
async fn an_unknown_provider() {
    let world = World::new().await.with_rrsa();
    world.cloud.remove_oidc_provider(PROVIDER);
    assert_is(
        &world.failure().await,
        Kind::Denied,
        Some("AuthenticationFail.NoPermission"),
        "register",
    );
}

#[rstest]
#[case::unknown_key(
    "gone",
    KEY_SECRET,
    ROLE,
    "InvalidAccessKeyId.NotFound",
    "does not exist"
)]
#[case::wrong_secret(
    KEY_ID,
    "canary-wrong",
    ROLE,
    "SignatureDoesNotMatch",
    "does not belong"
)]
#[case::unknown_role(
    KEY_ID,
    KEY_SECRET,
    "acs:ram::1000000000000001:role/none",
    "EntityNotExist.Role",
    "no such role"
)]
#[case::role_that_trusts_nobody(
    KEY_ID,
    KEY_SECRET,
    "acs:ram::1000000000000001:role/closed",
    "NoPermission",
    "trust policy"
)]
#[tokio::test]
async fn keys_that_may_not(
    #[case] id: &str,
    #[case] secret: &str,
    #[case] role: &str,
    #[case] code: &str,
    #[case] says: &str,
) {
    let world = World::new().await.with_profile(&format!(
        r#""mode":"RamRoleArn","access_key_id":"{id}","access_key_secret":"{secret}","ram_role_arn":"{role}""#
    ));
    world
        .cloud
        .add_role(Role::new("acs:ram::1000000000000001:role/closed"));
    assert_is(&world.failure().await, Kind::Denied, Some(code), says);
}

#[tokio::test]
async fn a_lifetime_that_the_role_does_not_allow() {
    let world = World::new().await.with_profile(&format!(
        r#""mode":"RamRoleArn","access_key_id":"{KEY_ID}","access_key_secret":"{KEY_SECRET}","ram_role_arn":"{ROLE}","expired_seconds":7200"#
    ));
    let error = world.failure().await;
    assert_is(
        &error,
        Kind::Misconfigured,
        Some("InvalidParameter.DurationSeconds"),
        "expired_seconds",
    );
    world.cloud.add_role(
        Role::new(ROLE)
            .trusts_account(crate::world::ACCOUNT)
            .max_session(Duration::from_secs(7200)),
    );
    assert!(world.obtain().await.is_ok());
}

#[tokio::test]
async fn a_clock_that_is_off() {
    let world = World::new().await.with_role_of_key();
    world.cloud.set_clock_skew(SignedDuration::from_hours(1));
    let error = world.failure().await;
    assert_is(
        &error,
        Kind::ClockSkew,
        Some("InvalidTimeStamp.Expired"),
        "NTP",
    );
}

#[rstest]
#[case::throttled(
    Fault::throttled("Throttling.User", Duration::from_millis(1500)),
    Kind::Throttled,
    Some("Throttling.User")
)]
#[case::throttled_by_the_older_header(
    Fault::throttled_by(WaitHeaders::TimeLeft, "Throttling.User", Duration::from_millis(1500)),
    Kind::Throttled,
    Some("Throttling.User")
)]
#[case::asked_to_wait_whatever_the_code(
    Fault::error(500, "InternalError", "canary").retry_after(Duration::from_millis(1500)),
    Kind::Throttled,
    Some("InternalError")
)]
#[case::fault_of_sts(
    Fault::error(503, "ServiceUnavailable", "canary"),
    Kind::Transient,
    Some("ServiceUnavailable")
)]
#[case::no_answer(Fault::close_connection(), Kind::Transient, None)]
#[case::half_an_answer(Fault::truncated_body(), Kind::Transient, None)]
#[case::of_something_else(
    Fault::garbage(200, "text/html", "<p>canary</p>"),
    Kind::Transient,
    None
)]
#[case::of_a_proxy(Fault::garbage(502, "application/json", "{}"), Kind::Transient, None)]
#[case::too_long(Fault::garbage(200, "application/json", "canary".repeat(100_000)), Kind::Transient, None)]
#[case::redirect(Fault::garbage(302, "text/html", ""), Kind::Transient, None)]
#[case::echo(Fault::echo_token(400), Kind::Denied, Some(""))]
#[tokio::test]
async fn faults(#[case] fault: Fault, #[case] kind: Kind, #[case] code: Option<&str>) {
    let world = World::new().await.with_rrsa();
    world.cloud.add_fault(fault.on(Action::AssumeRoleWithOidc));
    let error = world.failure().await;
    assert_eq!(error.kind(), kind, "{error}");
    // Whatever code a fault comes with that echoes.
    if code != Some("") {
        assert_eq!(error.code().map(Code::as_str), code);
    }
    let asked = (kind == Kind::Throttled).then_some(Duration::from_millis(1500));
    assert_eq!(error.retry_after(), asked);
    let class = match kind {
        Kind::Throttled => Class::Throttled,
        Kind::Transient => Class::Transient,
        _ => Class::PersonNeeded,
    };
    assert_eq!(error.class(), class);
}

#[tokio::test]
async fn sts_that_is_not_there() {
    let mut world = World::new().await.with_rrsa();
    world.settings.sts_endpoint = Some("http://127.0.0.1:9".parse().unwrap());
    let error = world.failure().await;
    assert_is(&error, Kind::Transient, None, "STS could not be reached");
    assert!(error.to_string().contains("--sts-endpoint"));
}

#[rstest]
#[case::no_role(MetadataService::without_role(), None, Kind::Misconfigured, "RAM role")]
#[case::another_role(
    MetadataService::of_role(ROLE),
    Some("another"),
    Kind::Misconfigured,
    "RAM role"
)]
#[tokio::test]
async fn nodes_without_the_role(
    #[case] service: MetadataService,
    #[case] name: Option<&str>,
    #[case] kind: Kind,
    #[case] says: &str,
) {
    let world = World::new().await;
    let service = world.cloud.start_metadata_service(service).await.unwrap();
    let world = world.with_metadata_at(&service.url());
    if let Some(name) = name {
        world.surroundings.set("ALIBABA_CLOUD_ECS_METADATA", name);
    }
    assert_is(&world.failure().await, kind, None, says);
}

/// A lost answer about the token is no reason to go on without one.
#[rstest]
#[case::lost(Fault::close_connection(), Action::GetMetadataToken, 0)]
#[case::fault(
    Fault::garbage(500, "text/html", "canary"),
    Action::GetMetadataToken,
    0
)]
#[case::hang(Fault::hang(), Action::GetMetadataToken, 0)]
#[case::garbage(
    Fault::garbage(200, "text/html", "canary"),
    Action::GetMetadataCredentials,
    1
)]
#[case::no_success(Fault::garbage(200, "application/json", r#"{"Code":"canary","AccessKeyId":"a","AccessKeySecret":"b","SecurityToken":"c","Expiration":"2030-01-01T00:00:00Z"}"#), Action::GetMetadataCredentials, 1)]
#[tokio::test]
async fn a_metadata_service_that_fails(
    #[case] fault: Fault,
    #[case] action: Action,
    #[case] asked_for_credentials: usize,
) {
    let world = World::new().await;
    let service = world
        .cloud
        .start_metadata_service(MetadataService::of_role(ROLE))
        .await
        .unwrap();
    world.cloud.add_fault(fault.on(action));
    let world = world.with_metadata_at(&service.url());
    let error = world.failure().await;
    assert_eq!(
        (error.origin(), error.kind()),
        (SourceName::NodeRole, Kind::Transient)
    );
    let calls = world.calls(Action::GetMetadataCredentials);
    assert_eq!(calls.len(), asked_for_credentials);
}

#[rstest]
#[case::refused(Fault::garbage(403, "text/plain", "canary"), Kind::Denied)]
#[case::throttled(Fault::garbage(429, "text/plain", "canary"), Kind::Throttled)]
#[case::fault(Fault::garbage(500, "text/plain", "canary"), Kind::Transient)]
#[case::no_json(Fault::garbage(200, "text/plain", "canary"), Kind::Transient)]
#[case::no_token(Fault::garbage(200, "application/json", r#"{"AccessKeyId":"canary","AccessKeySecret":"canary","Expiration":"2030-01-01T00:00:00Z"}"#), Kind::Transient)]
#[case::lost(Fault::close_connection(), Kind::Transient)]
#[tokio::test]
async fn a_uri_that_fails(#[case] fault: Fault, #[case] kind: Kind) {
    let world = World::new().await;
    let server = world
        .cloud
        .start_credentials_uri(CredentialsUri::of_role(ROLE))
        .await
        .unwrap();
    world
        .surroundings
        .set("ALIBABA_CLOUD_CREDENTIALS_URI", server.url());
    world.cloud.add_fault(fault.on(Action::GetCredentialsUri));
    let error = world.failure().await;
    assert_eq!((error.origin(), error.kind()), (SourceName::Uri, kind));
}

#[tokio::test]
async fn the_trust_policy_is_what_decides() {
    let world = World::new().await.with_rrsa();
    let role = |subject: &str| Role::new(ROLE).trusts_oidc(PROVIDER, ISSUER, AUDIENCE, subject);
    world
        .cloud
        .add_role(role("system:serviceaccount:other:other"));
    assert_eq!(world.failure().await.kind(), Kind::Denied);
    world.cloud.add_role(role(SUBJECT));
    assert!(world.obtain().await.is_ok());
}
