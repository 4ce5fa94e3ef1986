//! How many requests the operator made, by what they were for.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::audit::Request;
use crate::install::OPERATOR as OPERATOR_NAMESPACE;

/// The verbs that change something.
const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

/// How often each request was made, by verb and resource.
#[derive(Debug, Default)]
pub(super) struct Requests {
    by_kind: BTreeMap<(String, String), u32>,
    /// When the last status was written.
    pub(super) last_status: Option<Timestamp>,
}

impl Requests {
    pub(super) fn of(all: Vec<Request>) -> Self {
        let mut requests = Self::default();
        for request in all {
            // Of the Secrets in the operator's own namespace, it reads the fingerprint key, once.
            if (&*request.resource, &*request.namespace) == ("secrets", OPERATOR_NAMESPACE) {
                continue;
            }
            if request.subresource == "status" {
                requests.last_status = requests.last_status.max(Some(request.answered));
            }
            let kind = (request.verb, request.resource);
            *requests.by_kind.entry(kind).or_default() += 1;
        }
        requests
    }

    /// How many of this verb there were for this kind.
    pub(super) fn count(&self, verb: &str, resource: &str) -> u32 {
        self.by_kind
            .get(&(verb.to_owned(), resource.to_owned()))
            .copied()
            .unwrap_or_default()
    }

    /// How many changed something, other than the Lease.
    pub(super) fn writes(&self) -> u32 {
        let writes = self.by_kind.iter().filter(|((verb, resource), _)| {
            WRITES.contains(&verb.as_str()) && resource != "leases"
        });
        writes.map(|(_, count)| count).sum()
    }

    /// How many there were for rotations: all but lists, watches, Events, and what the election asks, which is a GET of the
    /// Lease before each renewal.
    pub(super) fn of_rotations(&self) -> u32 {
        let leases = self
            .count("get", "leases")
            .saturating_sub(self.count("update", "leases"));
        let kinds = [
            ("get", "secrets"),
            ("get", "databaseaccountpasswords"),
            ("update", "databaseaccountpasswords"),
        ];
        let others = kinds.iter();
        leases
            + others
                .map(|(verb, resource)| self.count(verb, resource))
                .sum::<u32>()
    }

    /// How many Events were published.
    pub(super) fn events(&self) -> u32 {
        self.count("create", "events") + self.count("patch", "events")
    }
}
