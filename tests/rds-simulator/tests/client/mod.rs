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

/// Far more than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const PASSWORD: &str = "Aa1!@#$%^&*()_+-=";

static NONCES: AtomicU64 = AtomicU64::new(0);

pub type Pairs = Vec<(String, String)>;

pub fn encode(value: &str) -> String {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~');
    utf8_percent_encode(value, RESERVED).to_string()
}

pub fn join(pairs: &Pairs) -> String {
    pairs
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect::<Vec<_>>()
        .join("&")
}

pub fn pairs(pairs: &[(&str, &str)]) -> Pairs {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Seconds precision, as the protocol wants it.
pub fn timestamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub fn nonce() -> String {
    format!("nonce-{}", NONCES.fetch_add(1, Ordering::Relaxed))
}

pub struct Rpc {
    pub method: reqwest::Method,
    pub secret: String,
    pub query: Pairs,
    pub form: Pairs,
    /// Instead of the right one.
    pub signature: Option<String>,
}

impl Rpc {
    /// Common parameters in the query, the action's in the form body.
    pub fn post(action: &str, form: &[(&str, &str)]) -> Self {
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
        }
    }

    pub fn get(action: &str, parameters: &[(&str, &str)]) -> Self {
        let mut request = Self::post(action, &[]);
        request.method = reqwest::Method::GET;
        request.query.extend(pairs(parameters));
        request
    }

    /// Replaces a parameter of the query, or removes it.
    pub fn with(mut self, name: &str, value: impl Into<Option<&'static str>>) -> Self {
        self.query.retain(|(known, _)| known != name);
        if let Some(value) = value.into() {
            self.query.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    pub async fn send(&self, simulator: &RdsSimulator) -> reqwest::Result<Answer> {
        let mut query = self.query.clone();
        if self.method == reqwest::Method::GET || !query.iter().any(|(name, _)| name == "Signature")
        {
            query.push((
                "Signature".to_owned(),
                self.signature.clone().unwrap_or_else(|| self.sign()),
            ));
        }
        let url = format!("{}/?{}", simulator.url(), join(&query));
        let mut request = http().request(self.method.clone(), url);
        if !self.form.is_empty() {
            request = request
                .header("content-type", "application/x-www-form-urlencoded")
                .body(join(&self.form));
        }
        Answer::of(request.send().await?).await
    }

    fn sign(&self) -> String {
        let mut all: Pairs = self.query.iter().chain(&self.form).cloned().collect();
        all.sort();
        let text = format!("{}&%2F&{}", self.method, encode(&join(&all)));
        let mut mac = Hmac::<Sha1>::new_from_slice(format!("{}&", self.secret).as_bytes()).unwrap();
        mac.update(text.as_bytes());
        STANDARD.encode(mac.finalize().into_bytes())
    }
}

pub fn http() -> reqwest::Client {
    // No proxy: the traffic stays on loopback. No TLS is used, but the client wants a provider for it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .unwrap()
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: String,
}

impl Answer {
    pub async fn of(response: reqwest::Response) -> reqwest::Result<Self> {
        Ok(Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.text().await?,
        })
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn code(&self) -> String {
        self.json()["Code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A simulator with the key `testid`/`testsecret` and an instance `rm-1` with an account `app`.
pub async fn simulator() -> RdsSimulator {
    let simulator = RdsSimulator::start().await.unwrap();
    simulator.add_access_key(AccessKey::new("testid", "testsecret"));
    simulator.add_instance(Instance::new("rm-1").account(Account::new("app", "Initial#1")));
    simulator
}

pub fn reset(password: &str) -> Rpc {
    Rpc::post(
        "ResetAccountPassword",
        &[
            ("DBInstanceId", "rm-1"),
            ("AccountName", "app"),
            ("AccountPassword", password),
        ],
    )
}
