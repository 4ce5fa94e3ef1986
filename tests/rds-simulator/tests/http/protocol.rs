//! Signatures, nonces, timestamps, access keys and formats.

use rds_simulator::{AccessKey, RdsSimulator, SignatureMethod, SignedDuration, Timestamp};
use rstest::rstest;

use crate::client::{Acs3, PASSWORD, Rpc, encode, reset, simulator, timestamp};

const DESCRIBE: &str = "DescribeDBInstanceAttribute";
const INSTANCE: &[(&str, &str)] = &[("DBInstanceId", "rm-1")];
const RESET: &[(&str, &str)] = &[
    ("DBInstanceId", "rm-1"),
    ("AccountName", "app"),
    ("AccountPassword", PASSWORD),
];

fn describe() -> Rpc {
    Rpc::post(DESCRIBE, INSTANCE)
}

#[rstest]
#[case::no_action("Action", None, 400, "MissingAction")]
#[case::action("Action", Some("DropDatabase"), 404, "InvalidAction.NotFound")]
#[case::action_case("Action", Some("resetaccountpassword"), 404, "InvalidAction.NotFound")]
#[case::no_version("Version", None, 400, "MissingVersion")]
#[case::ecs_version("Version", Some("2014-05-26"), 400, "InvalidVersion")]
#[case::format("Format", Some("YAML"), 400, "InvalidParameter.Format")]
#[case::no_key("AccessKeyId", None, 400, "MissingAccessKeyId")]
#[case::key("AccessKeyId", Some("other"), 404, "InvalidAccessKeyId.NotFound")]
#[case::inactive_key("AccessKeyId", Some("inactive"), 400, "InvalidAccessKeyId.Inactive")]
#[case::no_method("SignatureMethod", None, 400, "MissingSignatureMethod")]
#[case::method("SignatureMethod", Some("HMAC-MD5"), 400, "InvalidSignatureMethod")]
#[case::no_signature_version("SignatureVersion", None, 400, "MissingSignatureVersion")]
#[case::signature_version("SignatureVersion", Some("2.0"), 400, "InvalidSignatureMethod")]
#[case::no_nonce("SignatureNonce", None, 400, "MissingSignatureNonce")]
#[case::no_timestamp("Timestamp", None, 400, "MissingTimestamp")]
#[case::old_timestamp(
    "Timestamp",
    Some("2016-02-23T12:46:24Z"),
    400,
    "InvalidTimeStamp.Expired"
)]
#[case::timestamp_from_the_future(
    "Timestamp",
    Some("2999-02-23T12:46:24Z"),
    400,
    "InvalidTimeStamp.Expired"
)]
#[case::local_timestamp(
    "Timestamp",
    Some("2026-11-24T12:46:24+08:00"),
    400,
    "InvalidTimeStamp.Format"
)]
#[case::fraction(
    "Timestamp",
    Some("2026-11-24T12:46:24.1Z"),
    400,
    "InvalidTimeStamp.Format"
)]
#[case::no_time("Timestamp", Some("2026-11-24"), 400, "InvalidTimeStamp.Format")]
#[case::no_date(
    "Timestamp",
    Some("2026-13-24T12:46:24Z"),
    400,
    "InvalidTimeStamp.Format"
)]
#[case::unneeded_token("SecurityToken", Some("token"), 400, "InvalidSecurityToken.Malformed")]
#[tokio::test]
async fn rpc_common_parameters(
    #[case] name: &str,
    #[case] value: Option<&'static str>,
    #[case] status: u16,
    #[case] code: &str,
) {
    let rds = simulator().await;
    rds.add_access_key(AccessKey::new("inactive", "testsecret").inactive());
    let answer = describe().with(name, value).send(&rds).await.unwrap();
    assert_eq!(answer.status, status, "{}", answer.body);
    let found = if name == "Format" {
        answer.body.contains(&format!("<Code>{code}</Code>"))
    } else {
        answer.code() == code
    };
    assert!(found, "{}", answer.body);
    let call = &rds.journal().calls()[0];
    assert_eq!(
        (call.status, call.code.as_deref(), call.took_effect),
        (Some(status), Some(code), false)
    );
}

