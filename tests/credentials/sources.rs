//! Each source alone, its variables, and one that is broken.

use jiff::{SignedDuration, Timestamp};
use rds_password_operator::credentials::{Kind, SourceName};
use rds_simulator::{
    AccessKey, Action, CredentialsUri, Fault, MetadataService, Role, SignatureMethod,
};
use rstest::rstest;
use secrecy::ExposeSecret as _;

use crate::world::{
    ACCOUNT, FILE, KEY_ID, KEY_SECRET, PROFILES, PROVIDER, ROLE, TOKEN_FILE, World,
};

/// RDS takes what the source gives, as the identity that is meant.
async fn assert_works(world: &World, source: SourceName, role: Option<&str>) {
    let operator = world.operator();
    assert_eq!(operator.source(), Ok(source));
    let issued = operator.obtain().await.unwrap();
    assert_eq!(issued.origin, source);
    assert_eq!(issued.credentials.security_token.is_some(), role.is_some());
    assert_eq!(issued.expiration.is_some(), role.is_some());
    world.call(&issued.credentials).await.unwrap();
    let calls = world.calls(Action::DescribeDBInstanceAttribute);
    assert_eq!(calls.last().unwrap().role.as_deref(), role);
    let calls = world.cloud.journal().calls();
    assert!(calls.iter().all(|call| !call.oidc_token_in_url));
}

#[tokio::test]
async fn a_key_in_the_environment() {
    let world = World::new().await;
    world
        .surroundings
        .set("ALIBABA_CLOUD_ACCESS_KEY_ID", KEY_ID);
    world
        .surroundings
        .set("ALIBABA_CLOUD_ACCESS_KEY_SECRET", KEY_SECRET);
    assert_works(&world, SourceName::Environment, None).await;
}

