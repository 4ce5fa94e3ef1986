//! Words of RDS' own that are shown as RDS wrote them: the names of states, locks and accounts.

use std::fmt;

use super::identifier::Secrets;

/// Longer texts are no names. An account's name has 64 characters at most.
const LONGEST: usize = 64;

/// A name that RDS wrote, and that is safe to show: one short word that holds no piece of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Word(Box<str>);

impl Word {
    /// The name of a state or a lock: letters, digits and underscores, as in `INS_MAINTAINING`. `None` for any other text.
    pub(super) fn of_state(text: &str, secrets: &Secrets<'_>) -> Option<Self> {
        let begins_right = text.starts_with(|first: char| first.is_ascii_alphabetic());
        let looks_right = begins_right
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        Self::shown(text, looks_right, secrets)
    }

    /// The name of an account, if it is `account_name` but for upper and lower case. So it holds nothing that the request
    /// did not.
    pub(super) fn of_account(text: &str, account_name: &str) -> Option<Self> {
        let looks_right = text.bytes().all(|byte| byte.is_ascii_graphic())
            && text.eq_ignore_ascii_case(account_name);
        Self::shown(text, looks_right, &Secrets(&[]))
    }

    fn shown(text: &str, looks_right: bool, secrets: &Secrets<'_>) -> Option<Self> {
        let word = Self(text.into());
        (looks_right && (1..=LONGEST).contains(&text.len()) && word.is_free_of(secrets))
            .then_some(word)
    }

    /// Whether it holds no piece of these secrets: not the whole in any spelling, and no six characters in a row of one, either
    /// way round. For a secret that was not part of the request to which RDS answered with this word.
    #[must_use]
    pub(crate) fn is_free_of(&self, secrets: &Secrets<'_>) -> bool {
        !secrets.are_in(&self.0)
    }

    /// The word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// For tests of modules that cannot have an answer of the cloud.
    #[cfg(test)]
    #[expect(clippy::expect_used, reason = "a test fails by panicking")]
    pub(crate) fn for_test(text: &str) -> Self {
        Self::of_state(text, &Secrets(&[])).expect("looks like a state")
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const SECRETS: Secrets<'static> = Secrets(&["Secret12word!Xy"]);

    #[rstest]
    #[case("INS_MAINTAINING", true)]
    #[case("Rebooting", true)]
    #[case("S3", true)]
    #[case("", false)]
    #[case("3S", false)]
    #[case("_S", false)]
    #[case("a state", false)]
    #[case("SHRINKING<script>", false)]
    #[case("a\nb", false)]
    #[case("überall", false)]
    #[case::all_of_it("xSecret12word", false)]
    #[case::a_piece("Cret12x", false)]
    #[case::a_piece_the_other_way_round("DROW21", false)]
    #[case::too_little_to_tell("Secre", true)]
    fn states(#[case] text: &str, #[case] is_shown: bool) {
        let word = Word::of_state(text, &SECRETS);
        assert_eq!(word.as_ref().map(Word::as_str), is_shown.then_some(text));
    }

    #[rstest]
    #[case("app_user", true)]
    #[case("APP_USER", true)]
    #[case("App_User", true)]
    #[case("app_user2", false)]
    #[case("app user", false)]
    #[case("", false)]
    fn accounts(#[case] listed: &str, #[case] is_shown: bool) {
        let word = Word::of_account(listed, "App_User");
        assert_eq!(word.as_ref().map(Word::as_str), is_shown.then_some(listed));
    }

    #[test]
    fn long_texts_are_no_words() {
        assert!(Word::of_state(&"a".repeat(64), &SECRETS).is_some());
        assert!(Word::of_state(&"a".repeat(65), &SECRETS).is_none());
        assert!(Word::of_account(&"a".repeat(65), &"A".repeat(65)).is_none());
    }

    proptest! {
        #[test]
        fn what_is_shown_is_one_word_without_a_piece_of_a_secret(
            text in prop_oneof![".{0,80}", "[A-Za-z_]{0,4}Secret[0-9A-Z]{0,4}", "[A-Za-z0-9_]{1,70}"],
            secret in "[A-Za-z0-9!_]{6,20}",
        ) {
            let secrets = [secret.as_str()];
            if let Some(word) = Word::of_state(&text, &Secrets(&secrets)) {
                let shown = word.to_string();
                prop_assert!((1..=64).contains(&shown.len()));
                prop_assert!(shown.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
                let shown = shown.to_ascii_lowercase();
                let pieces: Vec<char> = secret.to_ascii_lowercase().chars().collect();
                for piece in pieces.windows(6) {
                    let forwards: String = piece.iter().collect();
                    let backwards: String = piece.iter().rev().collect();
                    prop_assert!(!shown.contains(&forwards) && !shown.contains(&backwards));
                }
            }
        }
    }
}
