//! Throttling: how many requests a cloud account may send.
//!
//! Limits are counted per cloud account with all its RAM users and roles, in the form "200 in 60 s":
//! <https://help.aliyun.com/en/openapi/throttling-and-quota-management>. The status is 400 in the documented tables, and there
//! is no `Retry-After`: the official clients of 2026 read `x-acs-retry-after`, in milliseconds
//! (<https://github.com/aliyun/aliyun-cli>, `throttlingRetryDelay`), and those before `TimeLeft`, in milliseconds too, from the
//! headers `x-ratelimit-user-api` and `x-ratelimit-user`. Here an answer has both, unless the script says otherwise.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};

use crate::{
    action::{Action, Service},
    answer::ApiError,
};

/// By which headers a throttled answer tells for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitHeaders {
    /// By both.
    Both,
    /// By `x-acs-retry-after` alone.
    RetryAfter,
    /// By `x-ratelimit-user` or `x-ratelimit-user-api` alone.
    TimeLeft,
    /// By none.
    None,
}

/// A limit for each cloud account at each service: a bucket of `limit` tokens that refills within `window`.
#[derive(Debug, Clone)]
pub struct Throttle {
    /// `None`: all actions together.
    action: Option<Action>,
    limit: u32,
    window: Duration,
    status: u16,
    code: String,
    headers: WaitHeaders,
    /// By service and cloud account, when the bucket will be full again.
    full_at: BTreeMap<(Service, String), Timestamp>,
}

impl Throttle {
    /// A limit for all actions of a service together: `Throttling.User`, with the header `x-ratelimit-user`.
    #[must_use]
    pub fn user(limit: u32, window: Duration) -> Self {
        Self::new(None, limit, window, "Throttling.User")
    }

    /// A limit for one action: `Throttling.Api`, with the header `x-ratelimit-user-api`.
    #[must_use]
    pub fn action(action: Action, limit: u32, window: Duration) -> Self {
        Self::new(Some(action), limit, window, "Throttling.Api")
    }

    fn new(action: Option<Action>, limit: u32, window: Duration, code: &str) -> Self {
        Self {
            action,
            // No bucket is without a token, or the time until the next one would be infinite.
            limit: limit.max(1),
            window,
            status: 400,
            code: code.to_owned(),
            headers: WaitHeaders::Both,
            full_at: BTreeMap::new(),
        }
    }

    /// Answers with another code, such as `Throttling`.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = code.into();
        self
    }

    /// Answers with another HTTP status, such as 429.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Answers with these headers, as not every gateway sends all of them.
    #[must_use]
    pub fn headers(mut self, headers: WaitHeaders) -> Self {
        self.headers = headers;
        self
    }

    /// How long each token takes to come.
    fn interval(&self) -> Duration {
        self.window / self.limit
    }

    /// When the bucket would be full again if a token were taken now, and how long from now there is one to take.
    fn next(&self, bucket: &(Service, String), now: Timestamp) -> (Timestamp, SignedDuration) {
        let full_at = self.full_at.get(bucket).copied().unwrap_or(now).max(now);
        let next = full_at
            .checked_add(self.interval())
            .unwrap_or(Timestamp::MAX);
        let window = SignedDuration::try_from(self.window).unwrap_or(SignedDuration::MAX);
        (next, next.duration_since(now).saturating_sub(window))
    }

    fn error(&self, time_left: SignedDuration) -> ApiError {
        let name = if self.action.is_some() {
            USER_API_HEADER
        } else {
            USER_HEADER
        };
        let headers = wait_headers(self.headers, name, self.limit, time_left.as_millis());
        throttled(self.status, &self.code, headers)
    }
}

/// What the official clients of 2026 read, on any answer.
pub(crate) const RETRY_AFTER_HEADER: &str = "x-acs-retry-after";
/// The header of a limit for one action.
pub(crate) const USER_API_HEADER: &str = "x-ratelimit-user-api";
/// The header of a limit for all actions together.
pub(crate) const USER_HEADER: &str = "x-ratelimit-user";

