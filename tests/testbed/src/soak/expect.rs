//! What a resource should say once it has been looked at, and what its account should have. Pure.

use kube::ResourceExt as _;
use rds_password_operator::api::{DatabaseAccountPassword, REQUESTED_AT_ANNOTATION};

use super::model::{Demand, Objects, Resource};
use super::oracle::Sent;
use crate::bed::condition;

/// What is not as it should be; nothing, if all is.
#[must_use]
pub fn problem(
    objects: &Objects,
    found: Option<&DatabaseAccountPassword>,
    password: Option<&str>,
    resets: &[Sent],
) -> Option<String> {
    let demand = objects.demand();
    let Some(found) = found else {
        return (demand != Demand::Nothing).then(|| "the resource is not there".to_owned());
    };
    match demand {
        Demand::Nothing => Some("the resource is there".to_owned()),
        Demand::Hold(_, reason) => looked_at(found).or_else(|| not_ready(found, reason)),
        Demand::Suspended(resource, value) => looked_at(found).or_else(|| {
            let is_told = condition(found, "Suspended").is_some();
            let is_ready = condition(found, "Ready").is_some_and(|ready| ready.status == "True");
            if !is_told {
                Some("it does not say that it is suspended".to_owned())
            } else if is_ready {
                applied(resource, value, found, password, resets)
            } else {
                not_ready(found, "Suspended")
            }
        }),
        Demand::Apply(resource, value) => {
            looked_at(found).or_else(|| applied(resource, value, found, password, resets))
        }
    }
}

fn looked_at(found: &DatabaseAccountPassword) -> Option<String> {
    let generation = found.metadata.generation;
    let observed = found.status.as_ref().and_then(|it| it.observed_generation);
    let ready = condition(found, "Ready").and_then(|it| it.observed_generation);
    (observed != generation || ready != generation).then(|| {
        format!("generation {generation:?} is not observed: {observed:?}, Ready {ready:?}")
    })
}

fn not_ready(found: &DatabaseAccountPassword, reason: &str) -> Option<String> {
    let is_right = condition(found, "Ready")
        .is_some_and(|ready| ready.status == "False" && ready.reason == reason);
    (!is_right).then(|| format!("Ready is not False for {reason}: {}", told(found)))
}

fn applied(
    resource: &Resource,
    value: &str,
    found: &DatabaseAccountPassword,
    password: Option<&str>,
    resets: &[Sent],
) -> Option<String> {
    let problem = |text: &str| Some(format!("{text}: {}", told(found)));
    let ready = condition(found, "Ready");
    if ready.is_none_or(|ready| ready.status != "True" || ready.reason != "InSync") {
        return problem("not Ready");
    }
    for type_ in ["Reconciling", "Stalled"] {
        if condition(found, type_).is_some() {
            return problem(&format!("Ready, and {type_}"));
        }
    }
    let status = found.status.as_ref()?;
    if status.last_attempt.is_some() || status.pending_since.is_some() {
        return problem("Ready, and something is pending");
    }
    let request = found.annotations().get(REQUESTED_AT_ANNOTATION);
    if request.is_some() && request != status.last_handled_request.as_ref() {
        return problem("Ready, and a request is not handled");
    }
    let Some(reset) = &status.last_reset else {
        return problem("Ready without a reset");
    };
    if reset.instance_id != resource.instance || reset.account_name != resource.account {
        return problem("Ready by the reset of another account");
    }
    let call = resets.iter().find(|it| it.request_id == reset.request_id);
    let rests_on = call.filter(|it| {
        it.account.instance == resource.instance
            && it.account.name == resource.account
            && it.effect.is_some()
            && it.value == value
    });
    if rests_on.is_none() {
        return problem(
            "Ready by a reset that RDS does not know, or not of this account and value",
        );
    }
    if password != Some(value) {
        return problem("Ready, and the account has another password");
    }
    let is_unsettled = status.unanswered_sends.iter().any(|it| {
        it.instance_id == resource.instance
            && it.account_name == resource.account
            && Some(&it.fingerprint) != reset.fingerprint.as_ref()
    });
    if is_unsettled {
        return problem("Ready, and an earlier reset of another value is not settled");
    }
    None
}

