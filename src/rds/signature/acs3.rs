//! Signature method `ACS3-HMAC-SHA256` (V3) of Alibaba Cloud's APIs.
//!
//! Source: <https://www.alibabacloud.com/help/en/sdk/product-overview/v3-request-structure-and-signature>. It signs the
//! query, the headers and a hash of the body; the body is empty here, as in the official SDKs' requests to RDS.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{
    ApiRequest, HTTP_METHOD, MalformedCredentials, SignedRequest, Signer, encode_pairs, timestamp,
};

const ALGORITHM: &str = "ACS3-HMAC-SHA256";

/// White space around a header's value, which is not part of the value (RFC 9110, section 5.5).
const OPTIONAL_WHITE_SPACE: [char; 2] = [' ', '\t'];

/// The request with its own parameters in the query, and with everything that all requests have in headers.
pub(super) fn signed_request(
    request: &ApiRequest<'_>,
    signer: &Signer<'_>,
) -> Result<SignedRequest, MalformedCredentials> {
    let unsigned = Unsigned::new(request, signer);
    let authorization = format!(
        "{ALGORITHM} Credential={},SignedHeaders={},Signature={}",
        signer.credentials.access_key_id,
        unsigned.header_names(),
        signature(
            &unsigned.canonical_request(),
            signer.credentials.access_key_secret.expose_secret()
        ),
    );
    let mut headers = HeaderMap::new();
    for (name, value) in &unsigned.headers {
        headers.insert(HeaderName::from_static(name), header_value(value)?);
    }
    headers.insert(AUTHORIZATION, header_value(&authorization)?);
    // RFC 9110, section 8.6, wants it with a POST. The HTTP library leaves it out where the body is empty.
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    Ok(SignedRequest {
        query: unsigned.query,
        headers,
        body: Zeroizing::default(),
    })
}

/// What is signed. It may hold a password, hence no `Debug`.
struct Unsigned {
    query: Zeroizing<String>,
    /// In the order of their names.
    headers: Vec<(&'static str, Zeroizing<String>)>,
}

impl Unsigned {
    fn new(request: &ApiRequest<'_>, signer: &Signer<'_>) -> Self {
        let mut parameters = request.parameters.to_vec();
        parameters.sort_unstable();
        let (body_hash, timestamp) = (hash(""), timestamp(signer.now));
        let mut headers = vec![
            ("host", request.host),
            ("x-acs-action", request.action),
            ("x-acs-content-sha256", &body_hash),
            ("x-acs-date", &timestamp),
            ("x-acs-signature-nonce", &signer.nonce.0),
            ("x-acs-version", request.version),
        ];
        if let Some(token) = &signer.credentials.security_token {
            // The documentation has the token alone, the official SDKs send both.
            headers.push(("x-acs-accesskey-id", &signer.credentials.access_key_id));
            headers.push(("x-acs-security-token", token.expose_secret()));
        }
        headers.sort_unstable();
        Self {
            query: encode_pairs(&parameters),
            headers: headers
                .into_iter()
                .map(|(name, value)| (name, value.trim_matches(OPTIONAL_WHITE_SPACE)))
                .map(|(name, value)| (name, Zeroizing::new(value.to_owned())))
                .collect(),
        }
    }

    fn header_names(&self) -> String {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| *name).collect();
        names.join(";")
    }

    fn canonical_request(&self) -> Zeroizing<String> {
        let (names, body_hash) = (self.header_names(), hash(""));
        let headers = self
            .headers
            .iter()
            .flat_map(|(name, value)| [*name, ":", value, "\n"]);
        let before = [HTTP_METHOD, "\n/\n", &self.query, "\n"];
        let after = ["\n", &names, "\n", &body_hash];
        let pieces: Vec<&str> = before.into_iter().chain(headers).chain(after).collect();
        Zeroizing::new(pieces.concat())
    }
}

/// Unlike that of `1.0`, the key is the secret as it is.
#[expect(clippy::expect_used, reason = "HMAC is defined for keys of any length")]
fn signature(canonical_request: &str, access_key_secret: &str) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(access_key_secret.as_bytes()).expect("HMAC takes any key");
    mac.update(format!("{ALGORITHM}\n{}", hash(canonical_request)).as_bytes());
    hexadecimal(&mac.finalize().into_bytes())
}

