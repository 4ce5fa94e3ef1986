//! A password, or another secret, that does not print itself.

use std::fmt;

/// A password that a client sent or an account has; also a token or an access key's secret.
///
/// Neither `Debug` nor `Display` shows it, so that a failed assertion or a printed journal leaks nothing; tests that
/// compare use [`Password::expose`] or compare with a `&str`.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Wraps a password.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The password itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password(redacted)")
    }
}

impl PartialEq<str> for Password {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Password {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_show_the_password() {
        let password = Password::new("Canary#2026");
        assert!(!format!("{password:?} {:?}", Some(&password)).contains("Canary"));
        assert_eq!(password, "Canary#2026");
    }
}
