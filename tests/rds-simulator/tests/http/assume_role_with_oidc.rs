//! `AssumeRoleWithOIDC`: tokens that prove something and tokens that do not.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rds_simulator::{OidcProvider, RdsSimulator, Role, SignatureMethod, SignedDuration, Timestamp};
use rstest::rstest;
use serde_json::{Value, json};

use crate::{
    client::{Answer, Pairs, http, join, pairs, simulator, timestamp},
    issuer::{Issuer, jwks},
};

const ROLE: &str = "acs:ram::1000000000000001:role/app";
const PROVIDER: &str = "acs:ram::1000000000000001:oidc-provider/cluster";
const ISSUER: &str = "https://kubernetes.default.svc";
const SUBJECT: &str = "system:serviceaccount:team-a:databases";
const AUDIENCE: &str = "sts.aliyuncs.com";
/// Time enough for any test, in seconds.
const LIFE: i64 = 600;

/// Claims of a good token.
fn claims() -> Value {
    let now = Timestamp::now().as_second();
    json!({"iss": ISSUER, "sub": SUBJECT, "aud": [AUDIENCE], "iat": now, "nbf": now, "exp": now + LIFE})
}

/// A simulator that takes this issuer's tokens, and a role that trusts one subject.
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
        let request = http()
            .post(format!("{}/?{}", rds.url(), join(&self.query)))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(join(&self.form));
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
    let answer = Request::new(&issuer.token(&claims())).send(&rds).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = answer.json();
    let credentials = &answer["Credentials"];
    let expiration: Timestamp = credentials["Expiration"].as_str().unwrap().parse().unwrap();
    let life = expiration.duration_since(before).as_secs();
    assert!((899..=960).contains(&life), "{expiration}");
    let id = credentials["AccessKeyId"].as_str().unwrap();
    assert!(id.starts_with("STS."), "{id}");
    assert_eq!(answer["AssumedRoleUser"]["Arn"], format!("{ROLE}/operator"));
    assert_eq!(answer["OIDCTokenInfo"]["Subject"], SUBJECT);
    assert_eq!(answer["OIDCTokenInfo"]["Issuer"], ISSUER);
    let calls = rds.journal().calls();
    let call = &calls[0];
    assert_eq!(call.action, "AssumeRoleWithOIDC");
    assert_eq!(call.signature, SignatureMethod::Unsigned);
    assert_eq!(call.role.as_deref(), Some(ROLE));
    assert_eq!(call.role_session_name.as_deref(), Some("operator"));
    assert_eq!(call.subject.as_deref(), Some(SUBJECT));
    assert!(call.took_effect && !call.oidc_token_in_url);
    let token = credentials["SecurityToken"].as_str().unwrap();
    assert!(!format!("{calls:?}").contains(token));
}
