//! The credentials file of the SDKs: `~/.alibabacloud/credentials`, an INI file.
//!
//! Source: <https://www.alibabacloud.com/help/en/sdk/developer-reference/v2-manage-go-access-credentials>.

use super::error::{CredentialsError, SourceName};
use super::host::Host;
use super::key::PartNames;
use super::method::Method;
use super::node_role;
use super::oidc::session_name;
use super::profile::PROFILE;
use super::settings::{Settings, StsRegion};
use super::sts::Role;
use crate::rds::credentials::Credentials;

const FILE: &str = "ALIBABA_CLOUD_CREDENTIALS_FILE";
const FILE_IN_HOME: &str = ".alibabacloud/credentials";
const DEFAULT_SECTION: &str = "default";

const ORIGIN: SourceName = SourceName::File;

const NAMES: PartNames<'_> = PartNames {
    id: "access_key_id of the credentials file",
    secret: "access_key_secret of the credentials file",
    // The file has no type of section with one.
    token: "the security token of the credentials file",
};

/// A file that the variable names counts also where it is missing; the one in the home directory has to be there.
pub(super) fn is_configured(host: &Host) -> bool {
    host.variable(FILE).is_some()
        || host
            .place(FILE, FILE_IN_HOME)
            .is_some_and(|path| host.has_file(&path))
}

pub(super) fn method(host: &Host, settings: &Settings) -> Result<Method, CredentialsError> {
    let content = host
        .place(FILE, FILE_IN_HOME)
        .and_then(|path| host.read(&path).ok())
        .ok_or_else(|| wrong("the credentials file cannot be read; check ALIBABA_CLOUD_CREDENTIALS_FILE, or ~/.alibabacloud/credentials of the operator"))?;
    let text = str::from_utf8(&content)
        .map_err(|_| wrong("the credentials file is no text in UTF-8; write it anew"))?;
    let name = host.variable(PROFILE);
    let section = Section::of(text, name.as_deref().unwrap_or(DEFAULT_SECTION))
        .ok_or_else(|| wrong("the credentials file has no section of the name that is asked for; add [default], or correct ALIBABA_CLOUD_PROFILE"))?;
    match section.get("type") {
        Some("access_key") => section.key().map(Method::Key),
        Some("ecs_ram_role") => {
            let role_name = section.get("role_name").map(str::to_owned);
            node_role::method(host, settings, ORIGIN, role_name)
        }
        Some("ram_role_arn") => {
            let arn = section.get("role_arn").ok_or_else(|| {
                wrong("the section of the credentials file has no role_arn; add it")
            })?;
            let name = section.get("role_session_name").map(str::to_owned);
            Ok(Method::AssumeRole {
                role: Role {
                    policy: section.get("policy").map(str::to_owned),
                    ..Role::new(arn, session_name(host, ORIGIN, name)?)
                },
                endpoint: settings.sts_endpoint(host, ORIGIN, &StsRegion::default())?,
                from: Box::new(Method::Key(section.key()?)),
            })
        }
        Some(_) => Err(wrong(
            "the type of the section of the credentials file is not known here; use access_key, ram_role_arn or ecs_ram_role",
        )),
        None => Err(wrong(
            "the section of the credentials file has no type; add access_key, ram_role_arn or ecs_ram_role",
        )),
    }
}

fn wrong(explanation: &'static str) -> CredentialsError {
    CredentialsError::misconfigured(ORIGIN, explanation)
}

