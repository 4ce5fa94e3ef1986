//! Requests that may be carried out, and carrying them out.

use jiff::{SignedDuration, Timestamp};
use rand::Rng;

use crate::{
    action::Action,
    answer::{Answer, ApiError},
    fault::Features,
    metadata,
    ram::temporary_key::Grant,
    rds,
    state::State,
    sts::Assumed,
};

/// A request that may be carried out.
pub(crate) struct Admitted {
    pub(crate) action: Action,
    pub(crate) work: Work,
    /// The role whose key it is made with, or that it asks for.
    pub(crate) role: Option<String>,
}

/// What is to be done.
pub(crate) enum Work {
    Rds {
        call: rds::Call,
        /// The caller's.
        cloud_account: String,
    },
    AssumeRole(Assumed),
    /// Give out a key without STS' frills.
    GiveKey {
        grant: Grant,
        /// Whether the answer has the metadata service's `Code` and `LastUpdated` as well.
        with_code: bool,
    },
    /// Name the role of an ECS instance.
    TellRoleName(String),
    IssueMetadataToken {
        lifetime: SignedDuration,
    },
}

impl Admitted {
    pub(crate) fn assume(action: Action, assumed: Assumed) -> Self {
        Self {
            action,
            role: Some(assumed.grant.session.role.clone()),
            work: Work::AssumeRole(assumed),
        }
    }

    pub(crate) fn features(&self) -> Features<'_> {
        let call = match &self.work {
            Work::Rds { call, .. } => Some(call),
            _ => None,
        };
        Features {
            action: self.action,
            instance: call.map(|call| call.instance.as_str()),
            account: call.and_then(rds::Call::account),
            role: self.role.as_deref(),
            access_key: None,
        }
    }
}

/// Carries an admitted request out.
pub(crate) fn perform(
    state: &mut State,
    now: Timestamp,
    admitted: &Admitted,
    call: u64,
    request_id: &str,
    random: &mut dyn Rng,
) -> Result<Answer, ApiError> {
    let success = |fields| Answer::success(admitted.action.name(), request_id, fields);
    let answer = match &admitted.work {
        Work::Rds {
            call,
            cloud_account,
        } => success(call.perform(&mut state.instances, cloud_account, now)?),
        Work::AssumeRole(assumed) => {
            let key = state.issue_key(&assumed.grant, now, random);
            success(assumed.answer(&key))
        }
        Work::GiveKey { grant, with_code } => {
            let mut fields = state.issue_key(grant, now, random).fields();
            if *with_code {
                let updated = metadata::whole_second(state.cloud_time(now));
                fields.insert("Code".to_owned(), "Success".into());
                fields.insert("LastUpdated".to_owned(), updated.to_string().into());
            }
            Answer::bare(fields)
        }
        Work::TellRoleName(name) => Answer::text(200, None, name.clone()),
        Work::IssueMetadataToken { lifetime } => {
            let token = metadata::new_token(random);
            let expires = state
                .cloud_time(now)
                .checked_add(*lifetime)
                .unwrap_or(Timestamp::MAX);
            state.metadata_tokens.insert(token.clone(), expires);
            state.secrets.insert(token.clone());
            Answer::text(200, None, token)
        }
    };
    state.journal.took_effect(call, now);
    Ok(answer)
}
