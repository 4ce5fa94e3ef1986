//! An `AccessKey` in the environment, with a security token where it is a temporary one. The variables are those of Alibaba
//! Cloud's SDKs (<https://www.alibabacloud.com/help/en/sdk/developer-reference/v2-manage-access-credentials>).

use zeroize::Zeroizing;

use super::error::{CredentialsError, SourceName};
use super::host::Host;
use super::key::PartNames;
use super::method::Method;
use crate::rds::credentials::Credentials;

const ACCESS_KEY_ID: &str = "ALIBABA_CLOUD_ACCESS_KEY_ID";
const ACCESS_KEY_SECRET: &str = "ALIBABA_CLOUD_ACCESS_KEY_SECRET";
const SECURITY_TOKEN: &str = "ALIBABA_CLOUD_SECURITY_TOKEN";

const ORIGIN: SourceName = SourceName::Environment;

const NAMES: PartNames<'_> = PartNames {
    id: ACCESS_KEY_ID,
    secret: ACCESS_KEY_SECRET,
    token: SECURITY_TOKEN,
};

/// Half an `AccessKey` counts: whoever sets one half means this source.
pub(super) fn is_configured(host: &Host) -> bool {
    [ACCESS_KEY_ID, ACCESS_KEY_SECRET, SECURITY_TOKEN]
        .iter()
        .any(|name| host.variable(name).is_some())
}

pub(super) fn method(host: &Host) -> Result<Method, CredentialsError> {
    let required = |name: &'static str| {
        host.variable(name).ok_or_else(|| {
            CredentialsError::misconfigured(
                ORIGIN,
                format!(
                    "the AccessKey is incomplete: {name} is not set in the operator's environment"
                ),
            )
        })
    };
    let id = required(ACCESS_KEY_ID)?;
    let secret = Zeroizing::new(required(ACCESS_KEY_SECRET)?);
    let token = host.variable(SECURITY_TOKEN).map(Zeroizing::new);
    let token = token.as_ref().map(|token| token.as_str());
    Credentials::new(&id, &secret, token)
        .map(Method::Key)
        .map_err(|malformed| NAMES.explain(ORIGIN, malformed))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::host::fake::{NONE, host};
    use super::*;

    #[rstest]
    #[case(&[(ACCESS_KEY_ID, "id"), (ACCESS_KEY_SECRET, "secret")], false)]
    #[case(&[(ACCESS_KEY_ID, "id"), (ACCESS_KEY_SECRET, "secret"), (SECURITY_TOKEN, "")], false)]
    #[case(&[(ACCESS_KEY_ID, "id"), (ACCESS_KEY_SECRET, "secret"), (SECURITY_TOKEN, "token")], true)]
    fn both_halves_make_a_key(#[case] variables: &[(&str, &str)], #[case] temporary: bool) {
        let host = host(variables, NONE);
        assert!(is_configured(&host));
        assert!(matches!(
            method(&host),
            Ok(Method::Key(key)) if key.security_token.is_some() == temporary
        ));
    }

    #[rstest]
    #[case(&[(ACCESS_KEY_ID, "id")], ACCESS_KEY_SECRET)]
    #[case(&[(ACCESS_KEY_ID, "id"), (ACCESS_KEY_SECRET, "")], ACCESS_KEY_SECRET)]
    #[case(&[(ACCESS_KEY_SECRET, "secret")], ACCESS_KEY_ID)]
    #[case(&[(SECURITY_TOKEN, "token")], ACCESS_KEY_ID)]
    fn what_is_missing_is_named(#[case] variables: &[(&str, &str)], #[case] missing: &str) {
        let host = host(variables, NONE);
        assert!(is_configured(&host));
        let error = method(&host).err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains(missing)));
    }

    #[test]
    fn empty_variables_are_not_set() {
        let empty = [(ACCESS_KEY_ID, ""), (ACCESS_KEY_SECRET, "")];
        assert!(!is_configured(&host(&empty, NONE)));
    }
}
