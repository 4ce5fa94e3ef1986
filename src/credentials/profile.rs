//! A profile of the `aliyun` command line tool: `~/.aliyun/config.json`.
//!
//! Source: <https://www.alibabacloud.com/help/en/cli/configure-credentials>. Fields that another mode needs, and modes that
//! need a person at a browser, are of no concern here.

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::error::{CredentialsError, SourceName};
use super::host::Host;
use super::key::PartNames;
use super::method::Method;
use super::oidc::{PROVIDER_ARN, ROLE_ARN, TOKEN_FILE, session_name};
use super::settings::{Settings, StsRegion};
use super::sts::Role;
use super::text::{plain, secret};
use super::{node_role, process};
use crate::rds::credentials::Credentials;

const DISABLED: &str = "ALIBABA_CLOUD_CLI_PROFILE_DISABLED";
const FILE: &str = "ALIBABA_CLOUD_CONFIG_FILE";
const FILE_IN_HOME: &str = ".aliyun/config.json";

/// Names the profile; for the credentials file it names the section.
pub(super) const PROFILE: &str = "ALIBABA_CLOUD_PROFILE";

const ORIGIN: SourceName = SourceName::Profile;

const NAMES: PartNames<'_> = PartNames {
    id: "access_key_id of the CLI profile",
    secret: "access_key_secret of the CLI profile",
    token: "sts_token of the CLI profile",
};

/// A file that a variable names counts also where it is missing; the one in the home directory has to be there.
pub(super) fn is_configured(host: &Host) -> bool {
    if host.is_true(DISABLED) {
        return false;
    }
    host.variable(FILE).is_some()
        || host
            .place(FILE, FILE_IN_HOME)
            .is_some_and(|path| host.has_file(&path))
}

pub(super) fn method(host: &Host, settings: &Settings) -> Result<Method, CredentialsError> {
    let content = host
        .place(FILE, FILE_IN_HOME)
        .and_then(|path| host.read(&path).ok())
        .ok_or_else(|| wrong("the file of CLI profiles cannot be read; check ALIBABA_CLOUD_CONFIG_FILE, or ~/.aliyun/config.json of the operator"))?;
    let configuration: Configuration = serde_json::from_slice(&content)
        .map_err(|_| wrong("the file of CLI profiles is not the JSON that the aliyun tool writes; write it anew with that tool"))?;
    let name = host.variable(PROFILE).or(configuration.current.clone()).ok_or_else(|| {
        wrong("no CLI profile is chosen; name one in ALIBABA_CLOUD_PROFILE, or as \"current\" in the file of profiles")
    })?;
    Profiles {
        host,
        settings,
        all: &configuration.profiles,
    }
    .method(&name, &mut Vec::new())
}

fn wrong(explanation: &'static str) -> CredentialsError {
    CredentialsError::misconfigured(ORIGIN, explanation)
}

#[derive(Deserialize)]
struct Configuration {
    #[serde(default, deserialize_with = "plain")]
    current: Option<String>,
    #[serde(default)]
    profiles: Vec<Profile>,
}

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "the tool's own names")]
struct Profile {
    #[serde(default, deserialize_with = "plain")]
    name: Option<String>,
    #[serde(default, deserialize_with = "plain")]
    mode: Option<String>,
    #[serde(default, deserialize_with = "plain")]
    access_key_id: Option<String>,
    #[serde(default, deserialize_with = "secret")]
    access_key_secret: Option<SecretString>,
    #[serde(default, deserialize_with = "secret")]
    sts_token: Option<SecretString>,
    #[serde(default, deserialize_with = "plain")]
    ram_role_arn: Option<String>,
    #[serde(default, deserialize_with = "plain")]
    ram_session_name: Option<String>,
    #[serde(default, deserialize_with = "plain")]
    expired_seconds: Option<String>,
    #[serde(default, deserialize_with = "plain")]
    sts_region: Option<String>,
    #[serde(default, deserialize_with = "plain")]
    enable_vpc: Option<String>,
    #[serde(default, deserialize_with = "plain")]
    source_profile: Option<String>,
    #[serde(default, deserialize_with = "plain")]
    ram_role_name: Option<String>,
    #[serde(default, deserialize_with = "plain")]
    oidc_token_file: Option<String>,
    #[serde(default, deserialize_with = "plain")]
    oidc_provider_arn: Option<String>,
    #[serde(default, deserialize_with = "plain")]
    policy: Option<String>,
    #[serde(default, deserialize_with = "plain")]
    external_id: Option<String>,
    #[serde(default, deserialize_with = "plain")]
    process_command: Option<String>,
}