/// The properties of one section, borrowed from the file's text, so that no secret is copied.
struct Section<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Section<'a> {
    /// Lines are `[section]`, `name = value`, empty, or a comment that begins with `#` or `;`, also after a blank behind a
    /// value. Anything else says nothing.
    fn of(text: &'a str, name: &str) -> Option<Self> {
        let mut found = None;
        let mut within = false;
        for line in text.lines().map(str::trim) {
            if let Some(header) = line.strip_prefix('[') {
                let header = header.split(']').next().unwrap_or_default();
                within = header.trim() == name;
                if within {
                    found.get_or_insert_with(Vec::new);
                }
            } else if let Some((key, value)) = line.split_once('=')
                && within
                && !line.starts_with(['#', ';'])
                && let Some(properties) = &mut found
            {
                properties.push((key.trim(), bare(value)));
            }
        }
        found.map(Self)
    }

    /// A value that is not empty. The last one of a name counts.
    fn get(&self, name: &str) -> Option<&'a str> {
        let of_the_name = |(key, _): &&(&str, &str)| *key == name;
        let (_, value) = self.0.iter().rev().find(of_the_name)?;
        Some(value.trim()).filter(|value| !value.is_empty())
    }

    fn key(&self) -> Result<Credentials, CredentialsError> {
        match (self.get("access_key_id"), self.get("access_key_secret")) {
            (Some(id), Some(secret)) => Credentials::new(id, secret, None)
                .map_err(|malformed| NAMES.explain(ORIGIN, malformed)),
            _ => Err(wrong(
                "the section of the credentials file lacks access_key_id or access_key_secret; add both",
            )),
        }
    }
}

/// A value without the comment behind it and the quotes around it.
fn bare(value: &str) -> &str {
    let value = value.trim();
    for quote in ['"', '\''] {
        let inner = value.strip_prefix(quote);
        if let Some((inner, _)) = inner.and_then(|inner| inner.split_once(quote)) {
            return inner;
        }
    }
    let comment = value
        .match_indices(['#', ';'])
        .map(|(at, _)| at)
        .find(|at| *at == 0 || value[..*at].ends_with([' ', '\t']));
    value[..comment.unwrap_or(value.len())].trim_end()
}

