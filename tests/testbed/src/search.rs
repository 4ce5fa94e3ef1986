//! Finds secrets where they should not be, however they are spelled.

use std::collections::BTreeSet;

use aho_corasick::AhoCorasick;
use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use percent_encoding::percent_decode_str;
use sha2::Digest;

/// An unkeyed hash may be cut short; so much of one is no coincidence.
const HASH_PREFIX: usize = 12;

/// A spelling of something shorter than this could be anything.
const SHORTEST: usize = 6;

/// Looks for secrets: as they are, percent-encoded once or twice, in base64 (at any place in a longer text), in hexadecimal,
/// as a list of bytes, with JSON's escapes, and as an unkeyed hash, from which they could be guessed. Case does not matter.
#[derive(Debug, Default)]
pub struct Search {
    needles: Vec<Needle>,
    /// All needles at once: a text is gone through once, and not hundreds of times.
    automaton: Option<AhoCorasick>,
}

#[derive(Debug)]
struct Needle {
    secret: String,
    spelling: &'static str,
    text: String,
}

impl Search {
    /// Looks for these secrets.
    ///
    /// # Errors
    /// Where one is too short to be looked for.
    pub fn of<S: AsRef<[u8]>>(secrets: impl IntoIterator<Item = S>) -> Result<Self> {
        let mut search = Self::default();
        for secret in secrets {
            search.add(secret)?;
        }
        Ok(search)
    }

    /// Looks for this secret as well. A piece of a secret finds every spelling of the whole but its hashes.
    ///
    /// # Errors
    /// Where it is too short to be looked for.
    pub fn add(&mut self, secret: impl AsRef<[u8]>) -> Result<()> {
        let secret = secret.as_ref();
        ensure!(secret.len() >= SHORTEST, "anything could be this secret");
        for (spelling, text) in spellings(secret) {
            let text = text.to_lowercase();
            let is_known = self.needles.iter().any(|known| known.text == text);
            if text.len() >= SHORTEST && !is_known {
                self.needles.push(Needle {
                    secret: String::from_utf8_lossy(secret).into_owned(),
                    spelling,
                    text,
                });
            }
        }
        let needles = self.needles.iter().map(|needle| &needle.text);
        self.automaton = Some(AhoCorasick::new(needles)?);
        Ok(())
    }

    /// What is found in a text: which secret, in which spelling, and the line that it is in. Nothing if the text is silent.
    #[must_use]
    pub fn find(&self, text: &str) -> Vec<String> {
        let plain = text.to_lowercase();
        let once = decoded(&plain);
        let twice = decoded(&once);
        let escapes = [("\\u0026", "&"), ("\\u003c", "<"), ("\\u003e", ">")];
        let unescaped = escapes.iter().fold(plain.clone(), |text, (escape, sign)| {
            text.replace(escape, sign)
        });
        let mut readings = vec![
            ("", plain),
            (", percent-encoded", once),
            (", percent-encoded twice", twice),
            (", with JSON's escapes", unescaped),
        ];
        readings.dedup_by(|(_, later), (_, earlier)| later == earlier);
        let mut found = BTreeSet::new();
        for (reading, text) in &readings {
            let there = self.automaton.iter();
            for there in there.flat_map(|automaton| automaton.find_overlapping_iter(text)) {
                let Needle {
                    secret, spelling, ..
                } = &self.needles[there.pattern().as_usize()];
                let line = line_around(text, there.start());
                found.insert(format!("{secret:?} {spelling}{reading}: {line}"));
            }
        }
        found.into_iter().collect()
    }
}

