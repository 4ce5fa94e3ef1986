//! A cluster that issues tokens to its service accounts.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://kubernetes.default.svc";
pub(crate) const AUDIENCE: &str = "sts.aliyuncs.com";
pub(crate) const SUBJECT: &str = "system:serviceaccount:operator:operator";

/// Signs tokens with a key of its own.
pub(crate) struct Issuer(EcdsaKeyPair);

impl Issuer {
    pub(crate) fn new() -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).unwrap())
    }

    /// Its public key.
    pub(crate) fn key_set(&self) -> String {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
        json!({"keys": [{"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "1", "x": x, "y": y}]})
            .to_string()
    }

    /// A token for the operator's own service account, which lives for an hour.
    pub(crate) fn token(&self) -> String {
        self.token_with(&json!({}))
    }

    /// [`Self::token`], with some claims replaced.
    pub(crate) fn token_with(&self, others: &Value) -> String {
        let now = Timestamp::now();
        let end = now + SignedDuration::from_hours(1);
        let mut claims = json!({
            "iss": ISSUER,
            "aud": [AUDIENCE],
            "sub": SUBJECT,
            "iat": now.as_second(),
            "nbf": now.as_second(),
            "exp": end.as_second(),
        });
        for (name, value) in others.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = json!({"alg": "ES256", "kid": "1"});
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self
            .0
            .sign(&SystemRandom::new(), signed.as_bytes())
            .unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}
