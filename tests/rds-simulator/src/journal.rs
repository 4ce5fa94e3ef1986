//! What happened: every request that came in, for tests to read.

use jiff::Timestamp;

use crate::{
    action::Action,
    request::{ParsedRequest, SignatureMethod},
    secret::Password,
    sts,
};

/// One request, as far as it has come. `Debug` shows no password; tokens and secrets of keys are not kept at all.
#[derive(Debug, Clone)]
pub struct Call {
    /// Counts up from 1 over the simulator's life, in the order of arrival.
    pub number: u64,
    /// When its body was complete, by this machine's clock.
    pub arrived: Timestamp,
    /// When its answer was ready or its connection was cut.
    pub finished: Option<Timestamp>,
    /// The action as it was sent, also an unknown one; empty if there was none.
    pub action: String,
    /// `GET` or `POST`.
    pub http_method: String,
    /// How it is signed.
    pub signature: SignatureMethod,
    /// `DBInstanceId`
    pub instance: Option<String>,
    /// `AccountName`
    pub account: Option<String>,
    /// ARN of the role that is asked for, or else of the role whose key the call says it is signed with, or else
    /// of the role whose key or name is given out.
    pub role: Option<String>,
    /// `RoleSessionName`
    pub role_session_name: Option<String>,
    /// The subject that the OIDC token claims, whether the token is good or not.
    pub subject: Option<String>,
    /// The access key that it says it is signed with.
    pub access_key_id: Option<String>,
    /// Its signature's nonce.
    pub nonce: Option<String>,
    /// The request id that was, or will be, answered.
    pub request_id: String,
    /// How it ended.
    pub outcome: Outcome,
    /// HTTP status of the answer.
    pub status: Option<u16>,
    /// The error code of the answer; `<password>` stands for the password where the code echoes it.
    pub code: Option<String>,
    /// Whether the URL holds a password.
    pub password_in_url: bool,
    /// Whether the URL holds an OIDC token.
    pub oidc_token_in_url: bool,
    /// The password that was sent.
    pub password: Option<Password>,
    /// Whether the action was carried out, whatever was answered.
    pub took_effect: bool,
    /// Counts up from 1 in the order in which actions were carried out, which need not be the order of arrival.
    pub effect: Option<u64>,
    /// When the action was carried out, by this machine's clock. The client may be gone by then.
    pub effect_time: Option<Timestamp>,
}

impl Call {
    /// Whether it is of this action.
    #[must_use]
    pub fn is(&self, action: Action) -> bool {
        self.action == action.name()
    }

    /// Whether it was answered with 200.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.outcome == Outcome::Answered && self.status == Some(200)
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Not yet: it is being carried out, or held by a pause, a delay or a hang.
    UnderWay,
    /// An answer was handed to the connection.
    Answered,
    /// The simulator closed the connection, without an answer or in the middle of it.
    Cut,
    /// The client closed the connection before there was an answer.
    ClientGone,
}

/// All calls in the order of arrival.
#[derive(Default)]
pub(crate) struct Journal {
    calls: Vec<Call>,
    count: u64,
    effects: u64,
    revision: u64,
}

impl Journal {
    /// Notes a request that has arrived; returns its number.
    pub(crate) fn begin(
        &mut self,
        now: Timestamp,
        request: &ParsedRequest,
        request_id: &str,
    ) -> u64 {
        self.count += 1;
        self.revision += 1;
        self.calls.push(Call {
            number: self.count,
            arrived: now,
            finished: None,
            action: request.action().unwrap_or_default().to_owned(),
            http_method: request.method.clone(),
            signature: request.signature(),
            instance: request.parameter("DBInstanceId").map(str::to_owned),
            account: request.parameter("AccountName").map(str::to_owned),
            role: request.parameter("RoleArn").map(str::to_owned),
            role_session_name: request.parameter("RoleSessionName").map(str::to_owned),
            subject: request
                .parameter("OIDCToken")
                .and_then(sts::claimed_subject),
            access_key_id: request.access_key_id().map(str::to_owned),
            nonce: request.nonce().map(str::to_owned),
            request_id: request_id.to_owned(),
            outcome: Outcome::UnderWay,
            status: None,
            code: None,
            password_in_url: request.password_in_url,
            oidc_token_in_url: request.oidc_token_in_url,
            password: request.password.clone(),
            took_effect: false,
            effect: None,
            effect_time: None,
        });
        self.count
    }

    /// Does nothing for a call that was cleared meanwhile.
    pub(crate) fn note(&mut self, number: u64, note: impl FnOnce(&mut Call)) {
        if let Some(call) = self
            .calls
            .iter_mut()
            .rev()
            .find(|call| call.number == number)
        {
            note(call);
            self.revision += 1;
        }
    }

    /// Notes that an action was carried out.
    pub(crate) fn took_effect(&mut self, number: u64, now: Timestamp) {
        self.effects += 1;
        let effect = self.effects;
        self.note(number, |call| {
            call.took_effect = true;
            call.effect = Some(effect);
            call.effect_time = Some(now);
        });
    }

    /// Grows with every change.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn calls(&self) -> &[Call] {
        &self.calls
    }

    pub(crate) fn clear(&mut self) {
        self.calls.clear();
        self.revision += 1;
    }
}