#[cfg(test)]
#[expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use secrecy::ExposeSecret as _;

    use super::super::host::fake::{NONE, host};
    use super::*;

    const PATH: &str = "/home/.alibabacloud/credentials";

    fn of(variables: &[(&str, &str)], ini: &str) -> Result<Method, CredentialsError> {
        let settings = Settings {
            allow_node_role: true,
            ..Settings::for_test()
        };
        method(&host(variables, &[(PATH, ini)]), &settings)
    }

    #[rstest]
    #[case::none(&[], NONE, false)]
    #[case::at_home(&[], &[(PATH, "")], true)]
    #[case::named(&[(FILE, "/x")], NONE, true)]
    #[case::only_the_section_is_named(&[(PROFILE, "a")], NONE, false)]
    fn whether_configured(
        #[case] variables: &[(&str, &str)],
        #[case] files: &[(&str, &str)],
        #[case] expected: bool,
    ) {
        assert_eq!(is_configured(&host(variables, files)), expected);
    }

    #[rstest]
    #[case::as_documented(
        "[default]\ntype = access_key\naccess_key_id = id\naccess_key_secret = secret\n"
    )]
    #[case::tight("[default]\ntype=access_key\naccess_key_id=id\naccess_key_secret=secret")]
    #[case::other_line_ends(
        "[default]\r\ntype=access_key\r\naccess_key_id=id\r\naccess_key_secret=secret\r\n"
    )]
    #[case::comments(
        "# a\n; b\n[default] # c\ntype = access_key # d\n#access_key_id = no\naccess_key_id = id ; e\naccess_key_secret = secret\t# f"
    )]
    #[case::quotes(
        "[default]\ntype = 'access_key' # why\naccess_key_id = \"id\"\naccess_key_secret = \"secret\""
    )]
    #[case::among_others(
        "enable = true\n[a]\ntype = no\n[ default ]\ntype = access_key\naccess_key_id = id\naccess_key_secret = secret\n[b]\naccess_key_secret = no"
    )]
    #[case::in_two_parts(
        "[default]\ntype = access_key\naccess_key_id = no\n[a]\n[default]\naccess_key_id = id\naccess_key_secret = secret"
    )]
    fn a_key(#[case] ini: &str) {
        let Ok(Method::Key(key)) = of(&[], ini) else {
            panic!("no key: {:?}", of(&[], ini).err());
        };
        assert_eq!(key.access_key_id, "id");
        assert_eq!(key.access_key_secret.expose_secret(), "secret");
        assert!(key.security_token.is_none());
    }

    #[rstest]
    #[case("a=b#c", "a=b#c")]
    #[case("a # b", "a")]
    #[case("#", "")]
    #[case("\"a # b\" c", "a # b")]
    #[case("\"a", "\"a")]
    #[case("", "")]
    fn values(#[case] written: &str, #[case] value: &str) {
        assert_eq!(bare(written), value);
    }

    #[test]
    fn a_role_of_the_section_that_is_named() {
        let ini = "[default]\ntype=no\n[a]\ntype=ram_role_arn\naccess_key_id=i\naccess_key_secret=s\nrole_arn=arn\nrole_session_name=me\npolicy={}";
        let Ok(Method::AssumeRole {
            role,
            from,
            endpoint,
        }) = of(&[(PROFILE, "a")], ini)
        else {
            panic!("no role");
        };
        assert_eq!(
            (role.arn.as_str(), role.policy.as_deref()),
            ("arn", Some("{}"))
        );
        assert_eq!(endpoint.to_string(), "https://sts.aliyuncs.com");
        assert!(matches!(*from, Method::Key(_)));
    }

    #[test]
    fn the_nodes_role() {
        let ini = "[default]\ntype=ecs_ram_role\nrole_name=node";
        assert!(matches!(
            of(&[], ini),
            Ok(Method::NodeRole { role_name: Some(name), .. }) if name == "node"
        ));
    }

    #[rstest]
    #[case("", "no section")]
    #[case("[other]\ntype=access_key", "no section")]
    #[case("[default]", "no type")]
    #[case("[default]\ntype=rsa_key_pair", "not known here")]
    #[case("[default]\ntype=access_key\naccess_key_id=i", "access_key_secret")]
    #[case(
        "[default]\ntype=ram_role_arn\naccess_key_id=i\naccess_key_secret=s",
        "role_arn"
    )]
    #[case("[default]\ntype=ram_role_arn\nrole_arn=r", "access_key_secret")]
    fn what_is_wrong_is_said(#[case] ini: &str, #[case] says: &str) {
        let error = of(&[], ini).err().unwrap();
        assert!(error.to_string().contains(says), "{error}");
    }

    const WHOLE: &[&str] = &[
        "[default]",
        "type = access_key",
        "access_key_id = canary",
        "access_key_secret = canary",
    ];

    /// Mostly one that says something.
    fn any_line() -> impl Strategy<Value = String> {
        let name = "type|access_key_id|access_key_secret|role_arn|role_session_name|policy";
        let kind = "type ?= ?(access_key|ram_role_arn|ecs_ram_role|canary)( [#;] canary)?";
        prop_oneof![
            2 => "\\[ ?(default|other) ?\\]( canary)?",
            2 => kind,
            4 => (name, " ?= ?", "canary[a-z]{0,3}|\"canary; x\"|'canary'( ;x)?|canary[ \t][;#] x")
                .prop_map(|(name, equals, value)| format!("{name}{equals}{value}")),
            2 => "(\\[|\\[default\\]|type|access_key_id|role_arn|canary|=| |#|;|\"|')*",
        ]
    }

    proptest! {
        #[test]
        fn no_content_makes_it_panic(content in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = method(&host(&[], &[(PATH, content)]), &Settings::for_test());
        }

        #[test]
        fn no_lines_make_it_panic_or_tell_what_they_hold(
            whole in proptest::sample::subsequence(WHOLE.to_vec(), 2..=WHOLE.len()),
            lines in prop::collection::vec(any_line(), 0..8),
        ) {
            let lines: Vec<String> = whole.into_iter().map(str::to_owned).chain(lines).collect();
            match of(&[], &lines.join("\n")) {
                Ok(Method::Key(key)) => {
                    // The last key of the section counts, without what is around it.
                    let name = "access_key_id";
                    let is_its_value = |line: &String| {
                        line.starts_with(name) && line.contains(key.access_key_id.as_str())
                    };
                    prop_assert!(lines.iter().any(is_its_value));
                    prop_assert!(!key.access_key_id.contains(['\n', '"']));
                }
                Ok(_) => {}
                Err(error) => {
                    let told = format!("{error} {error:?}");
                    prop_assert!(!told.contains("canary"));
                }
            }
        }
    }
}
