//! Which passwords RDS takes: 8 to 32 characters of at least three of upper case, lower case, digits and
//! `!@#$&%^*()_+-=` (metadata of `ResetAccountPassword`, and
//! <https://www.alibabacloud.com/help/en/apsaradb-for-rds/latest/api-doc-rds-2014-08-15-api-doc-resetaccountpassword>).

const SPECIAL: &str = "!@#$&%^*()_+-=";

pub(super) fn are_kept_by(password: &str) -> bool {
    let is_special = |character: char| SPECIAL.contains(character);
    let classes: [&dyn Fn(char) -> bool; 4] = [
        &|c| c.is_ascii_uppercase(),
        &|c| c.is_ascii_lowercase(),
        &|c| c.is_ascii_digit(),
        &is_special,
    ];
    (8..=32).contains(&password.chars().count())
        && password
            .chars()
            .all(|c| classes.iter().any(|class| class(c)))
        && classes
            .iter()
            .filter(|class| password.chars().any(class))
            .count()
            >= 3
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::seven("Abcdef1", false)]
    #[case::eight("Abcdefg1", true)]
    #[case::thirty_two("Abcdefg1Abcdefg1Abcdefg1Abcdefg1", true)]
    #[case::thirty_three("Abcdefg1Abcdefg1Abcdefg1Abcdefg12", false)]
    #[case::two_classes("abcdefg1", false)]
    #[case::lower_digit_special("abcdefg1!", true)]
    #[case::upper_digit_special("ABCDEFG1!", true)]
    #[case::all_specials("Aa!@#$&%^*()_+-=", true)]
    #[case::space("Abcdefg 1", false)]
    #[case::newline("Abcdefg1\n", false)]
    #[case::other_special("Abcdefg1~", false)]
    #[case::non_ascii("Abcdefg1é", false)]
    #[case::empty("", false)]
    fn table(#[case] password: &str, #[case] kept: bool) {
        assert_eq!(are_kept_by(password), kept);
    }
}
