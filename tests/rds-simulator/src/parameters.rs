//! Names and values of a query string or a form body.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Everything but RFC 3986's unreserved characters, which is what both signature methods encode.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Percent-encodes as both signature methods want it: upper-case hex of the UTF-8 bytes, a space as `%20`.
pub(crate) fn encode(value: &str) -> String {
    utf8_percent_encode(value, RESERVED).to_string()
}

/// Why a query string or form body cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParameterError {
    #[error("the parameter {0} is given more than once")]
    Repeated(String),
    #[error("a parameter is not valid UTF-8 after percent-decoding")]
    NotUtf8,
}

/// Parameters by name; each name occurs once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// Parses `application/x-www-form-urlencoded` text, which is also a query string's form.
    pub(crate) fn parse(text: &str) -> Result<Self, ParameterError> {
        let mut parameters = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            parameters.insert(decode(name)?, decode(value)?)?;
        }
        Ok(parameters)
    }

    /// Both together. RPC requests may carry parameters in either, but each only once.
    pub(crate) fn merged(&self, other: &Self) -> Result<Self, ParameterError> {
        let mut all = self.clone();
        for (name, value) in &other.0 {
            all.insert(name.clone(), value.clone())?;
        }
        Ok(all)
    }

    fn insert(&mut self, name: String, value: String) -> Result<(), ParameterError> {
        if self.0.contains_key(&name) {
            return Err(ParameterError::Repeated(name));
        }
        self.0.insert(name, value);
        Ok(())
    }

    /// A parameter's value; an empty one counts as absent, as the API takes it.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// In byte order of the names, encoded and joined as both signature methods want it, without the parameter `except`.
    pub(crate) fn canonical(&self, except: Option<&str>) -> String {
        // A BTreeMap of Strings iterates in byte order.
        let pairs = self
            .0
            .iter()
            .filter(|(name, _)| Some(name.as_str()) != except);
        let encoded: Vec<_> = pairs
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        encoded.join("&")
    }
}

fn decode(text: &str) -> Result<String, ParameterError> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced)
        .decode_utf8()
        .map_err(|_| ParameterError::NotUtf8)?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("azAZ09-_.~", "azAZ09-_.~")]
    #[case(" *+/", "%20%2A%2B%2F")]
    #[case("阿", "%E9%98%BF")]
    #[case("!'()", "%21%27%28%29")]
    fn encodes_as_rfc_3986(#[case] plain: &str, #[case] encoded: &str) {
        assert_eq!(encode(plain), encoded);
        assert_eq!(decode(encoded), Ok(plain.to_owned()));
    }

    #[rstest]
    #[case("a=1&a=2", ParameterError::Repeated("a".to_owned()))]
    #[case("a=%FF", ParameterError::NotUtf8)]
    fn refuses(#[case] text: &str, #[case] error: ParameterError) {
        assert_eq!(Parameters::parse(text), Err(error));
    }

    #[test]
    fn canonical_is_sorted_and_encoded_again() {
        let parsed = Parameters::parse("b=x+y&Signature=s&B=%2A&a").unwrap_or_default();
        assert_eq!(parsed.canonical(Some("Signature")), "B=%2A&a=&b=x%20y");
        assert_eq!(parsed.get("a"), None);
        assert_eq!(parsed.get("b"), Some("x y"));
    }
}
