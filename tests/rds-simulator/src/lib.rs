//! A strict simulator of the RDS API of Alibaba Cloud over HTTP, for tests.
//!
//! It is built from the documented protocol, not from what a particular client sends, so that any official Alibaba Cloud
//! SDK that is pointed at it works, and a client that breaks the protocol fails as it would in the cloud. It knows the
//! actions of [`Action`], signed by either [`SignatureMethod`], with GET or POST, answered in JSON or XML.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use rds_simulator::{AccessKey, Account, Action, Fault, Instance, RdsSimulator, Target, Timeline};
//!
//! let rds = RdsSimulator::start().await?;
//! rds.add_access_key(AccessKey::new("testid", "testsecret"));
//! rds.add_instance(Instance::new("rm-1").account(Account::new("app", "Initial#1")));
//! println!("point a client at {}", rds.url());
//!
//! // State that changes over time.
//! rds.set_instance_status("rm-1", Timeline::of("Rebooting").lasting(Duration::from_secs(1)).then("Running"))?;
//!
//! // Things that go wrong: once, for one instance, until cleared, before or after the effect.
//! rds.add_fault(Fault::error(503, "ServiceUnavailable", "Try later.").on(Action::ResetAccountPassword).times(1));
//! let fault = rds.add_fault(Fault::close_connection().after_effect().on(Target::from(Action::ResetAccountPassword).instance("rm-1")));
//! rds.clear_fault(fault);
//!
//! // Hold a reset that is under way, do something, let it go.
//! let pause = rds.pause(Action::ResetAccountPassword);
//! pause.wait_for_held(1, Duration::from_secs(10)).await?;
//! pause.release();
//!
//! // What happened.
//! let calls = rds.journal().wait_for(Duration::from_secs(10), |calls| calls.iter().any(|call| call.took_effect)).await?;
//! assert!(!calls[0].password_in_url);
//! assert_eq!(rds.password_of("rm-1", "app").as_deref(), Some("Rotated#2"));
//! assert!(rds.login("rm-1", "app", "Rotated#2"));
//! # Ok(())
//! # }
//! ```
//!
//! The way of a request: `server` (HTTP) → `request` (taken apart) → `state` (admitted: `ram`, `signature`, nonce,
//! `throttle`) → `fault` → `rds` (carried out) → `answer` (JSON or XML) → `wire` (HTTP again), with each step in the
//! `journal`; `handling` takes it along. Time and chance come in there: what decides is pure.

mod answer;
mod fault;
mod handles;
mod handling;
mod journal;
mod parameters;
mod ram;
mod rds;
mod request;
mod secret;
mod server;
mod shared;
mod signature;
mod simulator;
mod state;
mod throttle;
mod timeline;
mod wire;

pub use fault::{Fault, FaultId, Target};
pub use handles::{Journal, Pause, WaitTimeout};
pub use jiff::{SignedDuration, Timestamp};
pub use journal::{Call, Outcome};
pub use ram::{AccessKey, DenialCode};
pub use rds::{
    Action,
    instance::{Account, Instance},
};
pub use request::SignatureMethod;
pub use secret::Password;
pub use simulator::{NoSuchTarget, RdsSimulator};
pub use throttle::Throttle;
pub use timeline::Timeline;
