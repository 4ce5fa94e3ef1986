//! `AssumeRoleWithOIDC`: tokens that prove something and tokens that do not.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rds_simulator::{
    Action, Fault, OidcProvider, Outcome, RdsSimulator, Role, SignatureMethod, SignedDuration,
    Target, Throttle, Timestamp,
};
use rstest::rstest;
use serde_json::{Value, json};

use crate::{
    client::{Answer, PATIENCE, Pairs, TemporaryKey, http, join, pairs, simulator, timestamp},
    issuer::{Issuer, jwks},
};

const ROLE: &str = "acs:ram::1000000000000001:role/app";
const PROVIDER: &str = "acs:ram::1000000000000001:oidc-provider/cluster";
const ISSUER: &str = "https://kubernetes.default.svc";
const SUBJECT: &str = "system:serviceaccount:team-a:databases";
const AUDIENCE: &str = "sts.aliyuncs.com";
/// Time enough for any test, in seconds.
const LIFE: i64 = 600;

/// Claims of a good token, with one replaced or removed.
fn claims_with(name: &str, value: Value) -> Value {
    let now = Timestamp::now().as_second();
    let mut claims = json!({"iss": ISSUER, "sub": SUBJECT, "aud": [AUDIENCE], "iat": now, "nbf": now, "exp": now + LIFE});
    let members = claims.as_object_mut().unwrap();
    members.remove(name);
    if !value.is_null() {
        members.insert(name.to_owned(), value);
    }
    claims
}

fn claims() -> Value {
    claims_with("", Value::Null)
}

/// A simulator that takes tokens with these keys, and a role that trusts one subject.
async fn cloud(issuers: &[&Issuer]) -> RdsSimulator {
    let rds = simulator().await;
    rds.add_oidc_provider(OidcProvider::new(PROVIDER, ISSUER, &jwks(issuers)).unwrap());
    rds.add_role(Role::new(ROLE).trusts_oidc(PROVIDER, ISSUER, AUDIENCE, SUBJECT));
    rds
}

/// The request, with its common parameters in the query and the action's in the form body.
struct Request {
    query: Pairs,
    form: Pairs,
    headers: Pairs,
}

impl Request {
    fn new(token: &str) -> Self {
        let query = [
            ("Action", "AssumeRoleWithOIDC"),
            ("Version", "2015-04-01"),
            ("Format", "JSON"),
            ("Timestamp", &timestamp(Timestamp::now())),
        ];
        let form = [
            ("RoleArn", ROLE),
            ("OIDCProviderArn", PROVIDER),
            ("OIDCToken", token),
            ("RoleSessionName", "operator"),
            ("DurationSeconds", "900"),
        ];
        Self {
            query: pairs(&query),
            form: pairs(&form),
            headers: Pairs::new(),
        }
    }

    /// Replaces a parameter of the form, or removes it.
    fn with(mut self, name: &str, value: Option<&str>) -> Self {
        self.form.retain(|(known, _)| known != name);
        self.form
            .extend(value.map(|value| (name.to_owned(), value.to_owned())));
        self
    }

