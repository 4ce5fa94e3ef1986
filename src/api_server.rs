//! Why the API server did not do what it was asked, in words of this program. An answer may hold a piece of an object, and what
//! a TLS library says helps few readers: neither is passed on.

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription, CertificateError};
use thiserror::Error;
use tokio::time::error::Elapsed;

use crate::proxy::ProxyFailure;

/// Why the API server did not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ApiServerError {
    /// It does not accept the credentials. A token of a ServiceAccount that was deleted ends with it, also where a
    /// ServiceAccount of the same name was created since
    /// (<https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens>).
    #[error(
        "the API server does not accept the operator's credentials (HTTP status 401 Unauthorized): its ServiceAccount was deleted or created anew, or its token has expired; restart the pods once the ServiceAccount is there, or correct the kubeconfig"
    )]
    Unauthorized,
    /// It refused, or failed.
    #[error("the API server answered with HTTP status {0}")]
    Status(Refusal),
    /// It could be reached, and no TLS connection could be made.
    #[error("no TLS connection to the API server: {0}")]
    Tls(TlsFailure),
    /// Its answer is not what was asked for.
    #[error("the API server's answer could not be decoded")]
    Malformed,
    /// It could be reached, and did not answer in time.
    #[error("the API server did not answer in time")]
    Timeout,
    /// The proxy in front of it makes no connection.
    #[error(transparent)]
    Proxy(ProxyFailure),
    /// It could not be reached.
    #[error("the API server could not be reached")]
    Unreachable,
}

/// An HTTP status, and the reason that the API server gives for it, where that is one of Kubernetes' own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{code}{}", reason.map(|reason| format!(" ({reason})")).unwrap_or_default())]
pub struct Refusal {
    /// The HTTP status.
    pub code: u16,
    /// The machine-readable reason.
    pub reason: Option<&'static str>,
}

/// The reasons of Kubernetes' API (`StatusReason` in
/// <https://github.com/kubernetes/apimachinery/blob/master/pkg/apis/meta/v1/types.go>). Others are not passed on: what is no
/// API server may answer anything, and kube puts its own words there where an answer is no Status.
const REASONS: [&str; 19] = [
    "Unauthorized",
    "Forbidden",
    "NotFound",
    "AlreadyExists",
    "Conflict",
    "Gone",
    "Invalid",
    "ServerTimeout",
    "StorageReadError",
    "Timeout",
    "TooManyRequests",
    "BadRequest",
    "MethodNotAllowed",
    "NotAcceptable",
    "RequestEntityTooLarge",
    "UnsupportedMediaType",
    "InternalError",
    "Expired",
    "ServiceUnavailable",
];

/// Why there is no TLS connection. The texts follow "no TLS connection to the API server".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TlsFailure {
    /// The server's certificate is signed by none of the authorities that the operator knows.
    #[error(
        "no certificate authority that the operator knows has signed its certificate; the kubeconfig's certificate-authority, or ca.crt of the pod's token volume, must hold the certificate of the authority, not that of the server"
    )]
    UnknownIssuer,
    /// An authority has the name of the one that signed the certificate, and another key.
    #[error(
        "its certificate has a signature that the certificate authority did not make; the authority was probably made anew, so the kubeconfig's certificate-authority, or ca.crt of the pod's token volume, must be the new one"
    )]
    BadSignature,
    /// The certificate is one of another name or address.
    #[error(
        "its certificate is for another name or address than the one that the operator calls; correct the kubeconfig's server or tls-server-name, or the names in the API server's certificate"
    )]
    WrongName,
    /// The certificate's time is over.
    #[error("its certificate has expired, or the clock of the operator's node is wrong")]
    Expired,
    /// The certificate's time has not begun.
    #[error("its certificate is not valid yet, or the clock of the operator's node is wrong")]
    NotValidYet,
    /// The certificate cannot be the one of a server: one of an authority, of a client, or one that is not well-formed.
    #[error(
        "its certificate is not one that a server may have, but that of an authority, of a client, or not well-formed"
    )]
    NotForAServer,
    /// The server ended the handshake since it does not accept the operator's client certificate.
    #[error("it does not accept the kubeconfig's client certificate, or asks for one")]
    ClientCertificateRefused,
    /// The two have no version or cipher of TLS in common.
    #[error("it and the operator have no version or cipher of TLS in common")]
    Incompatible,
    /// What answers there does not speak TLS.
    #[error("what answers at its address does not speak TLS")]
    NotTls,
    /// Anything else.
    #[error("the handshake failed")]
    Other,
}

