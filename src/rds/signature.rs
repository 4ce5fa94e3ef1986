//! Signature method `HMAC-SHA1`, `SignatureVersion=1.0`, of Alibaba Cloud's RPC APIs.
//!
//! Source: <https://www.alibabacloud.com/help/en/sdk/product-overview/rpc-mechanism>. It signs the query's and the form
//! body's parameters alike, which is what lets a password travel in the body. (`ACS3-HMAC-SHA256`, its successor,
//! signs a hash of the body, and is not documented to take query parameters from there.)

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha1::Sha1;
use zeroize::Zeroizing;

/// Value of the parameter `SignatureMethod`.
pub const METHOD: &str = "HMAC-SHA1";
/// Value of the parameter `SignatureVersion`.
pub const VERSION: &str = "1.0";

/// Everything but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A byte becomes three characters at most: `%XY`.
const ENCODED_BYTE: usize = 3;

/// The signature of a request for the path `/`: Base64, not yet percent-encoded.
///
/// `parameters` are those of query and form body together, without `Signature`, in any order.
#[must_use]
#[expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "HMAC is defined for keys of any length"
)]
pub fn sign(http_method: &str, parameters: &[(&str, &str)], access_key_secret: &str) -> String {
    let mut key = Zeroizing::new(String::with_capacity(access_key_secret.len() + 1));
    key.push_str(access_key_secret);
    key.push('&');
    let mut mac = Hmac::<Sha1>::new_from_slice(key.as_bytes()).expect("HMAC takes any key");
    mac.update(string_to_sign(http_method, parameters).as_bytes());
    BASE64_STANDARD.encode(mac.finalize().into_bytes())
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

fn string_to_sign(http_method: &str, parameters: &[(&str, &str)]) -> Zeroizing<String> {
    let mut sorted = parameters.to_vec();
    sorted.sort_unstable();
    let canonical_query = encode_pairs(&sorted);
    let longest = http_method.len() + "&%2F&".len() + ENCODED_BYTE * canonical_query.len();
    let mut text = Zeroizing::new(String::with_capacity(longest));
    text.push_str(http_method);
    text.push_str("&%2F&");
    text.extend(utf8_percent_encode(&canonical_query, RESERVED));
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use rstest::rstest;
    use sha1::Digest;

    use super::*;

    /// Published examples, and one of our own (the last) with every special character in a POST.
    #[rstest]
    #[case::classic_example(
        "GET",
        "testsecret",
        &[
            ("AccessKeyId", "testid"),
            ("Action", "DescribeRegions"),
            ("Format", "XML"),
            ("SignatureMethod", "HMAC-SHA1"),
            ("SignatureNonce", "3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf"),
            ("SignatureVersion", "1.0"),
            ("Timestamp", "2016-02-23T12:46:24Z"),
            ("Version", "2014-05-26"),
        ],
        "OLeaidS1JvxuMvnyHOwuJ+uX5qY="
    )]
    #[case::current_documentation(
        "GET",
        "testsecret",
        &[
            ("AccessKeyId", "testid"),
            ("Action", "DescribeDedicatedHosts"),
            ("Format", "JSON"),
            ("RegionId", "cn-beijing"),
            ("SignatureMethod", "HMAC-SHA1"),
            ("SignatureNonce", "edb2b34af0af9a6d14deaf7c1a5315eb"),
            ("SignatureVersion", "1.0"),
            ("Timestamp", "2023-03-13T08:34:30Z"),
            ("Version", "2014-05-26"),
        ],
        "9NaGiOspFP5UPcwX8Iwt2YJXXuk="
    )]
    #[case::not_ascii(
        "GET",
        "testSecret",
        &[
            ("AccessKeyId", "testId"),
            ("Action", "SendSms"),
            ("Format", "XML"),
            ("OutId", "123"),
            ("PhoneNumbers", "15300000001"),
            ("RegionId", "cn-hangzhou"),
            ("SignName", "阿里云短信测试专用"),
            ("SignatureMethod", "HMAC-SHA1"),
            ("SignatureNonce", "45e25e9b-0a6f-4070-8c85-2956eda1b466"),
            ("SignatureVersion", "1.0"),
            ("TemplateCode", "SMS_71390007"),
            ("TemplateParam", r#"{"customer":"test"}"#),
            ("Timestamp", "2017-07-12T02:42:19Z"),
            ("Version", "2017-05-25"),
        ],
        "zJDF+Lrzhj/ThnlvIToysFRq6t4="
    )]
    #[case::official_sdk(
        "",
        "accessKeySecret",
        &[("test", "ok")],
        "jHx/oHoHNrbVfhncHEvPdHXZwHU="
    )]
    #[case::every_special_character(
        "POST",
        "testsecret",
        &[
            ("AccessKeyId", "testid"),
            ("Action", "ResetAccountPassword"),
            ("Version", "2014-08-15"),
            ("Format", "JSON"),
            ("SignatureMethod", "HMAC-SHA1"),
            ("SignatureVersion", "1.0"),
            ("SignatureNonce", "3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf"),
            ("Timestamp", "2016-02-23T12:46:24Z"),
            ("DBInstanceId", "rm-uf6wjk5xxxxxxx"),
            ("AccountName", "test1"),
            ("AccountPassword", "Aa1!@#$%^&*()_+-= ~"),
        ],
        "BF3TrxEfoBuuraD+p070lkyzYU0="
    )]
    fn matches_the_published_examples(
        #[case] http_method: &str,
        #[case] secret: &str,
        #[case] parameters: &[(&str, &str)],
        #[case] expected: &str,
    ) {
        assert_eq!(sign(http_method, parameters, secret), expected);
        let mut reversed = parameters.to_vec();
        reversed.reverse();
        assert_eq!(
            sign(http_method, &reversed, secret),
            expected,
            "order must not matter"
        );
    }

    #[test]
    fn the_string_to_sign_is_encoded_twice() {
        let text = string_to_sign(
            "GET",
            &[("Timestamp", "12:46"), ("Empty", ""), ("a", "* /~")],
        );
        assert_eq!(
            *text,
            "GET&%2F&Empty%3D%26Timestamp%3D12%253A46%26a%3D%252A%2520%252F~"
        );
    }

    /// The same, written from the documentation's words byte by byte, with HMAC from its definition (RFC 2104).
    fn from_the_definition(
        http_method: &str,
        parameters: &BTreeMap<String, String>,
        secret: &str,
    ) -> String {
        fn encode(text: &str) -> String {
            text.bytes()
                .map(|byte| match byte {
                    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                        char::from(byte).to_string()
                    }
                    other => format!("%{other:02X}"),
                })
                .collect()
        }
        fn sha1(parts: [&[u8]; 2]) -> Vec<u8> {
            Sha1::digest(parts.concat()).to_vec()
        }
        let query: Vec<String> = parameters
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        let text = format!("{http_method}&{}&{}", encode("/"), encode(&query.join("&")));
        let mut key = format!("{secret}&").into_bytes();
        if key.len() > 64 {
            key = Sha1::digest(&key).to_vec();
        }
        key.resize(64, 0);
        let inner: Vec<u8> = key.iter().map(|byte| byte ^ 0x36).collect();
        let outer: Vec<u8> = key.iter().map(|byte| byte ^ 0x5c).collect();
        BASE64_STANDARD.encode(sha1([&outer, &sha1([&inner, text.as_bytes()])]))
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(
            http_method in "GET|POST",
            parameters in proptest::collection::btree_map(any::<String>(), any::<String>(), 0..8),
            secret in any::<String>(),
        ) {
            let borrowed: Vec<(&str, &str)> = parameters
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            prop_assert_eq!(
                sign(&http_method, &borrowed, &secret),
                from_the_definition(&http_method, &parameters, &secret)
            );
        }
    }
}
