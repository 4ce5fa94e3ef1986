//! What STS' error codes mean, and what to do about them.
//!
//! Sources: <https://help.aliyun.com/zh/ram/developer-reference/api-sts-2015-04-01-errorcodes>, the list of common errors of
//! `AssumeRole` (<https://www.alibabacloud.com/help/doc-detail/42775.htm>), and the error codes that all APIs of the gateway
//! share.

use std::borrow::Cow;

use super::super::error::{CredentialsError, Kind, SourceName};
use crate::rds::classification::Pattern::{self, Family, Wildcard};
use crate::rds::classification::{OTHER, most_precise};
use crate::rds::identifier::{Code, RequestId, Secrets};
use crate::rds::requested_wait::RequestedWait;

/// What codes mean.
struct Entry {
    codes: &'static [Pattern],
    kind: Kind,
    explanation: &'static str,
}

static TABLE: &[Entry] = &[
    Entry {
        codes: &[Family("AuthenticationFail.NoPermission")],
        kind: Kind::Denied,
        explanation: "STS does not let this token assume the role; in RAM, register the cluster's OIDC provider, and let the role's trust policy name it together with the token's issuer, audience and ServiceAccount (oidc:iss, oidc:aud, oidc:sub)",
    },
    Entry {
        codes: &[Family("AuthenticationFail.OIDCToken.AudienceNotMatch")],
        kind: Kind::Denied,
        explanation: "the OIDC token is for another audience; ask for one with the audience sts.aliyuncs.com, and add that to the client IDs of the OIDC provider in RAM",
    },
    Entry {
        codes: &[Family("AuthenticationFail.OIDCToken.Expired")],
        kind: Kind::Denied,
        explanation: "the OIDC token has expired; check what renews it (the kubelet, for a projected volume) and the clock of the node",
    },
    Entry {
        codes: &[
            Family("AuthenticationFail.OIDCToken.HttpsUrlInvalid"),
            Family("AuthenticationFail.OIDCToken.PublicKeyFingerprintMismatch"),
        ],
        kind: Kind::Denied,
        explanation: "STS does not trust the certificate of the OIDC issuer; correct the issuer's certificate, or the fingerprints of the OIDC provider in RAM",
    },
    Entry {
        codes: &[Wildcard("AuthenticationFail.OIDCToken.*")],
        kind: Kind::Denied,
        explanation: "STS does not find the OIDC token valid; check that the OIDC provider in RAM is the one of the cluster that the token comes from",
    },
    Entry {
        codes: &[Wildcard("AuthenticationFail*")],
        kind: Kind::Denied,
        explanation: "STS does not let this token assume the role; check the OIDC provider and the role's trust policy in RAM",
    },
    Entry {
        codes: &[Family("EntityNotExist.Role")],
        kind: Kind::Denied,
        explanation: "RAM has no such role; check the role's ARN (acs:ram::<account>:role/<name>), or create the role",
    },
    Entry {
        codes: &[Wildcard("EntityNotExist*")],
        kind: Kind::Denied,
        explanation: "RAM knows no such role or OIDC provider; check both ARNs",
    },
    Entry {
        codes: &[Wildcard("NoPermission*"), Wildcard("Forbidden*")],
        kind: Kind::Denied,
        explanation: "the AccessKey may not assume the role; it has to be of a RAM user or role, sts:AssumeRole has to be granted to that, and the role's trust policy has to name it",
    },
    Entry {
        codes: &[Wildcard("InvalidAccessKeyId*")],
        kind: Kind::Denied,
        explanation: "the AccessKey that assumes the role does not exist or is disabled; replace it at its source",
    },
    Entry {
        codes: &[
            Family("SignatureDoesNotMatch"),
            Family("IncompleteSignature"),
        ],
        kind: Kind::Denied,
        explanation: "the secret of the AccessKey that assumes the role does not belong to its ID; correct it at its source",
    },
    Entry {
        codes: &[Family("MissingSecurityToken")],
        kind: Kind::Denied,
        explanation: "the AccessKey that assumes the role is a temporary one and has no security token; add it at its source",
    },
    Entry {
        codes: &[Wildcard("InvalidSecurityToken*")],
        kind: Kind::Denied,
        explanation: "the security token of the AccessKey that assumes the role has expired, or is of another one; renew it at its source",
    },
    Entry {
        codes: &[Wildcard("InvalidTimeStamp*")],
        kind: Kind::ClockSkew,
        explanation: "the clock of the operator's node is more than 15 minutes off; correct it (NTP)",
    },
    Entry {
        codes: &[Family("InvalidParameter.DurationSeconds")],
        kind: Kind::Misconfigured,
        explanation: "the role does not allow credentials that live so long; lower expired_seconds of the profile, or raise the role's longest session in RAM",
    },
    Entry {
        codes: &[Wildcard("InvalidParameter*"), Wildcard("Missing*")],
        kind: Kind::Misconfigured,
        explanation: "STS does not take what it was asked; check the ARNs of role and OIDC provider, the session name and the policy",
    },
    Entry {
        codes: &[Family("Rejected.Throttling"), Wildcard("Throttling*")],
        kind: THROTTLED.0,
        explanation: THROTTLED.1,
    },
    Entry {
        codes: &[
            Family("SignatureNonceUsed"),
            Family("ServiceUnavailable"),
            Family("InternalError"),
            Family("UnknownError"),
        ],
        kind: FAULT.0,
        explanation: FAULT.1,
    },
];

