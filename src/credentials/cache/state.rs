//! What is known of one identity's credentials, and what follows from it at a time. Pure.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::super::error::{CredentialsError, Kind, SourceName};
use super::super::issued::IssuedCredentials;
use crate::rds::classification::Class;
use crate::rds::credentials::Credentials;

/// Credentials whose end nobody knows are looked at again after this: soon enough that a corrected file or Secret is noticed,
/// and seldom enough that a program is not run for every call.
const WITHOUT_END_IS_KEPT: SignedDuration = SignedDuration::from_secs(60);

/// Renewal begins when this part of the lifetime is over, or up to [`RENEW_SPREAD`] of it later. Of an hour that leaves 9 to
/// 15 minutes for further tries (the official SDKs leave 3 to 15), and the spread keeps a fleet's renewals apart.
const RENEW_FROM: f64 = 0.75;
const RENEW_SPREAD: f64 = 0.1;

/// Credentials count as expired this much before they are, so that they do not expire on their way: a minute, or for
/// short-lived ones a tenth of their life.
const MARGIN: SignedDuration = SignedDuration::from_secs(60);
const MARGIN_PART: f64 = 0.1;

/// The pause after a failed fetch doubles from the first to the longest. Short, since the resources' own back-off comes on
/// top of it: it keeps many resources of one identity from asking one after the other. Shorter still where a person has to
/// act, who then wants to see what it led to.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE_FOR_A_PERSON: Duration = Duration::from_secs(5);

/// The longest time for which the cloud asks to be left alone.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(120);

/// Rejections are believed once in this time. Fresh credentials that are rejected as well will not get better by others.
const INVALIDATED_ONCE_IN: SignedDuration = SignedDuration::from_secs(10);

/// What is known.
#[derive(Default)]
pub(super) struct State {
    held: Option<Held>,
    failure: Option<Failure>,
    invalidated: Option<Timestamp>,
}

struct Held {
    credentials: Arc<Credentials>,
    renew_from: Timestamp,
    good_until: Timestamp,
}

struct Failure {
    error: CredentialsError,
    /// In a row.
    count: u32,
    at: Timestamp,
    pause: SignedDuration,
}

/// What follows.
#[derive(Debug)]
pub(super) enum Look {
    /// To be used.
    Good(Arc<Credentials>),
    /// To be used, and to be renewed.
    Due(Arc<Credentials>),
    /// A fetch failed a moment ago.
    Failed(CredentialsError),
    /// To be fetched.
    Nothing,
}

impl State {
    pub(super) fn look(&self, now: Timestamp) -> Look {
        let pausing = self.failure.as_ref().filter(|failure| {
            // A time that is not over, nor ahead of a clock that was set back.
            (SignedDuration::ZERO..failure.pause).contains(&now.duration_since(failure.at))
        });
        match (&self.held, pausing) {
            (Some(held), _) if now < held.renew_from => Look::Good(held.credentials.clone()),
            (Some(held), None) if now < held.good_until => Look::Due(held.credentials.clone()),
            (Some(held), Some(_)) if now < held.good_until => Look::Good(held.credentials.clone()),
            (_, Some(failure)) => Look::Failed(failure.error.clone()),
            (_, None) => Look::Nothing,
        }
    }

    /// `jitter` is in [0, 1).
    pub(super) fn settle(
        &mut self,
        fetched: Result<IssuedCredentials, CredentialsError>,
        now: Timestamp,
        jitter: f64,
    ) -> Result<Arc<Credentials>, CredentialsError> {
        match fetched.and_then(|issued| Held::of(issued, now, jitter)) {
            Ok(held) => {
                let credentials = held.credentials.clone();
                self.held = Some(held);
                self.failure = None;
                Ok(credentials)
            }
            Err(error) => {
                let count = self.failure.as_ref().map_or(0, |failure| failure.count) + 1;
                self.failure = Some(Failure {
                    pause: pause(&error, count, jitter),
                    error: error.clone(),
                    count,
                    at: now,
                });
                Err(error)
            }
        }
    }

    /// Whether it makes sense to look again.
    pub(super) fn invalidate(&mut self, access_key_id: &str, now: Timestamp) -> bool {
        let of_the_id = |held: &Held| held.credentials.access_key_id == access_key_id;
        if !self.held.as_ref().is_some_and(of_the_id) {
            // Others are there already, or about to be fetched.
            return true;
        }
        let recently = self.invalidated.is_some_and(|at| {
            (SignedDuration::ZERO..INVALIDATED_ONCE_IN).contains(&now.duration_since(at))
        });
        if !recently {
            self.held = None;
            self.invalidated = Some(now);
        }
        !recently
    }
}

