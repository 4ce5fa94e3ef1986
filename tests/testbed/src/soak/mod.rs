//! Everything goes wrong at once, at random from a seed, and the promises are checked after each round.

pub mod expect;
pub mod model;
pub mod oracle;
pub mod plan;
pub mod report;
mod sequence;
mod strike;
mod trouble;
mod witness;
mod world;

pub use sequence::{Failure, run};
