//! Signature method V3 (`ACS3-HMAC-SHA256`):
//! <https://www.alibabacloud.com/help/en/sdk/product-overview/v3-request-structure-and-signature>.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use super::does_not_match;
use crate::{
    answer::ApiError,
    request::{ACS3_ALGORITHM, ParsedRequest},
};

/// Headers that every request must have and sign.
const REQUIRED_HEADERS: [&str; 6] = [
    "host",
    "x-acs-action",
    "x-acs-content-sha256",
    "x-acs-date",
    "x-acs-signature-nonce",
    "x-acs-version",
];

/// Checks the header `Authorization`.
pub(crate) fn verify(request: &ParsedRequest, secret: &str) -> Result<(), ApiError> {
    let authorization = request.authorization.as_ref().ok_or_else(|| {
        ApiError::new(
            400,
            "IncompleteSignature",
            "The request signature does not conform to Aliyun standards.",
        )
    })?;
    if let Some(missing) = REQUIRED_HEADERS
        .iter()
        .find(|name| request.header(name).is_none())
    {
        return Err(ApiError::missing(missing));
    }
    let canonical_request = canonical_request(request, &authorization.signed_headers);
    let string_to_sign = string_to_sign(&canonical_request);
    // The server hashes the body that it received; a wrong x-acs-content-sha256 therefore is a wrong signature.
    let matches = signs_everything(request, &authorization.signed_headers)
        && request.header("x-acs-content-sha256") == Some(&hash(&request.body))
        && authorization.signature == sign(&string_to_sign, secret);
    if matches {
        Ok(())
    } else {
        Err(does_not_match(&format!(
            "{string_to_sign}, server canonical request is:{canonical_request}"
        )))
    }
}

/// The host, every `x-acs-*` header and the content type have to be signed, in sorted order.
fn signs_everything(request: &ParsedRequest, signed_headers: &str) -> bool {
    let signed: Vec<_> = signed_headers.split(';').collect();
    let must_be_signed =
        |name: &str| name == "host" || name.starts_with("x-acs-") || name == "content-type";
    signed.is_sorted()
        && request
            .headers
            .keys()
            .map(hyper::header::HeaderName::as_str)
            .filter(|name| must_be_signed(name))
            .all(|name| signed.contains(&name))
}

fn canonical_request(request: &ParsedRequest, signed_headers: &str) -> String {
    let query = request.parameters.canonical(None);
    let mut headers = String::new();
    for name in signed_headers.split(';') {
        let values: Vec<_> = request
            .headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
            .collect();
        // Writing to a String cannot fail.
        let _ = writeln!(headers, "{name}:{}", values.join(","));
    }
    format!(
        "{}\n{}\n{query}\n{headers}\n{signed_headers}\n{}",
        request.method,
        request.path,
        hash(&request.body)
    )
}

fn string_to_sign(canonical_request: &str) -> String {
    format!("{ACS3_ALGORITHM}\n{}", hash(canonical_request.as_bytes()))
}

fn hash(data: &[u8]) -> String {
    hex(&Sha256::digest(data))
}

/// Unlike RPC's, the key is the bare secret.
fn sign(string_to_sign: &str, secret: &str) -> String {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key length is valid");
    mac.update(string_to_sign.as_bytes());
    hex(&mac.finalize().into_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;
    use crate::request::HttpRequest;

    /// The documentation's example, with its signature.
    fn documented() -> ParsedRequest {
        let headers = [
            ("host", "ecs.cn-shanghai.aliyuncs.com"),
            ("x-acs-action", "RunInstances"),
            (
                "x-acs-content-sha256",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
            ("x-acs-date", "2023-10-26T10:22:32Z"),
            ("x-acs-signature-nonce", "3156853299f313e23d1673dc12e1703d"),
            ("x-acs-version", "2014-05-26"),
            (
                "authorization",
                "ACS3-HMAC-SHA256 Credential=YourAccessKeyId,SignedHeaders=host;x-acs-action;x-acs-content-sha256;x-acs-date;\
                 x-acs-signature-nonce;x-acs-version,Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0",
            ),
        ];
        ParsedRequest::parse(HttpRequest {
            method: "POST".to_owned(),
            path: "/".to_owned(),
            query:
                "ImageId=win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd&RegionId=cn-shanghai"
                    .to_owned(),
            headers: headers
                .into_iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect(),
            body: hyper::body::Bytes::new(),
        })
    }

    #[test]
    fn golden_vector() {
        let request = documented();
        assert_eq!(request.access_key_id(), Some("YourAccessKeyId"));
        let signed_headers = request
            .authorization
            .as_ref()
            .unwrap()
            .signed_headers
            .clone();
        assert_eq!(
            hash(canonical_request(&request, &signed_headers).as_bytes()),
            "7ea06492da5221eba5297e897ce16e55f964061054b7695beedaac1145b1e259"
        );
        assert_eq!(verify(&request, "YourAccessKeySecret"), Ok(()));
        assert!(verify(&request, "YourAccessKeySecret&").is_err());
    }

    #[test]
    fn another_body_is_another_signature() {
        let mut request = documented();
        request.body = hyper::body::Bytes::from_static(b"x");
        let error = verify(&request, "YourAccessKeySecret").unwrap_err();
        assert_eq!(error.code, "SignatureDoesNotMatch");
    }
}
