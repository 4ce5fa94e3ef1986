//! What the operator asked of the Kubernetes API, by the API server's audit log.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::PathBuf;

use anyhow::Result;
use jiff::Timestamp;
use serde::Deserialize;

use crate::ControlPlane;
use crate::install::OPERATOR;

/// Reads the log from some place on.
pub struct Audit {
    path: PathBuf,
    offset: u64,
}

/// A request of the operator that was answered.
#[derive(Debug)]
pub struct Request {
    /// Such as `get`.
    pub verb: String,
    /// The plural of its kind, such as `secrets`.
    pub resource: String,
    /// Such as `status`; empty where it is for the object as a whole.
    pub subresource: String,
    /// The namespace of the object, and its name, where there is one.
    pub namespace: String,
    /// See [`namespace`](Self::namespace).
    pub name: String,
    /// When it came.
    pub received: Timestamp,
    /// When it had its answer.
    pub answered: Timestamp,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    verb: String,
    stage: String,
    user: User,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
    object_ref: Option<Object>,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Object {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

impl Audit {
    /// From the beginning.
    #[must_use]
    pub fn whole(control_plane: &ControlPlane) -> Self {
        Self {
            path: control_plane.audit_log(),
            offset: 0,
        }
    }

    /// From now on.
    ///
    /// # Errors
    /// When there is no log.
    pub fn begin(control_plane: &ControlPlane) -> Result<Self> {
        let path = control_plane.audit_log();
        let offset = path.metadata()?.len();
        Ok(Self { path, offset })
    }

    /// The operator's requests for objects, in the order of their answers.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn requests(&self) -> Result<Vec<Request>> {
        let operator = format!("system:serviceaccount:{OPERATOR}:{OPERATOR}");
        let mut log = File::open(&self.path)?;
        log.seek(SeekFrom::Start(self.offset))?;
        let mut requests = Vec::new();
        for line in BufReader::new(log).lines() {
            // The last line may not be whole yet.
            let Ok(line) = serde_json::from_str::<Line>(&line?) else {
                continue;
            };
            if line.user.username != operator || line.stage != "ResponseComplete" {
                continue;
            }
            if let Some(object) = line.object_ref {
                requests.push(Request {
                    verb: line.verb,
                    resource: object.resource,
                    subresource: object.subresource,
                    namespace: object.namespace,
                    name: object.name,
                    received: line.request_received_timestamp,
                    answered: line.stage_timestamp,
                });
            }
        }
        Ok(requests)
    }
}