impl Held {
    fn of(
        issued: IssuedCredentials,
        now: Timestamp,
        jitter: f64,
    ) -> Result<Self, CredentialsError> {
        let credentials = Arc::new(issued.credentials);
        let Some(expiration) = issued.expiration else {
            let end = now.saturating_add(WITHOUT_END_IS_KEPT).unwrap_or(now);
            return Ok(Self {
                credentials,
                renew_from: end,
                good_until: end,
            });
        };
        let life = expiration.duration_since(now);
        if !life.is_positive() {
            return Err(expired(issued.origin));
        }
        let margin = MARGIN.min(life.mul_f64(MARGIN_PART));
        let part = RENEW_FROM + RENEW_SPREAD * jitter.clamp(0.0, 1.0);
        Ok(Self {
            credentials,
            renew_from: now.saturating_add(life.mul_f64(part)).unwrap_or(now),
            good_until: expiration.saturating_sub(margin).unwrap_or(expiration),
        })
    }
}

fn expired(origin: SourceName) -> CredentialsError {
    CredentialsError::new(
        origin,
        Kind::Misconfigured,
        "the credentials had expired when they came; check what issues them, and the clock of the operator's node (NTP)",
    )
}

/// How long no fetch is tried after the `count`th failure in a row (1 for the first).
fn pause(error: &CredentialsError, count: u32, jitter: f64) -> SignedDuration {
    let doublings = count.saturating_sub(1).min(8);
    let longest = if error.class() == Class::PersonNeeded {
        LONGEST_PAUSE_FOR_A_PERSON
    } else {
        LONGEST_PAUSE
    };
    let base = (FIRST_PAUSE * 2_u32.pow(doublings)).min(longest);
    let base = base.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
    let asked = error.retry_after().unwrap_or_default();
    let pause = base.max(asked.min(LONGEST_RETRY_AFTER));
    SignedDuration::try_from(pause).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use secrecy::SecretString;

    use super::*;

    const START: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn at(seconds: i64) -> Timestamp {
        START
            .checked_add(SignedDuration::from_secs(seconds))
            .unwrap()
    }

    fn issued(id: &str, life: Option<i64>) -> IssuedCredentials {
        IssuedCredentials {
            origin: SourceName::Oidc,
            credentials: Credentials {
                access_key_id: id.to_owned(),
                access_key_secret: SecretString::from("secret"),
                security_token: None,
            },
            expiration: life.map(at),
        }
    }

    fn failure(retry_after: Option<u64>) -> CredentialsError {
        let error = CredentialsError::new(SourceName::Oidc, Kind::Throttled, "no");
        error.answered(None, None, retry_after.map(Duration::from_secs))
    }

    /// What is said at a time: the id and `!` where it is due, `-` for nothing, `x` for a failure.
    fn said(state: &State, seconds: i64) -> String {
        match state.look(at(seconds)) {
            Look::Good(credentials) => credentials.access_key_id.clone(),
            Look::Due(credentials) => format!("{}!", credentials.access_key_id),
            Look::Failed(_) => "x".to_owned(),
            Look::Nothing => "-".to_owned(),
        }
    }

    #[rstest]
    #[case::an_hour(Some(3600), 0.0, 2700, 3540)]
    #[case::an_hour_later(Some(3600), 0.5, 2880, 3540)]
    #[case::a_day(Some(86_400), 0.0, 64_800, 86_340)]
    #[case::a_quarter_of_an_hour(Some(900), 0.0, 675, 840)]
    #[case::short(Some(40), 0.0, 30, 36)]
    #[case::without_an_end(None, 0.5, 60, 60)]
    fn a_life(
        #[case] life: Option<i64>,
        #[case] jitter: f64,
        #[case] due_from: i64,
        #[case] good_until: i64,
    ) {
        let mut state = State::default();
        assert_eq!(said(&state, 0), "-");
        state.settle(Ok(issued("a", life)), START, jitter).unwrap();
        assert_eq!(said(&state, 0), "a");
        assert_eq!(said(&state, due_from - 1), "a");
        if due_from < good_until {
            assert_eq!(said(&state, due_from), "a!");
            assert_eq!(said(&state, good_until - 1), "a!");
        }
        assert_eq!(said(&state, good_until), "-");
    }

    #[test]
    fn a_failed_renewal_takes_nothing_away() {
        let mut state = State::default();
        state
            .settle(Ok(issued("a", Some(3600))), START, 0.0)
            .unwrap();
        assert_eq!(said(&state, 2800), "a!");
        assert!(state.settle(Err(failure(None)), at(2800), 0.99).is_err());
        // Not tried again at once, and then again.
        assert_eq!(said(&state, 2800), "a");
        assert_eq!(said(&state, 2801), "a!");
        assert!(state.settle(Err(failure(Some(60))), at(2801), 0.0).is_err());
        assert_eq!(said(&state, 2860), "a");
        assert_eq!(said(&state, 2861), "a!");
        // Only when they have expired is the failure told.
        assert!(state.settle(Err(failure(None)), at(3540), 0.0).is_err());
        assert_eq!(said(&state, 3540), "x");
        state
            .settle(Ok(issued("b", Some(7200))), at(3545), 0.0)
            .unwrap();
        assert_eq!(said(&state, 3545), "b");
        assert!(state.failure.is_none());
    }

    #[rstest]
    #[case(1, None, 0.0, 500)]
    #[case(1, None, 0.999_999, 999)]
    #[case(3, None, 0.0, 2000)]
    #[case(6, None, 0.0, 15_000)]
    #[case(u32::MAX, None, 0.0, 15_000)]
    #[case(1, Some(7), 0.0, 7000)]
    #[case(1, Some(9999), 0.0, 120_000)]
    fn pauses(
        #[case] count: u32,
        #[case] retry_after: Option<u64>,
        #[case] jitter: f64,
        #[case] milliseconds: i128,
    ) {
        let error = failure(retry_after);
        assert_eq!(pause(&error, count, jitter).as_millis(), milliseconds);
    }

    #[test]
    fn a_person_waits_for_less() {
        let error = CredentialsError::new(SourceName::Oidc, Kind::Denied, "no");
        assert_eq!(pause(&error, 1, 0.0).as_millis(), 500);
        assert_eq!(pause(&error, 9, 0.0).as_millis(), 2500);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_lengthen_a_pause() {
        let mut state = State::default();
        assert!(state.settle(Err(failure(None)), at(1000), 0.0).is_err());
        assert_eq!(said(&state, 1000), "x");
        assert_eq!(said(&state, 0), "-");
    }

    #[rstest]
    #[case(0)]
    #[case(-1)]
    fn credentials_from_the_past_are_an_error(#[case] life: i64) {
        let mut state = State::default();
        let error = state
            .settle(Ok(issued("a", Some(life))), START, 0.0)
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Misconfigured);
        assert_eq!(said(&state, 0), "x");
    }

    #[test]
    fn rejected_credentials_leave_once_in_a_while() {
        let mut state = State::default();
        state
            .settle(Ok(issued("a", Some(3600))), START, 0.0)
            .unwrap();
        assert!(state.invalidate("another", at(1)));
        assert_eq!(said(&state, 1), "a");
        assert!(state.invalidate("a", at(1)));
        assert_eq!(said(&state, 1), "-");
        // A second caller with the old ones finds that there will be others.
        assert!(state.invalidate("a", at(1)));
        state
            .settle(Ok(issued("b", Some(3600))), at(2), 0.0)
            .unwrap();
        assert!(state.invalidate("a", at(2)));
        assert_eq!(said(&state, 2), "b");
        // Fresh ones that are rejected as well stay, so that the cloud is not asked twice for each try.
        assert!(!state.invalidate("b", at(3)));
        assert_eq!(said(&state, 3), "b");
        assert!(state.invalidate("b", at(11)));
        assert_eq!(said(&state, 11), "-");
    }

    /// Mostly within days.
    fn any_seconds() -> impl Strategy<Value = i64> {
        prop_oneof![4 => -1000_i64..100_000, 1 => any::<i64>()]
    }

    proptest! {
        #[test]
        fn nothing_overflows_and_nothing_expired_is_used(
            life in any_seconds(),
            jitter in -1.0_f64..2.0,
            later in any_seconds(),
        ) {
            let time = |seconds| START.saturating_add(SignedDuration::from_secs(seconds)).unwrap();
            let mut state = State::default();
            let mut fetched = issued("a", None);
            fetched.expiration = Some(time(life));
            let _ = state.settle(Ok(fetched), START, jitter);
            let look = state.look(time(later));
            if let Look::Good(_) | Look::Due(_) = look {
                prop_assert!(time(later) < time(life));
            }
            // And what is far from its end is.
            if (100..1_000_000).contains(&life) && (0..life / 2).contains(&later) {
                prop_assert!(matches!(look, Look::Good(_)));
            }
        }
    }
}
