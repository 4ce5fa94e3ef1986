//! What a request is signed with.

use std::fmt;

use secrecy::SecretString;
use thiserror::Error;

/// An `AccessKey`, permanent or temporary.
#[derive(Clone)]
pub struct Credentials {
    /// The `AccessKey`'s id. Not secret: it is sent in the URL or in a header.
    pub access_key_id: String,
    /// The `AccessKey`'s secret: signs, is never sent.
    pub access_key_secret: SecretString,
    /// Comes with temporary credentials (STS), and is sent with each request.
    pub security_token: Option<SecretString>,
}

/// A part of an `AccessKey`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Its id.
    Id,
    /// Its secret.
    Secret,
    /// The security token of a temporary one.
    SecurityToken,
}

/// Why a text is no part of an `AccessKey`. It does not hold the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Flaw {
    /// Nothing, or only white space.
    #[error("is empty")]
    Empty,
    /// White space that is not at an end.
    #[error("has white space inside")]
    WhiteSpace,
    /// Something that a key has only by a mistake in copying, such as a byte order mark.
    #[error("has a character that is not printable ASCII")]
    Unprintable,
}

/// A part of an `AccessKey` that RDS could only answer with `InvalidAccessKeyId.NotFound` or `SignatureDoesNotMatch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedKey {
    /// Which part.
    pub part: Part,
    /// What is wrong with it.
    pub flaw: Flaw,
}

impl Credentials {
    /// An `AccessKey` as it was written down somewhere. White space at the ends of a part is not part of it: editors, `echo` and
    /// `base64` append a newline. A security token that is empty is none.
    ///
    /// # Errors
    /// Where a part cannot be one.
    pub fn new(id: &str, secret: &str, token: Option<&str>) -> Result<Self, MalformedKey> {
        let token = token.filter(|token| !token.trim().is_empty());
        Ok(Self {
            access_key_id: sound(Part::Id, id)?.to_owned(),
            access_key_secret: sound(Part::Secret, secret)?.into(),
            security_token: token
                .map(|token| sound(Part::SecurityToken, token))
                .transpose()?
                .map(SecretString::from),
        })
    }
}

fn sound(part: Part, text: &str) -> Result<&str, MalformedKey> {
    let text = text.trim();
    let flaw = if text.is_empty() {
        Flaw::Empty
    } else if text.contains(char::is_whitespace) {
        Flaw::WhiteSpace
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Flaw::Unprintable
    } else {
        return Ok(text);
    };
    Err(MalformedKey { part, flaw })
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use secrecy::ExposeSecret as _;

    use super::*;

    #[rstest]
    #[case::as_it_is("id", "secret", Some("token/+="), Some("token/+="))]
    #[case::newlines("id\n", "secret\n", Some("token/+=\n"), Some("token/+="))]
    #[case::all_kinds_of_white_space(
        "\t id\r\n",
        "\u{a0}secret \n\n",
        Some(" token/+=\u{2028}"),
        Some("token/+=")
    )]
    #[case::no_token("id", "secret", None, None)]
    #[case::empty_token("id", "secret", Some(" \n"), None)]
    fn white_space_at_the_ends_is_not_part_of_it(
        #[case] id: &str,
        #[case] secret: &str,
        #[case] token: Option<&str>,
        #[case] expected: Option<&str>,
    ) {
        let key = Credentials::new(id, secret, token);
        assert!(key.is_ok_and(|key| {
            let token = key.security_token.as_ref();
            key.access_key_id == "id"
                && key.access_key_secret.expose_secret() == "secret"
                && token.map(SecretString::expose_secret) == expected
        }));
    }

    #[rstest]
    #[case::id("a b", "s", None, Part::Id, Flaw::WhiteSpace)]
    #[case::id_over_two_lines("a\nb", "s", None, Part::Id, Flaw::WhiteSpace)]
    #[case::secret("a", "canary \u{a0}s", None, Part::Secret, Flaw::WhiteSpace)]
    #[case::token("a", "s", Some("canary\tb"), Part::SecurityToken, Flaw::WhiteSpace)]
    #[case::no_id(" ", "s", None, Part::Id, Flaw::Empty)]
    #[case::no_secret("a", "\n", None, Part::Secret, Flaw::Empty)]
    #[case::byte_order_mark("\u{feff}a", "s", None, Part::Id, Flaw::Unprintable)]
    #[case::zero_width_space("a", "canary\u{200b}", None, Part::Secret, Flaw::Unprintable)]
    #[case::control_character(
        "a",
        "s",
        Some("canary\u{1}"),
        Part::SecurityToken,
        Flaw::Unprintable
    )]
    fn what_is_wrong_is_named(
        #[case] id: &str,
        #[case] secret: &str,
        #[case] token: Option<&str>,
        #[case] part: Part,
        #[case] flaw: Flaw,
    ) {
        let error = Credentials::new(id, secret, token).err();
        assert_eq!(error, Some(MalformedKey { part, flaw }));
        assert!(!format!("{error:?} {flaw}").contains("canary"));
    }
}
