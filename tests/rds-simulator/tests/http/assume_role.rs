//! `AssumeRole`: who may, with which signature.

use rds_simulator::{AccessKey, Action, DenialCode, RdsSimulator, Role, SignatureMethod};
use rstest::rstest;

use crate::client::{Acs3, Answer, Rpc, TemporaryKey, simulator};

const OWN: &str = "acs:ram::1000000000000001:role/own";
const FOREIGN: &str = "acs:ram::2000000000000002:role/foreign";
const GUARDED: &str = "acs:ram::2000000000000002:role/guarded";
const STRANGE: &str = "acs:ram::2000000000000002:role/strange";

async fn cloud() -> RdsSimulator {
    let rds = simulator().await;
    rds.add_role(Role::new(OWN).trusts_account("1000000000000001"));
    rds.add_role(
        Role::new(FOREIGN)
            .trusts_account("3000000000000003")
            .trusts_account("1000000000000001"),
    );
    rds.add_role(
        Role::new(GUARDED).trusts_account_with_external_id("1000000000000001", "handshake"),
    );
    rds.add_role(Role::new(STRANGE).trusts_account("2000000000000002"));
    rds
}

fn assume(role: &str, more: &[(&str, &str)]) -> Rpc {
    let mut form = vec![("RoleArn", role), ("RoleSessionName", "operator")];
    form.extend(more);
    Rpc::post("AssumeRole", &form).with("Version", "2015-04-01")
}

fn key(answer: &Answer) -> TemporaryKey {
    assert_eq!(answer.status, 200, "{}", answer.body);
    TemporaryKey::of(&answer.json()["Credentials"])
}

#[tokio::test]
async fn either_signature_will_do() {
    let rds = cloud().await;
    let rpc = assume(OWN, &[]).send(&rds).await.unwrap();
    assert_eq!(
        rpc.json()["AssumedRoleUser"]["Arn"],
        format!("{OWN}/operator")
    );
    assert!(rpc.json()["OIDCTokenInfo"].is_null());
    let parameters = [("RoleArn", OWN), ("RoleSessionName", "operator")];
    let request = Acs3::post("AssumeRole", &parameters).with("x-acs-version", "2015-04-01");
    let acs3 = request.send(&rds).await.unwrap();
    assert_ne!(key(&rpc).id, key(&acs3).id);
    let calls = rds.journal().calls();
    for (call, signature) in calls.iter().zip([
        SignatureMethod::RpcHmacSha1,
        SignatureMethod::Acs3HmacSha256,
    ]) {
        assert!(call.is(Action::AssumeRole) && call.took_effect);
        assert_eq!(call.signature, signature);
        assert_eq!(call.role.as_deref(), Some(OWN));
        assert_eq!(call.access_key_id.as_deref(), Some("testid"));
    }
}

#[rstest]
#[case::own(OWN, None, 200, "")]
#[case::another_accounts(FOREIGN, None, 200, "")]
#[case::with_external_id(GUARDED, Some("handshake"), 200, "")]
#[case::with_a_wrong_one(GUARDED, Some("other"), 403, "NoPermission")]
#[case::without(GUARDED, None, 403, "NoPermission")]
#[case::not_trusted(STRANGE, None, 403, "NoPermission")]
#[case::unknown(
    "acs:ram::1000000000000001:role/none",
    None,
    404,
    "EntityNotExist.Role"
)]
#[case::no_arn("own", None, 400, "InvalidParameter.RoleArn")]
#[case::empty("", None, 400, "MissingRoleArn")]
#[tokio::test]
async fn the_role_has_to_trust_the_callers_account(
    #[case] role: &str,
    #[case] external_id: Option<&str>,
    #[case] status: u16,
    #[case] code: &str,
) {
    let rds = cloud().await;
    let more: Vec<_> = external_id
        .map(|id| ("ExternalId", id))
        .into_iter()
        .collect();
    let answer = assume(role, &more).send(&rds).await.unwrap();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (status, code),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn a_caller_without_the_right_to_assume_roles() {
    let rds = cloud().await;
    rds.add_access_key(AccessKey::new("testid", "testsecret").denied(
        DenialCode::NoPermission,
        Some(Action::AssumeRole),
        None,
    ));
    let answer = assume(OWN, &[]).send(&rds).await.unwrap();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (403, "NoPermission")
    );
    assert_eq!(
        answer.json()["AccessDeniedDetail"]["AuthAction"],
        "sts:AssumeRole"
    );
}

#[tokio::test]
async fn signature_and_nonce_count_as_everywhere() {
    let rds = cloud().await;
    let mut request = assume(OWN, &[]);
    assert_eq!(request.send(&rds).await.unwrap().status, 200);
    assert_eq!(
        request.send(&rds).await.unwrap().code(),
        "SignatureNonceUsed"
    );
    request.secret = "wrong".to_owned();
    assert_eq!(
        request.send(&rds).await.unwrap().code(),
        "SignatureDoesNotMatch"
    );
}

/// `ChainableRamRoleArn`: a role's key assumes the next role.
#[tokio::test]
async fn a_temporary_key_may_assume_a_role() {
    let rds = cloud().await;
    let own = key(&assume(OWN, &[]).send(&rds).await.unwrap());
    let request = assume(FOREIGN, &[]).signed_with(&own);
    let foreign = key(&request.send(&rds).await.unwrap());
    // It is of the other account now, which does not trust itself with this role.
    let request = assume(OWN, &[]).signed_with(&foreign);
    assert_eq!(request.send(&rds).await.unwrap().code(), "NoPermission");
    let request = assume(STRANGE, &[]).signed_with(&foreign);
    key(&request.send(&rds).await.unwrap());
}