    async fn send(&self, rds: &RdsSimulator) -> Answer {
        let mut request = http()
            .post(format!("{}/?{}", rds.url(), join(&self.query)))
            .body(join(&self.form));
        if !self.form.is_empty() {
            request = request.header("content-type", "application/x-www-form-urlencoded");
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        Answer::of(request.send().await.unwrap()).await.unwrap()
    }
}

#[rstest]
#[case::rs256(Issuer::rsa("key-1"))]
#[case::es256(Issuer::ecdsa("key-1"))]
#[tokio::test]
async fn a_good_token_gives_a_key_of_the_role(#[case] issuer: Issuer) {
    let other = Issuer::ecdsa("key-2");
    let rds = cloud(&[&other, &issuer]).await;
    let before = Timestamp::now();
    let token = issuer.token(&claims());
    let answer = Request::new(&token).send(&rds).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = answer.json();
    let key = TemporaryKey::of(&answer["Credentials"]);
    let life = key.expiration.duration_since(before).as_secs();
    assert!((899..=960).contains(&life), "{}", key.expiration);
    assert!(key.id.starts_with("STS."), "{}", key.id);
    assert_eq!(answer["AssumedRoleUser"]["Arn"], format!("{ROLE}/operator"));
    assert_eq!(answer["OIDCTokenInfo"]["Subject"], SUBJECT);
    assert_eq!(answer["OIDCTokenInfo"]["Issuer"], ISSUER);
    let calls = rds.journal().calls();
    let call = &calls[0];
    assert!(call.is(Action::AssumeRoleWithOidc) && call.succeeded() && call.took_effect);
    assert_eq!(call.signature, SignatureMethod::Unsigned);
    assert_eq!(call.access_key_id, None);
    assert_eq!(call.role.as_deref(), Some(ROLE));
    assert_eq!(call.role_session_name.as_deref(), Some("operator"));
    assert_eq!(call.subject.as_deref(), Some(SUBJECT));
    assert!(!call.oidc_token_in_url);
    let journal = format!("{calls:?}");
    let known = rds.tokens_and_secrets();
    for secret in [&key.token, &key.secret, &token] {
        assert!(!journal.contains(secret.as_str()));
        assert!(known.iter().any(|known| known.expose() == secret));
    }
    assert_eq!(known.len(), 3);
}

/// What replaces the good claims, and the code that it is refused with.
#[rstest]
#[case::issuer("iss", json!("https://other.example"), "IssuerNotMatch")]
#[case::no_issuer("iss", Value::Null, "Invalid")]
#[case::audience("aud", json!(["vault"]), "AudienceNotMatch")]
#[case::one_audience("aud", json!("vault"), "AudienceNotMatch")]
#[case::empty_audience("aud", json!([]), "AudienceNotMatch")]
#[case::no_audience("aud", Value::Null, "Invalid")]
#[case::expired("exp", json!(Timestamp::now().as_second() - 1), "Expired")]
#[case::no_expiry("exp", Value::Null, "Invalid")]
#[case::not_yet("nbf", json!(Timestamp::now().as_second() + LIFE), "Invalid")]
#[case::no_subject("sub", Value::Null, "Invalid")]
#[tokio::test]
async fn claims_that_are_refused(
    #[case] name: &str,
    #[case] value: Value,
    #[case] code: &str,
    #[values(Issuer::rsa("key-1"), Issuer::ecdsa("key-1"))] issuer: Issuer,
) {
    let rds = cloud(&[&issuer]).await;
    let token = issuer.token(&claims_with(name, value));
    let answer = Request::new(&token).send(&rds).await;
    assert_eq!(
        (answer.status, answer.code()),
        (401, format!("AuthenticationFail.OIDCToken.{code}")),
        "{}",
        answer.body
    );
    assert!(!answer.body.contains(&token));
    assert!(!rds.journal().calls()[0].took_effect);
}

#[rstest]
#[case::subject("sub", json!("system:serviceaccount:team-b:databases"))]
#[case::longer_subject("sub", json!(format!("{SUBJECT}-2")))]
#[tokio::test]
async fn a_subject_that_the_role_does_not_trust(#[case] name: &str, #[case] value: Value) {
    let issuer = Issuer::ecdsa("key-1");
    let rds = cloud(&[&issuer]).await;
    let token = issuer.token(&claims_with(name, value.clone()));
    let answer = Request::new(&token).send(&rds).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (401, "AuthenticationFail.NoPermission"),
        "{}",
        answer.body
    );
    assert_eq!(answer.json()["Message"], "There is no permission");
    assert_eq!(
        answer.json()["AccessDeniedDetail"]["PolicyType"],
        "AssumeRolePolicy"
    );
    let call = &rds.journal().calls()[0];
    assert_eq!(call.subject.as_deref(), value.as_str());
}

#[tokio::test]
async fn the_trust_policy_wants_its_own_audience_among_those_that_the_provider_takes() {
    let issuer = Issuer::ecdsa("key-1");
    let rds = cloud(&[&issuer]).await;
    let provider = OidcProvider::new(PROVIDER, ISSUER, &jwks(&[&issuer])).unwrap();
    rds.add_oidc_provider(provider.client_ids(["vault", AUDIENCE]));
    let send = async |audiences: Value| {
        let token = issuer.token(&claims_with("aud", audiences));
        Request::new(&token).send(&rds).await.status
    };
    assert_eq!(send(json!(["vault"])).await, 401);
    assert_eq!(send(json!(["vault", AUDIENCE])).await, 200);
    assert_eq!(send(json!(AUDIENCE)).await, 200);
}

/// Makes a bad token with the provider's key or without it.
type Forgery = fn(&Issuer) -> String;

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A good token's parts.
fn parts(issuer: &Issuer) -> [String; 3] {
    let token = issuer.token(&claims());
    let parts: Vec<_> = token.split('.').map(str::to_owned).collect();
    parts.try_into().unwrap()
}