struct Profiles<'a> {
    host: &'a Host,
    settings: &'a Settings,
    all: &'a [Profile],
}

impl<'a> Profiles<'a> {
    /// `seen` are the profiles that led here.
    fn method(&self, name: &str, seen: &mut Vec<&'a str>) -> Result<Method, CredentialsError> {
        let profile = self
            .all
            .iter()
            .find(|profile| profile.name.as_deref() == Some(name))
            .ok_or_else(|| wrong("there is no CLI profile of the name that is asked for; check ALIBABA_CLOUD_PROFILE, and \"current\" and source_profile in the file of profiles"))?;
        let name = profile.name.as_deref().unwrap_or_default();
        if seen.contains(&name) {
            return Err(wrong(
                "the CLI profiles name each other as source_profile in a circle; let one of them have a key",
            ));
        }
        seen.push(name);
        match profile.mode.as_deref() {
            Some("AK") => Ok(Method::Key(Credentials {
                security_token: None,
                ..profile.key()?
            })),
            Some("StsToken") => {
                let key = profile.key()?;
                match key.security_token {
                    Some(_) => Ok(Method::Key(key)),
                    None => Err(wrong(
                        "the CLI profile of mode StsToken has no sts_token; add it",
                    )),
                }
            }
            Some("RamRoleArn") => {
                let from = Method::Key(profile.key()?);
                self.role_of(profile, from)
            }
            Some("ChainableRamRoleArn") => {
                let source = profile.source_profile.as_deref().ok_or_else(|| {
                    wrong(
                        "the CLI profile of mode ChainableRamRoleArn has no source_profile; add it",
                    )
                })?;
                let from = self.method(source, seen)?;
                self.role_of(profile, from)
            }
            Some("EcsRamRole") => node_role::method(
                self.host,
                self.settings,
                ORIGIN,
                profile.ram_role_name.clone(),
            ),
            Some("OIDC") => self.oidc(profile),
            Some("External") => {
                let command = profile.process_command.as_deref().unwrap_or_default();
                process::method(ORIGIN, command)
            }
            Some("CloudSSO" | "OAuth") => Err(wrong(
                "the CLI profile's mode needs a person to log in, which an operator cannot; use AK, StsToken, RamRoleArn, ChainableRamRoleArn, EcsRamRole, OIDC or External",
            )),
            _ => Err(wrong(
                "the CLI profile has no mode that is known here; use AK, StsToken, RamRoleArn, ChainableRamRoleArn, EcsRamRole, OIDC or External",
            )),
        }
    }

    fn role_of(&self, profile: &Profile, from: Method) -> Result<Method, CredentialsError> {
        Ok(Method::AssumeRole {
            role: self.role(profile)?,
            endpoint: self
                .settings
                .sts_endpoint(self.host, ORIGIN, &profile.region())?,
            from: Box::new(from),
        })
    }

    fn oidc(&self, profile: &Profile) -> Result<Method, CredentialsError> {
        let of = |field: &Option<String>, variable| {
            field.clone().or_else(|| self.host.variable(variable))
        };
        let (Some(provider_arn), Some(token_file)) = (
            of(&profile.oidc_provider_arn, PROVIDER_ARN),
            of(&profile.oidc_token_file, TOKEN_FILE),
        ) else {
            return Err(wrong(
                "the CLI profile of mode OIDC lacks oidc_provider_arn or oidc_token_file; add both",
            ));
        };
        Ok(Method::AssumeRoleWithOidc {
            role: self.role(profile)?,
            provider_arn,
            token_file: token_file.into(),
            endpoint: self
                .settings
                .sts_endpoint(self.host, ORIGIN, &profile.region())?,
        })
    }

