//! Resource names of RAM, such as `acs:ram::1000000000000001:role/app`.

/// The cloud account and the name in `acs:ram::<account>:<kind>/<name>`, if it is one.
pub(crate) fn parse<'a>(arn: &'a str, kind: &str) -> Option<(&'a str, &'a str)> {
    let (account, resource) = arn.strip_prefix("acs:ram::")?.split_once(':')?;
    let name = resource.strip_prefix(kind)?.strip_prefix('/')?;
    let is_account = !account.is_empty() && account.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    (is_account && is_name).then_some((account, name))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("acs:ram::1:role/app", Some(("1", "app")))]
    #[case("acs:ram::1:role/", None)]
    #[case("acs:ram::1:role/a/b", None)]
    #[case("acs:ram::1:user/app", None)]
    #[case("acs:ram:::role/app", None)]
    #[case("acs:ram::x:role/app", None)]
    #[case("arn:aws:iam::1:role/app", None)]
    #[case("app", None)]
    fn takes_a_role_apart(#[case] arn: &str, #[case] parts: Option<(&str, &str)>) {
        assert_eq!(parse(arn, "role"), parts);
    }
}
