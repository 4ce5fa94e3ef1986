//! Writes the files of the repository that are made from others.
//!
//! `cargo run -p testbed --bin generate`

#![expect(clippy::print_stdout, reason = "it says what it has changed")]

use std::fs;

use anyhow::{Context as _, Result};
use testbed::generate::{self, Generated};
use testbed::install::repository_file;

#[tokio::main]
async fn main() -> Result<()> {
    // Helm reads what the first ones are.
    write(generate::of_the_chart()?)?;
    write(generate::of_helm().await?)
}

fn write(files: Vec<Generated>) -> Result<()> {
    for file in files {
        let path = repository_file(&file.path);
        if fs::read_to_string(&path).is_ok_and(|text| text == file.text) {
            continue;
        }
        let directory = path.parent().context("a file is in a directory")?;
        fs::create_dir_all(directory)?;
        fs::write(&path, file.text).with_context(|| file.path.clone())?;
        println!("wrote {}", file.path);
    }
    Ok(())
}