/// `time_left` in milliseconds. What `Reset` means is documented nowhere, and no SDK reads it.
pub(crate) fn wait_headers(
    headers: WaitHeaders,
    limit_header: &'static str,
    limit: u32,
    time_left: i128,
) -> Vec<(&'static str, String)> {
    let retry_after = (RETRY_AFTER_HEADER, time_left.to_string());
    let rate_limit = (
        limit_header,
        format!("Limit:{limit},Remain:0,TimeLeft:{time_left},Reset:{time_left}"),
    );
    match headers {
        WaitHeaders::Both => vec![retry_after, rate_limit],
        WaitHeaders::RetryAfter => vec![retry_after],
        WaitHeaders::TimeLeft => vec![rate_limit],
        WaitHeaders::None => Vec::new(),
    }
}

pub(crate) fn throttled(status: u16, code: &str, headers: Vec<(&'static str, String)>) -> ApiError {
    let by = match code {
        "Throttling.User" => "user flow control",
        "Throttling.Api" => "api flow control",
        _ => "request throttling",
    };
    let mut error = ApiError::new(status, code, format!("Request was denied due to {by}."));
    error.headers = headers;
    error
}

/// Takes a token from every limit that concerns a request, or from none if one of them has none left.
pub(crate) fn take_token(
    throttles: &mut [Throttle],
    action: Action,
    cloud_account: &str,
    now: Timestamp,
) -> Result<(), ApiError> {
    let bucket = (action.service(), cloud_account.to_owned());
    let mut concerned: Vec<_> = throttles
        .iter_mut()
        .filter(|throttle| throttle.action.is_none_or(|limited| limited == action))
        .collect();
    for throttle in &concerned {
        let (_, time_left) = throttle.next(&bucket, now);
        if time_left.is_positive() {
            // Less than a millisecond must not read as "now".
            return Err(throttle.error(time_left.max(SignedDuration::from_millis(1))));
        }
    }
    for throttle in &mut concerned {
        let (full_at, _) = throttle.next(&bucket, now);
        throttle.full_at.insert(bucket.clone(), full_at);
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test")]
mod tests {
    use jiff::ToSpan as _;

    use super::*;

    const START: Timestamp = Timestamp::UNIX_EPOCH;
    const RESET: Action = Action::ResetAccountPassword;

    #[test]
    fn a_bucket_empties_and_refills() {
        let mut throttles = [Throttle::action(RESET, 2, Duration::from_secs(4))];
        let mut take = |now, account| take_token(&mut throttles, RESET, account, now);
        assert_eq!(take(START, "1"), Ok(()));
        assert_eq!(take(START, "1"), Ok(()));
        let error = take(START, "1").unwrap_err();
        assert_eq!((error.status, error.code.as_str()), (400, "Throttling.Api"));
        assert_eq!(
            error.headers,
            [
                ("x-acs-retry-after", "2000".to_owned()),
                (
                    "x-ratelimit-user-api",
                    "Limit:2,Remain:0,TimeLeft:2000,Reset:2000".to_owned()
                )
            ]
        );
        assert_eq!(
            take(START, "2"),
            Ok(()),
            "another cloud account has a bucket of its own"
        );
        assert!(take(START + 1999.milliseconds(), "1").is_err());
        assert_eq!(take(START + 2.seconds(), "1"), Ok(()));
        assert!(take(START + 2.seconds(), "1").is_err());
        assert_eq!(take(START + 100.seconds(), "1"), Ok(()));
        assert_eq!(take(START + 100.seconds(), "1"), Ok(()));
        assert!(take(START + 100.seconds(), "1").is_err());
    }

    #[test]
    fn a_refused_request_costs_no_other_limit_anything() {
        let second = Duration::from_secs(1);
        let mut throttles = [
            Throttle::user(2, second),
            Throttle::action(RESET, 1, second),
        ];
        let mut take =
            |action| take_token(&mut throttles, action, "1", START).map_err(|error| error.code);
        assert_eq!(take(RESET), Ok(()));
        assert_eq!(take(RESET), Err("Throttling.Api".to_owned()));
        assert_eq!(take(Action::DescribeAccounts), Ok(()));
        assert_eq!(
            take(Action::DescribeAccounts),
            Err("Throttling.User".to_owned())
        );
    }
}
