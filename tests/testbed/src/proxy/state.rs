//! What the proxy knows: its scripts, what it has seen, and its connections. Nothing in here does I/O.

use std::collections::HashMap;
use std::sync::Arc;

use hyper::body::Bytes;
use tokio::sync::oneshot;

use super::request::{ApiRequest, Matcher, Verb};

/// Changes the body of an answer.
pub(super) type Edit = Arc<dyn Fn(&mut Vec<u8>) + Send + Sync>;

/// A request and what became of it.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// What was asked.
    pub request: ApiRequest,
    /// The HTTP status of the answer, be it the API server's or a scripted one, also of an answer that was lost; none
    /// before there is one.
    pub status: Option<u16>,
    /// Whether it goes on: it waits for its answer, or the answer has not been sent to its end. A watch is open until
    /// either side ends it.
    pub open: bool,
    connection: u64,
    /// The newest of all ids when it came.
    begun: u64,
    held_by: Option<ScriptId>,
}

impl Exchange {
    /// Whether it is a watch that the API server has accepted and nobody has ended.
    #[must_use]
    pub fn is_open_watch(&self) -> bool {
        self.request.verb == Verb::Watch && self.status == Some(200) && self.open
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ScriptId(u64);

struct Script {
    id: ScriptId,
    matcher: Matcher,
    effect: Effect,
}

/// What happens to the requests that a script concerns. `left` is how many more of them it concerns.
pub(super) enum Effect {
    Hold,
    Refuse,
    Answer { left: usize, answer: Answer },
    LoseAnswer { left: usize },
    Rewrite(Edit),
}

#[derive(Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

/// What is to be done with a request that nothing holds.
pub(super) enum Course {
    Refuse,
    Answer(Answer),
    Forward { edits: Vec<Edit>, lose_answer: bool },
}

#[derive(Default)]
pub(super) struct State {
    cut: bool,
    scripts: Vec<Script>,
    exchanges: Vec<Exchange>,
    /// Each ends when its sender is dropped.
    connections: HashMap<u64, oneshot::Sender<()>>,
    last_id: u64,
}

impl State {
    /// Takes a connection in, unless the network is cut; returns its number, and what resolves when it is to be closed.
    pub(super) fn connect(&mut self) -> Option<(u64, oneshot::Receiver<()>)> {
        if self.cut {
            return None;
        }
        let (open, closed) = oneshot::channel();
        let connection = self.next_id();
        self.connections.insert(connection, open);
        Some((connection, closed))
    }

    /// Forgets a connection that has ended by itself.
    pub(super) fn disconnected(&mut self, connection: u64) {
        self.connections.remove(&connection);
    }

    /// Notes a request; returns its place among the exchanges.
    pub(super) fn begin(&mut self, request: ApiRequest, connection: u64) -> usize {
        self.exchanges.push(Exchange {
            request,
            status: None,
            open: true,
            connection,
            begun: self.last_id,
            held_by: None,
        });
        self.exchanges.len() - 1
    }

    pub(super) fn exchanges(&self) -> &[Exchange] {
        &self.exchanges
    }

    pub(super) fn answered(&mut self, exchange: usize, status: u16) {
        self.exchanges[exchange].status = Some(status);
    }

    pub(super) fn ended(&mut self, exchange: usize) {
        self.exchanges[exchange].open = false;
    }

    pub(super) fn add(&mut self, matcher: Matcher, effect: Effect) -> ScriptId {
        let id = ScriptId(self.next_id());
        self.scripts.push(Script {
            id,
            matcher,
            effect,
        });
        id
    }

    pub(super) fn remove(&mut self, script: ScriptId) {
        self.scripts.retain(|known| known.id != script);
    }

    pub(super) fn is_set(&self, script: ScriptId) -> bool {
        self.scripts.iter().any(|known| known.id == script)
    }

    pub(super) fn mend(&mut self) {
        self.cut = false;
        self.scripts.clear();
    }

    /// Closes all connections, and lets none in any more.
    pub(super) fn cut(&mut self) {
        self.cut = true;
        self.end_exchanges(&Matcher::any());
        self.connections.clear();
    }

    /// Closes the connections of a resource's lists and watches, and refuses new ones.
    pub(super) fn cut_watches(&mut self, resource: &str) {
        // A list too, and one that is under way as well: it could otherwise bring what the watch misses.
        let matcher = Matcher::resource(resource)
            .when(|request| matches!(request.verb, Verb::List | Verb::Watch));
        self.end_exchanges(&matcher);
        self.add(matcher, Effect::Refuse);
    }

    /// The hold that keeps this exchange waiting, if there is one. None that was begun after it came: so the next one can be set
    /// before an earlier one is released, and nothing slips through between them.
    pub(super) fn hold(&mut self, exchange: usize) -> Option<ScriptId> {
        let exchange = &mut self.exchanges[exchange];
        exchange.held_by = self
            .scripts
            .iter()
            .find(|script| {
                matches!(script.effect, Effect::Hold)
                    && script.id.0 <= exchange.begun
                    && script.matcher.matches(&exchange.request)
            })
            .map(|script| script.id);
        exchange.held_by
    }

    /// How many requests a hold keeps waiting.
    pub(super) fn held(&self, hold: ScriptId) -> usize {
        self.exchanges
            .iter()
            .filter(|exchange| exchange.open && exchange.held_by == Some(hold))
            .count()
    }

    /// Decides about a request, and counts it where a script is for some requests only.
    pub(super) fn course(&mut self, exchange: usize) -> Course {
        let request = &self.exchanges[exchange].request;
        let mut refused = false;
        let mut lose_answer = None;
        let mut edits = Vec::new();
        let matching = self
            .scripts
            .iter_mut()
            .filter(|script| script.matcher.matches(request));
        for script in matching {
            match &mut script.effect {
                Effect::Answer { left, answer } if *left > 0 => {
                    *left -= 1;
                    return Course::Answer(answer.clone());
                }
                Effect::Refuse => refused = true,
                Effect::LoseAnswer { left } if *left > 0 && lose_answer.is_none() => {
                    lose_answer = Some(left);
                }
                // The events of a watch come one by one, and never as a whole.
                Effect::Rewrite(edit) if request.verb != Verb::Watch => {
                    edits.push(Arc::clone(edit));
                }
                _ => {}
            }
        }
        if refused {
            return Course::Refuse;
        }
        let lose_answer = lose_answer.map(|left| *left -= 1).is_some();
        Course::Forward { edits, lose_answer }
    }

    /// Closes the connections of open exchanges. Over HTTP/1.1 each carries one at a time, so that no other ends with it.
    fn end_exchanges(&mut self, matcher: &Matcher) {
        for exchange in &mut self.exchanges {
            if exchange.open && matcher.matches(&exchange.request) {
                exchange.open = false;
                self.connections.remove(&exchange.connection);
            }
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}