impl ApiServerError {
    /// What an error of kube's client means.
    #[must_use]
    pub fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 401 => Self::Unauthorized,
            kube::Error::Api(status) => Self::Status(Refusal {
                code: status.code,
                reason: REASONS.into_iter().find(|it| *it == status.reason),
            }),
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => Self::Malformed,
            error => own(error)
                .or_else(|| cause(error).map(|failure| Self::Proxy(*failure)))
                .or_else(|| cause(error).map(|error| Self::Tls(TlsFailure::of(error))))
                .unwrap_or(Self::Unreachable),
        }
    }
}

impl ApiServerError {
    /// Whether other requests may be answered all the same.
    #[must_use]
    pub fn is_of_the_request(self) -> bool {
        match self {
            Self::Status(_) | Self::Malformed | Self::Timeout => true,
            Self::Unauthorized | Self::Tls(_) | Self::Proxy(_) | Self::Unreachable => false,
        }
    }
}

impl Refusal {
    /// Whether the API server failed to read this very object from its store: it cannot decrypt it, or cannot decode it. Other
    /// faults of the store have other reasons: `ServerTimeout`, or none
    /// (<https://github.com/kubernetes/apiserver/blob/master/pkg/storage/errors/storage.go>, `InterpretGetError`).
    #[must_use]
    pub fn is_of_the_object(self) -> bool {
        self.code == 500 && matches!(self.reason, Some("InternalError" | "StorageReadError"))
    }
}

impl TlsFailure {
    fn of(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(error) => Self::of_certificate(error),
            rustls::Error::AlertReceived(alert) => Self::of_alert(*alert),
            rustls::Error::PeerIncompatible(_) => Self::Incompatible,
            // The first bytes of an answer in plain HTTP are the type of a message that does not exist.
            rustls::Error::InvalidMessage(_) => Self::NotTls,
            _ => Self::Other,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::BadSignature => Self::BadSignature,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::WrongName
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotValidYet
            }
            // `Other` is webpki's "an authority's certificate used as a server's".
            CertificateError::InvalidPurpose
            | CertificateError::InvalidPurposeContext { .. }
            | CertificateError::BadEncoding
            | CertificateError::UnhandledCriticalExtension
            | CertificateError::Other(_) => Self::NotForAServer,
            _ => Self::Other,
        }
    }

    fn of_alert(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::CertificateRequired => Self::ClientCertificateRefused,
            AlertDescription::HandshakeFailure
            | AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity => Self::Incompatible,
            _ => Self::Other,
        }
    }
}

/// What a middleware of this program has made of an answer, or of its absence.
fn own(error: &kube::Error) -> Option<ApiServerError> {
    let kube::Error::Service(error) = error else {
        return None;
    };
    if error.is::<Elapsed>() {
        return Some(ApiServerError::Timeout);
    }
    error.downcast_ref().copied()
}