/// What it says, without what it keeps for itself.
fn told(found: &DatabaseAccountPassword) -> String {
    let Some(status) = &found.status else {
        return "no status".to_owned();
    };
    let ready = condition(found, "Ready")
        .map(|ready| format!("{} {} {}", ready.status, ready.reason, ready.message));
    let attempt = status.last_attempt.as_ref().map(|it| {
        format!(
            "{:?} {} failures, next {}, unknown {}",
            it.code, it.failures, it.next_time.0, it.outcome_unknown
        )
    });
    let reset = status.last_reset.as_ref().map(|it| {
        format!(
            "{} {:?} {}",
            it.request_id,
            it.trigger,
            it.fingerprint.is_some()
        )
    });
    let unanswered = status.unanswered_sends.iter();
    let unanswered: Vec<_> = unanswered.map(|it| it.time.0).collect();
    format!(
        "Ready {ready:?}, lastAttempt {attempt:?}, lastReset {reset:?}, unanswered {unanswered:?}"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use rstest::rstest;
    use serde_json::{Value as Json, json};

    use super::super::model::{INSTANCES, KEYS, Value};
    use super::super::oracle::Account;
    use super::*;

    const VALUE: &str = "a";

    fn objects(valid: bool, suspend: bool) -> Objects {
        let value = Value {
            text: VALUE.to_owned(),
            valid,
        };
        Objects {
            secret: Some(BTreeMap::from([(KEYS[0], value)])),
            resource: Some(Resource {
                incarnation: 1,
                instance: INSTANCES[0],
                account: "app0".to_owned(),
                key: KEYS[0],
                suspend,
                request: None,
            }),
        }
    }

    fn ready(status: &str, reason: &str) -> Json {
        json!({
            "type": "Ready", "status": status, "reason": reason, "message": "", "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    }

    fn in_sync() -> Json {
        json!({
            "observedGeneration": 1,
            "conditions": [ready("True", "InSync")],
            "lastReset": {
                "time": "2026-01-01T00:00:00Z", "requestId": "R-1", "trigger": "Created",
                "instanceId": INSTANCES[0], "accountName": "app0",
                "secret": { "uid": "u", "resourceVersion": "1", "key": KEYS[0] },
            },
        })
    }

    /// In sync, with a reset that had no answer, of the value that was accepted or of another one.
    fn unanswered(mac: &str) -> Json {
        let fingerprint = |mac: &str| json!({ "keyId": "k", "mac": mac });
        let mut status = in_sync();
        status["lastReset"]["fingerprint"] = fingerprint("accepted");
        status["unansweredSends"] = json!([{
            "instanceId": INSTANCES[0], "accountName": "app0", "time": "2026-01-01T00:00:00Z",
            "fingerprint": fingerprint(mac),
        }]);
        status
    }

    fn held(reason: &str) -> Json {
        json!({ "observedGeneration": 1, "conditions": [ready("False", reason)] })
    }

    fn found(status: &Json) -> Option<DatabaseAccountPassword> {
        serde_json::from_value(json!({
            "apiVersion": "rds.password-operator.dev/v1alpha1",
            "kind": "DatabaseAccountPassword",
            "metadata": { "name": "orders-0", "namespace": "shop", "generation": 1 },
            "spec": {
                "instanceId": INSTANCES[0], "accountName": "app0",
                "passwordSecretRef": { "name": "orders-0" },
            },
            "status": status,
        }))
        .ok()
    }

    fn reset(value: &str, account: &str) -> Sent {
        Sent {
            number: 1,
            account: Account {
                instance: INSTANCES[0].to_owned(),
                name: account.to_owned(),
            },
            sender: "p".to_owned(),
            value: value.to_owned(),
            arrived: Timestamp::UNIX_EPOCH,
            finished: None,
            accepted: true,
            refused: false,
            effect: Some(1),
            effect_time: Some(Timestamp::UNIX_EPOCH),
            request_id: "R-1".to_owned(),
        }
    }

    #[test]
    fn what_is_right_is_no_problem() {
        let resets = [reset(VALUE, "app0")];
        let ready = found(&in_sync());
        let problem_of = |objects: &Objects, found: &Option<DatabaseAccountPassword>| {
            problem(objects, found.as_ref(), Some(VALUE), &resets)
        };
        assert_eq!(problem_of(&objects(true, false), &ready), None);
        let settled = found(&unanswered("accepted"));
        assert_eq!(problem_of(&objects(true, false), &settled), None);
        let invalid = found(&held("PasswordInvalid"));
        assert_eq!(problem_of(&objects(false, false), &invalid), None);
        assert_eq!(problem_of(&Objects::default(), &None), None);
    }

    /// What is wrong with a resource that should be in sync.
    #[rstest]
    #[case::no_status(json!(null), VALUE, VALUE, "app0")]
    #[case::not_ready(held("Pending"), VALUE, VALUE, "app0")]
    #[case::unsettled(unanswered("other"), VALUE, VALUE, "app0")]
    #[case::another_password(in_sync(), "b", VALUE, "app0")]
    #[case::by_the_reset_of_another_value(in_sync(), VALUE, "b", "app0")]
    #[case::by_the_reset_of_another_account(in_sync(), VALUE, VALUE, "spare0")]
    fn what_is_wrong_is_found(
        #[case] status: Json,
        #[case] password: &str,
        #[case] sent: &str,
        #[case] account: &str,
    ) {
        let resets = [reset(sent, account)];
        let found = found(&status);
        assert!(found.is_some());
        let problem = problem(
            &objects(true, false),
            found.as_ref(),
            Some(password),
            &resets,
        );
        assert!(problem.is_some());
    }

    #[test]
    fn ready_is_wrong_where_there_is_no_value_or_another_generation() {
        let resets = [reset(VALUE, "app0")];
        let mut ready = found(&in_sync());
        let problem_of = |objects: &Objects, found: &Option<DatabaseAccountPassword>| {
            problem(objects, found.as_ref(), Some(VALUE), &resets)
        };
        assert!(problem_of(&objects(false, false), &ready).is_some());
        assert!(
            problem_of(&objects(true, true), &ready).is_some(),
            "it says nothing of suspend"
        );
        assert!(problem_of(&Objects::default(), &ready).is_some());
        if let Some(ready) = &mut ready {
            ready.metadata.generation = Some(2);
        }
        assert!(problem_of(&objects(true, false), &ready).is_some());
        assert!(problem_of(&objects(true, false), &None).is_some());
    }
}
