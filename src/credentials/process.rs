//! A program that prints credentials: mode `External` of a CLI profile.

use std::process::Stdio;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use zeroize::Zeroizing;

use super::error::{CredentialsError, Kind, SourceName};
use super::issued::IssuedCredentials;
use super::key::PartNames;
use super::method::Method;
use super::text::{plain, secret};
use crate::rds::credentials::Credentials;

/// As the official SDKs have it: a program may have to log in somewhere first.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Beyond what any security token needs.
const LONGEST_OUTPUT: usize = 64 * 1024;

const NAMES: PartNames<'_> = PartNames {
    id: "access_key_id that the program of process_command in the CLI profile prints",
    secret: "access_key_secret that the program of process_command in the CLI profile prints",
    token: "sts_token that the program of process_command in the CLI profile prints",
};

/// Split as a shell splits, and then run without one: nothing is expanded, piped or substituted.
pub(super) fn method(origin: SourceName, command: &str) -> Result<Method, CredentialsError> {
    shlex::split(command)
        .filter(|words| words.first().is_some_and(|program| !program.is_empty()))
        .map(Method::Process)
        .ok_or_else(|| {
            CredentialsError::misconfigured(
                origin,
                "the CLI profile of mode External has no process_command, or one with an open quote; write a program and its arguments",
            )
        })
}

/// Runs the program, and reads what it prints.
pub(super) async fn obtain(
    origin: SourceName,
    words: &[String],
) -> Result<IssuedCredentials, CredentialsError> {
    run(origin, words, TIMEOUT).await
}

async fn run(
    origin: SourceName,
    words: &[String],
    timeout: Duration,
) -> Result<IssuedCredentials, CredentialsError> {
    let failed = |kind, explanation| CredentialsError::new(origin, kind, explanation);
    let (program, arguments) = words.split_first().ok_or_else(|| {
        failed(
            Kind::Misconfigured,
            "process_command of the CLI profile is empty",
        )
    })?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // It may print what it is about, secrets included, and goes into the operator's log otherwise.
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|_| {
            failed(
                Kind::Misconfigured,
                "the program of process_command in the CLI profile cannot be started; check that the operator's image has it",
            )
        })?;
    let ended = tokio::time::timeout(timeout, output(&mut child)).await;
    match ended {
        Err(_) => Err(failed(
            Kind::Transient,
            "the program of process_command in the CLI profile did not end in time; the operator tries again; if it lasts, check the program",
        )),
        Ok(None) => Err(failed(
            Kind::Transient,
            "the program of process_command in the CLI profile failed; the operator tries again; if it lasts, run the program by hand",
        )),
        Ok(Some(output)) => parse(origin, &output)?.ok_or_else(|| {
            failed(
                Kind::Misconfigured,
                "the program of process_command in the CLI profile does not print a JSON object with access_key_id and access_key_secret (and sts_token for mode StsToken)",
            )
        }),
    }
}

/// What the program printed before it ended well.
async fn output(child: &mut Child) -> Option<Zeroizing<Vec<u8>>> {
    let stdout = child.stdout.take()?;
    // Reserved in one piece: a buffer that grows leaves copies behind.
    let mut output = Zeroizing::new(Vec::with_capacity(LONGEST_OUTPUT + 1));
    stdout
        .take(LONGEST_OUTPUT as u64 + 1)
        .read_to_end(&mut output)
        .await
        .ok()?;
    if output.len() > LONGEST_OUTPUT {
        return None;
    }
    child.wait().await.ok()?.success().then_some(output)
}

#[derive(Deserialize)]
struct Printed {
    #[serde(default, deserialize_with = "plain")]
    mode: Option<String>,
    #[serde(default, deserialize_with = "plain")]
    access_key_id: Option<String>,
    #[serde(default, deserialize_with = "secret")]
    access_key_secret: Option<SecretString>,
    #[serde(default, deserialize_with = "secret")]
    sts_token: Option<SecretString>,
    #[serde(default, deserialize_with = "plain")]
    expiration: Option<String>,
}