#[rstest]
#[case::no_action("x-acs-action", None, 400, "Missingx-acs-action")]
#[case::action("x-acs-action", Some("DropDatabase"), 404, "InvalidAction.NotFound")]
#[case::version("x-acs-version", Some("2014-05-26"), 400, "InvalidVersion")]
#[case::no_date("x-acs-date", None, 400, "Missingx-acs-date")]
#[case::date(
    "x-acs-date",
    Some("2016-02-23T12:46:24Z"),
    400,
    "InvalidTimeStamp.Expired"
)]
#[case::no_nonce("x-acs-signature-nonce", None, 400, "Missingx-acs-signature-nonce")]
#[case::token(
    "x-acs-security-token",
    Some("token"),
    400,
    "InvalidSecurityToken.Malformed"
)]
#[case::wrong_body_hash("x-acs-content-sha256", Some("00"), 400, "SignatureDoesNotMatch")]
#[tokio::test]
async fn acs3_headers(
    #[case] name: &str,
    #[case] value: Option<&'static str>,
    #[case] status: u16,
    #[case] code: &str,
) {
    let rds = simulator().await;
    let answer = Acs3::post(DESCRIBE, INSTANCE)
        .with(name, value)
        .send(&rds)
        .await
        .unwrap();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (status, code),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn acs3_works_with_both_methods_and_notices_a_password_in_the_url() {
    let rds = simulator().await;
    let answer = Acs3::post("ResetAccountPassword", RESET)
        .send(&rds)
        .await
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(rds.password_of("rm-1", "app").as_deref(), Some(PASSWORD));
    let mut get = Acs3::post(DESCRIBE, INSTANCE);
    get.method = reqwest::Method::GET;
    assert_eq!(get.send(&rds).await.unwrap().status, 200);
    let calls = rds.journal().calls();
    assert!(
        calls
            .iter()
            .all(|call| call.signature == SignatureMethod::Acs3HmacSha256)
    );
    assert_eq!(
        calls
            .iter()
            .map(|call| call.password_in_url)
            .collect::<Vec<_>>(),
        [true, false]
    );
    assert!(!format!("{calls:?}").contains(PASSWORD));
}

#[tokio::test]
async fn acs3_takes_no_parameters_from_the_body() {
    let rds = simulator().await;
    let mut request = Acs3::post("ResetAccountPassword", &RESET[..2])
        .with("content-type", "application/x-www-form-urlencoded");
    request.body = format!("AccountPassword={}", encode(PASSWORD));
    let answer = request.send(&rds).await.unwrap();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "MissingAccountPassword")
    );
    assert_eq!(rds.password_of("rm-1", "app").as_deref(), Some("Initial#1"));
}

#[tokio::test]
async fn acs3_wants_every_header_of_its_own_signed() {
    let rds = simulator().await;
    for header in [
        "host",
        "x-acs-action",
        "x-acs-content-sha256",
        "x-acs-date",
        "x-acs-signature-nonce",
        "x-acs-version",
    ] {
        let mut request = Acs3::post(DESCRIBE, INSTANCE);
        request.unsigned.push(header);
        assert_eq!(
            request.send(&rds).await.unwrap().code(),
            "SignatureDoesNotMatch",
            "{header}"
        );
    }
    let mut request =
        Acs3::post(DESCRIBE, INSTANCE).with("content-type", "application/x-www-form-urlencoded");
    request.unsigned.push("content-type");
    assert_eq!(
        request.send(&rds).await.unwrap().code(),
        "SignatureDoesNotMatch"
    );
}

#[tokio::test]
async fn a_wrong_signature_is_answered_with_all_that_was_signed() {
    let rds = simulator().await;
    let mut rpc = reset(PASSWORD);
    rpc.secret = "wrong".to_owned();
    let answer = rpc.send(&rds).await.unwrap();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "SignatureDoesNotMatch")
    );
    let leak = format!("AccountPassword%3D{}", encode(&encode(PASSWORD)));
    let message = answer.json()["Message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("Specified signature is not matched with our calculation. server string to sign is:POST&%2F&"));
    assert!(message.contains(&leak), "{message}");

    let mut acs3 = Acs3::post("ResetAccountPassword", RESET);
    acs3.secret = "wrong".to_owned();
    let answer = acs3.send(&rds).await.unwrap();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "SignatureDoesNotMatch")
    );
    let message = answer.json()["Message"].as_str().unwrap().to_owned();
    assert!(message.contains("server string to sign is:ACS3-HMAC-SHA256\n"));
    assert!(
        message.contains(&format!("AccountPassword={}", encode(PASSWORD))),
        "{message}"
    );
    assert_eq!(rds.password_of("rm-1", "app").as_deref(), Some("Initial#1"));
}