fn line_around(text: &str, position: usize) -> &str {
    let begin = text[..position].rfind('\n').map_or(0, |end| end + 1);
    text[begin..].lines().next().unwrap_or_default()
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn spellings(secret: &[u8]) -> Vec<(&'static str, String)> {
    let mut spellings = vec![
        ("as it is", String::from_utf8_lossy(secret).into_owned()),
        ("in hexadecimal", hexadecimal(secret)),
        ("as bytes", decimals(secret, ", ")),
        ("as bytes", decimals(secret, ",")),
    ];
    // Base64 spells the same bytes in three ways, depending on where in a longer text they stand. The characters at either
    // end also depend on the neighbours, so only those in between are looked for.
    for (leading, unsure) in [(0, 0), (1, 2), (2, 3)] {
        let mut shifted = vec![0; leading];
        shifted.extend_from_slice(secret);
        let certain = shifted.len() * 8 / 6;
        for engine in [BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD] {
            let text = engine.encode(&shifted);
            spellings.push(("in base64", text[unsure..certain].to_owned()));
        }
    }
    for (name, hash) in [
        ("as its MD5", md5::Md5::digest(secret).to_vec()),
        ("as its SHA-1", sha1::Sha1::digest(secret).to_vec()),
        ("as its SHA-256", sha2::Sha256::digest(secret).to_vec()),
        ("as its SHA-512", sha2::Sha512::digest(secret).to_vec()),
    ] {
        for text in [
            hexadecimal(&hash),
            BASE64_STANDARD_NO_PAD.encode(&hash),
            BASE64_URL_SAFE_NO_PAD.encode(&hash),
        ] {
            spellings.push((name, text[..HASH_PREFIX].to_owned()));
        }
    }
    spellings
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
    let halves = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    halves.map(digit).collect()
}

fn decimals(bytes: &[u8], separator: &str) -> String {
    let numbers: Vec<String> = bytes.iter().map(ToString::to_string).collect();
    numbers.join(separator)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may end at the first surprise")]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use rstest::rstest;

    use super::*;

    const SECRET: &str = "Canary%&First<1=";

    fn encode(text: &str) -> String {
        utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
    }

    #[rstest]
    #[case::as_it_is(SECRET.to_owned())]
    #[case::another_case(SECRET.to_uppercase())]
    #[case::percent_encoded(encode(SECRET))]
    #[case::percent_encoded_in_part(SECRET.replace('%', "%25").replace('&', "%26"))]
    #[case::percent_encoded_twice(encode(&encode(SECRET)))]
    #[case::with_json_escapes(SECRET.replace('&', "\\u0026").replace('<', "\\u003c"))]
    #[case::hexadecimal(hexadecimal(SECRET.as_bytes()).to_uppercase())]
    #[case::debug_of_bytes(format!("{:?}", SECRET.as_bytes()))]
    #[case::json_of_bytes(serde_json::to_string(SECRET.as_bytes()).unwrap())]
    #[case::base64(BASE64_STANDARD.encode(SECRET))]
    #[case::base64_percent_encoded(encode(&BASE64_STANDARD.encode(SECRET)))]
    #[case::base64_in_the_middle(BASE64_STANDARD.encode(format!("a{SECRET}b")))]
    #[case::base64_for_urls(BASE64_URL_SAFE.encode(format!("ab{SECRET}")))]
    #[case::md5(hexadecimal(&md5::Md5::digest(SECRET)))]
    #[case::sha1(BASE64_STANDARD.encode(sha1::Sha1::digest(SECRET)))]
    #[case::sha256(hexadecimal(&sha2::Sha256::digest(SECRET))[..16].to_owned())]
    #[case::sha512(BASE64_URL_SAFE.encode(sha2::Sha512::digest(SECRET)))]
    fn a_canary_is_found(#[case] spelled: String) {
        let search = Search::of([SECRET]).unwrap();
        let text = format!("{{\"a\": 1}}\n{{\"message\": \"x{spelled}y\"}}\n");
        assert!(!search.find(&text).is_empty(), "{text}");
    }

    #[test]
    fn a_piece_finds_the_whole() {
        let search = Search::of(["Canary"]).unwrap();
        for spelled in [encode(SECRET), BASE64_STANDARD.encode(SECRET)] {
            assert!(!search.find(&spelled).is_empty(), "{spelled}");
        }
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        let search = Search::of([SECRET]).unwrap();
        let text = include_str!("search.rs").replace("Canary%", "");
        assert_eq!(search.find(&text), [""; 0]);
        assert_eq!(search.find("100 %, %zz and \\u0026"), [""; 0]);
    }
}
