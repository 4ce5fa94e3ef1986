//! How a request is signed, which also decides in which part of it everything travels.
//!
//! | | [`HmacSha1`](SignatureMethod::HmacSha1), `1.0` | [`Acs3HmacSha256`](SignatureMethod::Acs3HmacSha256), `acs3` |
//! | --- | --- | --- |
//! | parameters of the action, such as a password | form body | query |
//! | action, version, time, nonce | query | headers `x-acs-*` |
//! | `AccessKey` id | query | header `Authorization` |
//! | security token of temporary credentials | form body | header `x-acs-security-token` |
//! | signature | query | header `Authorization` |
//!
//! TLS protects all of these on the way, the URL's query too. But a URL is what servers and proxies write into their
//! logs, so a password belongs into the body, and `1.0` is the default although its documentation calls it
//! discontinued: the official Terraform provider sends RDS' passwords this way. `acs3` is what the official SDKs of
//! today use. It signs a hash of the body, and RDS declares its parameters `in: query`; that it would take them from
//! the body is documented nowhere, so they go where the SDKs put them.
//!
//! Everything here is pure: time and nonce come from the caller.

mod acs3;
mod rpc;

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::HeaderMap;
use thiserror::Error;
use zeroize::Zeroizing;

use super::credentials::Credentials;

/// All requests are sent with it.
const HTTP_METHOD: &str = "POST";

/// Everything but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A byte becomes three characters at most: `%XY`.
const ENCODED_BYTE: usize = 3;

/// How requests are signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SignatureMethod {
    /// `SignatureMethod=HMAC-SHA1`, `SignatureVersion=1.0`: keeps passwords out of URLs.
    #[default]
    HmacSha1,
    /// `ACS3-HMAC-SHA256`, its successor: has passwords in the query of the URL.
    Acs3HmacSha256,
}

/// A signature method that is neither `1.0` nor `acs3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("write \"1.0\" or \"acs3\"")]
pub struct SignatureMethodError;

impl FromStr for SignatureMethod {
    type Err = SignatureMethodError;

    fn from_str(text: &str) -> Result<Self, SignatureMethodError> {
        match text {
            "1.0" => Ok(Self::HmacSha1),
            "acs3" => Ok(Self::Acs3HmacSha256),
            _ => Err(SignatureMethodError),
        }
    }
}

impl fmt::Display for SignatureMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HmacSha1 => "1.0",
            Self::Acs3HmacSha256 => "acs3",
        })
    }
}

/// Makes a request unique: the API refuses one that it has seen.
pub struct Nonce(String);

impl Nonce {
    /// From random bytes, fresh for each send.
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(format!("{:032x}", u128::from_be_bytes(bytes)))
    }
}

/// With what, and as of when, one request is signed.
pub struct Signer<'a> {
    /// Whose request it is.
    pub credentials: &'a Credentials,
    /// The time of sending; the API takes 15 minutes of difference.
    pub now: Timestamp,
    /// Not used before.
    pub nonce: Nonce,
}

/// What an RPC API is asked, before it is signed: a POST to the path `/`.
pub struct ApiRequest<'a> {
    /// Host, and port unless it is the scheme's own, as in the header `Host`.
    pub host: &'a str,
    /// Name of the action.
    pub action: &'a str,
    /// The API's version, a date.
    pub version: &'a str,
    /// The action's own parameters, each name once.
    pub parameters: &'a [(&'a str, &'a str)],
}

/// What to send, to the byte: anything that is changed or added makes the signature wrong. It may hold a password
/// anywhere, hence no `Debug`.
pub struct SignedRequest {
    /// The URL's query, percent-encoded.
    pub query: Zeroizing<String>,
    /// The signed headers, and those that describe the body.
    pub headers: HeaderMap,
    /// The body.
    pub body: Zeroizing<String>,
}

/// The `AccessKey`'s id or the security token cannot be sent in an HTTP header, where ACS3 has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{}", Self::EXPLANATION)]
pub struct MalformedCredentials;

impl MalformedCredentials {
    /// What it means and what to do.
    pub const EXPLANATION: &str = "the AccessKey's ID or the security token has a character that neither can have, such as a newline; correct it at its source";
}

impl SignatureMethod {
    /// Signs a request.
    ///
    /// # Errors
    /// If the credentials cannot be sent.
    pub fn sign(
        self,
        request: &ApiRequest<'_>,
        signer: &Signer<'_>,
    ) -> Result<SignedRequest, MalformedCredentials> {
        match self {
            Self::HmacSha1 => Ok(rpc::signed_request(request, signer)),
            Self::Acs3HmacSha256 => acs3::signed_request(request, signer),
        }
    }
}

