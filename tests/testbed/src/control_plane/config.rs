//! The files and flags that etcd, kube-apiserver and kube-controller-manager run with.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use kube::config::Kubeconfig;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};

/// What kubeadm sets, since clusters differ here only where somebody asked for it.
pub(super) const SERVICE_ACCOUNT_ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// What runs where a test wants controllers: what makes pods of a Deployment and counts them, what removes what is left of
/// deleted objects and namespaces, what fills the roles that aggregate others, and what checks the types of admission
/// policies.
const CONTROLLERS: &[&str] = &[
    "clusterrole-aggregation-controller",
    "deployment-controller",
    "disruption-controller",
    "endpointslice-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "replicaset-controller",
    "serviceaccount-controller",
    "validatingadmissionpolicy-status-controller",
];

/// The file that says how Secrets are encrypted, where they are.
const ENCRYPTION: &str = "encryption.yaml";

/// One control plane's files and flags; the same for every start of it.
#[derive(Debug)]
pub(super) struct Configuration {
    directory: PathBuf,
    port: u16,
}

impl Configuration {
    /// Writes the files of a new control plane into `directory`.
    pub(super) fn create(directory: &Path, port: u16) -> Result<Self> {
        let configuration = Self {
            directory: directory.to_owned(),
            port,
        };
        let ca = configuration.write_certificates()?;
        configuration.write_access(&ca)?;
        configuration.write_etcd_config()?;
        configuration.write_audit_policy()?;
        Ok(configuration)
    }