#[rstest]
#[case::another_key(|_: &Issuer| Issuer::ecdsa("key-1").token(&claims()), "InvalidSignature")]
#[case::another_algorithms_key(|_: &Issuer| Issuer::rsa("key-1").token(&claims()), "InvalidSignature")]
#[case::unknown_key_id(|_: &Issuer| Issuer::ecdsa("key-9").token(&claims()), "InvalidSignature")]
#[case::none(
    |_: &Issuer| format!("{}.{}.", part(&json!({"alg": "none"})), part(&claims())),
    "Invalid"
)]
#[case::none_with_a_signature(
    |issuer: &Issuer| issuer.token_with_header(&json!({"alg": "none", "kid": "key-1"}), &claims()),
    "Invalid"
)]
#[case::hmac(
    |issuer: &Issuer| issuer.token_with_header(&json!({"alg": "HS256", "kid": "key-1"}), &claims()),
    "Invalid"
)]
#[case::no_algorithm(
    |issuer: &Issuer| issuer.token_with_header(&json!({"kid": "key-1"}), &claims()),
    "Invalid"
)]
#[case::claims_exchanged(
    |issuer: &Issuer| {
        let [header, _, signature] = parts(issuer);
        let claims = claims_with("sub", json!("system:serviceaccount:team-b:databases"));
        format!("{header}.{}.{signature}", part(&claims))
    },
    "InvalidSignature"
)]
#[case::signature_of_another_token(
    |issuer: &Issuer| {
        let [header, payload, _] = parts(issuer);
        let [_, _, signature] = parts(&Issuer::ecdsa("key-1"));
        format!("{header}.{payload}.{signature}")
    },
    "InvalidSignature"
)]
#[case::no_signature(
    |issuer: &Issuer| {
        let [header, payload, _] = parts(issuer);
        format!("{header}.{payload}.")
    },
    "InvalidSignature"
)]
#[case::signature_is_no_base64(
    |issuer: &Issuer| {
        let [header, payload, _] = parts(issuer);
        format!("{header}.{payload}.!!!")
    },
    "Invalid"
)]
#[case::two_parts(|issuer: &Issuer| parts(issuer)[..2].join("."), "Invalid")]
#[case::header_is_no_base64(|issuer: &Issuer| format!("!!!.{}", parts(issuer)[1..].join(".")), "Invalid")]
#[case::claims_are_no_json(
    |issuer: &Issuer| {
        let [header, _, signature] = parts(issuer);
        format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode("x"))
    },
    "Invalid"
)]
#[case::text(|_: &Issuer| "not a token".to_owned(), "Invalid")]
#[case::empty(|_: &Issuer| String::new(), "Invalid")]
#[tokio::test]
async fn tokens_that_nobody_trusted_has_signed(#[case] forge: Forgery, #[case] code: &str) {
    let issuer = Issuer::ecdsa("key-1");
    let rds = cloud(&[&issuer]).await;
    let answer = Request::new(&forge(&issuer)).send(&rds).await;
    assert_eq!(
        (answer.status, answer.code()),
        (401, format!("AuthenticationFail.OIDCToken.{code}")),
        "{}",
        answer.body
    );
    assert!(!rds.journal().calls()[0].took_effect);
}

#[tokio::test]
async fn a_token_without_a_key_id_is_tried_with_every_key() {
    let issuer = Issuer::ecdsa("key-2");
    let rds = cloud(&[&Issuer::rsa("key-1"), &issuer]).await;
    let token = issuer.token_with_header(&json!({"alg": "ES256"}), &claims());
    assert_eq!(Request::new(&token).send(&rds).await.status, 200);
}

#[tokio::test]
async fn a_token_is_judged_by_the_clouds_clock() {
    let issuer = Issuer::ecdsa("key-1");
    let rds = cloud(&[&issuer]).await;
    let token = issuer.token(&claims());
    // Less than the tolerance for the request's own timestamp.
    rds.set_clock_skew(SignedDuration::from_secs(LIFE + 60));
    let answer = Request::new(&token).send(&rds).await;
    assert_eq!(answer.code(), "AuthenticationFail.OIDCToken.Expired");
    rds.set_clock_skew(SignedDuration::from_secs(-60));
    let answer = Request::new(&token).send(&rds).await;
    assert_eq!(answer.code(), "AuthenticationFail.OIDCToken.Invalid");
    rds.set_clock_skew(SignedDuration::from_secs(LIFE - 60));
    assert_eq!(Request::new(&token).send(&rds).await.status, 200);
}

