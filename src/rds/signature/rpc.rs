//! Signature method `HMAC-SHA1`, `SignatureVersion=1.0`, of Alibaba Cloud's RPC APIs.
//!
//! Source: <https://www.alibabacloud.com/help/en/sdk/product-overview/rpc-mechanism>. It signs the query's and the form
//! body's parameters alike, which is what lets a password travel in the body.

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::utf8_percent_encode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use secrecy::ExposeSecret;
use sha1::Sha1;
use zeroize::Zeroizing;

use super::{
    ApiRequest, ENCODED_BYTE, HTTP_METHOD, RESERVED, SignedRequest, Signer, encode_pairs, timestamp,
};

/// Value of the parameter `SignatureMethod`.
const METHOD: &str = "HMAC-SHA1";
/// Value of the parameter `SignatureVersion`.
const VERSION: &str = "1.0";

/// The request with what is secret in the body, the security token included: its own parameters there, and in the query what all
/// requests have. The gateway merges the two before it looks at them; the POST of an official SDK (`@alicloud/pop-core`) has
/// everything in the body.
pub(super) fn signed_request(request: &ApiRequest<'_>, signer: &Signer<'_>) -> SignedRequest {
    let timestamp = timestamp(signer.now);
    let mut query = vec![
        ("Action", request.action),
        ("Version", request.version),
        // XML otherwise.
        ("Format", "JSON"),
        ("AccessKeyId", &signer.credentials.access_key_id),
        ("SignatureMethod", METHOD),
        ("SignatureVersion", VERSION),
        ("SignatureNonce", &signer.nonce.0),
        ("Timestamp", &timestamp),
    ];
    let mut form = request.parameters.to_vec();
    if let Some(token) = &signer.credentials.security_token {
        form.push(("SecurityToken", token.expose_secret()));
    }
    let signature = sign(
        HTTP_METHOD,
        &[query.as_slice(), form.as_slice()].concat(),
        signer.credentials.access_key_secret.expose_secret(),
    );
    query.push(("Signature", &signature));
    SignedRequest {
        query: encode_pairs(&query),
        headers: HeaderMap::from_iter([(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        )]),
        body: encode_pairs(&form),
    }
}

/// The signature of a request for the path `/`: Base64, not yet percent-encoded.
///
/// `parameters` are those of query and form body together, without `Signature`, in any order.
#[expect(clippy::expect_used, reason = "HMAC is defined for keys of any length")]
fn sign(http_method: &str, parameters: &[(&str, &str)], access_key_secret: &str) -> String {
    let mut key = Zeroizing::new(String::with_capacity(access_key_secret.len() + 1));
    key.push_str(access_key_secret);
    key.push('&');
    let mut mac = Hmac::<Sha1>::new_from_slice(key.as_bytes()).expect("HMAC takes any key");
    mac.update(string_to_sign(http_method, parameters).as_bytes());
    BASE64_STANDARD.encode(mac.finalize().into_bytes())
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
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use rstest::rstest;

    use super::{super::definition, *};

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

    /// A text that had grown would have another capacity than the longest that it could have been.
    #[test]
    fn the_string_to_sign_never_grows() {
        let text = string_to_sign("POST", &[("AccountPassword", "Aa1!@#$%^&*()_+-=")]);
        let query = encode_pairs(&[("AccountPassword", "Aa1!@#$%^&*()_+-=")]);
        assert_eq!(text.capacity(), "POST&%2F&".len() + 3 * query.len());
    }

    /// The same, written from the documentation's words.
    fn from_the_definition(
        http_method: &str,
        parameters: &BTreeMap<String, String>,
        secret: &str,
    ) -> String {
        let text = format!(
            "{http_method}&{}&{}",
            definition::encode("/"),
            definition::encode(&definition::query(parameters))
        );
        BASE64_STANDARD.encode(definition::hmac::<Sha1>(
            format!("{secret}&").into_bytes(),
            text.as_bytes(),
        ))
    }

    #[rstest]
    #[case::permanent(None)]
    #[case::temporary(Some("token/+="))]
    fn only_the_body_holds_what_is_asked_and_secret(#[case] security_token: Option<&str>) {
        let credentials = definition::credentials("testid", "testsecret", security_token);
        let request = ApiRequest {
            host: "rds.aliyuncs.com",
            action: "ResetAccountPassword",
            version: "2014-08-15",
            parameters: &[("AccountName", "app"), ("AccountPassword", "Aa1!+ %")],
        };
        let signed = signed_request(&request, &definition::signer(&credentials));

        let token = security_token.map_or("", |_| "&SecurityToken=token%2F%2B%3D");
        assert_eq!(
            *signed.body,
            format!("AccountName=app&AccountPassword=Aa1%21%2B%20%25{token}")
        );
        let (query, signature) = signed.query.split_once("&Signature=").unwrap();
        assert_eq!(
            query,
            format!(
                "Action=ResetAccountPassword&Version=2014-08-15&Format=JSON&AccessKeyId=testid\
                 &SignatureMethod=HMAC-SHA1&SignatureVersion=1.0\
                 &SignatureNonce=3156853299f313e23d1673dc12e1703d\
                 &Timestamp=2023-10-26T10%3A22%3A32Z"
            )
        );
        let everything = definition::decode(&format!("{query}&{}", *signed.body));
        assert_eq!(
            signature,
            definition::encode(&from_the_definition("POST", &everything, "testsecret"))
        );
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
