//! The generator of External Secrets makes passwords that RDS takes.
//!
//! What its fields do is in the documentation of External Secrets: a password of `length` characters, of which `digits` are
//! digits and `symbols` are of `symbolCharacters`; the rest are letters.

use anyhow::{Context as _, Result, ensure};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rds_password_operator::rds::password::Password;
use serde_json::Value;

use crate::examples::document;

/// What the generator's resource asks for.
#[derive(Clone, Debug)]
struct Generator {
    length: usize,
    digits: usize,
    symbols: usize,
    symbol_characters: Vec<char>,
}

impl Generator {
    fn of_the_recipe() -> Result<Self> {
        let spec = &document("Password", "rds")?["spec"];
        let number = |field: &str| {
            let number = spec[field].as_u64().context(field.to_owned())?;
            Ok::<_, anyhow::Error>(usize::try_from(number)?)
        };
        ensure!(
            spec["encoding"] == "raw",
            "an encoding makes other characters"
        );
        ensure!(
            spec["noUpper"] == Value::Bool(false),
            "fewer kinds of letters"
        );
        let symbols = spec["symbolCharacters"].as_str().context("no symbols")?;
        Ok(Self {
            length: number("length")?,
            digits: number("digits")?,
            symbols: number("symbols")?,
            symbol_characters: symbols.chars().collect(),
        })
    }

    /// All that it can make.
    fn passwords(self) -> impl Strategy<Value = String> {
        let letters = self.length - self.digits - self.symbols;
        let letter = prop::sample::select(('a'..='z').chain('A'..='Z').collect::<Vec<_>>());
        let digit = prop::sample::select(('0'..='9').collect::<Vec<_>>());
        let symbol = prop::sample::select(self.symbol_characters);
        let parts = (
            prop::collection::vec(letter, letters),
            prop::collection::vec(digit, self.digits),
            prop::collection::vec(symbol, self.symbols),
        );
        let all = parts.prop_map(|(letters, digits, symbols)| [letters, digits, symbols].concat());
        all.prop_shuffle()
            .prop_map(|characters| characters.into_iter().collect())
    }
}

#[test]
fn a_generated_password_is_one_that_rds_takes() -> Result<()> {
    let passwords = Generator::of_the_recipe()?.passwords();
    TestRunner::default().run(&passwords, |password| {
        prop_assert!(Password::from_bytes(password.as_bytes()).is_ok());
        Ok(())
    })?;
    Ok(())
}
