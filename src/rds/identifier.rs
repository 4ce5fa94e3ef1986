//! The two things of an error answer that may be shown: its code and its request id.
//!
//! Everything that the cloud writes is suspect: messages echo the string to sign, password included, and even a code
//! can be free text (`ResetAccountPassword` documents one as `%s`). So an identifier is shown only if it looks like
//! one and holds nothing of what the request kept secret.

use std::fmt;

use base64::{
    Engine,
    prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};
use zeroize::Zeroizing;

use super::classification::{self, OTHER};

/// Longer texts are no identifiers.
const LONGEST: usize = 64;

/// The error code of an answer.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Code {
    text: Option<String>,
    label: &'static str,
}

impl Code {
    /// `text` is as the cloud wrote it.
    pub(crate) fn new(text: &str, secrets: &Secrets<'_>) -> Self {
        let looks_right = is_short(text)
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
        Self {
            text: (looks_right && !secrets.are_in(text)).then(|| text.to_owned()),
            label: classification::label_of(text),
        }
    }

    /// For tests of modules that cannot have an answer of the cloud.
    #[cfg(test)]
    pub(crate) fn for_test(text: &str) -> Self {
        Self::new(text, &Secrets(&[]))
    }

    /// The code, or `other` if it cannot be shown.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.text.as_deref().unwrap_or(OTHER)
    }

    /// For metrics: one of [`classification::metric_labels`].
    #[must_use]
    pub fn label(&self) -> &'static str {
        self.label
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({self})")
    }
}

/// RDS' name for one request, by which its support finds it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(String);

impl RequestId {
    /// `None` if `text` does not look like a request id (a UUID so far), or holds a secret.
    pub(crate) fn new(text: &str, secrets: &Secrets<'_>) -> Option<Self> {
        let looks_right = is_short(text)
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        (looks_right && !secrets.are_in(text)).then(|| Self(text.to_owned()))
    }

    /// For tests of modules that cannot have an answer of the cloud.
    #[cfg(test)]
    #[expect(clippy::expect_used, reason = "a test fails by panicking")]
    pub(crate) fn for_test(text: &str) -> Self {
        Self::new(text, &Secrets(&[])).expect("looks like a request id")
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

fn is_short(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len())
}

/// What a request kept secret, and so must not be in what is shown of its answer.
pub(crate) struct Secrets<'a>(pub(crate) &'a [&'a str]);

impl Secrets<'_> {
    /// Whether `text` holds a secret: as it is, in another case, percent-encoded, in Base64 or in hexadecimal.
    pub(super) fn are_in(&self, text: &str) -> bool {
        let text = text.to_ascii_lowercase();
        self.0
            .iter()
            .filter(|secret| !secret.is_empty())
            .flat_map(|secret| forms(secret))
            .any(|form| text.contains(form.as_str()))
    }
}

/// The ways in which an identifier could spell `secret`, in lower case.
fn forms(secret: &str) -> Vec<Zeroizing<String>> {
    let mut forms = vec![Zeroizing::new(secret.to_owned())];
    // Percent-encoding needs a form of its own only without its percent signs, which no identifier has.
    let encoded = super::signature::encode_pairs(&[("", secret)]);
    forms.push(Zeroizing::new(
        encoded.trim_start_matches('=').replace('%', ""),
    ));
    forms.push(Zeroizing::new(
        secret
            .bytes()
            .flat_map(|byte| [byte >> 4, byte & 0xf])
            .filter_map(|digit| char::from_digit(digit.into(), 16))
            .collect(),
    ));
    // Base64 spells the same bytes in three ways, depending on where in a longer text they stand. The characters at
    // either end also depend on the neighbours, so only those in between are looked for.
    for (leading, unsure) in [(0, 0), (1, 2), (2, 3)] {
        let mut shifted = Zeroizing::new(vec![0; leading]);
        shifted.extend_from_slice(secret.as_bytes());
        let certain = shifted.len() * 8 / 6;
        for engine in [BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD] {
            let text = Zeroizing::new(engine.encode(&*shifted));
            forms.push(Zeroizing::new(
                text.get(unsure..certain).unwrap_or_default().to_owned(),
            ));
        }
    }
    forms.retain(|form| form.len() >= secret.len().min(4));
    for form in &mut forms {
        form.make_ascii_lowercase();
    }
    forms
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const PASSWORD: &str = "Secret12word";

    #[rstest]
    #[case(
        "OperationDenied.DBInstanceStatus",
        "OperationDenied.DBInstanceStatus",
        "OperationDenied.DBInstanceStatus"
    )]
    #[case("Throttling.User", "Throttling.User", "Throttling*")]
    #[case("NeverSeenBefore", "NeverSeenBefore", "other")]
    #[case("", "other", "other")]
    #[case("DB Operation Failed", "other", "other")]
    #[case("Secret12word", "other", "other")]
    #[case("Bad.SECRET12WORD.Code", "other", "other")]
    #[case("Forbidden.Secret12word", "other", "Forbidden*")]
    #[case("5365637265743132776f7264", "other", "other")]
    fn codes(#[case] written: &str, #[case] shown: &str, #[case] label: &str) {
        let code = Code::new(written, &Secrets(&[PASSWORD]));
        assert_eq!((code.as_str(), code.label()), (shown, label));
    }

    #[test]
    fn long_codes_are_not_shown() {
        assert_eq!(
            Code::new(&"a".repeat(64), &Secrets(&[])).as_str(),
            "a".repeat(64)
        );
        assert_eq!(Code::new(&"a".repeat(65), &Secrets(&[])).as_str(), "other");
    }

    #[rstest]
    #[case("D4D4BE8A-DD46-440A-BFCD-EE31DA81C9DD", true)]
    #[case("1-2-a", true)]
    #[case("", false)]
    #[case("D4D4BE8A_DD46", false)]
    #[case("Secret12word", false)]
    #[case("id-SECRET12WORD-id", false)]
    fn request_ids(#[case] written: &str, #[case] taken: bool) {
        assert_eq!(
            RequestId::new(written, &Secrets(&[PASSWORD])).is_some(),
            taken
        );
    }

    proptest! {
        #[test]
        fn no_spelling_of_a_secret_is_shown(
            secret in "[A-Za-z0-9!@#$&%^*()_+=-]{8,32}",
            before in "[A-Za-z0-9]{0,6}",
            after in "[A-Za-z0-9]{0,6}",
        ) {
            let hex = secret.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02X}"));
            let around = format!("{before}{secret}{after}");
            for spelled in [
                around.clone(),
                around.to_uppercase(),
                format!("{before}{hex}{after}"),
                BASE64_STANDARD.encode(&around),
                BASE64_URL_SAFE.encode(&around),
            ] {
                let secrets = [secret.as_str()];
                let secrets = Secrets(&secrets);
                let code = Code::new(&spelled, &secrets);
                prop_assert_eq!(code.as_str(), OTHER);
                prop_assert!(RequestId::new(&spelled, &secrets).is_none());
            }
        }

        #[test]
        fn what_is_shown_looks_like_an_identifier(written in ".{0,80}") {
            let code = Code::new(&written, &Secrets(&[]));
            prop_assert!(code.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.'));
            prop_assert!((1..=64).contains(&code.as_str().len()));
        }
    }
}
