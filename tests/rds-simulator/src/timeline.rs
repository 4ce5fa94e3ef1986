//! Values that change over time, or with every look.

use std::time::Duration;

use jiff::Timestamp;

/// A scripted sequence of values: each holds for a time or for a number of reads, the last one for ever.
///
/// ```
/// use std::time::Duration;
/// use rds_simulator::Timeline;
///
/// let rebooting = Timeline::of("Rebooting").lasting(Duration::from_secs(2)).then("Running");
/// let unavailable_twice = Timeline::of("Unavailable").for_reads(2).then("Available");
/// let flapping = Timeline::of("Running").for_reads(1).then("SSL_MODIFYING").for_reads(1).repeating();
/// ```
#[derive(Debug, Clone)]
pub struct Timeline {
    steps: Vec<Step>,
    repeating: bool,
    position: usize,
    entered: Option<Timestamp>,
    reads: u32,
}

#[derive(Debug, Clone)]
struct Step {
    value: String,
    until: Until,
}

#[derive(Debug, Clone, Copy)]
enum Until {
    Forever,
    Elapsed(Duration),
    Reads(u32),
}

impl Timeline {
    /// A first value, which holds for ever unless told otherwise.
    pub fn of(value: impl Into<String>) -> Self {
        Self {
            steps: vec![Step {
                value: value.into(),
                until: Until::Forever,
            }],
            repeating: false,
            position: 0,
            entered: None,
            reads: 0,
        }
    }

    /// The newest value holds for this long, counted from its beginning.
    #[must_use]
    pub fn lasting(self, time: Duration) -> Self {
        // A step of no length in a repeating timeline would never end.
        self.until(Until::Elapsed(time.max(Duration::from_millis(1))))
    }

    /// The newest value is seen by this many reads (at least one): descriptions of the instance or account.
    #[must_use]
    pub fn for_reads(self, reads: u32) -> Self {
        self.until(Until::Reads(reads.max(1)))
    }

    /// The next value.
    #[must_use]
    pub fn then(mut self, value: impl Into<String>) -> Self {
        self.steps.push(Step {
            value: value.into(),
            until: Until::Forever,
        });
        self
    }

    /// Begins again after the last value, if that one ends.
    #[must_use]
    pub fn repeating(mut self) -> Self {
        self.repeating = true;
        self
    }

    fn until(mut self, until: Until) -> Self {
        if let Some(step) = self.steps.last_mut() {
            step.until = until;
        }
        self
    }

    /// The value now, for one who only depends on it: this is not a read.
    pub(crate) fn peek(&mut self, now: Timestamp) -> &str {
        let mut entered = *self.entered.get_or_insert(now);
        while let Some(Step {
            until: Until::Elapsed(time),
            ..
        }) = self.steps.get(self.position)
        {
            let Ok(end) = entered.checked_add(*time) else {
                break;
            };
            if now < end || !self.advance(end) {
                break;
            }
            entered = end;
        }
        self.steps
            .get(self.position)
            .map_or("", |step| step.value.as_str())
    }

    /// The value now, as one who describes it sees it.
    pub(crate) fn read(&mut self, now: Timestamp) -> String {
        let value = self.peek(now).to_owned();
        self.reads += 1;
        if let Some(Step {
            until: Until::Reads(reads),
            ..
        }) = self.steps.get(self.position)
            && self.reads >= *reads
        {
            self.advance(now);
        }
        value
    }

    /// The timeline from its beginning.
    pub(crate) fn restarted(&self) -> Self {
        Self {
            position: 0,
            entered: None,
            reads: 0,
            ..self.clone()
        }
    }

    fn advance(&mut self, at: Timestamp) -> bool {
        let next = self.position + 1;
        let next = if next == self.steps.len() && self.repeating {
            0
        } else {
            next
        };
        if next == self.steps.len() {
            return false;
        }
        self.position = next;
        self.entered = Some(at);
        self.reads = 0;
        true
    }
}

impl<T: Into<String>> From<T> for Timeline {
    fn from(value: T) -> Self {
        Self::of(value)
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;

    use super::*;

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn a_value_lasts_its_time_and_the_last_for_ever() {
        let mut timeline = Timeline::of("Rebooting")
            .lasting(Duration::from_secs(2))
            .then("Starting")
            .lasting(Duration::from_secs(1))
            .then("Running");
        assert_eq!(timeline.peek(START), "Rebooting");
        assert_eq!(timeline.peek(START + 1999.milliseconds()), "Rebooting");
        assert_eq!(timeline.peek(START + 2.seconds()), "Starting");
        assert_eq!(timeline.peek(START + 3.seconds()), "Running");
        assert_eq!(timeline.peek(START + 300.hours()), "Running");
    }

    #[test]
    fn several_steps_can_pass_between_two_looks() {
        let mut timeline = Timeline::of("a")
            .lasting(Duration::from_secs(1))
            .then("b")
            .lasting(Duration::from_secs(1))
            .repeating();
        assert_eq!(timeline.peek(START), "a");
        assert_eq!(timeline.peek(START + 7.seconds()), "b");
        assert_eq!(timeline.peek(START + 8.seconds()), "a");
    }

    #[test]
    fn only_reads_count_as_reads() {
        let mut timeline = Timeline::of("Unavailable").for_reads(2).then("Available");
        for _ in 0..5 {
            assert_eq!(timeline.peek(START), "Unavailable");
        }
        assert_eq!(timeline.read(START), "Unavailable");
        assert_eq!(timeline.read(START), "Unavailable");
        assert_eq!(timeline.read(START), "Available");
        assert_eq!(timeline.restarted().read(START), "Unavailable");
    }
}
