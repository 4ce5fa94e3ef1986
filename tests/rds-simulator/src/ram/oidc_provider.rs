//! OIDC identity providers: whose tokens STS takes.

use std::collections::BTreeMap;

use jsonwebtoken::jwk::JwkSet;

/// The audience that tokens for STS have unless a provider is told otherwise.
pub(crate) const STS_AUDIENCE: &str = "sts.aliyuncs.com";

/// An identity provider registered in RAM, such as a Kubernetes cluster.
#[derive(Debug, Clone)]
pub struct OidcProvider {
    pub(crate) arn: String,
    pub(crate) issuer: String,
    pub(crate) client_ids: Vec<String>,
    pub(crate) keys: JwkSet,
}

/// What should be a provider's keys is not a JSON Web Key Set.
#[derive(Debug, thiserror::Error)]
#[error("not a JSON Web Key Set: {0}")]
pub struct InvalidKeySet(#[from] serde_json::Error);

impl OidcProvider {
    /// A provider of this ARN, `acs:ram::<account>:oidc-provider/<name>`, that issues tokens as `issuer` for the audience
    /// `sts.aliyuncs.com`.
    ///
    /// `jwks` is the JSON of its public keys; kube-apiserver has its own at `/openid/v1/jwks`. The real STS fetches it from
    /// the issuer's URL.
    ///
    /// # Errors
    /// If `jwks` is no key set.
    pub fn new(
        arn: impl Into<String>,
        issuer: impl Into<String>,
        jwks: &str,
    ) -> Result<Self, InvalidKeySet> {
        Ok(Self {
            arn: arn.into(),
            issuer: issuer.into(),
            client_ids: vec![STS_AUDIENCE.to_owned()],
            keys: serde_json::from_str(jwks)?,
        })
    }

    /// The audiences of which a token must have one, instead of `sts.aliyuncs.com`.
    #[must_use]
    pub fn client_ids(mut self, ids: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.client_ids = ids.into_iter().map(Into::into).collect();
        self
    }
}

/// All providers, by ARN.
pub(crate) type OidcProviders = BTreeMap<String, OidcProvider>;