/// The error of this type, such as one of TLS, that an error was caused by.
fn cause<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        // What an I/O error wraps is not its source, but that one's source is.
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use rstest::rstest;
    use rustls::{InvalidMessage, OtherError, PeerIncompatible};

    use super::*;

    fn api(code: u16, reason: &str) -> kube::Error {
        let status = Status::failure("the value is Canary#Password1", reason);
        kube::Error::Api(status.with_code(code).boxed())
    }

    #[rstest]
    #[case::known(
        500,
        "InternalError",
        "the API server answered with HTTP status 500 (InternalError)"
    )]
    #[case::of_the_store(
        500,
        "StorageReadError",
        "the API server answered with HTTP status 500 (StorageReadError)"
    )]
    #[case::without(429, "", "the API server answered with HTTP status 429")]
    #[case::unknown(
        500,
        "Canary#Password1",
        "the API server answered with HTTP status 500"
    )]
    #[case::kubes_own_words(
        502,
        "Failed to parse error data",
        "the API server answered with HTTP status 502"
    )]
    fn a_reason_is_passed_on_where_it_is_one_of_kubernetes(
        #[case] code: u16,
        #[case] reason: &str,
        #[case] expected: &str,
    ) {
        assert_eq!(ApiServerError::of(&api(code, reason)).to_string(), expected);
    }

    #[rstest]
    #[case::a_status("Unauthorized")]
    #[case::a_page("Failed to parse error data")]
    fn a_401_is_named(#[case] reason: &str) {
        let error = ApiServerError::of(&api(401, reason));
        assert_eq!(error, ApiServerError::Unauthorized);
        assert!(error.to_string().contains("401"), "{error}");
        let by_a_middleware = kube::Error::Service(Box::new(error));
        assert_eq!(ApiServerError::of(&by_a_middleware), error);
    }

    #[rstest]
    #[case::not_decrypted(500, "InternalError", true)]
    #[case::not_decoded(500, "StorageReadError", true)]
    #[case::etcd_is_away(500, "ServerTimeout", false)]
    #[case::etcd_failed(500, "", false)]
    #[case::busy(503, "ServiceUnavailable", false)]
    fn whose_fault_it_is(#[case] code: u16, #[case] reason: &str, #[case] expected: bool) {
        let ApiServerError::Status(refusal) = ApiServerError::of(&api(code, reason)) else {
            unreachable!("it is a status")
        };
        assert_eq!(refusal.is_of_the_object(), expected);
    }

    /// As they come through tokio-rustls and hyper: in an I/O error, in another one, in an error of the client.
    fn wrapped(error: rustls::Error) -> kube::Error {
        let handshake = io::Error::new(io::ErrorKind::InvalidData, error);
        kube::Error::Service(Box::new(io::Error::other(handshake)))
    }

    #[rstest]
    #[case(CertificateError::UnknownIssuer.into(), TlsFailure::UnknownIssuer)]
    #[case(CertificateError::BadSignature.into(), TlsFailure::BadSignature)]
    #[case(CertificateError::NotValidForName.into(), TlsFailure::WrongName)]
    #[case(CertificateError::Expired.into(), TlsFailure::Expired)]
    #[case(CertificateError::NotValidYet.into(), TlsFailure::NotValidYet)]
    #[case(CertificateError::Other(OtherError(std::sync::Arc::new(io::Error::other("")))).into(), TlsFailure::NotForAServer)]
    #[case(CertificateError::Revoked.into(), TlsFailure::Other)]
    #[case(
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired),
        TlsFailure::ClientCertificateRefused
    )]
    #[case(
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion),
        TlsFailure::Incompatible
    )]
    #[case(PeerIncompatible::ServerDoesNotSupportTls12Or13.into(), TlsFailure::Incompatible)]
    #[case(InvalidMessage::InvalidContentType.into(), TlsFailure::NotTls)]
    #[case(rustls::Error::DecryptError, TlsFailure::Other)]
    fn what_tls_said(#[case] error: rustls::Error, #[case] expected: TlsFailure) {
        let found = ApiServerError::of(&wrapped(error));
        assert_eq!(found, ApiServerError::Tls(expected));
    }

    #[test]
    fn an_error_without_tls_is_no_answer() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let error = kube::Error::Service(Box::new(io::Error::other(refused)));
        assert_eq!(ApiServerError::of(&error), ApiServerError::Unreachable);
    }
}