#[rstest]
#[case::no_role("RoleArn", None, 400, "MissingParameter.RoleArn")]
#[case::role("RoleArn", Some("app"), 400, "InvalidParameter.RoleArn")]
#[case::user(
    "RoleArn",
    Some("acs:ram::1:user/app"),
    400,
    "InvalidParameter.RoleArn"
)]
#[case::unknown_role("RoleArn", Some("acs:ram::1:role/other"), 404, "EntityNotExist.Role")]
#[case::no_provider("OIDCProviderArn", None, 400, "MissingParameter.OIDCProviderArn")]
#[case::provider(
    "OIDCProviderArn",
    Some("cluster"),
    401,
    "AuthenticationFail.NoPermission"
)]
#[case::unknown_provider(
    "OIDCProviderArn",
    Some("acs:ram::1:oidc-provider/cluster"),
    401,
    "AuthenticationFail.NoPermission"
)]
#[case::no_token("OIDCToken", None, 401, "AuthenticationFail.OIDCToken.Invalid")]
#[case::short_token("OIDCToken", Some("a.b"), 400, "InvalidParameter.OIDCToken")]
#[case::no_name("RoleSessionName", None, 400, "MissingParameter.RoleSessionName")]
#[case::short_name("RoleSessionName", Some("a"), 400, "InvalidParameter.RoleSessionName")]
#[case::name(
    "RoleSessionName",
    Some("a/b"),
    400,
    "InvalidParameter.RoleSessionName"
)]
#[case::name_of_another_alphabet(
    "RoleSessionName",
    Some("角色"),
    400,
    "InvalidParameter.RoleSessionName"
)]
#[case::best_name("RoleSessionName", Some("Az09.@-_"), 200, "")]
#[case::duration(
    "DurationSeconds",
    Some("an hour"),
    400,
    "InvalidParameter.DurationSeconds"
)]
#[case::short(
    "DurationSeconds",
    Some("899"),
    400,
    "InvalidParameter.DurationSeconds"
)]
#[case::long(
    "DurationSeconds",
    Some("3601"),
    400,
    "InvalidParameter.DurationSeconds"
)]
#[case::longest("DurationSeconds", Some("3600"), 200, "")]
#[case::no_duration("DurationSeconds", None, 200, "")]
#[case::policy("Policy", Some("{"), 400, "InvalidParameter.PolicyGrammar")]
#[case::good_policy("Policy", Some(r#"{"Version": "1", "Statement": []}"#), 200, "")]
#[tokio::test]
async fn parameters(
    #[case] name: &str,
    #[case] value: Option<&str>,
    #[case] status: u16,
    #[case] code: &str,
) {
    let issuer = Issuer::ecdsa("key-1");
    let rds = cloud(&[&issuer]).await;
    let request = Request::new(&issuer.token(&claims())).with(name, value);
    let answer = request.send(&rds).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (status, code),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn limits_of_length() {
    let issuer = Issuer::ecdsa("key-1");
    let rds = cloud(&[&issuer]).await;
    let token = issuer.token(&claims());
    let policy = |length: usize| format!("{{{:length$}}}", "", length = length - 2);
    for (name, value, code) in [
        ("RoleSessionName", "x".repeat(64), ""),
        (
            "RoleSessionName",
            "x".repeat(65),
            "InvalidParameter.RoleSessionName",
        ),
        ("Policy", policy(2048), ""),
        ("Policy", policy(2049), "InvalidParameter.PolicySize"),
        (
            "OIDCToken",
            "x".repeat(20_000),
            "AuthenticationFail.OIDCToken.Invalid",
        ),
        (
            "OIDCToken",
            "x".repeat(20_001),
            "InvalidParameter.OIDCToken",
        ),
    ] {
        let answer = Request::new(&token)
            .with(name, Some(&value))
            .send(&rds)
            .await;
        assert_eq!(
            answer.code(),
            code,
            "{name} {}: {}",
            value.len(),
            answer.body
        );
    }
}

#[tokio::test]
async fn a_role_may_allow_longer_sessions() {
    let issuer = Issuer::ecdsa("key-1");
    let rds = cloud(&[&issuer]).await;
    rds.add_role(
        Role::new(ROLE)
            .trusts_oidc(PROVIDER, ISSUER, AUDIENCE, SUBJECT)
            .max_session(Duration::from_secs(7200)),
    );
    let request = Request::new(&issuer.token(&claims())).with("DurationSeconds", Some("7200"));
    let answer = request.send(&rds).await.json();
    let key = TemporaryKey::of(&answer["Credentials"]);
    assert!(key.expiration.duration_since(Timestamp::now()) > SignedDuration::from_hours(1));
}

/// As SDKs send it: everything in the query; the protocol's part in headers, as for ACS3 but unsigned.
#[tokio::test]
async fn parameters_may_be_in_the_query_and_the_protocol_in_headers() {
    let issuer = Issuer::ecdsa("key-1");
    let rds = cloud(&[&issuer]).await;
    let mut request = Request::new(&issuer.token(&claims()));
    request.query.append(&mut request.form);
    assert_eq!(request.send(&rds).await.status, 200);
    assert!(rds.journal().calls()[0].oidc_token_in_url);
    for in_query in [true, false] {
        let mut request = Request::new(&issuer.token(&claims()));
        request.query.clear();
        if in_query {
            request.query.append(&mut request.form);
        }
        request.headers = pairs(&[
            ("x-acs-action", "AssumeRoleWithOIDC"),
            ("x-acs-version", "2015-04-01"),
            ("x-acs-date", &timestamp(Timestamp::now())),
            ("x-acs-signature-nonce", "nonce"),
            ("accept", "application/json"),
        ]);
        let answer = request.send(&rds).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

#[tokio::test]
async fn nobody_signs_it() {
    let issuer = Issuer::ecdsa("key-1");
    let rds = cloud(&[&issuer]).await;
    for (name, value) in [("AccessKeyId", "testid"), ("Signature", "x")] {
        let mut request = Request::new(&issuer.token(&claims()));
        request.query.extend(pairs(&[(name, value)]));
        let answer = request.send(&rds).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "InvalidParameter")
        );
    }
    let mut request = Request::new(&issuer.token(&claims()));
    request.query.retain(|(name, _)| name != "Timestamp");
    request
        .query
        .extend(pairs(&[("Timestamp", "2016-02-23T12:46:24Z")]));
    assert_eq!(request.send(&rds).await.code(), "InvalidTimeStamp.Expired");
}

#[tokio::test]
async fn services_have_only_their_own_actions() {
    let issuer = Issuer::ecdsa("key-1");
    let rds = cloud(&[&issuer]).await;
    for (name, value, code) in [
        ("Version", "2014-08-15", "InvalidAction.NotFound"),
        ("Action", "DescribeAccounts", "InvalidAction.NotFound"),
        ("Action", "GetCredentialsUri", "InvalidAction.NotFound"),
        ("Version", "2014-05-26", "InvalidVersion"),
    ] {
        let mut request = Request::new(&issuer.token(&claims()));
        request.query.retain(|(known, _)| known != name);
        request.query.extend(pairs(&[(name, value)]));
        assert_eq!(request.send(&rds).await.code(), code);
    }
}

#[tokio::test]
async fn faults_pauses_and_limits_concern_it() {
    let issuer = Issuer::ecdsa("key-1");
    let rds = cloud(&[&issuer]).await;
    let request = Request::new(&issuer.token(&claims()));
    rds.add_fault(Fault::close_connection().on(Action::ResetAccountPassword));
    rds.add_fault(Fault::close_connection().on(Target::any().role("acs:ram::1:role/other")));
    assert_eq!(request.send(&rds).await.status, 200);
    rds.add_fault(
        Fault::error(503, "ServiceUnavailable", "Try later.")
            .on(Target::from(Action::AssumeRoleWithOidc).role(ROLE))
            .times(1),
    );
    assert_eq!(request.send(&rds).await.code(), "ServiceUnavailable");
    let garbage = Fault::garbage(502, "text/html", "<html>");
    rds.add_fault(garbage.on(Action::AssumeRoleWithOidc).times(1));
    assert_eq!(request.send(&rds).await.body, "<html>");
    rds.add_fault(
        Fault::echo_token(500)
            .on(Action::AssumeRoleWithOidc)
            .times(1),
    );
    let (_, token) = &request.form[2];
    assert!(request.send(&rds).await.body.contains(token));
    let pause = rds.pause(Action::AssumeRoleWithOidc);
    let (answer, ()) = tokio::join!(request.send(&rds), async {
        pause.wait_for_held(1, PATIENCE).await.unwrap();
        assert_eq!(rds.journal().calls()[4].outcome, Outcome::UnderWay);
        assert!(pause.release_one());
    });
    assert_eq!(answer.status, 200);
    drop(pause);
    rds.clear_faults();
    // One at STS leaves one at RDS.
    rds.add_throttle(Throttle::user(1, Duration::from_secs(3600)));
    assert_eq!(request.send(&rds).await.status, 200);
    assert_eq!(request.send(&rds).await.code(), "Throttling.User");
    assert_eq!(
        crate::client::reset("Rotated#2")
            .send(&rds)
            .await
            .unwrap()
            .status,
        200
    );
}