fn hash(text: &str) -> String {
    hexadecimal(&Sha256::digest(text))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn header_value(text: &str) -> Result<HeaderValue, MalformedCredentials> {
    // Nothing else in a request comes from outside unchecked.
    let mut value = HeaderValue::from_str(text).map_err(|_| MalformedCredentials)?;
    // Hidden in the HTTP library's own Debug.
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use rstest::rstest;

    use super::{super::definition, *};

    /// The documentation's example.
    const RUN_INSTANCES: ApiRequest<'static> = ApiRequest {
        host: "ecs.cn-shanghai.aliyuncs.com",
        action: "RunInstances",
        version: "2014-05-26",
        parameters: &[
            ("RegionId", "cn-shanghai"),
            (
                "ImageId",
                "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd",
            ),
        ],
    };

    fn header<'a>(signed: &'a SignedRequest, name: &str) -> &'a str {
        signed.headers.get(name).unwrap().to_str().unwrap()
    }

    #[test]
    fn matches_the_published_example() {
        let credentials = definition::credentials("YourAccessKeyId", "YourAccessKeySecret", None);
        let signer = definition::signer(&credentials);
        let unsigned = Unsigned::new(&RUN_INSTANCES, &signer);
        assert_eq!(
            hash(&unsigned.canonical_request()),
            "7ea06492da5221eba5297e897ce16e55f964061054b7695beedaac1145b1e259"
        );
        let request = signed_request(&RUN_INSTANCES, &signer).unwrap();
        assert_eq!(
            *request.query,
            "ImageId=win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd&RegionId=cn-shanghai"
        );
        assert_eq!(*request.body, "");
        let expected = [
            (
                "authorization",
                "ACS3-HMAC-SHA256 Credential=YourAccessKeyId,\
                 SignedHeaders=host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version,\
                 Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0",
            ),
            ("content-length", "0"),
            ("host", "ecs.cn-shanghai.aliyuncs.com"),
            ("x-acs-action", "RunInstances"),
            (
                "x-acs-content-sha256",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
            ("x-acs-date", "2023-10-26T10:22:32Z"),
            ("x-acs-signature-nonce", "3156853299f313e23d1673dc12e1703d"),
            ("x-acs-version", "2014-05-26"),
        ];
        let sent: BTreeMap<_, _> = request
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(sent, BTreeMap::from(expected));
        assert!(!format!("{:?}", request.headers).contains("06563a9e"));
    }

    #[test]
    fn a_security_token_is_sent_and_signed() {
        let credentials = definition::credentials("STS.id", "secret", Some("token/+="));
        let signed = signed_request(&RUN_INSTANCES, &definition::signer(&credentials)).unwrap();
        assert_eq!(header(&signed, "x-acs-security-token"), "token/+=");
        assert_eq!(header(&signed, "x-acs-accesskey-id"), "STS.id");
        let authorization = header(&signed, "authorization");
        assert!(authorization.contains(
            "SignedHeaders=host;x-acs-accesskey-id;x-acs-action;x-acs-content-sha256;x-acs-date;\
             x-acs-security-token;x-acs-signature-nonce;x-acs-version,"
        ));
        assert!(!format!("{:?}", signed.headers).contains("token/+="));
    }

    #[rstest]
    #[case::id("new\nline", None)]
    #[case::token("id", Some("new\nline"))]
    #[case::control_character("id", Some("\u{7f}"))]
    fn what_no_header_can_carry_is_refused(#[case] id: &str, #[case] token: Option<&str>) {
        let credentials = definition::credentials(id, "secret", token);
        let signed = signed_request(&RUN_INSTANCES, &definition::signer(&credentials));
        assert_eq!(signed.err(), Some(MalformedCredentials));
    }

    /// `Authorization`, written from the documentation's words.
    fn from_the_definition(
        parameters: &BTreeMap<String, String>,
        (id, secret, token): (&str, &str, Option<&str>),
    ) -> String {
        let hex = |bytes: &[u8]| -> String {
            bytes
                .iter()
                .flat_map(|byte| [byte >> 4, byte & 15])
                .map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
                .collect()
        };
        let of_nothing = hex(&Sha256::digest(""));
        let mut headers = BTreeMap::from([
            ("x-acs-version", "2014-08-15"),
            ("x-acs-date", "2023-10-26T10:22:32Z"),
            ("x-acs-action", "ResetAccountPassword"),
            ("x-acs-signature-nonce", "3156853299f313e23d1673dc12e1703d"),
            ("x-acs-content-sha256", &of_nothing),
            ("host", "127.0.0.1:8443"),
        ]);
        if let Some(token) = token {
            headers.extend([("x-acs-security-token", token), ("x-acs-accesskey-id", id)]);
        }
        let names = headers.keys().copied().collect::<Vec<_>>().join(";");
        let lines: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}:{}\n", value.trim()))
            .collect();
        let lines = lines.concat();
        let query = definition::query(parameters);
        let canonical = format!("POST\n/\n{query}\n{lines}\n{names}\n{of_nothing}");
        let text = format!("ACS3-HMAC-SHA256\n{}", hex(&Sha256::digest(canonical)));
        let signature = hex(&definition::hmac::<Sha256>(
            secret.as_bytes().to_vec(),
            text.as_bytes(),
        ));
        format!("ACS3-HMAC-SHA256 Credential={id},SignedHeaders={names},Signature={signature}")
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(
            parameters in proptest::collection::btree_map(any::<String>(), any::<String>(), 0..8),
            id in "[A-Za-z0-9.]{1,30}",
            secret in any::<String>(),
            token in proptest::option::of("[ -~]{1,200}"),
        ) {
            // In another order than that of their names.
            let borrowed: Vec<(&str, &str)> = parameters
                .iter()
                .rev()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            let request = ApiRequest {
                host: "127.0.0.1:8443",
                action: "ResetAccountPassword",
                version: "2014-08-15",
                parameters: &borrowed,
            };
            let credentials = definition::credentials(&id, &secret, token.as_deref());
            let signed = signed_request(&request, &definition::signer(&credentials)).unwrap();
            let key = (id.as_str(), secret.as_str(), token.as_deref());
            prop_assert_eq!(
                header(&signed, "authorization"),
                from_the_definition(&parameters, key)
            );
            prop_assert_eq!(&*signed.query, &definition::query(&parameters));
        }
    }
}
