//! What the demo prints, laid out to be read.

use std::fmt::Display;
use std::io::{Write as _, stdout};

use anyhow::Result;

/// Long enough for the widest table, short enough for a laptop.
const WIDTH: usize = 100;

/// Sets off the text of a step from its title.
const INDENT: &str = "   ";

/// A step's title.
pub(crate) fn title(number: u8, title: &str) -> Result<()> {
    Ok(writeln!(stdout(), "\n{number}. {title}")?)
}

/// Sentences, broken into lines between words.
pub(crate) fn say(text: impl Display) -> Result<()> {
    let mut line = String::new();
    for word in text.to_string().split_whitespace() {
        let is_full = line.chars().count() + word.chars().count() >= WIDTH - INDENT.len();
        if is_full && !line.is_empty() {
            show(&line)?;
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    show(line)
}

/// A line as it is.
pub(crate) fn show(line: impl Display) -> Result<()> {
    let line = format!("{INDENT}{line}");
    Ok(writeln!(stdout(), "{}", line.trim_end())?)
}

/// A command as one would type it.
pub(crate) fn command(line: impl Display) -> Result<()> {
    show(format!("$ {line}"))
}

/// Lines as they are, with an empty one before and after.
pub(crate) fn block(lines: impl IntoIterator<Item = impl Display>) -> Result<()> {
    show("")?;
    for line in lines {
        show(line)?;
    }
    show("")
}