#[tokio::test]
async fn what_was_signed_cannot_be_changed() {
    let rds = simulator().await;
    let signed = reset(PASSWORD);
    let signature = signed.sign();
    let change = |change: &dyn Fn(&mut Rpc)| {
        let mut request = reset(PASSWORD);
        request.query.clone_from(&signed.query);
        request.signature = Some(signature.clone());
        change(&mut request);
        request
    };
    let changed = [
        change(&|request| request.form[2].1 = "Another#1".to_owned()),
        change(&|request| request.form.push(("OwnerId".to_owned(), "1".to_owned()))),
        change(&|request| request.query[6].1 = "another-nonce".to_owned()),
        change(&|request| request.signature = Some("x".to_owned())),
    ];
    for request in changed {
        assert_eq!(
            request.send(&rds).await.unwrap().code(),
            "SignatureDoesNotMatch"
        );
    }
    let missing = change(&|request| request.signature = Some(String::new()));
    assert_eq!(missing.send(&rds).await.unwrap().code(), "MissingSignature");
    // None of these used the nonce up.
    assert_eq!(change(&|_| ()).send(&rds).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_nonce_is_used_once() {
    let rds = simulator().await;
    let rpc = describe();
    assert_eq!(rpc.send(&rds).await.unwrap().status, 200);
    let again = rpc.send(&rds).await.unwrap();
    assert_eq!(
        (again.status, again.code().as_str()),
        (400, "SignatureNonceUsed")
    );
    let acs3 = Acs3::post(DESCRIBE, INSTANCE);
    assert_eq!(acs3.send(&rds).await.unwrap().status, 200);
    assert_eq!(acs3.send(&rds).await.unwrap().code(), "SignatureNonceUsed");
}

#[rstest]
#[case(14, 200)]
#[case(-14, 200)]
#[case(16, 400)]
#[case(-16, 400)]
#[tokio::test]
async fn the_clouds_clock_may_be_fifteen_minutes_off(#[case] minutes: i64, #[case] status: u16) {
    let rds = simulator().await;
    rds.set_clock_skew(SignedDuration::from_mins(minutes));
    assert_eq!(describe().send(&rds).await.unwrap().status, status);
    assert_eq!(
        Acs3::post(DESCRIBE, INSTANCE)
            .send(&rds)
            .await
            .unwrap()
            .status,
        status
    );
}

async fn with_sts_key() -> RdsSimulator {
    let rds = simulator().await;
    let in_ten_minutes = Timestamp::now() + SignedDuration::from_mins(10);
    rds.add_access_key(
        AccessKey::new("testid", "testsecret").security_token("tok/en+==", in_ten_minutes),
    );
    rds
}

#[rstest]
#[case::right(Some("tok/en+=="), 0, "")]
#[case::none(None, 0, "MissingSecurityToken")]
#[case::garbage(Some("garbage"), 0, "InvalidSecurityToken.Malformed")]
#[case::expired(Some("tok/en+=="), 11, "InvalidSecurityToken.Expired")]
#[tokio::test]
async fn temporary_keys_need_their_token(
    #[case] token: Option<&'static str>,
    #[case] skew: i64,
    #[case] code: &str,
) {
    let rds = with_sts_key().await;
    rds.set_clock_skew(SignedDuration::from_mins(skew));
    assert_eq!(
        describe()
            .with("SecurityToken", token)
            .send(&rds)
            .await
            .unwrap()
            .code(),
        code
    );
    let acs3 = Acs3::post(DESCRIBE, INSTANCE).with("x-acs-security-token", token);
    assert_eq!(acs3.send(&rds).await.unwrap().code(), code);
}

#[tokio::test]
async fn a_removed_key_is_unknown() {
    let rds = simulator().await;
    rds.remove_access_key("testid");
    assert_eq!(
        describe().send(&rds).await.unwrap().code(),
        "InvalidAccessKeyId.NotFound"
    );
}

#[tokio::test]
async fn xml_is_the_default() {
    let rds = simulator().await;
    for request in [
        describe().with("Format", None),
        describe().with("Format", "XML"),
    ] {
        let answer = request.send(&rds).await.unwrap();
        assert_eq!(answer.headers["content-type"], "text/xml;charset=utf-8");
        assert!(answer.body.starts_with(
            "<?xml version='1.0' encoding='UTF-8'?><DescribeDBInstanceAttributeResponse>"
        ));
        assert!(
            answer
                .body
                .contains("<Items><DBInstanceAttribute><Category>HighAvailability</Category>")
        );
    }
    let mut wrong = reset(PASSWORD).with("Format", None);
    wrong.secret = "wrong".to_owned();
    let answer = wrong.send(&rds).await.unwrap();
    assert!(answer.body.starts_with(
        "<?xml version='1.0' encoding='UTF-8'?><Error><Code>SignatureDoesNotMatch</Code>"
    ));
    assert!(answer.body.contains("POST&amp;%2F&amp;"));
    let acs3 = Acs3::post(DESCRIBE, INSTANCE)
        .with("accept", None)
        .send(&rds)
        .await
        .unwrap();
    assert!(acs3.body.starts_with("<?xml"), "{}", acs3.body);
}

#[tokio::test]
async fn errors_name_the_request_and_the_host() {
    let rds = simulator().await;
    let answer = Rpc::post(DESCRIBE, &[]).send(&rds).await.unwrap();
    let body = answer.json();
    assert_eq!(body["HostId"], rds.address().to_string());
    assert_eq!(body["RequestId"], rds.journal().calls()[0].request_id);
    assert_eq!(
        answer.headers["x-acs-request-id"],
        rds.journal().calls()[0].request_id
    );
    assert!(body["Recommend"].as_str().unwrap().starts_with("https://"));
}

#[tokio::test]
async fn parameters_may_be_in_the_query_or_the_body_but_not_twice() {
    let rds = simulator().await;
    // All in the body, as older official SDKs send them; then all in the query of a POST.
    let mut all_in_body = reset(PASSWORD);
    let signature = all_in_body.sign();
    all_in_body.form.append(&mut all_in_body.query);
    all_in_body.form.push(("Signature".to_owned(), signature));
    all_in_body.signature = Some(String::new());
    assert_eq!(all_in_body.send(&rds).await.unwrap().status, 200);
    let mut all_in_query = reset(PASSWORD);
    all_in_query.query.append(&mut all_in_query.form);
    assert_eq!(all_in_query.send(&rds).await.unwrap().status, 200);
    assert_eq!(
        rds.journal()
            .calls()
            .iter()
            .map(|call| call.password_in_url)
            .collect::<Vec<_>>(),
        [false, true]
    );

    let mut twice = reset(PASSWORD);
    twice.query.push(twice.form[0].clone());
    assert_eq!(twice.send(&rds).await.unwrap().code(), "InvalidParameter");
    let mut twice = reset(PASSWORD);
    twice.form.push(twice.form[0].clone());
    assert_eq!(twice.send(&rds).await.unwrap().code(), "InvalidParameter");
}

#[tokio::test]
async fn a_body_that_is_no_form_holds_no_parameters() {
    let rds = simulator().await;
    let mut request = describe();
    request.form.clear();
    let request = request
        .prepare(&rds)
        .header("content-type", "application/json")
        .body("DBInstanceId=rm-1");
    let answer: serde_json::Value =
        serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(answer["Code"], "MissingDBInstanceId");
}

#[tokio::test]
async fn a_password_under_another_name_in_the_url_is_noticed() {
    let rds = simulator().await;
    let mut request = reset(PASSWORD);
    request
        .query
        .push(("Note".to_owned(), format!("x{PASSWORD}x")));
    assert_eq!(request.send(&rds).await.unwrap().status, 200);
    assert!(rds.journal().calls()[0].password_in_url);
}

#[tokio::test]
async fn other_methods_and_paths_are_refused() {
    let rds = simulator().await;
    let mut put = describe();
    put.method = reqwest::Method::PUT;
    assert_eq!(
        put.send(&rds).await.unwrap().code(),
        "UnsupportedHTTPMethod"
    );
    let mut path = describe();
    path.path = "/rds";
    assert_eq!(
        path.send(&rds).await.unwrap().code(),
        "InvalidAction.NotFound"
    );
}

#[test]
fn the_clients_timestamps_are_of_the_documented_form() {
    assert_eq!(timestamp(Timestamp::UNIX_EPOCH), "1970-01-01T00:00:00Z");
}