#[tokio::test]
async fn a_temporary_key_in_the_environment() {
    let world = World::new().await;
    let end = Timestamp::now() + SignedDuration::from_hours(1);
    let key = AccessKey::new("STS.1", "temporary").security_token("token/+=", end);
    world.cloud.add_access_key(key);
    world
        .surroundings
        .set("ALIBABA_CLOUD_ACCESS_KEY_ID", "STS.1");
    world
        .surroundings
        .set("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "temporary");
    world
        .surroundings
        .set("ALIBABA_CLOUD_SECURITY_TOKEN", "token/+=");
    let issued = world.obtain().await.unwrap();
    assert_eq!(issued.expiration, None);
    world.call(&issued.credentials).await.unwrap();
}

const PROFILE_OF_A_ROLE: &str = r#""mode":"RamRoleArn","access_key_id":"ID","access_key_secret":"SECRET","ram_role_arn":"acs:ram::1000000000000001:role/operator\n""#;

/// Configures a source in which a person writes the AccessKey down.
async fn world_with_key(source: SourceName, mode: &str, id: &str, secret: &str) -> World {
    let world = World::new().await;
    let json = |text: &str| {
        let quoted = serde_json::json!(text).to_string();
        quoted.trim_matches('"').to_owned()
    };
    let filled = |text: &str| {
        text.replace("ID", &json(id))
            .replace("SECRET", &json(secret))
    };
    match (source, mode) {
        (SourceName::Environment, _) => {
            let set = |name: &str, value: &str| world.surroundings.set(name, value);
            set("ALIBABA_CLOUD_ACCESS_KEY_ID", id);
            set("ALIBABA_CLOUD_ACCESS_KEY_SECRET", secret);
            world
        }
        (SourceName::File, _) => {
            let lines = format!(
                "[default]\ntype = access_key\naccess_key_id = \"{id}\"\naccess_key_secret = '{secret}'\n"
            );
            world.surroundings.write(FILE, lines);
            world
        }
        (_, "External") => {
            let printed = filled(r#"{"access_key_id":"ID","access_key_secret":"SECRET"}"#);
            let command = serde_json::json!(format!("/usr/bin/printf %s '{printed}'"));
            world.with_profile(&format!(r#""mode":"External","process_command":{command}"#))
        }
        (_, "RamRoleArn") => world.with_profile(&filled(PROFILE_OF_A_ROLE)),
        _ => world.with_profile(&filled(
            r#""mode":"AK","access_key_id":"ID","access_key_secret":"SECRET""#,
        )),
    }
}

#[rstest]
#[case::environment(SourceName::Environment, "", "\n", None)]
#[case::environment_of_another_system(SourceName::Environment, "", " \r\n", None)]
#[case::file(SourceName::File, "", " ", None)]
#[case::profile(SourceName::Profile, "AK", "\n", None)]
#[case::profile_of_a_role(SourceName::Profile, "RamRoleArn", "\n", Some(ROLE))]
#[case::profile_of_a_program(SourceName::Profile, "External", "\n", None)]
#[tokio::test]
async fn a_key_that_ends_with_white_space(
    #[case] source: SourceName,
    #[case] mode: &str,
    #[case] end: &str,
    #[case] role: Option<&str>,
) {
    let (id, secret) = (format!("{KEY_ID}{end}"), format!("{KEY_SECRET}{end}"));
    let world = world_with_key(source, mode, &id, &secret).await;
    assert_works(&world, source, role).await;
}

#[rstest]
#[case::environment(SourceName::Environment, "", "ALIBABA_CLOUD_ACCESS_KEY_")]
#[case::file(SourceName::File, "", "access_key_")]
#[case::profile(SourceName::Profile, "AK", "access_key_")]
#[case::profile_of_a_role(SourceName::Profile, "RamRoleArn", "access_key_")]
#[case::profile_of_a_program(SourceName::Profile, "External", "access_key_")]
#[tokio::test]
async fn a_key_with_white_space_inside_is_named_as_that(
    #[case] source: SourceName,
    #[case] mode: &str,
    #[case] named: &str,
) {
    for (id, secret, part) in [
        ("test id", KEY_SECRET, "id"),
        (KEY_ID, "canary- secret", "secret"),
    ] {
        let world = world_with_key(source, mode, id, secret).await;
        let error = world.failure().await;
        assert_eq!(
            (error.origin(), error.kind()),
            (source, Kind::Misconfigured)
        );
        let part = if source == SourceName::Environment {
            part.to_uppercase()
        } else {
            part.to_owned()
        };
        let told = error.to_string();
        assert!(told.starts_with(&format!("{named}{part} ")), "{told}");
        assert!(told.contains("has white space inside"), "{told}");
        assert!(world.cloud.journal().calls().is_empty());
    }
}

/// What else is written by hand, as RRSA's variables where no webhook sets them.
#[tokio::test]
async fn other_settings_that_end_with_white_space() {
    let world = World::new().await.with_rrsa();
    for (name, value) in [
        ("ALIBABA_CLOUD_ROLE_ARN", ROLE),
        ("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", PROVIDER),
        ("ALIBABA_CLOUD_OIDC_TOKEN_FILE", TOKEN_FILE),
    ] {
        world.surroundings.set(name, format!(" {value}\n"));
    }
    assert_works(&world, SourceName::Oidc, Some(ROLE)).await;
}

#[tokio::test]
async fn rrsa() {
    let world = World::new().await.with_rrsa();
    assert_works(&world, SourceName::Oidc, Some(ROLE)).await;
    let [call] = &world.calls(Action::AssumeRoleWithOidc)[..] else {
        panic!("not one call");
    };
    assert_eq!(
        (call.http_method.as_str(), call.signature),
        ("POST", SignatureMethod::Unsigned)
    );
    assert_eq!(
        call.role_session_name.as_deref(),
        Some("rds-password-operator")
    );
    assert_eq!(call.access_key_id, None);
}

#[tokio::test]
async fn the_token_is_read_anew_each_time() {
    let world = World::new().await.with_rrsa();
    world
        .surroundings
        .set("ALIBABA_CLOUD_ROLE_SESSION_NAME", "me");
    let operator = world.operator();
    world.surroundings.write(
        TOKEN_FILE,
        world.issuer.token_with(&serde_json::json!({"exp": 1})),
    );
    assert_eq!(operator.obtain().await.unwrap_err().kind(), Kind::Denied);
    world
        .surroundings
        .write(TOKEN_FILE, world.issuer.token() + "\n");
    assert!(operator.obtain().await.is_ok());
    let calls = world.calls(Action::AssumeRoleWithOidc);
    assert_eq!(calls.len(), 2);
    assert!(
        calls
            .iter()
            .all(|call| call.role_session_name.as_deref() == Some("me"))
    );
}

#[rstest]
#[case::key(&format!(r#""mode":"AK","access_key_id":"{KEY_ID}","access_key_secret":"{KEY_SECRET}""#), None)]
#[case::role(&format!(r#""mode":"RamRoleArn","access_key_id":"{KEY_ID}","access_key_secret":"{KEY_SECRET}","ram_role_arn":"{ROLE}","policy":"{{}}""#), Some(ROLE))]
#[case::oidc(&format!(r#""mode":"OIDC","ram_role_arn":"{ROLE}","oidc_provider_arn":"{PROVIDER}","oidc_token_file":"{TOKEN_FILE}""#), Some(ROLE))]
#[tokio::test]
async fn profiles(#[case] fields: &str, #[case] role: Option<&str>) {
    let world = World::new().await.with_profile(fields);
    world.surroundings.write(TOKEN_FILE, world.issuer.token());
    assert_works(&world, SourceName::Profile, role).await;
}

#[tokio::test]
async fn a_profile_of_a_program() {
    let printed =
        format!(r#"{{"mode":"AK","access_key_id":"{KEY_ID}","access_key_secret":"{KEY_SECRET}"}}"#);
    let command = serde_json::json!(format!("/bin/echo '{printed}'"));
    let world = World::new()
        .await
        .with_profile(&format!(r#""mode":"External","process_command":{command}"#));
    assert_works(&world, SourceName::Profile, None).await;
}

/// The second role lets in only sessions of the first one's account, and the operator has only a key of another.
#[tokio::test]
async fn a_chain_of_roles() {
    const OTHER: &str = "2000000000000002";
    const SECOND: &str = "acs:ram::2000000000000002:role/second";
    let world = World::new().await;
    let key = AccessKey::new("other", "other-secret").cloud_account(OTHER);
    world.cloud.add_access_key(key);
    world
        .cloud
        .add_role(Role::new("acs:ram::1000000000000001:role/first").trusts_account(OTHER));
    world
        .cloud
        .add_role(Role::new(SECOND).trusts_account_with_external_id(ACCOUNT, "agreed"));
    world.surroundings.set("ALIBABA_CLOUD_PROFILE", "c");
    world.surroundings.write(
        PROFILES,
        format!(
            r#"{{"current":"none","profiles":[
            {{"name":"a","mode":"AK","access_key_id":"other","access_key_secret":"other-secret"}},
            {{"name":"b","mode":"ChainableRamRoleArn","source_profile":"a","ram_role_arn":"acs:ram::1000000000000001:role/first"}},
            {{"name":"c","mode":"ChainableRamRoleArn","source_profile":"b","ram_role_arn":"{SECOND}","external_id":"agreed","ram_session_name":"me"}}]}}"#
        ),
    );
    let issued = world.obtain().await.unwrap();
    let calls = world.calls(Action::AssumeRole);
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[1].role.as_deref(), Some(SECOND));
    assert_eq!(calls[1].role_session_name.as_deref(), Some("me"));
    assert!(
        calls[1]
            .access_key_id
            .as_deref()
            .unwrap()
            .starts_with("STS.")
    );
    assert!(issued.expiration.is_some());
}

#[rstest]
#[case::key("type = access_key", None)]
#[case::role(&format!("type = ram_role_arn\nrole_arn = {ROLE}\nrole_session_name = me"), Some(ROLE))]
#[tokio::test]
async fn credentials_files(#[case] lines: &str, #[case] role: Option<&str>) {
    let world = World::new().await;
    let key = format!("access_key_id = {KEY_ID}\naccess_key_secret = {KEY_SECRET}");
    world
        .surroundings
        .write(FILE, format!("[default] # a comment\n{lines}\n{key}\n"));
    assert_works(&world, SourceName::File, role).await;
}

#[rstest]
#[case(CredentialsUri::of_role(ROLE))]
#[case(CredentialsUri::of_role(ROLE).with_code())]
#[tokio::test]
async fn a_uri(#[case] uri: CredentialsUri) {
    let world = World::new().await;
    let server = world.cloud.start_credentials_uri(uri).await.unwrap();
    world
        .surroundings
        .set("ALIBABA_CLOUD_CREDENTIALS_URI", server.url());
    assert_works(&world, SourceName::Uri, Some(ROLE)).await;
}

#[rstest]
#[case::role_that_is_asked_for(MetadataService::of_role(ROLE), None, 1)]
#[case::with_a_token_only(MetadataService::of_role(ROLE).v2_only(), None, 1)]
#[case::role_that_is_known(MetadataService::of_role(ROLE).v2_only(), Some("operator"), 0)]
#[tokio::test]
async fn the_role_of_the_node(
    #[case] service: MetadataService,
    #[case] name: Option<&str>,
    #[case] asked_for_names: usize,
) {
    let world = World::new().await;
    let service = world.cloud.start_metadata_service(service).await.unwrap();
    let world = world.with_metadata_at(&service.url());
    if let Some(name) = name {
        world.surroundings.set("ALIBABA_CLOUD_ECS_METADATA", name);
    }
    assert_works(&world, SourceName::NodeRole, Some(ROLE)).await;
    assert_eq!(world.calls(Action::GetMetadataToken).len(), 1);
    assert_eq!(
        world.calls(Action::GetMetadataRoleName).len(),
        asked_for_names
    );
}

#[rstest]
#[case::in_a_profile(
    PROFILES,
    r#"{"current":"a","profiles":[{"name":"a","mode":"EcsRamRole"}]}"#,
    SourceName::Profile
)]
#[case::in_a_file(
    FILE,
    "[default]\ntype = ecs_ram_role\nrole_name = operator",
    SourceName::File
)]
#[tokio::test]
async fn the_role_of_the_node_where_a_file_names_it(
    #[case] path: &str,
    #[case] content: &str,
    #[case] source: SourceName,
) {
    let world = World::new().await;
    let service = world
        .cloud
        .start_metadata_service(MetadataService::of_role(ROLE))
        .await
        .unwrap();
    world.surroundings.write(path, content);
    let error = world.failure().await;
    assert_eq!(
        (error.origin(), error.kind()),
        (source, Kind::Misconfigured)
    );
    assert!(error.to_string().contains("--allow-node-role"));
    assert!(world.cloud.journal().calls().is_empty());
    let world = world.with_metadata_at(&service.url());
    assert_works(&world, source, Some(ROLE)).await;
}