const THROTTLED: (Kind, &str) = (
    Kind::Throttled,
    "the cloud account makes more requests than STS allows; the operator waits and tries again",
);

const FAULT: (Kind, &str) = (
    Kind::Transient,
    "STS had a fault of its own; the operator tries again",
);

const UNKNOWN: (Kind, &str) = (
    Kind::Denied,
    "STS refused with a code that is not known here; look it up in the list of STS' error codes",
);

/// The code is a text, malformed, or holds a part of a secret.
const NO_CODE: (Kind, &str) = (
    Kind::Denied,
    "STS refused and gave no code that can be shown; ask STS' support with the RequestId",
);

/// Every label that a code of STS can have in metrics.
pub(super) fn labels() -> impl Iterator<Item = &'static str> {
    TABLE
        .iter()
        .flat_map(|entry| entry.codes)
        .map(|pattern| pattern.label())
        .chain([OTHER])
}

/// The failure that an answer with this code is, and the code's label in metrics. `status` and what the headers ask for come
/// with it.
pub(super) fn refused(
    origin: SourceName,
    code: &str,
    request_id: Option<&str>,
    (status, wait): (u16, RequestedWait),
    secrets: &Secrets<'_>,
) -> (&'static str, CredentialsError) {
    let shown = Some(Code::new(code, secrets)).filter(Code::is_shown);
    let request_id = request_id.and_then(|text| RequestId::new(text, secrets));
    let (label, (kind, explanation)) = meaning(code, status);
    let (kind, explanation) = if wait.is_of_a_throttled_answer() {
        THROTTLED
    } else if shown.is_none() && (kind, explanation) == UNKNOWN {
        NO_CODE
    } else {
        (kind, explanation)
    };
    let explanation = match &request_id {
        Some(id) if (kind, explanation) == NO_CODE => {
            Cow::Owned(format!("{explanation} (RequestId {id})"))
        }
        _ => Cow::Borrowed(explanation),
    };
    let error = CredentialsError::new(origin, kind, explanation).answered(
        shown,
        request_id,
        wait.duration().filter(|_| kind == Kind::Throttled),
    );
    (label, error)
}

