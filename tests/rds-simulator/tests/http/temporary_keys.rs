//! What a key that STS issued may do at RDS, and how long.

use std::time::Duration;

use rds_simulator::{Action, DenialCode, Instance, RdsSimulator, Role, SignedDuration, Timestamp};

use crate::client::{Acs3, PASSWORD, PATIENCE, Rpc, TemporaryKey, reset, simulator};

const ROLE: &str = "acs:ram::1000000000000001:role/app";
const INSTANCE: &[(&str, &str)] = &[("DBInstanceId", "rm-1")];

fn role() -> Role {
    Role::new(ROLE).trusts_account("1000000000000001")
}

async fn cloud() -> RdsSimulator {
    let rds = simulator().await;
    rds.add_role(role());
    rds
}

async fn assume(rds: &RdsSimulator) -> TemporaryKey {
    let form = [("RoleArn", ROLE), ("RoleSessionName", "operator")];
    let request = Rpc::post("AssumeRole", &form).with("Version", "2015-04-01");
    let answer = request.send(rds).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    TemporaryKey::of(&answer.json()["Credentials"])
}

/// The code that RDS answers a description with.
async fn describe(rds: &RdsSimulator, key: &TemporaryKey) -> String {
    let request = Rpc::post("DescribeDBInstanceAttribute", INSTANCE).signed_with(key);
    request.send(rds).await.unwrap().code()
}

#[tokio::test]
async fn it_works_with_either_signature_and_the_journal_tells_the_role() {
    let rds = cloud().await;
    let key = assume(&rds).await;
    let answer = reset(PASSWORD).signed_with(&key).send(&rds).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(rds.password_of("rm-1", "app").as_deref(), Some(PASSWORD));
    let request = Acs3::post("DescribeDBInstanceAttribute", INSTANCE).signed_with(&key);
    let answer = request.send(&rds).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    for call in &rds.journal().calls()[1..] {
        assert_eq!(call.role.as_deref(), Some(ROLE));
        assert_eq!(call.access_key_id.as_deref(), Some(key.id.as_str()));
    }
}

#[tokio::test]
async fn it_works_only_with_its_own_token() {
    let rds = cloud().await;
    let (key, other) = (assume(&rds).await, assume(&rds).await);
    let with = |token: &str| TemporaryKey {
        token: token.to_owned(),
        ..key.clone()
    };
    assert_eq!(describe(&rds, &key).await, "");
    assert_eq!(describe(&rds, &with("")).await, "MissingSecurityToken");
    assert_eq!(
        describe(&rds, &with(&other.token)).await,
        "InvalidSecurityToken.MismatchWithAccessKey"
    );
    assert_eq!(
        describe(&rds, &with("x")).await,
        "InvalidSecurityToken.Malformed"
    );
}

#[tokio::test]
async fn it_expires_by_the_clouds_clock() {
    let rds = cloud().await;
    let key = assume(&rds).await;
    let now = Timestamp::now();
    let send_at = async |ahead: SignedDuration| {
        rds.set_clock_skew(ahead);
        let mut request = Rpc::post("DescribeDBInstanceAttribute", INSTANCE).signed_with(&key);
        request.query.retain(|(name, _)| name != "Timestamp");
        let time = crate::client::timestamp(now + ahead);
        request
            .query
            .extend(crate::client::pairs(&[("Timestamp", &time)]));
        request.send(&rds).await.unwrap().code()
    };
    assert_eq!(send_at(SignedDuration::from_mins(50)).await, "");
    assert_eq!(
        send_at(SignedDuration::from_mins(61)).await,
        "InvalidSecurityToken.Expired"
    );
}

#[tokio::test]
async fn its_life_can_be_shortened() {
    let rds = cloud().await;
    rds.set_token_lifetime(Duration::from_secs(2));
    let key = assume(&rds).await;
    assert!(key.expiration.duration_since(Timestamp::now()) <= SignedDuration::from_secs(2));
    let expired = async {
        while describe(&rds, &key).await != "InvalidSecurityToken.Expired" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, expired).await.unwrap();
    // Not lengthened.
    rds.set_token_lifetime(Duration::from_secs(100_000));
    let key = assume(&rds).await;
    assert!(key.expiration.duration_since(Timestamp::now()) <= SignedDuration::from_hours(1));
}

#[tokio::test]
async fn all_can_be_ended_at_once() {
    let rds = cloud().await;
    let key = assume(&rds).await;
    rds.expire_tokens();
    assert_eq!(describe(&rds, &key).await, "InvalidSecurityToken.Expired");
    let key = assume(&rds).await;
    assert_eq!(describe(&rds, &key).await, "");
}

#[tokio::test]
async fn it_has_the_rights_that_its_role_has_at_the_moment() {
    let rds = cloud().await;
    rds.add_instance(Instance::new("rm-2"));
    let key = assume(&rds).await;
    let code = async |request: Rpc| request.signed_with(&key).send(&rds).await.unwrap().code();
    let other = || Rpc::post("DescribeDBInstanceAttribute", &[("DBInstanceId", "rm-2")]);
    assert_eq!(code(other()).await, "");
    rds.add_role(
        role()
            .denied(DenialCode::NoPermission, None, Some("rm-2"))
            .denied(
                DenialCode::ForbiddenRam,
                Some(Action::ResetAccountPassword),
                None,
            ),
    );
    assert_eq!(code(other()).await, "NoPermission");
    assert_eq!(code(reset(PASSWORD)).await, "Forbidden.RAM");
    assert_eq!(describe(&rds, &key).await, "");
    let answer = other().signed_with(&key).send(&rds).await.unwrap();
    let detail = &answer.json()["AccessDeniedDetail"];
    assert_eq!(detail["AuthPrincipalType"], "AssumedRoleUser");
    assert_eq!(detail["AuthPrincipalDisplayName"], "app:operator");
    let calls = rds.journal().calls();
    let refused = calls.last().unwrap();
    assert_eq!(refused.role.as_deref(), Some(ROLE));
    rds.remove_role(ROLE);
    assert_eq!(describe(&rds, &key).await, "NoPermission");
    rds.add_role(role());
    assert_eq!(code(other()).await, "");
}

#[tokio::test]
async fn a_role_of_another_account_sees_that_accounts_instances() {
    const FOREIGN: &str = "acs:ram::2000000000000002:role/app";
    let rds = cloud().await;
    rds.add_role(Role::new(FOREIGN).trusts_account("1000000000000001"));
    let form = [("RoleArn", FOREIGN), ("RoleSessionName", "operator")];
    let request = Rpc::post("AssumeRole", &form).with("Version", "2015-04-01");
    let answer = request.send(&rds).await.unwrap().json();
    let key = TemporaryKey::of(&answer["Credentials"]);
    assert_eq!(describe(&rds, &key).await, "InvalidDBInstanceId.NotFound");
}
