//! A strict simulator of the RDS API of Alibaba Cloud over HTTP, for tests; and of STS, which issues the temporary keys that
//! RDS is called with.
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
//! # Temporary keys
//!
//! STS answers at the same URL (its version 2015-04-01 tells it apart): `AssumeRole`, which an access key signs, and
//! `AssumeRoleWithOIDC`, which nobody signs, and which really verifies the token. The keys that it issues may do at RDS what
//! their role may, until they expire by the cloud's clock.
//!
//! ```no_run
//! # async fn example(jwks_of_kube_apiserver: &str) -> Result<(), Box<dyn std::error::Error>> {
//! # use std::time::Duration;
//! # use rds_simulator::{Action, DenialCode, OidcProvider, RdsSimulator, Role, SignedDuration};
//! # let rds = RdsSimulator::start().await?;
//! let (provider, issuer) = ("acs:ram::1000000000000001:oidc-provider/cluster", "https://kubernetes.default.svc");
//! // What kube-apiserver answers at /openid/v1/jwks.
//! rds.add_oidc_provider(OidcProvider::new(provider, issuer, jwks_of_kube_apiserver)?);
//! rds.add_role(
//!     Role::new("acs:ram::1000000000000001:role/team-a")
//!         .trusts_oidc(provider, issuer, "sts.aliyuncs.com", "system:serviceaccount:team-a:databases")
//!         .trusts_account("1000000000000001")
//!         .max_session(Duration::from_secs(7200))
//!         .denied(DenialCode::NoPermission, None, Some("rm-of-team-b")),
//! );
//! rds.set_token_lifetime(Duration::from_secs(5)); // whatever DurationSeconds says
//! rds.set_clock_skew(SignedDuration::from_mins(50)); // or move the clock
//! rds.expire_tokens(); // or end all at once
//! let calls = rds.journal().calls();
//! let assumed = calls.iter().filter(|call| call.is(Action::AssumeRoleWithOidc));
//! for call in assumed {
//!     println!("{:?} for {:?}: {:?}", call.role, call.subject, call.code);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Other sources of keys are servers of their own, on ports of their own; their requests are in the same journal, and
//! faults concern them by [`Action`] as well:
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! # use rds_simulator::{Action, CredentialsUri, Fault, MetadataService, RdsSimulator, Role};
//! # let rds = RdsSimulator::start().await?;
//! let role = "acs:ram::1000000000000001:role/node";
//! rds.add_role(Role::new(role));
//! let metadata = rds.start_metadata_service(MetadataService::of_role(role).v2_only()).await?;
//! println!("instead of http://100.100.100.200: {}", metadata.url());
//! let uri = rds.start_credentials_uri(CredentialsUri::of_role(role)).await?;
//! println!("ALIBABA_CLOUD_CREDENTIALS_URI={}", uri.url());
//! rds.add_fault(Fault::hang().on(Action::GetMetadataToken));
//! rds.add_fault(Fault::garbage(200, "text/html", "<html>").on(Action::GetCredentialsUri));
//! // What must not be found in any log.
//! let canaries = rds.tokens_and_secrets();
//! # Ok(())
//! # }
//! ```
//!
//! # How it is built
//!
//! The way of a request: `server` (HTTP) → `request` (taken apart) → `endpoint` (by port) → `admission` (`ram`, `signature`,
//! nonce, `throttle`, and for `sts` the token), or `metadata` or `credentials_uri` → `fault` → `work` (carried out, by `rds`
//! or `sts`) → `answer` (JSON, XML or text) → `wire` (HTTP again), with each step in the `journal`; `handling` takes it along.
//! Time and chance come in there: what decides is pure.

mod action;
mod admission;
mod answer;
mod credentials_uri;
mod endpoint;
mod fault;
mod handles;
mod handling;
mod journal;
mod metadata;
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
mod sts;
mod throttle;
mod timeline;
mod wire;
mod work;

pub use action::Action;
pub use credentials_uri::CredentialsUri;
pub use endpoint::CredentialsEndpoint;
pub use fault::{Fault, FaultId, Target};
pub use handles::{Journal, Pause, WaitTimeout};
pub use jiff::{SignedDuration, Timestamp};
pub use journal::{Call, Outcome};
pub use metadata::MetadataService;
pub use ram::{
    access_key::AccessKey,
    denial::DenialCode,
    oidc_provider::{InvalidKeySet, OidcProvider},
    role::Role,
};
pub use rds::instance::{Account, Instance};
pub use request::SignatureMethod;
pub use secret::Password;
pub use simulator::{NoSuchTarget, RdsSimulator};
pub use throttle::{Throttle, WaitHeaders};
pub use timeline::Timeline;
