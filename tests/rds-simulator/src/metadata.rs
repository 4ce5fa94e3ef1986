//! The metadata service of an ECS instance, as far as it hands out the keys of the instance's role:
//! <https://www.alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata>. In the cloud it is at `100.100.100.200`.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use rand::Rng;

use crate::{
    action::Action,
    answer::ApiError,
    ram::temporary_key::Grant,
    request::ParsedRequest,
    state::State,
    work::{Admitted, Work},
};

const TOKEN_PATH: &str = "/latest/api/token";
const CREDENTIALS_PATH: &str = "/latest/meta-data/ram/security-credentials/";
const TOKEN_HEADER: &str = "x-aliyun-ecs-metadata-token";
const TTL_HEADER: &str = "x-aliyun-ecs-metadata-token-ttl-seconds";
/// Of a token of the metadata service, in seconds.
const TTL: std::ops::RangeInclusive<i64> = 1..=21_600;
/// How long the role's keys live.
const KEY_LIFETIME: Duration = Duration::from_secs(6 * 3600);

/// An ECS instance's metadata service: which role the instance has, and whether requests need a token.
///
/// That the role trusts `ecs.aliyuncs.com` is taken for granted. Each request is given a new key; the real service hands out
/// the same one for hours. Errors have the real statuses as far as they are documented, but other bodies.
#[derive(Debug, Clone)]
pub struct MetadataService {
    role: Option<String>,
    v2_only: bool,
}

/// The tokens that were given out, and when they expire by the cloud's clock.
pub(crate) type MetadataTokens = BTreeMap<String, Timestamp>;

impl MetadataService {
    /// Of an instance with this role (by ARN), with a token (`IMDSv2`) or without (`IMDSv1`).
    pub fn of_role(arn: impl Into<String>) -> Self {
        Self {
            role: Some(arn.into()),
            v2_only: false,
        }
    }

    /// Of an instance that has no role.
    #[must_use]
    pub fn without_role() -> Self {
        Self {
            role: None,
            v2_only: false,
        }
    }

    /// Refuses requests without a token, as instances in hardened mode do.
    #[must_use]
    pub fn v2_only(mut self) -> Self {
        self.v2_only = true;
        self
    }

    pub(crate) fn action(request: &ParsedRequest) -> Result<Action, ApiError> {
        let action = match request.path.as_str() {
            TOKEN_PATH => Action::GetMetadataToken,
            path => match path.strip_prefix(CREDENTIALS_PATH) {
                Some("") => Action::GetMetadataRoleName,
                Some(_) => Action::GetMetadataCredentials,
                None => return Err(not_found()),
            },
        };
        let method = if action == Action::GetMetadataToken {
            "PUT"
        } else {
            "GET"
        };
        if request.method != method {
            return Err(ApiError::new(
                405,
                "MethodNotAllowed",
                "The method is not allowed here.",
            ));
        }
        Ok(action)
    }

    pub(crate) fn admit(
        &self,
        state: &State,
        now: Timestamp,
        request: &ParsedRequest,
    ) -> Result<Admitted, ApiError> {
        let action = Self::action(request)?;
        let cloud_time = state.cloud_time(now);
        if action == Action::GetMetadataToken {
            let lifetime = request
                .header(TTL_HEADER)
                .and_then(|seconds| seconds.parse().ok())
                .filter(|seconds| TTL.contains(seconds))
                .ok_or_else(|| {
                    ApiError::new(400, "BadRequest", "The token needs a TTL of 1 to 21600 s.")
                })?;
            return Ok(Admitted {
                action,
                role: self.role.clone(),
                work: Work::IssueMetadataToken {
                    lifetime: SignedDuration::from_secs(lifetime),
                },
            });
        }
        self.check_token(state, cloud_time, request)?;
        let role = self
            .role
            .as_ref()
            .and_then(|arn| state.roles.get(arn))
            .ok_or_else(not_found)?;
        let work = if action == Action::GetMetadataRoleName {
            Work::TellRoleName(role.name().to_owned())
        } else if request.path.strip_prefix(CREDENTIALS_PATH) == Some(role.name()) {
            Work::GiveKey {
                grant: Grant::new(role, "i-simulated", KEY_LIFETIME),
                with_code: true,
            }
        } else {
            return Err(not_found());
        };
        Ok(Admitted {
            action,
            role: Some(role.arn.clone()),
            work,
        })
    }

    /// A token that is not good is refused even where none is needed; that this is a 403 as well is not documented.
    fn check_token(
        &self,
        state: &State,
        cloud_time: Timestamp,
        request: &ParsedRequest,
    ) -> Result<(), ApiError> {
        let good = match request.header(TOKEN_HEADER) {
            None => !self.v2_only,
            Some(token) => state
                .metadata_tokens
                .get(token)
                .is_some_and(|expires| cloud_time < *expires),
        };
        if good {
            Ok(())
        } else {
            Err(ApiError::new(
                403,
                "Forbidden",
                "The request needs a valid token.",
            ))
        }
    }
}

/// Times are told to the second.
pub(crate) fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// A new token of the metadata service.
pub(crate) fn new_token(random: &mut dyn Rng) -> String {
    let mut bytes = [0; 40];
    random.fill_bytes(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

fn not_found() -> ApiError {
    ApiError::new(404, "NotFound", "There is no such metadata.")
}
