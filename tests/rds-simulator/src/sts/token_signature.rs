//! Signatures of tokens, verified by ring: the token library takes its cryptography from outside, and ring is what this
//! workspace has for TLS already.

use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind, EncodingKey,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{Error, ErrorKind},
    signature::{self, Verifier},
};
use ring::signature as ring_signature;

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: no_signer,
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Lets the token library verify; may be called again and again.
pub(super) fn prepare() {
    // An error says that a provider is set already, this one or another that verifies as well.
    let _ = PROVIDER.install_default();
}

/// The simulator issues no token.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the library's signature")]
fn no_signer(_: &Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    Err(ErrorKind::UnsupportedAlgorithm.into())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the library's signature")]
fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    match (algorithm, key.kind()) {
        (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => Ok(Box::new(Rs256 {
            modulus: n.clone(),
            exponent: e.clone(),
        })),
        (Algorithm::ES256, DecodingKeyKind::SecretOrDer(point)) => {
            Ok(Box::new(Es256(ring_signature::UnparsedPublicKey::new(
                &ring_signature::ECDSA_P256_SHA256_FIXED,
                point.clone(),
            ))))
        }
        _ => Err(ErrorKind::InvalidKeyFormat.into()),
    }
}

struct Rs256 {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl Verifier<Vec<u8>> for Rs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let key = ring_signature::RsaPublicKeyComponents {
            n: &self.modulus,
            e: &self.exponent,
        };
        key.verify(
            &ring_signature::RSA_PKCS1_2048_8192_SHA256,
            message,
            signature,
        )
        .map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Rs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::RS256
    }
}

/// The key is the curve's point in uncompressed form.
struct Es256(ring_signature::UnparsedPublicKey<Vec<u8>>);

impl Verifier<Vec<u8>> for Es256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        self.0
            .verify(message, signature)
            .map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Es256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::ES256
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test")]
mod tests {
    use jsonwebtoken::crypto;
    use rstest::rstest;

    use super::*;

    const SIGNED: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

    /// RFC 7515, appendix A.2.
    fn rs256() -> DecodingKey {
        DecodingKey::from_rsa_components(
            "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMs\
             D1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdV\
             MTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
            "AQAB",
        )
        .unwrap()
    }

    /// RFC 7515, appendix A.3.
    fn es256() -> DecodingKey {
        DecodingKey::from_ec_components(
            "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        )
        .unwrap()
    }

    #[rstest]
    #[case::rs256(
        rs256(),
        Algorithm::RS256,
        "eyJhbGciOiJSUzI1NiJ9",
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQ\
         jbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqt\
         FZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
    )]
    #[case::es256(
        es256(),
        Algorithm::ES256,
        "eyJhbGciOiJFUzI1NiJ9",
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    )]
    fn golden_vectors(
        #[case] key: DecodingKey,
        #[case] algorithm: Algorithm,
        #[case] header: &str,
        #[case] signature: &str,
    ) {
        prepare();
        let verify = |message: &str| crypto::verify(signature, message.as_bytes(), &key, algorithm);
        let message = format!("{header}.{SIGNED}");
        assert!(verify(&message).unwrap());
        assert!(!verify(&message.replace("Jqb2Ui", "JqaW0i")).unwrap());
    }

    #[test]
    fn a_key_of_another_kind_verifies_nothing() {
        prepare();
        for (key, algorithm) in [(rs256(), Algorithm::ES256), (es256(), Algorithm::RS256)] {
            assert!(crypto::verify("", b"", &key, algorithm).is_err());
        }
    }
}
