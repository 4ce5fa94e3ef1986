//! An `AccessKey` that a source has written down: what is wrong with it is told by the source's own names.

use super::error::{CredentialsError, SourceName};
use crate::rds::credentials::{MalformedKey, Part};

/// What a source calls the parts of an `AccessKey`: the names of variables or fields, and where these are.
#[derive(Debug, Clone, Copy)]
pub struct PartNames<'a> {
    /// The id.
    pub id: &'a str,
    /// The secret.
    pub secret: &'a str,
    /// The security token.
    pub token: &'a str,
}

impl PartNames<'_> {
    /// What to correct, without the value.
    #[must_use]
    pub fn explain(&self, origin: SourceName, malformed: MalformedKey) -> CredentialsError {
        let name = match malformed.part {
            Part::Id => self.id,
            Part::Secret => self.secret,
            Part::SecurityToken => self.token,
        };
        let flaw = malformed.flaw;
        CredentialsError::misconfigured(
            origin,
            format!("{name} {flaw}, so it is not what the cloud issued; copy it anew"),
        )
    }
}