/// `name=value` pairs joined by `&`, percent-encoded as RFC 3986 has it: fit for a query and for a body of the type
/// `application/x-www-form-urlencoded`.
#[must_use]
pub fn encode_pairs(parameters: &[(&str, &str)]) -> Zeroizing<String> {
    let longest = parameters
        .iter()
        .map(|(name, value)| ENCODED_BYTE * (name.len() + value.len()) + 2)
        .sum();
    // Reserved in one piece: a string that grows leaves copies of its secrets behind.
    let mut pairs = Zeroizing::new(String::with_capacity(longest));
    for (name, value) in parameters {
        if !pairs.is_empty() {
            pairs.push('&');
        }
        pairs.extend(utf8_percent_encode(name, RESERVED));
        pairs.push('=');
        pairs.extend(utf8_percent_encode(value, RESERVED));
    }
    pairs
}

/// Both methods take whole seconds in UTC.
fn timestamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The steps that both methods share, written byte by byte from the documents that define them.
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod definition {
    use std::collections::BTreeMap;

    use secrecy::SecretString;
    use sha1::{Digest, digest::block_api::BlockSizeUser};

    use super::*;

    /// RFC 3986, section 2.
    pub(super) fn encode(text: &str) -> String {
        text.bytes()
            .map(|byte| match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    char::from(byte).to_string()
                }
                other => format!("%{other:02X}"),
            })
            .collect()
    }

    /// Sorted by name, encoded and joined.
    pub(super) fn query(parameters: &BTreeMap<String, String>) -> String {
        let pairs: Vec<String> = parameters
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        pairs.join("&")
    }

    /// The reverse of [`query`], in any order.
    pub(super) fn decode(pairs: &str) -> BTreeMap<String, String> {
        let decode = |text| {
            let text = percent_encoding::percent_decode_str(text);
            text.decode_utf8().unwrap().into_owned()
        };
        pairs
            .split('&')
            .map(|pair| pair.split_once('=').unwrap())
            .map(|(name, value)| (decode(name), decode(value)))
            .collect()
    }

    /// RFC 2104.
    pub(super) fn hmac<D: Digest + BlockSizeUser>(mut key: Vec<u8>, text: &[u8]) -> Vec<u8> {
        let hash = |pad: u8, key: &[u8], text: &[u8]| {
            let pad: Vec<u8> = key.iter().map(|byte| byte ^ pad).collect();
            D::digest([pad.as_slice(), text].concat()).to_vec()
        };
        if key.len() > D::block_size() {
            key = D::digest(&key).to_vec();
        }
        key.resize(D::block_size(), 0);
        let inner = hash(0x36, &key, text);
        hash(0x5c, &key, &inner)
    }

    pub(super) fn credentials(id: &str, secret: &str, token: Option<&str>) -> Credentials {
        Credentials {
            access_key_id: id.to_owned(),
            access_key_secret: SecretString::from(secret),
            security_token: token.map(SecretString::from),
        }
    }

    /// Time (but for its fraction of a second) and nonce of the example in ACS3's documentation.
    pub(super) fn signer(credentials: &Credentials) -> Signer<'_> {
        Signer {
            credentials,
            now: "2023-10-26T10:22:32.9Z".parse().unwrap(),
            nonce: Nonce::from_random(0x3156_8532_99f3_13e2_3d16_73dc_12e1_703d_u128.to_be_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("1.0", Ok(SignatureMethod::HmacSha1))]
    #[case("acs3", Ok(SignatureMethod::Acs3HmacSha256))]
    #[case("", Err(SignatureMethodError))]
    #[case("ACS3", Err(SignatureMethodError))]
    #[case("1", Err(SignatureMethodError))]
    fn names(#[case] text: &str, #[case] method: Result<SignatureMethod, SignatureMethodError>) {
        assert_eq!(text.parse(), method);
        if let Ok(method) = method {
            assert_eq!(method.to_string(), text);
        }
    }

    proptest! {
        /// With every byte encoded, all that is reserved is used, but for the `&` that the first pair does not have. A text that
        /// had grown would have doubled.
        #[test]
        fn pairs_never_grow(names_and_values in proptest::collection::vec("[!/%é]{1,9}", 2..9)) {
            let pairs: Vec<_> = names_and_values
                .windows(2)
                .map(|both| (both[0].as_str(), both[1].as_str()))
                .collect();
            let encoded = encode_pairs(&pairs);
            prop_assert_eq!(encoded.capacity(), encoded.len() + 1);
        }
    }
}
