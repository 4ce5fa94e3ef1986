//! The metadata service and the credentials URI: keys for whoever can reach them.

use std::time::Duration;

use rds_simulator::{
    Action, CredentialsEndpoint, CredentialsUri, Fault, MetadataService, Outcome, RdsSimulator,
    Role, SignedDuration,
};
use reqwest::Method;
use rstest::rstest;

use crate::client::{Answer, PATIENCE, Rpc, TemporaryKey, http, simulator};

const ROLE: &str = "acs:ram::1000000000000001:role/node";
const TOKEN: &str = "/latest/api/token";
const ROLES: &str = "/latest/meta-data/ram/security-credentials/";
const KEY: &str = "/latest/meta-data/ram/security-credentials/node";

async fn cloud() -> RdsSimulator {
    let rds = simulator().await;
    rds.add_role(Role::new(ROLE));
    rds
}

async fn send(
    service: &CredentialsEndpoint,
    method: Method,
    path: &str,
    header: Option<(&str, &str)>,
) -> Answer {
    let mut request = http().request(method, format!("http://{}{path}", service.address()));
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    Answer::of(request.send().await.unwrap()).await.unwrap()
}

async fn get(service: &CredentialsEndpoint, path: &str, token: Option<&str>) -> Answer {
    let header = token.map(|token| ("X-aliyun-ecs-metadata-token", token));
    send(service, Method::GET, path, header).await
}

async fn token(service: &CredentialsEndpoint, seconds: &str) -> Answer {
    let header = ("X-aliyun-ecs-metadata-token-ttl-seconds", seconds);
    send(service, Method::PUT, TOKEN, Some(header)).await
}

/// The code that RDS answers to this key.
async fn describe(rds: &RdsSimulator, key: &TemporaryKey) -> String {
    let request = Rpc::post("DescribeDBInstanceAttribute", &[("DBInstanceId", "rm-1")]);
    request.signed_with(key).send(rds).await.unwrap().code()
}

#[tokio::test]
async fn a_token_then_the_role_then_its_key() {
    let rds = cloud().await;
    let service = MetadataService::of_role(ROLE).v2_only();
    let service = rds.start_metadata_service(service).await.unwrap();
    let token = token(&service, "21600").await.body;
    assert_eq!(get(&service, ROLES, Some(&token)).await.body, "node");
    let answer = get(&service, KEY, Some(&token)).await;
    let fields = answer.json();
    assert_eq!(
        (answer.status, fields["Code"].as_str()),
        (200, Some("Success"))
    );
    assert!(fields["LastUpdated"].as_str().unwrap().ends_with('Z'));
    assert!(fields["RequestId"].is_null());
    let key = TemporaryKey::of(&fields);
    assert_eq!(describe(&rds, &key).await, "");
    let calls = rds.journal().calls();
    let actions = [
        Action::GetMetadataToken,
        Action::GetMetadataRoleName,
        Action::GetMetadataCredentials,
        Action::DescribeDBInstanceAttribute,
    ];
    assert_eq!(calls.len(), actions.len());
    for (call, action) in calls.iter().zip(actions) {
        assert!(
            call.is(action) && call.succeeded() && call.took_effect,
            "{call:?}"
        );
        assert_eq!(call.role.as_deref(), Some(ROLE));
    }
    let journal = format!("{calls:?}");
    let known = rds.tokens_and_secrets();
    for secret in [&token, &key.secret, &key.token] {
        assert!(!journal.contains(secret.as_str()));
        assert!(known.iter().any(|known| known.expose() == secret));
    }
}