    fn role(&self, profile: &Profile) -> Result<Role, CredentialsError> {
        let arn = profile
            .ram_role_arn
            .clone()
            .or_else(|| self.host.variable(ROLE_ARN))
            .ok_or_else(|| wrong("the CLI profile has no ram_role_arn; add it"))?;
        let session_name = session_name(self.host, ORIGIN, profile.ram_session_name.clone())?;
        let role = Role {
            policy: profile.policy.clone(),
            external_id: profile.external_id.clone(),
            ..Role::new(arn, session_name)
        };
        match profile.expired_seconds.as_deref() {
            // What the tool writes where nothing was said.
            None | Some("0") => Ok(role),
            Some(seconds) => seconds
                .parse()
                .ok()
                .and_then(|seconds| role.lasting(seconds))
                .ok_or_else(|| wrong("expired_seconds of the CLI profile must be a number of at least 900; correct it")),
        }
    }
}

impl Profile {
    fn key(&self) -> Result<Credentials, CredentialsError> {
        match (&self.access_key_id, &self.access_key_secret) {
            (Some(id), Some(secret)) => {
                let token = self.sts_token.as_ref();
                let token = token.map(SecretString::expose_secret);
                Credentials::new(id, secret.expose_secret(), token)
                    .map_err(|malformed| NAMES.explain(ORIGIN, malformed))
            }
            _ => Err(wrong(
                "the CLI profile lacks access_key_id or access_key_secret; add both, or turn profiles off with ALIBABA_CLOUD_CLI_PROFILE_DISABLED=true",
            )),
        }
    }

