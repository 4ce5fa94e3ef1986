//! Texts of answers and files, which may be of another JSON type than documented, and may be secret.

use std::fmt;

use secrecy::SecretString;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

/// Reads a text, a number or a truth value as a text without white space at its ends; anything else, and an empty text, as none.
///
/// To be used with `#[serde(default, deserialize_with = "…")]`.
pub(super) fn loose<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Zeroizing<String>>, D::Error> {
    deserializer.deserialize_any(Loose)
}

/// [`loose`], for what is secret.
pub(super) fn secret<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SecretString>, D::Error> {
    // A box of exactly this size: a string with room to spare would be copied into a smaller one.
    Ok(loose(deserializer)?.map(|text| SecretString::from(text.as_str())))
}

/// [`loose`], for what is not secret.
pub(super) fn plain<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    Ok(loose(deserializer)?.map(|text| text.as_str().to_owned()))
}

struct Loose;

impl<'de> Visitor<'de> for Loose {
    type Value = Option<Zeroizing<String>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        let text = text.trim();
        Ok((!text.is_empty()).then(|| Zeroizing::new(text.to_owned())))
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Self::Value, E> {
        self.visit_str(&Zeroizing::new(text))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(Zeroizing::new(value.to_string())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Some(Zeroizing::new(value.to_string())))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(Zeroizing::new(value.to_string())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Some(Zeroizing::new(value.to_string())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Object {
        #[serde(default, deserialize_with = "plain")]
        x: Option<String>,
    }

    #[rstest]
    #[case(r"{}", None)]
    #[case(r#"{"x": null}"#, None)]
    #[case(r#"{"x": ""}"#, None)]
    #[case(r#"{"x": "a\n"}"#, Some("a"))]
    #[case(r#"{"x": "\ta b "}"#, Some("a b"))]
    #[case(r#"{"x": " \n"}"#, None)]
    #[case(r#"{"x": 3600}"#, Some("3600"))]
    #[case(r#"{"x": -1}"#, Some("-1"))]
    #[case(r#"{"x": 1.5}"#, Some("1.5"))]
    #[case(r#"{"x": true}"#, Some("true"))]
    #[case(r#"{"x": ["a", {"b": 1}]}"#, None)]
    #[case(r#"{"x": {"a": [1]}}"#, None)]
    fn of_every_type(#[case] json: &str, #[case] text: Option<&str>) {
        let object: Result<Object, _> = serde_json::from_str(json);
        assert!(object.is_ok_and(|object| object.x.as_deref() == text));
    }
}