/// A service that knows no tokens is asked without one, unless that is forbidden.
#[tokio::test]
async fn version_1_of_the_metadata_service() {
    let world = World::new().await;
    let service = world
        .cloud
        .start_metadata_service(MetadataService::of_role(ROLE))
        .await
        .unwrap();
    world
        .cloud
        .add_fault(Fault::error(404, "NotFound", "no").on(Action::GetMetadataToken));
    let world = world.with_metadata_at(&service.url());
    assert_works(&world, SourceName::NodeRole, Some(ROLE)).await;

    world
        .surroundings
        .set("ALIBABA_CLOUD_IMDSV1_DISABLED", "true");
    let error = world.failure().await;
    assert_eq!(error.kind(), Kind::Misconfigured);
    assert!(error.to_string().contains("ALIBABA_CLOUD_IMDSV1_DISABLED"));
    assert_eq!(world.calls(Action::GetMetadataCredentials).len(), 1);
}

/// Whatever comes later in the order is configured as well, and would work.
#[tokio::test]
async fn a_broken_source_is_the_source() {
    let world = World::new().await;
    let service = world
        .cloud
        .start_metadata_service(MetadataService::of_role(ROLE))
        .await
        .unwrap();
    let world = world
        .with_rrsa()
        .with_role_of_key()
        .with_metadata_at(&service.url());
    world
        .surroundings
        .set("ALIBABA_CLOUD_ACCESS_KEY_ID", KEY_ID);
    let error = world.failure().await;
    assert_eq!(
        (error.origin(), error.kind()),
        (SourceName::Environment, Kind::Misconfigured)
    );
    assert!(world.cloud.journal().calls().is_empty());

    let mut pinned = world;
    pinned.settings.pinned = Some(SourceName::Profile);
    assert_works(&pinned, SourceName::Profile, Some(ROLE)).await;
    pinned.settings.pinned = Some(SourceName::NodeRole);
    assert_works(&pinned, SourceName::NodeRole, Some(ROLE)).await;
}

