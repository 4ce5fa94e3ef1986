//! What the tests and the demo run the operator against.

pub mod bed;
pub mod control_plane;
pub mod install;
pub mod operator;
mod process;
pub mod proxy;
pub mod search;
pub mod soak;

pub use bed::{Testbed, condition, reason};
pub use control_plane::ControlPlane;
pub use operator::Operator;
pub use proxy::ApiProxy;
pub use search::Search;