    fn region(&self) -> StsRegion<'_> {
        StsRegion {
            region: self.sts_region.as_deref(),
            in_vpc: self
                .enable_vpc
                .as_deref()
                .is_some_and(|text| text.eq_ignore_ascii_case("true")),
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;
    use std::time::Duration;

    use proptest::prelude::*;
    use rstest::rstest;

    use super::super::host::fake::{NONE, host};
    use super::super::sts::SessionName;
    use super::*;
    use crate::rds::near_json::near;

    const PATH: &str = "/home/.aliyun/config.json";

    fn of(variables: &[(&str, &str)], json: &str) -> Result<Method, CredentialsError> {
        let settings = Settings {
            allow_node_role: true,
            ..Settings::for_test()
        };
        method(&host(variables, &[(PATH, json)]), &settings)
    }

    fn one(profile: &str) -> Result<Method, CredentialsError> {
        of(
            &[],
            &format!(r#"{{"current":"a","profiles":[{{"name":"a",{profile}}}]}}"#),
        )
    }

    #[rstest]
    #[case::none(&[], NONE, false)]
    #[case::at_home(&[], &[(PATH, "{}")], true)]
    #[case::named(&[(FILE, "/x")], &[("/x", "{}")], true)]
    #[case::named_and_missing(&[(FILE, "/x")], NONE, true)]
    #[case::turned_off(&[(DISABLED, "TRUE")], &[(PATH, "{}")], false)]
    #[case::not_turned_off(&[(DISABLED, "false")], &[(PATH, "{}")], true)]
    #[case::only_the_profile_is_named(&[(PROFILE, "a")], NONE, false)]
    fn whether_configured(
        #[case] variables: &[(&str, &str)],
        #[case] files: &[(&str, &str)],
        #[case] expected: bool,
    ) {
        assert_eq!(is_configured(&host(variables, files)), expected);
    }

    #[test]
    fn keys() {
        let key = |profile: &str| match one(profile) {
            Ok(Method::Key(key)) => (key.access_key_id, key.security_token.is_some()),
            other => panic!("no key: {:?}", other.err()),
        };
        let both = r#""access_key_id":"i","access_key_secret":"s","sts_token":"t""#;
        assert_eq!(
            key(&format!(r#""mode":"AK",{both}"#)),
            ("i".to_owned(), false)
        );
        assert_eq!(
            key(&format!(r#""mode":"StsToken",{both}"#)),
            ("i".to_owned(), true)
        );
    }

    #[test]
    fn a_role_with_everything() {
        let method = one(
            r#""mode":"RamRoleArn","access_key_id":"i","access_key_secret":"s","ram_role_arn":"arn",
            "ram_session_name":"me","expired_seconds":7200,"sts_region":"cn-shanghai","enable_vpc":true,
            "policy":"{}","external_id":"x","region_id":"cn-beijing","language":"en","more":[{}]"#,
        );
        let Ok(Method::AssumeRole {
            role,
            endpoint,
            from,
        }) = method
        else {
            panic!("no role: {:?}", method.err());
        };
        let expected = Role {
            arn: "arn".to_owned(),
            session_name: SessionName::new("me").unwrap(),
            duration: Duration::from_secs(7200),
            policy: Some("{}".to_owned()),
            external_id: Some("x".to_owned()),
        };
        assert_eq!(role, expected);
        assert_eq!(
            endpoint.to_string(),
            "https://sts-vpc.cn-shanghai.aliyuncs.com"
        );
        assert!(matches!(*from, Method::Key(_)));
    }

    #[test]
    fn a_role_of_a_role_of_a_key() {
        let json = r#"{"current":"c","profiles":[
            {"name":"a","mode":"AK","access_key_id":"i","access_key_secret":"s"},
            {"name":"b","mode":"ChainableRamRoleArn","source_profile":"a","ram_role_arn":"first"},
            {"name":"c","mode":"ChainableRamRoleArn","source_profile":"b","ram_role_arn":"second"}]}"#;
        let Ok(Method::AssumeRole { role, from, .. }) = of(&[], json) else {
            panic!("no role");
        };
        assert_eq!(role.arn, "second");
        let Method::AssumeRole { role, from, .. } = *from else {
            panic!("no role");
        };
        assert_eq!(role.arn, "first");
        assert!(matches!(*from, Method::Key(_)));
        // The variable goes before "current".
        assert!(matches!(of(&[(PROFILE, "a")], json), Ok(Method::Key(_))));
    }

    #[test]
    fn an_oidc_role_may_take_what_rrsa_sets() {
        let method = of(
            &[
                (PROVIDER_ARN, "provider"),
                (TOKEN_FILE, "/token"),
                (ROLE_ARN, "role"),
            ],
            r#"{"current":"a","profiles":[{"name":"a","mode":"OIDC","oidc_token_file":"/other"}]}"#,
        );
        let Ok(Method::AssumeRoleWithOidc {
            role,
            provider_arn,
            token_file,
            ..
        }) = method
        else {
            panic!("no role: {:?}", method.err());
        };
        assert_eq!(
            (role.arn.as_str(), provider_arn.as_str()),
            ("role", "provider")
        );
        assert_eq!(token_file, Path::new("/other"));
    }

    #[test]
    fn the_nodes_role_and_a_program() {
        let node = one(r#""mode":"EcsRamRole","ram_role_name":"node""#);
        assert!(matches!(
            node,
            Ok(Method::NodeRole { role_name: Some(name), allow_v1: true }) if name == "node"
        ));
        let program = one(r#""mode":"External","process_command":"/bin/keys --for 'me and you'""#);
        assert!(matches!(
            program,
            Ok(Method::Process(words)) if words == ["/bin/keys", "--for", "me and you"]
        ));
    }

    #[rstest]
    #[case::no_json("{", "not the JSON")]
    #[case::no_profiles(r#"{"current":"a"}"#, "no CLI profile of the name")]
    #[case::none_chosen(r#"{"profiles":[{"name":"a"}]}"#, "no CLI profile is chosen")]
    #[case::another(
        r#"{"current":"b","profiles":[{"name":"a"}]}"#,
        "no CLI profile of the name"
    )]
    #[case::no_key(
        r#"{"current":"a","profiles":[{"name":"a","mode":"AK","access_key_id":"i"}]}"#,
        "access_key_secret"
    )]
    #[case::no_token(r#"{"current":"a","profiles":[{"name":"a","mode":"StsToken","access_key_id":"i","access_key_secret":"s"}]}"#, "sts_token")]
    #[case::no_role(r#"{"current":"a","profiles":[{"name":"a","mode":"RamRoleArn","access_key_id":"i","access_key_secret":"s"}]}"#, "ram_role_arn")]
    #[case::too_short(r#"{"current":"a","profiles":[{"name":"a","mode":"RamRoleArn","access_key_id":"i","access_key_secret":"s","ram_role_arn":"r","expired_seconds":60}]}"#, "expired_seconds")]
    #[case::no_number(r#"{"current":"a","profiles":[{"name":"a","mode":"RamRoleArn","access_key_id":"i","access_key_secret":"s","ram_role_arn":"r","expired_seconds":"soon"}]}"#, "expired_seconds")]
    #[case::no_region(r#"{"current":"a","profiles":[{"name":"a","mode":"RamRoleArn","access_key_id":"i","access_key_secret":"s","ram_role_arn":"r","sts_region":"evil.example/"}]}"#, "sts_region")]
    #[case::circle(
        r#"{"current":"a","profiles":[
        {"name":"a","mode":"ChainableRamRoleArn","source_profile":"b","ram_role_arn":"r"},
        {"name":"b","mode":"ChainableRamRoleArn","source_profile":"a","ram_role_arn":"r"}]}"#,
        "circle"
    )]
    #[case::itself(r#"{"current":"a","profiles":[{"name":"a","mode":"ChainableRamRoleArn","source_profile":"a","ram_role_arn":"r"}]}"#, "circle")]
    #[case::no_source(r#"{"current":"a","profiles":[{"name":"a","mode":"ChainableRamRoleArn","ram_role_arn":"r"}]}"#, "source_profile")]
    #[case::no_command(
        r#"{"current":"a","profiles":[{"name":"a","mode":"External"}]}"#,
        "process_command"
    )]
    #[case::login(
        r#"{"current":"a","profiles":[{"name":"a","mode":"CloudSSO"}]}"#,
        "log in"
    )]
    #[case::unknown(
        r#"{"current":"a","profiles":[{"name":"a","mode":"RsaKeyPair"}]}"#,
        "no mode that is known"
    )]
    #[case::none(
        r#"{"current":"a","profiles":[{"name":"a","access_key_id":"i","access_key_secret":"s"}]}"#,
        "no mode that is known"
    )]
    fn what_is_wrong_is_said(#[case] json: &str, #[case] says: &str) {
        let error = of(&[], json).err().unwrap();
        assert!(error.to_string().contains(says), "{error}");
    }

    #[test]
    fn a_missing_file_that_is_named_is_an_error() {
        let named = host(&[(FILE, "/x")], &[(PATH, "{}")]);
        let error = method(&named, &Settings::for_test()).err().unwrap();
        assert!(error.to_string().contains(FILE));
    }

    proptest! {
        #[test]
        fn no_content_makes_it_panic(content in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = method(&host(&[], &[(PATH, content)]), &Settings::for_test());
        }

        #[test]
        fn nothing_that_is_nearly_a_file_makes_it_panic_or_tells_a_secret(json in near(
            serde_json::json!({ "current": "a", "profiles": [
                {
                    "name": "a", "mode": "ChainableRamRoleArn", "source_profile": "b", "ram_role_arn": "arn",
                    "sts_region": "cn-shanghai", "expired_seconds": 900,
                },
                { "name": "b", "mode": "AK", "access_key_id": "canary-id", "access_key_secret": "canary-secret" },
            ] }),
            &["a", "b", "AK", "StsToken", "RamRoleArn", "OIDC", "External", "EcsRamRole", "canary \"", "mode", "name"],
        )) {
            let json = json.to_string();
            if let Err(error) = of(&[], &json) {
                let told = format!("{error} {error:?}");
                prop_assert!(!told.contains("canary"));
            }
        }

        /// Whatever a profile lacks or has too much of.
        #[test]
        fn no_error_tells_a_secret(
            mode in "AK|StsToken|RamRoleArn|EcsRamRole|OIDC|ChainableRamRoleArn|External|CloudSSO|canary0",
            present in prop::collection::vec(any::<bool>(), 9),
            cut in 0_usize..400,
        ) {
            let fields = [
                "access_key_id", "access_key_secret", "sts_token", "ram_role_arn", "policy",
                "external_id", "source_profile", "process_command", "sts_region",
            ];
            let mut json = format!(r#"{{"current":"a","profiles":[{{"name":"a","mode":"{mode}""#);
            for (field, _) in fields.iter().zip(present).filter(|(_, present)| *present) {
                write!(json, r#","{field}":"canary \" {field}""#).unwrap();
            }
            json.push_str("}]}");
            json.truncate(json.len().max(cut) - cut.min(7));
            if let Err(error) = of(&[], &json) {
                let told = format!("{error} {error:?}");
                prop_assert!(!told.contains("canary"));
            }
        }
    }
}
