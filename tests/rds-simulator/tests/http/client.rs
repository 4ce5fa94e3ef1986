//! A client that signs by itself, and can be told to sign wrongly.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rds_simulator::{AccessKey, Account, Instance, RdsSimulator, Timestamp};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// Far more than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const PASSWORD: &str = "Aa1!@#$%^&*()_+-=";

static NONCES: AtomicU64 = AtomicU64::new(0);

pub(crate) type Pairs = Vec<(String, String)>;

pub(crate) fn encode(value: &str) -> String {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~');
    utf8_percent_encode(value, RESERVED).to_string()
}

pub(crate) fn join(pairs: &Pairs) -> String {
    pairs
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect::<Vec<_>>()
        .join("&")
}

pub(crate) fn pairs(pairs: &[(&str, &str)]) -> Pairs {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Seconds precision, as the protocol wants it.
pub(crate) fn timestamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub(crate) fn nonce() -> String {
    format!("nonce-{}", NONCES.fetch_add(1, Ordering::Relaxed))
}

pub(crate) struct Rpc {
    pub(crate) method: reqwest::Method,
    pub(crate) secret: String,
    pub(crate) query: Pairs,
    pub(crate) form: Pairs,
    /// Instead of the right one; an empty one is not sent.
    pub(crate) signature: Option<String>,
    pub(crate) path: &'static str,
}

impl Rpc {
    /// Common parameters in the query, the action's in the form body.
    pub(crate) fn post(action: &str, form: &[(&str, &str)]) -> Self {
        let query = [
            ("Action", action),
            ("Version", "2014-08-15"),
            ("Format", "JSON"),
            ("AccessKeyId", "testid"),
            ("SignatureMethod", "HMAC-SHA1"),
            ("SignatureVersion", "1.0"),
            ("SignatureNonce", &nonce()),
            ("Timestamp", &timestamp(Timestamp::now())),
        ];
        Self {
            method: reqwest::Method::POST,
            secret: "testsecret".to_owned(),
            query: pairs(&query),
            form: pairs(form),
            signature: None,
            path: "/",
        }
    }

    pub(crate) fn get(action: &str, parameters: &[(&str, &str)]) -> Self {
        let mut request = Self::post(action, &[]);
        request.method = reqwest::Method::GET;
        request.query.extend(pairs(parameters));
        request
    }

    /// Replaces a parameter of the query, or removes it.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Option<&'static str>>) -> Self {
        self.query.retain(|(known, _)| known != name);
        if let Some(value) = value.into() {
            self.query.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Replaces the key, and sends its token unless it is empty.
    pub(crate) fn signed_with(mut self, key: &TemporaryKey) -> Self {
        self.query
            .retain(|(name, _)| name != "AccessKeyId" && name != "SecurityToken");
        self.query.extend(pairs(&[("AccessKeyId", &key.id)]));
        if !key.token.is_empty() {
            self.query.extend(pairs(&[("SecurityToken", &key.token)]));
        }
        self.secret.clone_from(&key.secret);
        self
    }

    pub(crate) async fn send(&self, simulator: &RdsSimulator) -> reqwest::Result<Answer> {
        Answer::of(self.response(simulator).await?).await
    }

    /// The answer's head; its body is not read yet.
    pub(crate) async fn response(
        &self,
        simulator: &RdsSimulator,
    ) -> reqwest::Result<reqwest::Response> {
        self.prepare(simulator).send().await
    }

    /// The signed request.
    pub(crate) fn prepare(&self, simulator: &RdsSimulator) -> reqwest::RequestBuilder {
        self.prepare_for(&simulator.url())
    }

    pub(crate) fn prepare_for(&self, url: &str) -> reqwest::RequestBuilder {
        let mut query = self.query.clone();
        let signature = self.signature.clone().unwrap_or_else(|| self.sign());
        query.extend((!signature.is_empty()).then(|| ("Signature".to_owned(), signature)));
        let request = http().request(
            self.method.clone(),
            format!("{}{}?{}", url, self.path, join(&query)),
        );
        if self.form.is_empty() {
            return request;
        }
        request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(join(&self.form))
    }

    pub(crate) fn sign(&self) -> String {
        let mut all: Pairs = self.query.iter().chain(&self.form).cloned().collect();
        all.sort();
        let text = format!("{}&%2F&{}", self.method, encode(&join(&all)));
        let mut mac = Hmac::<Sha1>::new_from_slice(format!("{}&", self.secret).as_bytes()).unwrap();
        mac.update(text.as_bytes());
        STANDARD.encode(mac.finalize().into_bytes())
    }
}

pub(crate) fn http() -> reqwest::Client {
    // No proxy: the traffic stays on loopback. No TLS is used, but the client wants a provider for it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .unwrap()
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) async fn of(response: reqwest::Response) -> reqwest::Result<Self> {
        Ok(Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.text().await?,
        })
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn code(&self) -> String {
        self.json()["Code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A temporary key as it is given out.
#[derive(Clone)]
pub(crate) struct TemporaryKey {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: String,
    pub(crate) expiration: Timestamp,
}

impl TemporaryKey {
    pub(crate) fn of(fields: &serde_json::Value) -> Self {
        let field = |name: &str| fields[name].as_str().unwrap().to_owned();
        Self {
            id: field("AccessKeyId"),
            secret: field("AccessKeySecret"),
            token: field("SecurityToken"),
            expiration: field("Expiration").parse().unwrap(),
        }
    }
}

/// A simulator with the key `testid`/`testsecret` and an instance `rm-1` with an account `app`.
pub(crate) async fn simulator() -> RdsSimulator {
    let simulator = RdsSimulator::start().await.unwrap();
    simulator.add_access_key(AccessKey::new("testid", "testsecret"));
    simulator.add_instance(Instance::new("rm-1").account(Account::new("app", "Initial#1")));
    simulator
}

pub(crate) fn reset(password: &str) -> Rpc {
    Rpc::post(
        "ResetAccountPassword",
        &[
            ("DBInstanceId", "rm-1"),
            ("AccountName", "app"),
            ("AccountPassword", password),
        ],
    )
}

/// A request signed with ACS3.
pub(crate) struct Acs3 {
    pub(crate) method: reqwest::Method,
    pub(crate) key_id: String,
    pub(crate) secret: String,
    pub(crate) query: Pairs,
    pub(crate) headers: Pairs,
    pub(crate) body: String,
    /// Names of headers that are sent but not signed.
    pub(crate) unsigned: Vec<&'static str>,
}

impl Acs3 {
    pub(crate) fn post(action: &str, query: &[(&str, &str)]) -> Self {
        let headers = [
            ("accept", "application/json"),
            ("x-acs-action", action),
            ("x-acs-version", "2014-08-15"),
            ("x-acs-date", &timestamp(Timestamp::now())),
            ("x-acs-signature-nonce", &nonce()),
        ];
        Self {
            method: reqwest::Method::POST,
            key_id: "testid".to_owned(),
            secret: "testsecret".to_owned(),
            query: pairs(query),
            headers: pairs(&headers),
            body: String::new(),
            unsigned: Vec::new(),
        }
    }

    /// Replaces a header, or removes it.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Option<&'static str>>) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.extend(
            value
                .into()
                .map(|value| (name.to_owned(), value.to_owned())),
        );
        self
    }

    /// Replaces the key, and sends its token.
    pub(crate) fn signed_with(mut self, key: &TemporaryKey) -> Self {
        self.headers
            .extend(pairs(&[("x-acs-security-token", &key.token)]));
        self.key_id.clone_from(&key.id);
        self.secret.clone_from(&key.secret);
        self
    }

    pub(crate) async fn send(&self, simulator: &RdsSimulator) -> reqwest::Result<Answer> {
        let mut headers = self.headers.clone();
        headers.push(("host".to_owned(), simulator.address().to_string()));
        if !headers
            .iter()
            .any(|(name, _)| name == "x-acs-content-sha256")
        {
            headers.push(("x-acs-content-sha256".to_owned(), sha256(&self.body)));
        }
        headers.sort();
        let signed: Vec<_> = headers
            .iter()
            .filter(|(name, _)| name != "accept" && !self.unsigned.contains(&name.as_str()))
            .collect();
        let names = signed
            .iter()
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>()
            .join(";");
        let lines: Vec<_> = signed
            .iter()
            .map(|(name, value)| format!("{name}:{value}\n"))
            .collect();
        let lines = lines.concat();
        let mut sorted = self.query.clone();
        sorted.sort();
        let canonical = format!(
            "{}\n/\n{}\n{lines}\n{names}\n{}",
            self.method,
            join(&sorted),
            sha256(&self.body)
        );
        let text = format!("ACS3-HMAC-SHA256\n{}", sha256(&canonical));
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).unwrap();
        mac.update(text.as_bytes());
        let signature = hex(&mac.finalize().into_bytes());
        let mut request = http()
            .request(
                self.method.clone(),
                format!("{}/?{}", simulator.url(), join(&self.query)),
            )
            .header(
                "authorization",
                format!(
                    "ACS3-HMAC-SHA256 Credential={},SignedHeaders={names},Signature={signature}",
                    self.key_id
                ),
            );
        for (name, value) in headers {
            request = request.header(name, value);
        }
        Answer::of(request.body(self.body.clone()).send().await?).await
    }
}

fn sha256(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .concat()
}
