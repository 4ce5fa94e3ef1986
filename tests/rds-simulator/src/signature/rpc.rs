//! RPC signature with HMAC-SHA1 (`SignatureVersion=1.0`):
//! <https://www.alibabacloud.com/help/en/sdk/product-overview/rpc-mechanism>.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

use super::does_not_match;
use crate::{
    answer::ApiError,
    parameters::{Parameters, encode},
    request::ParsedRequest,
};

/// Checks the parameter `Signature`.
pub(crate) fn verify(request: &ParsedRequest, secret: &str) -> Result<(), ApiError> {
    let method = request.required("SignatureMethod")?;
    let version = request.required("SignatureVersion")?;
    let sent = request.required("Signature")?;
    if method != "HMAC-SHA1" || version != "1.0" {
        return Err(ApiError::new(
            400,
            "InvalidSignatureMethod",
            "Specified signature method is not valid.",
        ));
    }
    let string_to_sign = string_to_sign(&request.method, &request.parameters);
    if sent == sign(&string_to_sign, secret) {
        Ok(())
    } else {
        Err(does_not_match(&string_to_sign))
    }
}

fn string_to_sign(method: &str, parameters: &Parameters) -> String {
    format!(
        "{method}&{}&{}",
        encode("/"),
        encode(&parameters.canonical(Some("Signature")))
    )
}

fn sign(string_to_sign: &str, secret: &str) -> String {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    let mut mac = Hmac::<Sha1>::new_from_slice(format!("{secret}&").as_bytes())
        .expect("any key length is valid");
    mac.update(string_to_sign.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const DEDICATED_HOSTS: &str = "AccessKeyId=testid&Action=DescribeDedicatedHosts&Format=JSON&RegionId=cn-beijing\
        &SignatureMethod=HMAC-SHA1&SignatureNonce=edb2b34af0af9a6d14deaf7c1a5315eb&SignatureVersion=1.0\
        &Timestamp=2023-03-13T08%3A34%3A30Z&Version=2014-05-26";
    const SEND_SMS: &str = "AccessKeyId=testId&Action=SendSms&Format=XML&OutId=123&PhoneNumbers=15300000001&RegionId=cn-hangzhou\
        &SignName=阿里云短信测试专用&SignatureMethod=HMAC-SHA1&SignatureNonce=45e25e9b-0a6f-4070-8c85-2956eda1b466&SignatureVersion=1.0\
        &TemplateCode=SMS_71390007&TemplateParam={\"customer\":\"test\"}&Timestamp=2017-07-12T02:42:19Z&Version=2017-05-25";
    const DESCRIBE_REGIONS: &str = "Timestamp=2016-02-23T12:46:24Z&Format=XML&AccessKeyId=testid&Action=DescribeRegions\
        &SignatureMethod=HMAC-SHA1&SignatureNonce=3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf&Version=2014-05-26&SignatureVersion=1.0";
    /// Every special character that RDS takes, and those that canonicalisation treats apart.
    const SPECIAL: &str = "AccessKeyId=testid&AccountName=test1&AccountPassword=Aa1!%40%23$%25^%26*()_%2B-%3D ~\
        &Action=ResetAccountPassword&DBInstanceId=rm-uf6wjk5xxxxxxx&Format=JSON&SignatureMethod=HMAC-SHA1\
        &SignatureNonce=3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf&SignatureVersion=1.0&Timestamp=2016-02-23T12:46:24Z&Version=2014-08-15";

    #[rstest]
    #[case::classic("GET", DESCRIBE_REGIONS, "testsecret", "OLeaidS1JvxuMvnyHOwuJ+uX5qY=")]
    #[case::current_page("GET", DEDICATED_HOSTS, "testsecret", "9NaGiOspFP5UPcwX8Iwt2YJXXuk=")]
    #[case::non_ascii("GET", SEND_SMS, "testSecret", "zJDF+Lrzhj/ThnlvIToysFRq6t4=")]
    #[case::sdk_unit_test("", "test=ok", "accessKeySecret", "jHx/oHoHNrbVfhncHEvPdHXZwHU=")]
    #[case::special_characters("POST", SPECIAL, "testsecret", "BF3TrxEfoBuuraD+p070lkyzYU0=")]
    fn golden_vectors(
        #[case] method: &str,
        #[case] query: &str,
        #[case] secret: &str,
        #[case] signature: &str,
    ) {
        let parameters = Parameters::parse(query.as_bytes());
        assert_eq!(
            sign(&string_to_sign(method, &parameters), secret),
            signature
        );
    }

    #[test]
    fn golden_string_to_sign() {
        let parameters = Parameters::parse(DESCRIBE_REGIONS.as_bytes());
        assert_eq!(
            string_to_sign("GET", &parameters),
            "GET&%2F&AccessKeyId%3Dtestid%26Action%3DDescribeRegions%26Format%3DXML%26SignatureMethod%3DHMAC-SHA1\
             %26SignatureNonce%3D3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf%26SignatureVersion%3D1.0\
             %26Timestamp%3D2016-02-23T12%253A46%253A24Z%26Version%3D2014-05-26"
        );
    }
}