/// `None` where it is not a key at all.
fn parse(origin: SourceName, output: &[u8]) -> Result<Option<IssuedCredentials>, CredentialsError> {
    let Ok(printed) = serde_json::from_slice::<Printed>(output) else {
        return Ok(None);
    };
    let token = printed.sts_token.as_ref().map(SecretString::expose_secret);
    let (Some(id), Some(secret)) = (&printed.access_key_id, &printed.access_key_secret) else {
        return Ok(None);
    };
    if printed.mode.as_deref() == Some("StsToken") && token.is_none() {
        return Ok(None);
    }
    let credentials = Credentials::new(id, secret.expose_secret(), token)
        .map_err(|malformed| NAMES.explain(origin, malformed))?;
    Ok(Some(IssuedCredentials {
        origin,
        credentials,
        // A time that cannot be read counts as not told, as with the official SDKs: the program is asked again soon.
        expiration: printed.expiration.and_then(|time| time.parse().ok()),
    }))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::rds::near_json::near;

    const ORIGIN: SourceName = SourceName::Profile;

    fn words(command: &str) -> Vec<String> {
        match method(ORIGIN, command) {
            Ok(Method::Process(words)) => words,
            _ => Vec::new(),
        }
    }

    #[rstest]
    #[case("keys", &["keys"])]
    #[case(" keys  --a 'b c' \"d e\" f\\ g ", &["keys", "--a", "b c", "d e", "f g"])]
    #[case("keys $HOME `id` | tee > x", &["keys", "$HOME", "`id`", "|", "tee", ">", "x"])]
    #[case("", &[])]
    #[case("  ", &[])]
    #[case("'' a", &[])]
    #[case("keys 'a", &[])]
    fn commands(#[case] command: &str, #[case] expected: &[&str]) {
        assert_eq!(words(command), expected);
    }

    #[rstest]
    #[case(r#"{"mode":"AK","access_key_id":"i","access_key_secret":"s"}"#, Some((false, false)))]
    #[case(r#"{"access_key_id":"i","access_key_secret":"s","expiration":"soon"}"#, Some((false, false)))]
    #[case(r#"{"mode":"StsToken","access_key_id":"i","access_key_secret":"s","sts_token":"t","expiration":"2026-11-24T08:00:00Z"}"#, Some((true, true)))]
    #[case(
        r#"{"mode":"StsToken","access_key_id":"i","access_key_secret":"s"}"#,
        None
    )]
    #[case(r#"{"access_key_id":"i"}"#, None)]
    #[case("", None)]
    #[case("hello", None)]
    fn what_is_printed(#[case] printed: &str, #[case] expected: Option<(bool, bool)>) {
        let found = parse(ORIGIN, printed.as_bytes()).unwrap();
        let found = found.map(|issued| {
            (
                issued.credentials.security_token.is_some(),
                issued.expiration.is_some(),
            )
        });
        assert_eq!(found, expected);
    }

    async fn shell(script: &str, timeout: Duration) -> Result<IssuedCredentials, CredentialsError> {
        let words = ["/bin/sh", "-c", script].map(str::to_owned);
        run(ORIGIN, &words, timeout).await
    }

    #[tokio::test]
    async fn a_program_is_run() {
        let script = r#"echo canary >&2; echo '{"access_key_id":"i","access_key_secret":"s"}'"#;
        let issued = shell(script, TIMEOUT).await.unwrap();
        assert_eq!(issued.credentials.access_key_id, "i");
    }

    #[rstest]
    #[case::fails("echo canary; exit 3", Kind::Transient)]
    #[case::prints_something_else("echo canary", Kind::Misconfigured)]
    #[case::prints_without_end("yes canary", Kind::Transient)]
    #[tokio::test]
    async fn a_program_that_does_not(#[case] script: &str, #[case] kind: Kind) {
        let error = shell(script, TIMEOUT).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(!format!("{error} {error:?}").contains("canary"));
    }

    #[tokio::test]
    async fn a_program_that_does_not_end_is_killed() {
        // It would outlast the test's patience.
        let error = shell("exec sleep 1000", Duration::from_millis(50)).await;
        assert_eq!(error.unwrap_err().kind(), Kind::Transient);
    }

    #[tokio::test]
    async fn a_program_that_is_not_there() {
        let error = obtain(ORIGIN, &["/canary/none".to_owned()])
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Misconfigured);
        assert!(!error.to_string().contains("canary"));
    }

    proptest! {
        /// Whatever is printed: nothing counts as a key but two texts.
        #[test]
        fn what_is_nearly_a_key_is_one_or_none(printed in near(
            serde_json::json!({
                "mode": "StsToken", "access_key_id": "id", "access_key_secret": "secret", "sts_token": "token",
                "expiration": "2026-11-24T08:00:00Z",
            }),
            &["", "AK", "StsToken", "2026-11-24T08:00:00Z", "mode", "sts_token"],
        )) {
            if let Ok(Some(issued)) = parse(ORIGIN, printed.to_string().as_bytes()) {
                prop_assert!(!issued.credentials.access_key_id.is_empty());
                prop_assert!(printed.is_array() || !printed["access_key_secret"].is_null());
                let is_temporary = printed["mode"] == "StsToken";
                prop_assert!(!is_temporary || issued.credentials.security_token.is_some());
            }
        }

        #[test]
        fn no_command_and_no_output_makes_it_panic(
            command in ".{0,40}",
            output in prop::collection::vec(any::<u8>(), 0..128),
        ) {
            let _ = words(&command);
            let _ = parse(ORIGIN, &output);
        }
    }
}
