//! A password that RDS will take, held so that it does not get out.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

/// Fewest and most characters, as `ResetAccountPassword` documents them.
const SHORTEST: usize = 8;
const LONGEST: usize = 32;
/// How many of the four character classes have to be there.
const CLASSES: usize = 3;
/// The special characters that RDS takes.
const SPECIAL: &[u8] = b"!@#$&%^*()_+-=";

/// An account's password that satisfies RDS' rules.
///
/// It has no `Display`, its `Debug` is blank, and its memory is zeroed when it is dropped.
#[derive(Clone)]
pub struct Password(SecretString);

/// The rule that a value breaks.
///
/// Each sentence says what to write and nothing about the value beyond the rule's name, so that it can be shown
/// to people who must not know the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum PasswordRule {
    /// Not text.
    #[error("the password is not UTF-8 text; RDS takes ASCII letters, digits and !@#$&%^*()_+-=")]
    NotUtf8,
    /// No bytes at all.
    #[error("the password is empty")]
    Empty,
    /// By far the most usual mistake, hence told apart from other white space.
    #[error(
        "the password ends with a newline; write the value without one (printf or echo -n instead of echo)"
    )]
    TrailingNewline,
    /// Space, tab, newline or the like.
    #[error("the password contains white space, which RDS does not take")]
    Whitespace,
    /// A letter or sign from outside ASCII.
    #[error(
        "the password contains a character that is not ASCII; RDS takes ASCII letters, digits and !@#$&%^*()_+-="
    )]
    NotAscii,
    /// ASCII, but none of the special characters allowed.
    #[error(
        "the password contains a character that RDS does not take; allowed are letters, digits and !@#$&%^*()_+-="
    )]
    CharacterNotAllowed,
    /// Fewer than 8 characters.
    #[error("the password is too short; RDS wants 8 to 32 characters")]
    TooShort,
    /// More than 32 characters.
    #[error("the password is too long; RDS wants 8 to 32 characters")]
    TooLong,
    /// Fewer than three of the four classes.
    #[error(
        "the password has too few kinds of characters; RDS wants at least three of upper case, lower case, digits and !@#$&%^*()_+-="
    )]
    TooFewClasses,
}

impl Password {
    /// Takes a copy of `value` if RDS would take it (rules: the API's description of `AccountPassword`).
    ///
    /// # Errors
    /// The most telling of the rules that `value` breaks: first what is wrong with its bytes (a stray newline also
    /// makes it too long), then its length, then its mixture.
    pub fn from_bytes(value: &[u8]) -> Result<Self, PasswordRule> {
        let text = str::from_utf8(value).map_err(|_| PasswordRule::NotUtf8)?;
        match broken_rule(text) {
            Some(rule) => Err(rule),
            None => Ok(Self(SecretString::from(text))),
        }
    }

    /// The value itself, for signing, sending and fingerprinting.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password([hidden])")
    }
}

