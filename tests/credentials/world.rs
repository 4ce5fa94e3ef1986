//! A cloud, and the surroundings of an operator that has no process.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use rds_password_operator::credentials::{
    CredentialsError, Host, IssuedCredentials, MetadataEndpoint, OperatorCredentials, Settings,
};
use rds_password_operator::rds::client::{RdsClient, Timeouts};
use rds_password_operator::rds::credentials::Credentials;
use rds_password_operator::rds::error::CallError;
use rds_password_operator::rds::response::DbInstance;
use rds_password_operator::rds::signature::{Nonce, SignatureMethod, Signer};
use rds_simulator::{AccessKey, Action, Call, Instance, OidcProvider, RdsSimulator, Role};
use zeroize::Zeroizing;

use crate::issuer::{AUDIENCE, ISSUER, Issuer, SUBJECT};

pub(crate) const ACCOUNT: &str = "1000000000000001";
/// The role that everything assumes unless a test says otherwise.
pub(crate) const ROLE: &str = "acs:ram::1000000000000001:role/operator";
pub(crate) const PROVIDER: &str = "acs:ram::1000000000000001:oidc-provider/cluster";
pub(crate) const KEY_ID: &str = "testid";
pub(crate) const KEY_SECRET: &str = "canary-secret";
pub(crate) const TOKEN_FILE: &str = "/run/token";
pub(crate) const PROFILES: &str = "/home/.aliyun/config.json";
pub(crate) const FILE: &str = "/home/.alibabacloud/credentials";

/// What a test may change while the operator runs.
#[derive(Clone, Default)]
pub(crate) struct Surroundings {
    variables: Arc<Mutex<BTreeMap<String, String>>>,
    files: Arc<Mutex<BTreeMap<PathBuf, String>>>,
    ahead: Arc<Mutex<SignedDuration>>,
}

impl Surroundings {
    pub(crate) fn set(&self, name: &str, value: impl Into<String>) {
        self.variables
            .lock()
            .unwrap()
            .insert(name.to_owned(), value.into());
    }

    pub(crate) fn write(&self, path: &str, content: impl Into<String>) {
        self.files
            .lock()
            .unwrap()
            .insert(path.into(), content.into());
    }

    pub(crate) fn remove(&self, path: &str) {
        self.files.lock().unwrap().remove(Path::new(path));
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::now() + *self.ahead.lock().unwrap()
    }

    fn host(&self) -> Host {
        let (variables, files, clock) = (self.variables.clone(), self.files.clone(), self.clone());
        Host::new(
            move |name| variables.lock().unwrap().get(name).cloned(),
            Some("/home".into()),
            move |path| {
                let files = files.lock().unwrap();
                let content = files.get(path).ok_or(io::ErrorKind::NotFound)?;
                Ok(Zeroizing::new(content.clone().into_bytes()))
            },
            move || clock.now(),
        )
    }
}

/// A cloud with an instance, a permanent key, a role that this key and the cluster's operator may assume, and an operator
/// that has nothing configured yet.
pub(crate) struct World {
    pub(crate) cloud: RdsSimulator,
    pub(crate) issuer: Issuer,
    pub(crate) surroundings: Surroundings,
    pub(crate) settings: Settings,
    rds: RdsClient,
}

impl World {
    pub(crate) async fn new() -> Self {
        // Another test may have installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let cloud = RdsSimulator::start().await.unwrap();
        let issuer = Issuer::new();
        cloud.add_access_key(AccessKey::new(KEY_ID, KEY_SECRET));
        cloud.add_instance(Instance::new("rm-1"));
        cloud.add_oidc_provider(OidcProvider::new(PROVIDER, ISSUER, &issuer.key_set()).unwrap());
        cloud.add_role(
            Role::new(ROLE)
                .trusts_account(ACCOUNT)
                .trusts_oidc(PROVIDER, ISSUER, AUDIENCE, SUBJECT),
        );
        let settings = Settings {
            pinned: None,
            allow_node_role: false,
            sts_endpoint: Some(cloud.url().parse().unwrap()),
            // Nothing listens there.
            metadata_endpoint: "http://127.0.0.1:9".parse().unwrap(),
            region: "cn-shanghai".parse().unwrap(),
        };
        Self {
            cloud,
            issuer,
            surroundings: Surroundings::default(),
            settings,
            rds: RdsClient::new(SignatureMethod::default(), Timeouts::default()).unwrap(),
        }
    }

    /// Configures RRSA.
    pub(crate) fn with_rrsa(self) -> Self {
        self.surroundings.set("ALIBABA_CLOUD_ROLE_ARN", ROLE);
        self.surroundings
            .set("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", PROVIDER);
        self.surroundings
            .set("ALIBABA_CLOUD_OIDC_TOKEN_FILE", TOKEN_FILE);
        self.surroundings.write(TOKEN_FILE, self.issuer.token());
        self
    }

    /// Configures a profile of the command line tool; `fields` are JSON without the braces.
    pub(crate) fn with_profile(self, fields: &str) -> Self {
        let json = format!(r#"{{"current":"a","profiles":[{{"name":"a",{fields}}}]}}"#);
        self.surroundings.write(PROFILES, json);
        self
    }

    /// Allows the node's role, and has the metadata service here.
    pub(crate) fn with_metadata_at(mut self, endpoint: &str) -> Self {
        self.settings.allow_node_role = true;
        self.settings.metadata_endpoint = endpoint.parse::<MetadataEndpoint>().unwrap();
        self
    }

    /// Configures a profile that assumes the role with the permanent key.
    pub(crate) fn with_role_of_key(self) -> Self {
        self.with_profile(&format!(
            r#""mode":"RamRoleArn","access_key_id":"{KEY_ID}","access_key_secret":"{KEY_SECRET}","ram_role_arn":"{ROLE}""#
        ))
    }

    pub(crate) fn operator(&self) -> OperatorCredentials {
        OperatorCredentials::new(self.surroundings.host(), self.settings.clone()).unwrap()
    }

    /// Asks once.
    pub(crate) async fn obtain(&self) -> Result<IssuedCredentials, CredentialsError> {
        self.operator().obtain().await
    }

    /// Asks once and fails. Nothing of the failure may tell a secret.
    pub(crate) async fn failure(&self) -> CredentialsError {
        let error = self.obtain().await.unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(!told.contains("canary"), "{told}");
        let files = self.surroundings.files.lock().unwrap();
        let token = files.get(Path::new(TOKEN_FILE)).into_iter();
        let mut parts = token
            .flat_map(|token| token.split('.'))
            .filter(|part| part.len() > 20);
        assert!(!parts.any(|part| told.contains(part)), "{told}");
        error
    }

    /// Calls RDS.
    pub(crate) async fn call(&self, credentials: &Credentials) -> Result<DbInstance, CallError> {
        let signer = Signer {
            credentials,
            now: self.surroundings.now(),
            nonce: Nonce::from_random(rand::random()),
        };
        let endpoint = self.cloud.url().parse().unwrap();
        self.rds
            .describe_db_instance_attribute(&endpoint, signer, "rm-1")
            .await
    }

    pub(crate) fn calls(&self, action: Action) -> Vec<Call> {
        let calls = self.cloud.journal().calls().into_iter();
        calls.filter(|call| call.is(action)).collect()
    }

    /// Moves all clocks.
    pub(crate) fn set_time_ahead(&self, ahead: SignedDuration) {
        *self.surroundings.ahead.lock().unwrap() = ahead;
        self.cloud.set_clock_skew(ahead);
    }
}