#[tokio::test]
async fn a_source_that_vanishes_hands_over_to_nobody() {
    let world = World::new().await.with_role_of_key();
    let service = world
        .cloud
        .start_metadata_service(MetadataService::of_role(ROLE))
        .await
        .unwrap();
    let world = world.with_metadata_at(&service.url());
    let operator = world.operator();
    assert!(operator.obtain().await.is_ok());
    world.surroundings.remove(PROFILES);
    let error = operator.obtain().await.unwrap_err();
    assert_eq!(
        (error.origin(), error.kind()),
        (SourceName::Profile, Kind::Misconfigured)
    );
}

#[tokio::test]
async fn a_file_that_is_written_later_is_found() {
    let world = World::new().await;
    let operator = world.operator();
    assert_eq!(
        operator.obtain().await.unwrap_err().kind(),
        Kind::NotConfigured
    );
    let world = world.with_role_of_key();
    assert!(operator.obtain().await.is_ok());
    // What it holds is read anew each time.
    let world = world.with_profile(r#""mode":"AK","access_key_id":"new","access_key_secret":"s""#);
    let issued = operator.obtain().await.unwrap();
    assert_eq!(issued.credentials.access_key_id, "new");
    assert_eq!(issued.credentials.access_key_secret.expose_secret(), "s");
    drop(world);
}
