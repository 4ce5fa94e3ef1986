//! What the tests and the demo run the operator against.

pub mod audit;
pub mod bed;
#[cfg(target_os = "linux")]
pub mod bench;
pub mod build;
pub mod control_plane;
pub mod generate;
mod go_program;
pub mod helm;
pub mod install;
pub mod kustomize;
pub mod node;
pub mod operator;
mod process;
pub mod program;
pub mod prometheus_operator;
pub mod promtool;
pub mod proxy;
pub mod search;
pub mod soak;

pub use bed::{Testbed, condition, reason, wait_until};
pub use control_plane::ControlPlane;
pub use helm::Helm;
pub use node::Node;
pub use operator::Operator;
pub use proxy::ApiProxy;
pub use search::Search;
