//! Names and values of a query string or a form body.

use std::{
    borrow::Cow,
    collections::{BTreeMap, btree_map::Entry},
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};

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

/// Parameters by name. One may be a password, hence no `Debug`.
#[derive(Clone, Default)]
pub(crate) struct Parameters {
    values: BTreeMap<String, String>,
    problem: Option<ParameterError>,
}

impl Parameters {
    /// Parses `application/x-www-form-urlencoded` text, which is also a query string's form. What is wrong with it is noted
    /// as [`Parameters::problem`], so that a refusal can still be in the format that was asked for.
    pub(crate) fn parse(text: &[u8]) -> Self {
        let mut parameters = Self::default();
        for pair in text
            .split(|byte| *byte == b'&')
            .filter(|pair| !pair.is_empty())
        {
            let mut parts = pair.splitn(2, |byte| *byte == b'=');
            match (
                decode(parts.next().unwrap_or_default()),
                decode(parts.next().unwrap_or_default()),
            ) {
                (Some(name), Some(value)) => parameters.insert(name, value),
                _ => parameters.problem = Some(ParameterError::NotUtf8),
            }
        }
        parameters
    }

    /// Both together. RPC requests may carry parameters in either, but each only once.
    pub(crate) fn merged(mut self, other: Self) -> Self {
        self.problem = self.problem.or(other.problem);
        for (name, value) in other.values {
            self.insert(name, value);
        }
        self
    }

    fn insert(&mut self, name: String, value: String) {
        match self.values.entry(name) {
            Entry::Vacant(entry) => {
                entry.insert(value);
            }
            Entry::Occupied(entry) => {
                self.problem = Some(ParameterError::Repeated(entry.key().clone()));
            }
        }
    }

    /// Why the request cannot be carried out.
    pub(crate) fn problem(&self) -> Option<&ParameterError> {
        self.problem.as_ref()
    }

    /// A parameter's value; an empty one counts as absent, as the API takes it.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// In byte order of the names, encoded and joined as both signature methods want it, without the parameter `except`.
    pub(crate) fn canonical(&self, except: Option<&str>) -> String {
        // A BTreeMap of Strings iterates in byte order.
        let pairs = self
            .values
            .iter()
            .filter(|(name, _)| Some(name.as_str()) != except);
        let encoded: Vec<_> = pairs
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        encoded.join("&")
    }
}

/// `None` if it is not UTF-8.
fn decode(text: &[u8]) -> Option<String> {
    let spaced: Vec<_> = text
        .iter()
        .map(|byte| if *byte == b'+' { b' ' } else { *byte })
        .collect();
    percent_decode(&spaced)
        .decode_utf8()
        .ok()
        .map(Cow::into_owned)
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
        assert_eq!(decode(encoded.as_bytes()).as_deref(), Some(plain));
    }

    #[rstest]
    #[case("a=1&a=2", ParameterError::Repeated("a".to_owned()))]
    #[case("a=%FF", ParameterError::NotUtf8)]
    fn notes_what_is_wrong(#[case] text: &str, #[case] error: ParameterError) {
        assert_eq!(Parameters::parse(text.as_bytes()).problem(), Some(&error));
    }

    #[test]
    fn canonical_is_sorted_and_encoded_again() {
        let parsed = Parameters::parse(b"b=x+y&Signature=s&B=%2A&a");
        assert_eq!(parsed.canonical(Some("Signature")), "B=%2A&a=&b=x%20y");
        assert_eq!(parsed.get("a"), None);
        assert_eq!(parsed.get("b"), Some("x y"));
    }
}
