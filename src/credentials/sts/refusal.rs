//! What STS' error codes mean, and what to do about them.
//!
//! Sources: <https://help.aliyun.com/zh/ram/developer-reference/api-sts-2015-04-01-errorcodes>, the list of common errors of
//! `AssumeRole` (<https://www.alibabacloud.com/help/doc-detail/42775.htm>), and the error codes that all APIs of the gateway
//! share.

use std::time::Duration;

use super::super::error::{CredentialsError, Kind, SourceName};
use crate::rds::classification::OTHER;
use crate::rds::classification::Pattern::{self, Exact, Prefix};
use crate::rds::identifier::{Code, RequestId, Secrets};

/// A part of a secret that is shorter tells nothing, and words as short as this are in many.
const SHORTEST_PART: usize = 6;

/// What codes mean; the first that fits counts.
struct Entry {
    codes: &'static [Pattern],
    kind: Kind,
    explanation: &'static str,
}

static TABLE: &[Entry] = &[
    Entry {
        codes: &[Exact("AuthenticationFail.NoPermission")],
        kind: Kind::Denied,
        explanation: "STS does not let this token assume the role; in RAM, register the cluster's OIDC provider, and let the role's trust policy name it together with the token's issuer, audience and ServiceAccount (oidc:iss, oidc:aud, oidc:sub)",
    },
    Entry {
        codes: &[Exact("AuthenticationFail.OIDCToken.AudienceNotMatch")],
        kind: Kind::Denied,
        explanation: "the OIDC token is for another audience; ask for one with the audience sts.aliyuncs.com, and add that to the client IDs of the OIDC provider in RAM",
    },
    Entry {
        codes: &[Exact("AuthenticationFail.OIDCToken.Expired")],
        kind: Kind::Denied,
        explanation: "the OIDC token has expired; check what renews it (the kubelet, for a projected volume) and the clock of the node",
    },
    Entry {
        codes: &[
            Exact("AuthenticationFail.OIDCToken.HttpsUrlInvalid"),
            Exact("AuthenticationFail.OIDCToken.PublicKeyFingerprintMismatch"),
        ],
        kind: Kind::Denied,
        explanation: "STS does not trust the certificate of the OIDC issuer; correct the issuer's certificate, or the fingerprints of the OIDC provider in RAM",
    },
    Entry {
        codes: &[Prefix("AuthenticationFail.OIDCToken.*")],
        kind: Kind::Denied,
        explanation: "STS does not find the OIDC token valid; check that the OIDC provider in RAM is the one of the cluster that the token comes from",
    },
    Entry {
        codes: &[Prefix("AuthenticationFail*")],
        kind: Kind::Denied,
        explanation: "STS does not let this token assume the role; check the OIDC provider and the role's trust policy in RAM",
    },
    Entry {
        codes: &[Exact("EntityNotExist.Role")],
        kind: Kind::Denied,
        explanation: "RAM has no such role; check the role's ARN (acs:ram::<account>:role/<name>), or create the role",
    },
    Entry {
        codes: &[Prefix("EntityNotExist*")],
        kind: Kind::Denied,
        explanation: "RAM knows no such role or OIDC provider; check both ARNs",
    },
    Entry {
        codes: &[Prefix("NoPermission*"), Prefix("Forbidden*")],
        kind: Kind::Denied,
        explanation: "the AccessKey may not assume the role; it has to be of a RAM user or role, sts:AssumeRole has to be granted to that, and the role's trust policy has to name it",
    },
    Entry {
        codes: &[Prefix("InvalidAccessKeyId*")],
        kind: Kind::Denied,
        explanation: "the AccessKey that assumes the role does not exist or is disabled; replace it at its source",
    },
    Entry {
        codes: &[Exact("SignatureDoesNotMatch"), Exact("IncompleteSignature")],
        kind: Kind::Denied,
        explanation: "the secret of the AccessKey that assumes the role does not belong to its ID; correct it at its source",
    },
    Entry {
        codes: &[Exact("MissingSecurityToken")],
        kind: Kind::Denied,
        explanation: "the AccessKey that assumes the role is a temporary one and has no security token; add it at its source",
    },
    Entry {
        codes: &[Prefix("InvalidSecurityToken*")],
        kind: Kind::Denied,
        explanation: "the security token of the AccessKey that assumes the role has expired, or is of another one; renew it at its source",
    },
    Entry {
        codes: &[Prefix("InvalidTimeStamp*")],
        kind: Kind::ClockSkew,
        explanation: "the clock of the operator's node is more than 15 minutes off; correct it (NTP)",
    },
    Entry {
        codes: &[Exact("InvalidParameter.DurationSeconds")],
        kind: Kind::Misconfigured,
        explanation: "the role does not allow credentials that live so long; lower expired_seconds of the profile, or raise the role's longest session in RAM",
    },
    Entry {
        codes: &[Prefix("InvalidParameter*"), Prefix("Missing*")],
        kind: Kind::Misconfigured,
        explanation: "STS does not take what it was asked; check the ARNs of role and OIDC provider, the session name and the policy",
    },
    Entry {
        codes: &[Exact("Rejected.Throttling"), Prefix("Throttling*")],
        kind: THROTTLED.0,
        explanation: THROTTLED.1,
    },
    Entry {
        codes: &[
            Exact("SignatureNonceUsed"),
            Exact("ServiceUnavailable"),
            Exact("InternalError"),
            Exact("UnknownError"),
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

/// Every label that a code of STS can have in metrics.
pub(super) fn labels() -> impl Iterator<Item = &'static str> {
    TABLE
        .iter()
        .flat_map(|entry| entry.codes)
        .map(|pattern| pattern.label())
        .chain([OTHER])
}

/// The failure that an answer with this code is, and the code's label in metrics. `status` and what the rate-limit headers say
/// come with it.
pub(super) fn refused(
    origin: SourceName,
    code: &str,
    request_id: Option<&str>,
    (status, time_left): (u16, Option<Duration>),
    secrets: &Secrets<'_>,
) -> (&'static str, CredentialsError) {
    let (label, kind, explanation) = meaning(code, status);
    // A long token can hold a part that looks like an identifier.
    let is_part = |text: &str| {
        text.len() >= SHORTEST_PART && secrets.0.iter().any(|secret| secret.contains(text))
    };
    let shown = Some(Code::new(code, secrets))
        .filter(|shown| shown.as_str() != OTHER && !is_part(shown.as_str()));
    let request_id = request_id
        .and_then(|text| RequestId::new(text, secrets))
        .filter(|id| !is_part(id.as_str()));
    let error = CredentialsError::new(origin, kind, explanation).answered(
        shown,
        request_id,
        time_left.filter(|_| kind == Kind::Throttled),
    );
    (label, error)
}

/// Codes decide, and the HTTP status only where a code is not known.
fn meaning(code: &str, status: u16) -> (&'static str, Kind, &'static str) {
    let known = TABLE.iter().find_map(|entry| {
        let mut patterns = entry.codes.iter();
        let pattern = patterns.find(|pattern| pattern.matches(code))?;
        Some((pattern.label(), entry.kind, entry.explanation))
    });
    known.unwrap_or_else(|| {
        let (kind, explanation) = match status {
            429 => THROTTLED,
            500..=599 => FAULT,
            _ => UNKNOWN,
        };
        (OTHER, kind, explanation)
    })
}

#[cfg(test)]
mod tests {
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
        let answer = (status, Some(Duration::from_secs(2)));
        let (label, error) = refused(SourceName::Oidc, code, Some(ID), answer, &Secrets(&[]));
        assert!(labels().any(|known| known == label), "{label}");
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(error.code().map(Code::as_str), Some(code));
        assert_eq!(error.request_id().map(RequestId::as_str), Some(ID));
        assert_eq!(error.retry_after().is_some(), kind == Kind::Throttled);
    }

    proptest! {
        #[test]
        fn no_part_of_a_secret_is_shown(
            secret in "[A-Za-z0-9._-]{40,400}",
            from in 0_usize..30,
            length in 6_usize..64,
            status in 200_u16..600,
        ) {
            let part = &secret[from..(from + length).min(secret.len())];
            let secrets = [secret.as_str()];
            let (_, error) = refused(SourceName::Oidc, part, Some(part), (status, None), &Secrets(&secrets));
            let told = format!("{error} {error:?}");
            prop_assert!(!told.contains(part));
        }
    }
}
