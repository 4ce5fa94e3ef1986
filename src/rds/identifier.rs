//! The two things of an error answer that may be shown: its code and its request id.
//!
//! Everything that the cloud writes is suspect: messages echo the string to sign, password included, and even a code
//! can be free text (`ResetAccountPassword` documents one as `%s`). So an identifier is shown only if it looks like
//! one and shares no part with what the request kept secret: a part of a password is of use to a guesser, too.

use std::collections::HashSet;
use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use zeroize::Zeroizing;

use super::{
    classification::{self, OTHER},
    signature::encode_pairs,
};

/// Longer texts are no identifiers.
const LONGEST: usize = 64;

/// A text that shares this many characters in a row with a secret, either way round, is not shown. Fewer are in too many
/// words, and tell little.
const SHORTEST_PART: usize = 6;

/// A shorter secret would be found in nearly every text.
const SHORTEST_SECRET: usize = 4;

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
            text: (looks_right
                && !secrets.share_a_part_with(text, classification::known_beginning(text)))
            .then(|| text.to_owned()),
            label: classification::label_of(text),
        }
    }

    /// For tests of modules that cannot have an answer of the cloud.
    #[cfg(test)]
    pub(crate) fn for_test(text: &str) -> Self {
        Self::new(text, &Secrets(&[]))
    }

    /// Whether there is a code that can be shown.
    #[must_use]
    pub fn is_shown(&self) -> bool {
        self.text.is_some()
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
    /// Whether `text` shares [`SHORTEST_PART`] characters in a row with a secret, or all of a shorter one: either way round;
    /// as they are, in another case, or without what is neither letter nor digit; percent-encoded, in Base64 or in
    /// hexadecimal.
    pub(crate) fn are_in(&self, text: &str) -> bool {
        self.share_a_part_with(text, 0)
    }

    /// The same, but for parts within the first `known` characters, which are not the cloud's own.
    fn share_a_part_with(&self, text: &str, known: usize) -> bool {
        let text = text.as_bytes();
        let before = text.get(..known).unwrap_or(text);
        let as_it_is = Reading::new(&lower(text), known);
        let without_marks = Reading::new(&bare(text), bare(before).len());
        let secrets = self.0.iter();
        secrets
            .filter(|secret| secret.len() >= SHORTEST_SECRET)
            .any(|secret| {
                let part = secret.len().min(SHORTEST_PART);
                as_it_is.shares(&lower(secret.as_bytes()), part)
                    || bare_forms(secret, part)
                        .iter()
                        .any(|(form, part)| without_marks.shares(form, *part))
            })
    }
}

/// A text as it is read in one direction and in the other.
struct Reading {
    forwards: Zeroizing<Vec<u8>>,
    backwards: Zeroizing<Vec<u8>>,
    /// How many characters at the beginning are known.
    known: usize,
}

impl Reading {
    fn new(text: &[u8], known: usize) -> Self {
        Self {
            forwards: Zeroizing::new(text.to_vec()),
            backwards: Zeroizing::new(text.iter().rev().copied().collect()),
            known,
        }
    }

    /// Whether one of `form`'s parts of this length is in the text, elsewhere than in what is known.
    fn shares(&self, form: &[u8], length: usize) -> bool {
        let known_parts = (self.known + 1).saturating_sub(length);
        let parts: HashSet<&[u8]> = (self.forwards.windows(length).skip(known_parts))
            .chain(self.backwards.windows(length).rev().skip(known_parts))
            .collect();
        form.windows(length).any(|part| parts.contains(part))
    }
}

/// The ways in which letters and digits alone can spell `secret`, each with the length that `part` of its characters have
/// there at least.
fn bare_forms(secret: &str, part: usize) -> Vec<(Zeroizing<Vec<u8>>, usize)> {
    // A string to sign holds parameters that are encoded twice.
    let once = encode_pairs(&[("", secret)]);
    let once = once.trim_start_matches('=');
    let twice = encode_pairs(&[("", once)]);
    let mut hexadecimal = Zeroizing::new(String::with_capacity(2 * secret.len()));
    hexadecimal.extend(
        secret
            .bytes()
            .flat_map(|byte| [byte >> 4, byte & 0xf])
            .filter_map(|digit| char::from_digit(digit.into(), 16)),
    );
    let mut forms = vec![
        (bare(secret.as_bytes()), part),
        (bare(once.as_bytes()), part),
        (bare(twice.as_bytes()), part),
        (bare(hexadecimal.as_bytes()), 2 * part),
    ];
    // Base64 spells the same bytes in three ways, depending on where in a longer text they stand. The characters at
    // either end also depend on the neighbours, so only those in between are looked for.
    for (leading, unsure) in [(0, 0), (1, 2), (2, 3)] {
        let mut shifted = Zeroizing::new(Vec::with_capacity(leading + secret.len()));
        shifted.resize(leading, 0);
        shifted.extend_from_slice(secret.as_bytes());
        let certain = shifted.len() * 8 / 6;
        let text = Zeroizing::new(BASE64_STANDARD_NO_PAD.encode(&*shifted));
        let text = text.get(unsure..certain).unwrap_or_default();
        forms.push((bare(text.as_bytes()), part * 8 / 6 - 1));
    }
    forms
}