    pub(super) fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.file("kubeconfig")
    }

    pub(super) fn certificate_authority(&self) -> PathBuf {
        self.file("ca.crt")
    }

    pub(super) fn server_certificate(&self) -> PathBuf {
        self.file("apiserver.crt")
    }

    /// Writes which keys Secrets are encrypted with, the first, and decrypted with, all; what is not encrypted can always be read.
    /// Takes effect with the next start.
    pub(super) fn write_encryption(&self, keys: &[&str]) -> Result<()> {
        let keys = keys.iter().map(|name| {
            // AES takes 32 bytes; the name makes them different.
            let key = BASE64_STANDARD.encode(format!("{name:0>32.32}"));
            json!({ "aescbc": { "keys": [{ "name": name, "secret": key }] } })
        });
        let providers: Vec<Value> = keys.chain([json!({ "identity": {} })]).collect();
        self.write_yaml(
            ENCRYPTION,
            &json!({
                "apiVersion": "apiserver.config.k8s.io/v1",
                "kind": "EncryptionConfiguration",
                "resources": [{ "resources": ["secrets"], "providers": providers }],
            }),
        )
    }

    /// Writes the certificate of an authority that has signed nothing.
    pub(super) fn write_other_authority(&self) -> Result<PathBuf> {
        let mut authority = CertificateParams::default();
        authority
            .distinguished_name
            .push(DnType::CommonName, "another authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        self.write("other-ca.crt", &authority.pem())?;
        Ok(self.file("other-ca.crt"))
    }

    pub(super) fn audit_log(&self) -> PathBuf {
        self.file("audit.log")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.file("control-plane.log")
    }

    pub(super) fn etcd_config_file(&self) -> PathBuf {
        self.file("etcd.yaml")
    }

    /// Flags of kube-apiserver. What is not here is as kube-apiserver has it: admission,
    /// priority and fairness, watch cache, every API that is on by default.
    pub(super) fn apiserver_flags(&self) -> Vec<String> {
        let file = |name| self.file(name).display().to_string();
        let mut flags = vec![
            format!("--etcd-servers=unix://{}", file("etcd.socket")),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.port),
            // The testbed has reserved the port with a socket of its own.
            "--permit-port-sharing".to_owned(),
            // An address that others could reach this server at is what it looks for otherwise,
            // and it does not start on a machine that has none.
            "--advertise-address=127.0.0.1".to_owned(),
            // It would publish that address in an Endpoints object, which takes no loopback one.
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--tls-cert-file={}", file("apiserver.crt")),
            format!("--tls-private-key-file={}", file("apiserver.key")),
            format!("--token-auth-file={}", file("tokens.csv")),
            "--authorization-mode=RBAC".to_owned(),
            format!("--service-account-issuer={SERVICE_ACCOUNT_ISSUER}"),
            format!("--service-account-key-file={}", file("service-account.pub")),
            format!(
                "--service-account-signing-key-file={}",
                file("service-account.key")
            ),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            format!("--audit-log-path={}", file("audit.log")),
            format!("--audit-policy-file={}", file("audit-policy.yaml")),
            // In MiB. Beyond, it would begin another file: by default after 100, which are some hundred thousand lines.
            "--audit-log-maxsize=10240".to_owned(),
            "--profiling=false".to_owned(),
        ];
        if self.file(ENCRYPTION).exists() {
            flags.push(format!("--encryption-provider-config={}", file(ENCRYPTION)));
        }
        flags
    }

    /// Flags of kube-controller-manager.
    pub(super) fn controller_manager_flags(&self) -> Vec<String> {
        let kubeconfig = self.controller_manager_kubeconfig().display().to_string();
        vec![
            format!("--kubeconfig={kubeconfig}"),
            format!("--controllers={}", CONTROLLERS.join(",")),
            // There is one of it, and nobody asks it anything.
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
            // Only a test that asks for too much would run into its limit, and wait.
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
        ]
    }

    fn controller_manager_kubeconfig(&self) -> PathBuf {
        self.file("controller-manager.kubeconfig")
    }

    /// Returns the certificate of the authority that signed the API server's.
    fn write_certificates(&self) -> Result<String> {
        let mut authority = CertificateParams::default();
        authority
            .distinguished_name
            .push(DnType::CommonName, "test control plane");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

        let mut server =
            CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        server
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = server.signed_by(&key, &authority)?;

        self.write("apiserver.crt", &certificate.pem())?;
        self.write("apiserver.key", &key.serialize_pem())?;

        let service_account = KeyPair::generate()?;
        self.write("service-account.key", &service_account.serialize_pem())?;
        self.write("service-account.pub", &service_account.public_key_pem())?;
        Ok(authority.pem())
    }

    /// Writes the tokens of the cluster's administrator and of the controllers, for the server and for its clients.
    fn write_access(&self, ca: &str) -> Result<()> {
        self.write("ca.crt", ca)?;
        let mut tokens = Vec::new();
        // Two names for one right, so that the audit log tells who did what.
        for (user, kubeconfig) in [
            ("admin", self.kubeconfig()),
            (
                "kube-controller-manager",
                self.controller_manager_kubeconfig(),
            ),
        ] {
            let token = format!("{:032x}", rand::random::<u128>());
            tokens.push(format!("{token},{user},{user},system:masters\n"));
            let access: Kubeconfig = serde_json::from_value(json!({
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{
                    "name": "test",
                    "cluster": {
                        "server": self.server(),
                        "certificate-authority": self.certificate_authority(),
                    },
                }],
                "users": [{ "name": user, "user": { "token": token } }],
                "contexts": [{ "name": "test", "context": { "cluster": "test", "user": user } }],
                "current-context": "test",
            }))?;
            fs::write(&kubeconfig, serde_yaml_ng::to_string(&access)?)
                .with_context(|| format!("cannot write {}", kubeconfig.display()))?;
        }
        self.write("tokens.csv", &tokens.concat())
    }

    fn write_etcd_config(&self) -> Result<()> {
        let socket = |name| format!("unix://{}", self.file(name).display());
        self.write_yaml(
            "etcd.yaml",
            &json!({
                "data-dir": self.file("etcd"),
                "listen-client-urls": socket("etcd.socket"),
                // Nobody asks a single member where it or its peers are; etcd before 3.6 takes
                // no socket here.
                "advertise-client-urls": "http://127.0.0.1:0",
                "listen-peer-urls": socket("etcd-peer.socket"),
                // A single member elects itself, but only when an election's time has passed:
                // a second by default. Milliseconds.
                "heartbeat-interval": 20,
                "election-timeout": 100,
                // Only a crash of the machine could lose what is not synced, and with it the test.
                "unsafe-no-fsync": true,
                "log-level": "error",
                "log-outputs": ["stderr"],
            }),
        )
    }

    /// Who asked for what, once each answer is known, without bodies: they hold Secrets.
    fn write_audit_policy(&self) -> Result<()> {
        self.write_yaml(
            "audit-policy.yaml",
            &json!({
                "apiVersion": "audit.k8s.io/v1",
                "kind": "Policy",
                "omitStages": ["RequestReceived"],
                "rules": [
                    // The API server's own requests to itself.
                    { "level": "None", "users": ["system:apiserver"] },
                    { "level": "Metadata" },
                ],
            }),
        )
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn write_yaml(&self, name: &str, value: &Value) -> Result<()> {
        self.write(name, &serde_yaml_ng::to_string(value)?)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.file(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}
