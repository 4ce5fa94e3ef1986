//! Tells whether a value is the one that was applied, without keeping the value.
//!
//! A keyed MAC over the account and the value: whoever reads a status cannot guess the password from it offline, and equal
//! passwords of two accounts do not look equal.

mod store;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::api::{StoredFingerprint, Target};

pub use store::{KEY_SECRET_NAME, KeyStoreError, load_or_create};

/// Bytes of a key: the block of entropy that HMAC-SHA-256 can use in full (RFC 2104, section 3).
pub const KEY_BYTES: usize = 32;

/// Bytes of the MAC that are kept. Half of SHA-256's output is RFC 2104's (section 5) lower bound, and beyond any guess.
const MAC_BYTES: usize = 16;

/// A key's name: eight hexadecimal digits.
pub type KeyId = String;

/// The keys of the fingerprints: one that makes new ones, and older ones that are still recognised.
pub struct Keyring {
    current: Key,
    older: Vec<Key>,
}

struct Key {
    id: KeyId,
    bytes: Zeroizing<[u8; KEY_BYTES]>,
}

/// How a value compares with a stored fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// It is the value.
    Same,
    /// It is the value, and an older key says so: the fingerprint should be made anew.
    SameByOlderKey,
    /// It is another value.
    Different,
    /// The key that made the fingerprint is gone.
    KeyLost,
}

impl Keyring {
    /// A keyring whose first key makes new fingerprints.
    #[must_use]
    pub fn new(
        current: (KeyId, Zeroizing<[u8; KEY_BYTES]>),
        older: impl IntoIterator<Item = (KeyId, Zeroizing<[u8; KEY_BYTES]>)>,
    ) -> Self {
        let key = |(id, bytes)| Key { id, bytes };
        Self {
            current: key(current),
            older: older.into_iter().map(key).collect(),
        }
    }

    /// The fingerprint of `value` as the password of `target`, by the current key.
    #[must_use]
    pub fn fingerprint(&self, target: &Target, value: &[u8]) -> StoredFingerprint {
        StoredFingerprint {
            key_id: self.current.id.clone(),
            mac: STANDARD.encode(&self.current.mac(target, value)[..MAC_BYTES]),
        }
    }

    /// Whether the key that makes new fingerprints has made this one.
    #[must_use]
    pub fn has_made(&self, stored: &StoredFingerprint) -> bool {
        self.current.id == stored.key_id
    }

    /// Compares `value` with a fingerprint that was stored for `target`.
    #[must_use]
    pub fn compare(&self, stored: &StoredFingerprint, target: &Target, value: &[u8]) -> Comparison {
        let is_current = self.has_made(stored);
        let key = if is_current {
            Some(&self.current)
        } else {
            self.older.iter().find(|key| key.id == stored.key_id)
        };
        let Some(key) = key else {
            return Comparison::KeyLost;
        };
        let Ok(mac) = STANDARD.decode(&stored.mac) else {
            return Comparison::Different;
        };
        // A shortened MAC from elsewhere must not be easier to match.
        if mac.len() != MAC_BYTES || key.hmac(target, value).verify_truncated_left(&mac).is_err() {
            return Comparison::Different;
        }
        if is_current {
            Comparison::Same
        } else {
            Comparison::SameByOlderKey
        }
    }
}

impl Key {
    fn hmac(&self, target: &Target, value: &[u8]) -> Hmac<Sha256> {
        #[expect(
            clippy::expect_used,
            reason = "HMAC takes a key of any length (RFC 2104)"
        )]
        let mut hmac =
            Hmac::<Sha256>::new_from_slice(self.bytes.as_slice()).expect("any length is fine");
        // Each part with its length, so that no two different triples give the same bytes.
        for part in [
            target.instance_id.as_bytes(),
            target.account_name.as_bytes(),
            value,
        ] {
            hmac.update(&(part.len() as u64).to_be_bytes());
            hmac.update(part);
        }
        hmac
    }

    fn mac(&self, target: &Target, value: &[u8]) -> [u8; 32] {
        self.hmac(target, value).finalize().into_bytes().into()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may end at the first surprise")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keyring(id: &str, byte: u8) -> Keyring {
        Keyring::new((id.to_owned(), Zeroizing::new([byte; KEY_BYTES])), [])
    }

    fn target(instance_id: &str, account_name: &str) -> Target {
        Target {
            instance_id: instance_id.to_owned(),
            account_name: account_name.to_owned(),
        }
    }

    /// Computed with Python's `hmac` module over the length-prefixed parts, so that a change of the format is noticed: it
    /// would reset every account of every user.
    #[test]
    fn the_format_does_not_change() {
        let stored = keyring("00000001", 7).fingerprint(&target("rm-1", "app"), b"Abcdefg1!");
        assert_eq!(stored.key_id, "00000001");
        assert_eq!(stored.mac, "4KiUgKCRS1Lo1yWc/YJEgg==");
    }

    #[test]
    fn an_older_key_still_recognises() {
        let old = keyring("old", 1);
        let both = Keyring::new(
            ("new".to_owned(), Zeroizing::new([2; KEY_BYTES])),
            [("old".to_owned(), Zeroizing::new([1; KEY_BYTES]))],
        );
        let target = target("rm-1", "app");
        let stored = old.fingerprint(&target, b"value");
        assert_eq!(
            both.compare(&stored, &target, b"value"),
            Comparison::SameByOlderKey
        );
        assert_eq!(
            both.compare(&stored, &target, b"other"),
            Comparison::Different
        );
        assert_eq!(
            keyring("new", 2).compare(&stored, &target, b"value"),
            Comparison::KeyLost
        );
    }

    #[test]
    fn a_shorter_mac_does_not_match() {
        let keyring = keyring("key", 1);
        let target = target("rm-1", "app");
        let mut stored = keyring.fingerprint(&target, b"value");
        stored.mac = STANDARD.encode(&STANDARD.decode(&stored.mac).unwrap()[..4]);
        assert_eq!(
            keyring.compare(&stored, &target, b"value"),
            Comparison::Different
        );
    }

    proptest! {
        #[test]
        fn equal_only_for_the_same_account_and_value(
            // So few that many are equal, and many more are once their parts are joined.
            a in ("[ab]{0,2}", "[ab]{0,2}", "[ab]{0,2}"),
            b in ("[ab]{0,2}", "[ab]{0,2}", "[ab]{0,2}"),
        ) {
            let keyring = keyring("key", 1);
            let stored = keyring.fingerprint(&target(&a.0, &a.1), a.2.as_bytes());
            let compared = keyring.compare(&stored, &target(&b.0, &b.1), b.2.as_bytes());
            prop_assert_eq!(compared == Comparison::Same, a == b);
            let itself = keyring.compare(&stored, &target(&a.0, &a.1), a.2.as_bytes());
            prop_assert_eq!(itself, Comparison::Same);
        }
    }
}