fn lower(text: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(text.to_ascii_lowercase())
}

/// The letters and digits alone, in lower case.
fn bare(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut bare = Zeroizing::new(Vec::with_capacity(text.len()));
    bare.extend(
        text.iter()
            .filter(|byte| byte.is_ascii_alphanumeric())
            .map(u8::to_ascii_lowercase),
    );
    bare
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
    #[case("Bad.ecret12wor.Code", "other", "other")]
    #[case("Bad.row21terceS.Code", "other", "other")]
    #[case("InternalError.Secret", "other", "InternalError")]
    #[case("InternalError.terceS", "other", "InternalError")]
    #[case("InternalError.Secre", "InternalError.Secre", "InternalError")]
    #[case("65743132776f", "other", "other")]
    fn codes(#[case] written: &str, #[case] shown: &str, #[case] label: &str) {
        let code = Code::new(written, &Secrets(&[PASSWORD]));
        assert_eq!((code.as_str(), code.label()), (shown, label));
    }

    /// What is in the table is not the cloud's own word, whatever the password is.
    #[rstest]
    #[case("InternalError", "InternalError1!", true)]
    #[case("InvalidAccountPassword.Reused", "First#Password1", true)]
    #[case("InvalidAccountPassword.Reused", "Reused#Secret1", false)]
    #[case("InvalidAccountPassword.First", "First#Password1", true)]
    #[case("InvalidAccountPassword1", "First#Password1", false)]
    #[case("Brand.NewPassword", "First#Password1", false)]
    #[case("OperationDenied.XStatus", "XStatus1!word", false)]
    #[case("Forbidden.RAM", "en.RAM-token", false)]
    fn known_parts(#[case] written: &str, #[case] secret: &str, #[case] shown: bool) {
        let code = Code::new(written, &Secrets(&[secret]));
        assert_eq!(code.is_shown(), shown);
        assert_eq!(code.as_str() == written, shown);
    }

    /// Beside several secrets, and what is too short to be one.
    #[rstest]
    #[case(&["", "a", "ode", "New"], true)]
    #[case(&["", "Code"], false)]
    #[case(&["Secret12word", "BrandNewSecret"], false)]
    #[case(&["+Br+and+New+Code+"], false)]
    fn several_secrets(#[case] secrets: &[&str], #[case] shown: bool) {
        assert_eq!(
            Code::new("Brand.NewCode", &Secrets(secrets)).is_shown(),
            shown
        );
        assert_eq!(
            RequestId::new("Brand-New-Code", &Secrets(secrets)).is_some(),
            shown
        );
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
    #[case("id-cret12-id", false)]
    #[case("id-21terc-id", false)]
    #[case("id-c-r-e-t-1-2-id", false)]
    #[case("id-cret1-id", true)]
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

        /// Every piece of six characters and more, and what is left of it without its marks.
        #[test]
        fn no_piece_of_a_secret_is_shown(
            secret in "[A-Za-z0-9!@#$&%^*()_+=-]{8,32}",
            (from, length) in (0..27_usize, 6..32_usize),
            backwards: bool,
            before in "[A-Za-z0-9]{0,6}[.]?",
            after in "[.]?[A-Za-z0-9]{0,6}",
            spelling in 0..6,
        ) {
            let from = from.min(secret.len() - 6);
            let piece = &secret[from..(from + length).min(secret.len())];
            let letters: String = piece.chars().filter(char::is_ascii_alphanumeric).collect();
            prop_assume!(spelling > 1 || letters.len() >= 6);
            let hex = piece.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02X}"));
            let spelled = match spelling {
                0 => format!("{before}{letters}{after}"),
                1 => format!("{before}{letters}{after}").to_uppercase(),
                2 => format!("{before}{hex}{after}"),
                3 => BASE64_STANDARD.encode(format!("{before}{piece}{after}")),
                4 => BASE64_URL_SAFE.encode(format!("{before}{piece}{after}")),
                _ => format!("{before}{piece}{after}"),
            };
            let spelled = if backwards { spelled.chars().rev().collect() } else { spelled };
            let secrets = [secret.as_str(), "another-secret"];
            let secrets = Secrets(&secrets);
            prop_assert!(secrets.are_in(&spelled), "{} in {}", piece, spelled);
            let code = Code::new(&spelled, &secrets);
            prop_assert_eq!(code.as_str(), OTHER);
            let id = RequestId::new(&spelled.replace('.', "-"), &secrets);
            prop_assert!(id.is_none(), "{:?}", id);
        }

        /// An identifier of RDS' own is hardly ever mistaken for a part of a secret.
        #[test]
        fn what_shares_nothing_is_shown(
            // More marks would be six digits in a row where they are percent-encoded.
            secret in "[G-Zg-z]{4,16}[!@#]?[G-Zg-z]{4,16}",
            id in "[0-9A-F]{8}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{12}",
        ) {
            prop_assert!(RequestId::new(&id, &Secrets(&[&secret])).is_some());
        }

        #[test]
        fn what_is_shown_looks_like_an_identifier(written in ".{0,80}") {
            let code = Code::new(&written, &Secrets(&[]));
            prop_assert!(code.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.'));
            prop_assert!((1..=64).contains(&code.as_str().len()));
        }
    }
}