fn broken_rule(text: &str) -> Option<PasswordRule> {
    if text.is_empty() {
        return Some(PasswordRule::Empty);
    }
    if text.ends_with(['\n', '\r']) {
        return Some(PasswordRule::TrailingNewline);
    }
    if text.contains(char::is_whitespace) {
        return Some(PasswordRule::Whitespace);
    }
    if !text.is_ascii() {
        return Some(PasswordRule::NotAscii);
    }
    let bytes = text.as_bytes();
    if !bytes
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || SPECIAL.contains(byte))
    {
        return Some(PasswordRule::CharacterNotAllowed);
    }
    if bytes.len() < SHORTEST {
        return Some(PasswordRule::TooShort);
    }
    if bytes.len() > LONGEST {
        return Some(PasswordRule::TooLong);
    }
    let classes = [
        bytes.iter().any(u8::is_ascii_uppercase),
        bytes.iter().any(u8::is_ascii_lowercase),
        bytes.iter().any(u8::is_ascii_digit),
        bytes.iter().any(|byte| SPECIAL.contains(byte)),
    ];
    (classes.into_iter().filter(|found| *found).count() < CLASSES)
        .then_some(PasswordRule::TooFewClasses)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::upper_lower_digit(b"Abcdefg1")]
    #[case::upper_lower_special(b"Abcdefg!")]
    #[case::upper_digit_special(b"ABCDEF1!")]
    #[case::lower_digit_special(b"abcdef1!")]
    #[case::longest(b"Abcdefg1Abcdefg1Abcdefg1Abcdefg1")]
    #[case::all_special_characters(b"Aa1!@#$&%^*()_+-=")]
    fn takes(#[case] value: &[u8]) {
        assert_eq!(
            Password::from_bytes(value).unwrap().expose().as_bytes(),
            value
        );
    }

    #[rstest]
    #[case::binary(b"Abcdefg1\xff", PasswordRule::NotUtf8)]
    #[case::empty(b"", PasswordRule::Empty)]
    #[case::echo(b"Abcdefg1\n", PasswordRule::TrailingNewline)]
    #[case::windows_echo(b"Abcdefg1\r\n", PasswordRule::TrailingNewline)]
    #[case::echo_of_nothing(b"\n", PasswordRule::TrailingNewline)]
    #[case::longest_and_a_newline(
        b"Abcdefg1Abcdefg1Abcdefg1Abcdefg1\n",
        PasswordRule::TrailingNewline
    )]
    #[case::inner_newline(b"Abcd\nefg1", PasswordRule::Whitespace)]
    #[case::leading_newline(b"\nAbcdefg1", PasswordRule::Whitespace)]
    #[case::space(b"Abcd efg1", PasswordRule::Whitespace)]
    #[case::tab(b"Abcdefg1\t", PasswordRule::Whitespace)]
    #[case::no_break_space("Abcd\u{a0}efg1".as_bytes(), PasswordRule::Whitespace)]
    #[case::not_ascii("Abcdefg1ü".as_bytes(), PasswordRule::NotAscii)]
    #[case::byte_order_mark("\u{feff}Abcdefg1".as_bytes(), PasswordRule::NotAscii)]
    #[case::slash(b"Abcdefg1/", PasswordRule::CharacterNotAllowed)]
    #[case::dot(b"Abcdefg1.", PasswordRule::CharacterNotAllowed)]
    #[case::nul(b"Abcdefg1\0", PasswordRule::CharacterNotAllowed)]
    #[case::seven(b"Abcdef1", PasswordRule::TooShort)]
    #[case::thirty_three(b"Abcdefg1Abcdefg1Abcdefg1Abcdefg12", PasswordRule::TooLong)]
    #[case::two_classes(b"abcdefg1", PasswordRule::TooFewClasses)]
    #[case::one_class(b"abcdefgh", PasswordRule::TooFewClasses)]
    fn refuses(#[case] value: &[u8], #[case] rule: PasswordRule) {
        assert_eq!(Password::from_bytes(value).unwrap_err(), rule);
    }

    /// Of few kinds or of many, of every length around the bounds, and now and then with something that is not allowed.
    fn any_value() -> impl Strategy<Value = String> {
        let mixture = prop_oneof![
            Just("[A-Z]"),
            Just("[a-z0-9]"),
            Just("[A-Z!@#$&%^*()_+=-]"),
            Just("[A-Za-z0-9]"),
            Just("[A-Za-z0-9!@#$&%^*()_+=-]"),
        ];
        let length = prop_oneof![0..=40_usize, 6..=9_usize, 31..=34_usize];
        let value = (mixture, length).prop_flat_map(|(mixture, length)| {
            let pattern = format!("{mixture}{{{length}}}");
            proptest::string::string_regex(&pattern).unwrap()
        });
        let odd = prop_oneof![
            8 => Just(String::new()),
            1 => "[ -~]",
            1 => "[ \t\r\n\u{a0}]",
            1 => any::<char>().prop_map(String::from),
        ];
        (value, odd, any::<proptest::sample::Index>()).prop_map(|(mut value, odd, at)| {
            value.insert_str(at.index(value.len() + 1), &odd);
            value
        })
    }

    proptest! {
        /// Written as the documentation has it: "8 to 32 characters; at least three of upper case letters, lower case letters,
        /// digits and special characters; special characters are ! @ # $ & % ^ * ( ) _ + - =".
        #[test]
        fn what_is_taken_is_what_the_documentation_allows(value in any_value()) {
            let kinds: [&str; 4] = [
                "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
                "abcdefghijklmnopqrstuvwxyz",
                "0123456789",
                "!@#$&%^*()_+-=",
            ];
            let characters: Vec<char> = value.chars().collect();
            let of_kind = |kind: &&&str| characters.iter().any(|c| kind.contains(*c));
            let allowed = |c: &char| kinds.concat().contains(*c);
            let too_few = kinds.iter().filter(of_kind).count() < 3;
            let (length, only_allowed) = (characters.len(), characters.iter().all(allowed));
            let found = Password::from_bytes(value.as_bytes()).map(|_| ());
            prop_assert_eq!(found.is_ok(), (8..=32).contains(&length) && only_allowed && !too_few);
            // The rule that is named is one that is broken.
            match found {
                Ok(()) => {}
                Err(PasswordRule::NotUtf8) => prop_assert!(false, "it is text"),
                Err(PasswordRule::Empty) => prop_assert_eq!(length, 0),
                Err(PasswordRule::TrailingNewline) => prop_assert!(matches!(characters.last(), Some('\n' | '\r'))),
                Err(PasswordRule::Whitespace) => prop_assert!(characters.iter().any(|c| c.is_whitespace())),
                Err(PasswordRule::NotAscii) => prop_assert!(!value.is_ascii()),
                Err(PasswordRule::CharacterNotAllowed) => prop_assert!(!only_allowed && value.is_ascii()),
                Err(PasswordRule::TooShort) => prop_assert!(length < 8 && only_allowed),
                Err(PasswordRule::TooLong) => prop_assert!(length > 32 && only_allowed),
                Err(PasswordRule::TooFewClasses) => prop_assert!(too_few && only_allowed),
            }
        }

        #[test]
        fn nothing_shows_the_value(value in proptest::collection::vec(any::<u8>(), 4..40)) {
            let shown = match Password::from_bytes(&value) {
                Ok(password) => format!("{password:?}"),
                Err(rule) => format!("{rule} {rule:?}"),
            };
            prop_assert!(!shown.contains(&*String::from_utf8_lossy(&value)));
        }

        #[test]
        fn debug_hides_a_good_password(value in "[A-Z]{4}[a-z]{4}[0-9]{4}") {
            let password = Password::from_bytes(value.as_bytes()).unwrap();
            prop_assert_eq!(format!("{password:?}"), "Password([hidden])");
        }
    }
}
