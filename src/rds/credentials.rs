//! What a request is signed with.

use std::fmt;

use secrecy::SecretString;

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

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}
