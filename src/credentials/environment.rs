//! An AccessKey in the environment, with a security token where it is a temporary one. The variables are those of Alibaba
//! Cloud's SDKs (<https://www.alibabacloud.com/help/en/sdk/developer-reference/v2-manage-access-credentials>).

use secrecy::SecretString;

use super::CredentialsError;
use crate::rds::credentials::Credentials;

const ACCESS_KEY_ID: &str = "ALIBABA_CLOUD_ACCESS_KEY_ID";
const ACCESS_KEY_SECRET: &str = "ALIBABA_CLOUD_ACCESS_KEY_SECRET";
const SECURITY_TOKEN: &str = "ALIBABA_CLOUD_SECURITY_TOKEN";

/// The AccessKey in the environment, as it was when the process started: an environment does not change.
pub struct Environment(Result<Credentials, CredentialsError>);

impl Environment {
    /// Reads the three variables. An empty one counts as not set, as in a manifest with an empty default.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let read = |name| variable(name).filter(|value| !value.is_empty());
        Self(match (read(ACCESS_KEY_ID), read(ACCESS_KEY_SECRET)) {
            (Some(access_key_id), Some(secret)) => Ok(Credentials {
                access_key_id,
                access_key_secret: SecretString::from(secret),
                security_token: read(SECURITY_TOKEN).map(SecretString::from),
            }),
            (None, None) => Err(CredentialsError::NotConfigured),
            (Some(_), None) => Err(CredentialsError::Incomplete(ACCESS_KEY_SECRET)),
            (None, Some(_)) => Err(CredentialsError::Incomplete(ACCESS_KEY_ID)),
        })
    }

    /// The credentials.
    ///
    /// # Errors
    /// Where the variables are not set.
    pub fn credentials(&self) -> Result<Credentials, CredentialsError> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Credentials, CredentialsError> {
        Environment::read(|name| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
        .credentials()
    }

    #[test]
    fn both_halves_make_a_key() {
        let credentials = of(&[(ACCESS_KEY_ID, "id"), (ACCESS_KEY_SECRET, "secret")]);
        assert!(credentials.is_ok_and(|credentials| credentials.security_token.is_none()));
        let temporary = of(&[
            (ACCESS_KEY_ID, "id"),
            (ACCESS_KEY_SECRET, "secret"),
            (SECURITY_TOKEN, "token"),
        ]);
        assert!(temporary.is_ok_and(|credentials| credentials.security_token.is_some()));
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(of(&[]).err(), Some(CredentialsError::NotConfigured));
        let half = of(&[(ACCESS_KEY_ID, "id"), (ACCESS_KEY_SECRET, "")]);
        assert_eq!(
            half.err(),
            Some(CredentialsError::Incomplete(ACCESS_KEY_SECRET))
        );
    }
}
