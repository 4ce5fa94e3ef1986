//! What both actions take: the role, the session's name and length, and a policy.

use std::time::Duration;

use super::errors;
use crate::{
    answer::ApiError,
    ram::{arn, role::Role},
    request::ParsedRequest,
};

/// The shortest session that may be asked for.
const SHORTEST: Duration = Duration::from_secs(900);
/// How long a session is that asks for nothing.
const DEFAULT: Duration = Duration::from_secs(3600);
/// Of a policy, in bytes.
const LONGEST_POLICY: usize = 2048;
/// Of a session's name, in characters.
const NAME_LENGTH: std::ops::RangeInclusive<usize> = 2..=64;

/// Which session is asked for. Parts of it are checked against the role later.
#[derive(Debug, Clone)]
pub(super) struct SessionRequest {
    /// The role's ARN.
    pub(super) role: String,
    pub(super) name: String,
    duration: Duration,
}

impl SessionRequest {
    /// Reads the parameters; `missing` makes the error for one that is absent, which the two actions tell differently.
    ///
    /// A `Policy` is checked for its size and for being JSON; its effect, a session with fewer rights than the role, is not
    /// simulated.
    pub(super) fn parse(
        request: &ParsedRequest,
        missing: fn(&str) -> ApiError,
    ) -> Result<Self, ApiError> {
        let required = |name: &str| request.parameter(name).ok_or_else(|| missing(name));
        let role = required("RoleArn")?;
        if arn::parse(role, "role").is_none() {
            return Err(errors::wrongly_formed("RoleArn"));
        }
        let name = required("RoleSessionName")?;
        if !NAME_LENGTH.contains(&name.len()) || !name.bytes().all(is_name_character) {
            return Err(errors::wrongly_formed("RoleSessionName"));
        }
        let duration = match request.parameter("DurationSeconds") {
            None => DEFAULT,
            Some(text) => Duration::from_secs(text.parse().map_err(|_| errors::duration())?),
        };
        if duration < SHORTEST {
            return Err(errors::duration());
        }
        if let Some(policy) = request.parameter("Policy") {
            if policy.len() > LONGEST_POLICY {
                return Err(errors::policy_size());
            }
            if serde_json::from_str::<serde_json::Map<_, _>>(policy).is_err() {
                return Err(errors::policy_grammar());
            }
        }
        Ok(Self {
            role: role.to_owned(),
            name: name.to_owned(),
            duration,
        })
    }

    /// How long the session of this role may last.
    pub(super) fn duration_for(&self, role: &Role) -> Result<Duration, ApiError> {
        if self.duration > role.max_session {
            return Err(errors::duration());
        }
        Ok(self.duration)
    }
}

fn is_name_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".@-_".contains(&byte)
}