/// Codes decide, and the HTTP status only where a code is not known.
fn meaning(code: &str, status: u16) -> (&'static str, (Kind, &'static str)) {
    match most_precise(TABLE, |entry| entry.codes, code) {
        Some((pattern, entry)) => (pattern.label(), (entry.kind, entry.explanation)),
        None => (
            OTHER,
            match status {
                429 => THROTTLED,
                500..=599 => FAULT,
                _ => UNKNOWN,
            },
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const ID: &str = "D4D4BE8A-DD46-440A-BFCD-EE31DA81C9DD";

    #[rstest]
    #[case("AuthenticationFail.NoPermission", 401, Kind::Denied, "trust policy")]
    #[case(
        "AuthenticationFail.OIDCToken.AudienceNotMatch",
        401,
        Kind::Denied,
        "audience"
    )]
    #[case("AuthenticationFail.OIDCToken.Expired", 401, Kind::Denied, "expired")]
    #[case(
        "AuthenticationFail.OIDCToken.HttpsUrlInvalid",
        401,
        Kind::Denied,
        "certificate"
    )]
    #[case(
        "AuthenticationFail.OIDCToken.InvalidSignature",
        401,
        Kind::Denied,
        "OIDC provider"
    )]
    #[case("AuthenticationFail.Other", 401, Kind::Denied, "trust policy")]
    #[case("EntityNotExist.Role", 404, Kind::Denied, "no such role")]
    #[case("EntityNotExist.OIDCProvider", 404, Kind::Denied, "both ARNs")]
    #[case("NoPermission", 403, Kind::Denied, "sts:AssumeRole")]
    #[case("Forbidden.RAM", 403, Kind::Denied, "sts:AssumeRole")]
    #[case("InvalidAccessKeyId.NotFound", 404, Kind::Denied, "AccessKey")]
    #[case("SignatureDoesNotMatch", 400, Kind::Denied, "does not belong")]
    #[case("MissingSecurityToken", 400, Kind::Denied, "security token")]
    #[case("InvalidSecurityToken.Expired", 400, Kind::Denied, "security token")]
    #[case("InvalidTimeStamp.Expired", 400, Kind::ClockSkew, "clock")]
    #[case(
        "InvalidParameter.DurationSeconds",
        400,
        Kind::Misconfigured,
        "expired_seconds"
    )]
    #[case("InvalidParameter.RoleArn", 400, Kind::Misconfigured, "ARNs")]
    #[case("MissingRoleArn", 400, Kind::Misconfigured, "ARNs")]
    #[case("Throttling.User", 400, Kind::Throttled, "more requests")]
    #[case("Rejected.Throttling", 400, Kind::Throttled, "more requests")]
    #[case("TooMany", 429, Kind::Throttled, "more requests")]
    #[case("InternalError", 500, Kind::Transient, "tries again")]
    #[case("SignatureNonceUsed", 400, Kind::Transient, "tries again")]
    #[case("Odd", 502, Kind::Transient, "tries again")]
    #[case("Odd", 400, Kind::Denied, "not known here")]
    fn codes(#[case] code: &str, #[case] status: u16, #[case] kind: Kind, #[case] says: &str) {
        let answer = (status, RequestedWait::TimeLeft(Duration::from_secs(2)));
        let (label, error) = refused(SourceName::Oidc, code, Some(ID), answer, &Secrets(&[]));
        assert!(labels().any(|known| known == label), "{label}");
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(error.code().map(Code::as_str), Some(code));
        assert_eq!(error.request_id().map(RequestId::as_str), Some(ID));
        assert_eq!(error.retry_after().is_some(), kind == Kind::Throttled);
    }

    #[rstest]
    #[case("Throttling.User")]
    #[case("InternalError")]
    #[case("NoPermission")]
    #[case("Odd")]
    fn whatever_asks_to_wait_is_throttled(#[case] code: &str) {
        let wait = RequestedWait::RetryAfter(Duration::from_millis(700));
        let (label, error) = refused(SourceName::Oidc, code, Some(ID), (400, wait), &Secrets(&[]));
        assert_eq!(label == OTHER, code == "Odd");
        assert_eq!(error.kind(), Kind::Throttled);
        assert_eq!(error.retry_after(), Some(Duration::from_millis(700)));
        assert_eq!(error.code().map(Code::as_str), Some(code));
        assert!(error.to_string().contains("more requests"), "{error}");
    }

    #[rstest]
    #[case("The specified role is not authorized.")]
    #[case("Odd_Code<>")]
    #[case("Odd.canary")]
    fn without_a_code_the_request_id_is_told(#[case] code: &str) {
        let answer = (403, RequestedWait::None);
        let secrets = ["my-canary-token"];
        let (label, error) = refused(SourceName::Oidc, code, Some(ID), answer, &Secrets(&secrets));
        assert_eq!((label, error.kind()), (OTHER, Kind::Denied));
        let told = error.to_string();
        assert!(told.contains("no code that can be shown"), "{told}");
        assert!(told.contains(&format!("RequestId {ID}")), "{told}");
        assert!(
            !told.contains("look it up") && !told.contains(code),
            "{told}"
        );
        assert_eq!(error.code(), None);
    }

    #[test]
    fn the_order_of_the_table_does_not_matter() {
        for entry in TABLE {
            for pattern in entry.codes {
                let example = pattern.label().replace('*', "X");
                let (label, _) = meaning(&example, 400);
                assert_eq!(label, pattern.label());
            }
        }
    }

    proptest! {
        #[test]
        fn no_part_of_a_secret_is_shown(
            secret in "[A-Za-z0-9._-]{40,400}",
            from in 0_usize..30,
            length in 6_usize..64,
            backwards: bool,
            status in 200_u16..600,
        ) {
            let part = &secret[from..(from + length).min(secret.len())];
            let part: String = if backwards { part.chars().rev().collect() } else { part.to_owned() };
            let part = part.as_str();
            let secrets = [secret.as_str()];
            let (_, error) = refused(SourceName::Oidc, part, Some(part), (status, RequestedWait::None), &Secrets(&secrets));
            let told = format!("{error} {error:?}");
            prop_assert!(!told.contains(part));
        }
    }
}
