//! What the operator asked of the Kubernetes API, by the API server's audit log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::PathBuf;

use anyhow::Result;
use jiff::Timestamp;
use serde::Deserialize;

use crate::Testbed;
use crate::install::OPERATOR as OPERATOR_NAMESPACE;

/// The user name of the operator's ServiceAccount.
const OPERATOR: &str = "system:serviceaccount:rds-password-operator:rds-password-operator";

/// The verbs that change something.
const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

/// Reads the log from where it was begun.
pub struct Audit {
    path: PathBuf,
    offset: u64,
}

/// How often each request was made, and when the last was answered.
#[derive(Debug, Default)]
pub struct Requests {
    by_kind: BTreeMap<(String, String), u32>,
    /// When the last status was written.
    pub last_status: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    verb: String,
    stage: String,
    user: User,
    stage_timestamp: Timestamp,
    object_ref: Option<Object>,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    resource: String,
    #[serde(default)]
    subresource: String,
    #[serde(default)]
    namespace: String,
}

impl Audit {
    /// From now on.
    ///
    /// # Errors
    /// When there is no log.
    pub fn begin(bed: &Testbed) -> Result<Self> {
        let path = bed.control_plane.audit_log();
        let offset = path.metadata()?.len();
        Ok(Self { path, offset })
    }

    /// The operator's requests since then that have been answered.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn requests(&self) -> Result<Requests> {
        let mut log = File::open(&self.path)?;
        log.seek(SeekFrom::Start(self.offset))?;
        let mut requests = Requests::default();
        for line in BufReader::new(log).lines() {
            let line = line?;
            // The last line may not be whole yet.
            let Ok(line) = serde_json::from_str::<Line>(&line) else {
                continue;
            };
            if line.user.username == OPERATOR && line.stage == "ResponseComplete" {
                requests.add(line);
            }
        }
        Ok(requests)
    }
}

impl Requests {
    fn add(&mut self, line: Line) {
        // Of the Secrets in the operator's own namespace, it reads the fingerprint key, once.
        let is_counted = |object: &Object| {
            (&*object.resource, &*object.namespace) != ("secrets", OPERATOR_NAMESPACE)
        };
        let Some(object) = line.object_ref.filter(is_counted) else {
            return;
        };
        if object.subresource == "status" {
            self.last_status = self.last_status.max(Some(line.stage_timestamp));
        }
        *self
            .by_kind
            .entry((line.verb, object.resource))
            .or_default() += 1;
    }

    /// How many of this verb there were for this kind.
    #[must_use]
    pub fn count(&self, verb: &str, resource: &str) -> u32 {
        self.by_kind
            .get(&(verb.to_owned(), resource.to_owned()))
            .copied()
            .unwrap_or_default()
    }

    /// How many changed something, other than the Lease.
    #[must_use]
    pub fn writes(&self) -> u32 {
        let writes = self.by_kind.iter().filter(|((verb, resource), _)| {
            WRITES.contains(&verb.as_str()) && resource != "leases"
        });
        writes.map(|(_, count)| count).sum()
    }

    /// How many there were for rotations: all but lists, watches, Events, and what the election asks, which is a GET of the
    /// Lease before each renewal.
    #[must_use]
    pub fn of_rotations(&self) -> u32 {
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
    #[must_use]
    pub fn events(&self) -> u32 {
        self.count("create", "events") + self.count("patch", "events")
    }
}