#[rstest]
#[case::hardened_without(true, None, 403)]
#[case::hardened_with_another(true, Some("x"), 403)]
#[case::normal_without(false, None, 200)]
#[case::normal_with_another(false, Some("x"), 403)]
#[tokio::test]
async fn tokens_are_wanted_by_mode(
    #[case] v2_only: bool,
    #[case] sent: Option<&str>,
    #[case] status: u16,
) {
    let rds = cloud().await;
    let mut service = MetadataService::of_role(ROLE);
    if v2_only {
        service = service.v2_only();
    }
    let service = rds.start_metadata_service(service).await.unwrap();
    for path in [ROLES, KEY] {
        assert_eq!(get(&service, path, sent).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn a_token_expires() {
    let rds = cloud().await;
    let service = MetadataService::of_role(ROLE).v2_only();
    let service = rds.start_metadata_service(service).await.unwrap();
    let token = token(&service, "60").await.body;
    rds.set_clock_skew(SignedDuration::from_secs(30));
    assert_eq!(get(&service, ROLES, Some(&token)).await.status, 200);
    rds.set_clock_skew(SignedDuration::from_secs(61));
    assert_eq!(get(&service, ROLES, Some(&token)).await.status, 403);
}

#[rstest]
#[case("0", 400)]
#[case("1", 200)]
#[case("21600", 200)]
#[case("21601", 400)]
#[case("a while", 400)]
#[case("", 400)]
#[tokio::test]
async fn a_token_lives_up_to_six_hours(#[case] seconds: &str, #[case] status: u16) {
    let rds = cloud().await;
    let service = MetadataService::of_role(ROLE);
    let service = rds.start_metadata_service(service).await.unwrap();
    assert_eq!(token(&service, seconds).await.status, status);
}

#[rstest]
#[case::another_role(Method::GET, "/latest/meta-data/ram/security-credentials/other", 404)]
#[case::other_data(Method::GET, "/latest/meta-data/instance-id", 404)]
#[case::put_for_a_key(Method::PUT, KEY, 405)]
#[case::get_for_a_token(Method::GET, TOKEN, 405)]
#[case::an_api(Method::GET, "/?Action=AssumeRole&Version=2015-04-01", 404)]
#[tokio::test]
async fn what_it_does_not_have(#[case] method: Method, #[case] path: &str, #[case] status: u16) {
    let rds = cloud().await;
    let service = MetadataService::of_role(ROLE);
    let service = rds.start_metadata_service(service).await.unwrap();
    assert_eq!(send(&service, method, path, None).await.status, status);
}

#[tokio::test]
async fn an_instance_without_a_role() {
    let rds = cloud().await;
    let service = MetadataService::without_role();
    let service = rds.start_metadata_service(service).await.unwrap();
    assert_eq!(token(&service, "60").await.status, 200);
    assert_eq!(get(&service, ROLES, None).await.status, 404);
    assert_eq!(get(&service, KEY, None).await.status, 404);
}

#[tokio::test]
async fn faults_concern_it() {
    let rds = cloud().await;
    let service = MetadataService::of_role(ROLE);
    let service = rds.start_metadata_service(service).await.unwrap();
    let fault = Fault::error(404, "NotFound", "no such page").on(Action::GetMetadataToken);
    rds.add_fault(fault.times(1));
    assert_eq!(token(&service, "60").await.status, 404);
    assert_eq!(token(&service, "60").await.status, 200);
    let fault = Fault::garbage(200, "text/html", "<html>").on(Action::GetMetadataCredentials);
    rds.add_fault(fault.times(1));
    assert_eq!(get(&service, KEY, None).await.body, "<html>");
    rds.add_fault(Fault::hang().on(Action::GetMetadataRoleName));
    let request = http()
        .get(format!("{}{ROLES}", service.url()))
        .timeout(Duration::from_millis(200));
    assert!(request.send().await.unwrap_err().is_timeout());
    let journal = rds.journal();
    let gone = journal.wait_for(PATIENCE, |calls| {
        calls
            .last()
            .is_some_and(|call| call.outcome == Outcome::ClientGone)
    });
    assert!(
        gone.await
            .unwrap()
            .last()
            .unwrap()
            .is(Action::GetMetadataRoleName)
    );
}

#[tokio::test]
async fn it_ends_with_its_handle() {
    let rds = cloud().await;
    let service = MetadataService::of_role(ROLE);
    let service = rds.start_metadata_service(service).await.unwrap();
    let url = format!("{}{ROLES}", service.url());
    assert_eq!(http().get(&url).send().await.unwrap().status(), 200);
    drop(service);
    let refused = async { while http().get(&url).send().await.is_ok() {} };
    tokio::time::timeout(PATIENCE, refused).await.unwrap();
}

#[rstest]
#[case::plain(CredentialsUri::of_role(ROLE), None)]
#[case::with_code(CredentialsUri::of_role(ROLE).with_code(), Some("Success"))]
#[tokio::test]
async fn a_credentials_uri_gives_a_key(#[case] uri: CredentialsUri, #[case] code: Option<&str>) {
    let rds = cloud().await;
    let uri = rds.start_credentials_uri(uri).await.unwrap();
    let answer = Answer::of(http().get(uri.url()).send().await.unwrap())
        .await
        .unwrap();
    let fields = answer.json();
    assert_eq!(answer.status, 200);
    assert_eq!(fields["Code"].as_str(), code);
    let key = TemporaryKey::of(&fields);
    assert_eq!(describe(&rds, &key).await, "");
    assert_eq!(get(&uri, "/", None).await.status, 404);
    let fault = Fault::garbage(200, "application/json", "{").on(Action::GetCredentialsUri);
    rds.add_fault(fault.times(1));
    assert_eq!(get(&uri, "/credentials", None).await.body, "{");
    rds.remove_role(ROLE);
    assert_eq!(get(&uri, "/credentials", None).await.status, 404);
    let call = &rds.journal().calls()[0];
    assert!(call.is(Action::GetCredentialsUri) && call.took_effect);
    assert_eq!(call.role.as_deref(), Some(ROLE));
}
