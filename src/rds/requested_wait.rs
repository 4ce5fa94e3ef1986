//! How long an answer asks its caller to wait.
//!
//! The cloud does so in one of two ways, and nowhere in `Retry-After`:
//!
//! - `x-acs-retry-after`, in milliseconds, which the official clients of 2026 read. It makes an answer a throttled one for
//!   them, whatever its code (`throttlingRetryDelay` of <https://github.com/aliyun/aliyun-cli>, and its test with
//!   `InternalError`); what is not a number greater than zero does not count (`GetThrottlingTimeLeft` of
//!   <https://github.com/aliyun/darabonba-openapi> and its test).
//! - `x-ratelimit-user-api` and `x-ratelimit-user`, such as `Limit:1,Remain:0,TimeLeft:2000,Reset:1234`, of which the clients
//!   before read `TimeLeft`, in milliseconds too (<https://github.com/alibabacloud-go/darabonba-openapi>). They may come with
//!   any answer, and then tell of a limit that was not reached.

use std::time::Duration;

use reqwest::header::HeaderMap;

const RETRY_AFTER: &str = "x-acs-retry-after";

const RATE_LIMITS: [&str; 2] = ["x-ratelimit-user-api", "x-ratelimit-user"];

/// Longer than this the cloud never asks to wait; the official SDKs cap it alike.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// How long an answer asks its caller to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RequestedWait {
    /// It does not say.
    #[default]
    None,
    /// By `x-acs-retry-after`.
    RetryAfter(Duration),
    /// By the older headers.
    TimeLeft(Duration),
}

impl RequestedWait {
    /// What the headers of an answer ask for. The newer one goes first.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let values = |name| {
            let values = headers.get_all(name).into_iter();
            values.filter_map(|value| value.to_str().ok())
        };
        if let Some(wait) = longest(values(RETRY_AFTER)) {
            return Self::RetryAfter(wait);
        }
        let fields = RATE_LIMITS.into_iter().flat_map(values);
        let fields = fields.flat_map(|header| header.split(','));
        let times_left = fields
            .filter_map(|field| field.split_once(':'))
            .filter(|(name, _)| name.trim().eq_ignore_ascii_case("TimeLeft"))
            .map(|(_, value)| value);
        longest(times_left).map_or(Self::None, Self::TimeLeft)
    }

    /// The time itself; 120 seconds at most.
    pub(crate) fn duration(self) -> Option<Duration> {
        match self {
            Self::None => None,
            Self::RetryAfter(wait) | Self::TimeLeft(wait) => Some(wait),
        }
    }

    /// Whether the answer is a throttled one, whatever its code.
    pub(crate) fn is_of_a_throttled_answer(self) -> bool {
        matches!(self, Self::RetryAfter(_))
    }
}

/// The longest of several times in milliseconds, if any is longer than none.
fn longest<'a>(values: impl Iterator<Item = &'a str>) -> Option<Duration> {
    values
        .filter_map(|value| value.trim().parse().ok())
        .max()
        .filter(|milliseconds| *milliseconds > 0)
        .map(|milliseconds| Duration::from_millis(milliseconds).min(LONGEST_WAIT))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;
    use reqwest::header::{HeaderName, HeaderValue};
    use rstest::rstest;

    use super::RequestedWait::{None, RetryAfter, TimeLeft};
    use super::*;

    const NEW: &str = "x-acs-retry-after";
    const API: &str = "x-ratelimit-user-api";
    const USER: &str = "x-ratelimit-user";

    fn wait(headers: &[(&str, &str)]) -> RequestedWait {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        RequestedWait::of(&map)
    }

    fn milliseconds(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[rstest]
    #[case(&[(NEW, "700")], RetryAfter(milliseconds(700)))]
    #[case(&[("X-Acs-Retry-After", " 42 ")], RetryAfter(milliseconds(42)))]
    #[case(&[(NEW, "120001")], RetryAfter(LONGEST_WAIT))]
    #[case(&[(NEW, "700"), (NEW, "900")], RetryAfter(milliseconds(900)))]
    #[case::before_the_older_ones(&[(USER, "TimeLeft:90000"), (NEW, "700")], RetryAfter(milliseconds(700)))]
    #[case::zero(&[(NEW, "0")], None)]
    #[case::negative(&[(NEW, "-1")], None)]
    #[case::no_number(&[(NEW, "soon")], None)]
    #[case::a_fraction(&[(NEW, "0.7")], None)]
    #[case::empty(&[(NEW, "")], None)]
    #[case::else_the_older_ones(&[(NEW, "0"), (USER, "TimeLeft:30")], TimeLeft(milliseconds(30)))]
    #[case(&[(API, "Limit:1,Remain:0,TimeLeft:2000,Reset:1234")], TimeLeft(milliseconds(2000)))]
    #[case(&[(API, "TimeLeft:10"), (USER, "Remain:0, timeleft: 30")], TimeLeft(milliseconds(30)))]
    #[case(&[(USER, "TimeLeft:500000")], TimeLeft(LONGEST_WAIT))]
    #[case(&[(USER, "TimeLeft:0")], None)]
    #[case(&[(API, "TimeLeft:-1"), (USER, "TimeLeft:soon"), (USER, "TimeLeft"), (USER, "")], None)]
    #[case::another_protocol(&[("retry-after", "3")], None)]
    #[case(&[], None)]
    fn what_headers_ask_for(#[case] headers: &[(&str, &str)], #[case] expected: RequestedWait) {
        assert_eq!(wait(headers), expected);
    }

    proptest! {
        #[test]
        fn no_header_asks_for_more_than_the_longest_wait(
            new in "[ -~]{0,20}",
            old in "(TimeLeft:)?[ -~]{0,20}",
        ) {
            let wait = wait(&[(NEW, &new), (USER, &old)]);
            prop_assert!(wait.duration().is_none_or(|wait| !wait.is_zero() && wait <= LONGEST_WAIT));
        }
    }
}
