//! The proxy in front of a real API server: it passes on what it should, and each of its faults does what it says.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt as _};
use serde_json::json;
use testbed::proxy::{Exchange, Matcher, Verb};
use testbed::{ApiProxy, ControlPlane};
use tokio::time::timeout;

/// Far longer than anything here takes, so that only a fault runs into it.
const PATIENCE: Duration = Duration::from_secs(60);

type Events<K> = Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<K>>> + Send>>;

struct Network {
    control_plane: ControlPlane,
    proxy: ApiProxy,
    /// The cluster's administrator on the other side of the proxy.
    client: Client,
}

impl Network {
    async fn start() -> Self {
        let control_plane = ControlPlane::start().await.unwrap();
        let certificate_authority = control_plane.certificate_authority();
        let proxy = ApiProxy::start(&control_plane.server(), &certificate_authority)
            .await
            .unwrap();
        let mut config = Kubeconfig::read_from(control_plane.kubeconfig()).unwrap();
        let cluster = config.clusters[0].cluster.as_mut().unwrap();
        cluster.server = Some(proxy.url());
        cluster.certificate_authority = None;
        let client = client(config).await;
        Self {
            control_plane,
            proxy,
            client,
        }
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), "default")
    }

    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Not through the proxy.
    fn secrets_at_the_server(&self) -> Api<Secret> {
        Api::namespaced(self.control_plane.client(), "default")
    }

    async fn create_secret(&self, name: &str) -> Secret {
        let secret = Secret {
            metadata: named(name),
            ..Secret::default()
        };
        self.secrets_at_the_server()
            .create(&PostParams::default(), &secret)
            .await
            .unwrap()
    }

    async fn create_config_map(&self, name: &str) {
        let config_map = ConfigMap {
            metadata: named(name),
            ..ConfigMap::default()
        };
        Api::namespaced(self.control_plane.client(), "default")
            .create(&PostParams::default(), &config_map)
            .await
            .unwrap();
    }
}

/// Does not try again by itself: each request is seen once.
async fn client(config: Kubeconfig) -> Client {
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(config, &options)
        .await
        .unwrap();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    }
}

async fn watch<K>(api: &Api<K>) -> kube::Result<Events<K>>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    Ok(api.watch(&WatchParams::default(), "0").await?.boxed())
}

async fn wait_until_added<K: kube::Resource>(events: &mut Events<K>, name: &str) {
    let added = async {
        loop {
            match events.try_next().await.unwrap() {
                Some(WatchEvent::Added(object)) if object.name_any() == name => break,
                Some(WatchEvent::Error(status)) => panic!("{status}"),
                Some(_) => {}
                None => panic!("the watch is over"),
            }
        }
    };
    timeout(PATIENCE, added).await.unwrap();
}

/// Waits for the end of a watch; false if it was a proper one.
async fn breaks_off<K>(mut events: Events<K>) -> bool {
    let last = async {
        loop {
            match events.next().await {
                Some(Ok(_)) => {}
                Some(Err(_)) => return true,
                None => return false,
            }
        }
    };
    timeout(PATIENCE, last).await.unwrap()
}

fn secret_requests(verb: Verb) -> Matcher {
    Matcher::resource("secrets").verb(verb)
}

fn open_watches(exchanges: &[Exchange], resource: &str) -> usize {
    exchanges
        .iter()
        .filter(|exchange| exchange.request.resource.as_deref() == Some(resource))
        .filter(|exchange| exchange.is_open_watch())
        .count()
}

/// The status of a refused request, or none if there was no answer at all.
fn status<T>(result: kube::Result<T>) -> Option<u16> {
    match result.map(|_| ()).unwrap_err() {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

#[tokio::test]
async fn passes_requests_on_with_the_identity_of_their_client() {
    let network = Network::start().await;
    let accounts = Api::<ServiceAccount>::namespaced(network.client.clone(), "default");
    let account = ServiceAccount {
        metadata: named("visitor"),
        ..ServiceAccount::default()
    };
    accounts
        .create(&PostParams::default(), &account)
        .await
        .unwrap();
    let token = accounts
        .create_token_request("visitor", &PostParams::default(), &serde_json::from_value(
            json!({ "spec": { "audiences": ["https://kubernetes.default.svc.cluster.local"] } }),
        ).unwrap())
        .await
        .unwrap()
        .status
        .unwrap()
        .token;
    let visitor = client(
        serde_json::from_value(json!({
            "clusters": [{ "name": "test", "cluster": { "server": network.proxy.url() } }],
            "users": [{ "name": "visitor", "user": { "token": token } }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "visitor" } }],
            "current-context": "test",
        }))
        .unwrap(),
    )
    .await;

    let review = Api::<SelfSubjectReview>::all(visitor.clone())
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await
        .unwrap();
    let user = review.status.unwrap().user_info.unwrap().username.unwrap();
    assert_eq!(user, "system:serviceaccount:default:visitor");
    let secrets = Api::<Secret>::namespaced(visitor, "default");
    assert_eq!(status(secrets.get("db").await), Some(403));

    network.create_secret("db").await;
    network.secrets().get("db").await.unwrap();
    let exchanges = network.proxy.exchanges();
    let seen: Vec<_> = exchanges
        .iter()
        .map(|exchange| {
            let request = &exchange.request;
            (request.verb, request.resource.as_deref(), exchange.status)
        })
        .collect();
    assert_eq!(
        seen,
        [
            (Verb::Create, Some("serviceaccounts"), Some(201)),
            (Verb::Create, Some("serviceaccounts/token"), Some(201)),
            (Verb::Create, Some("selfsubjectreviews"), Some(201)),
            (Verb::Get, Some("secrets"), Some(403)),
            (Verb::Get, Some("secrets"), Some(200)),
        ]
    );
    assert_eq!(
        exchanges[4].request.path,
        "/api/v1/namespaces/default/secrets/db"
    );
}

#[tokio::test]
async fn a_cut_ends_everything_until_it_is_mended() {
    let mut network = Network::start().await;
    let mut events = watch(&network.secrets()).await.unwrap();
    network.create_secret("one").await;
    wait_until_added(&mut events, "one").await;
    network.create_secret("two").await;
    wait_until_added(&mut events, "two").await;
    assert_eq!(open_watches(&network.proxy.exchanges(), "secrets"), 1);

    network.proxy.cut();
    assert!(breaks_off(events).await);
    assert_eq!(open_watches(&network.proxy.exchanges(), "secrets"), 0);
    assert_eq!(status(network.secrets().get("one").await), None);
    assert_eq!(status(network.secrets().get("one").await), None);

    network.proxy.mend();
    network.secrets().get("one").await.unwrap();
    let mut events = watch(&network.secrets()).await.unwrap();
    network.create_secret("three").await;
    wait_until_added(&mut events, "three").await;

    // A watch that its client ends is over for the proxy, too.
    drop(events);
    let over = |exchanges: &[Exchange]| open_watches(exchanges, "secrets") == 0;
    network.proxy.wait_for(PATIENCE, over).await.unwrap();

    // An API server that is down is seen as what it is.
    let events = watch(&network.secrets()).await.unwrap();
    network.control_plane.stop().unwrap();
    assert!(breaks_off(events).await);
    assert_eq!(status(network.secrets().get("one").await), None);
    network.control_plane.start_again().await.unwrap();
    network.secrets().get("three").await.unwrap();
}

#[tokio::test]
async fn cut_watches_end_alone() {
    let network = Network::start().await;
    network.create_secret("db").await;
    let secret_events = watch(&network.secrets()).await.unwrap();
    let mut other_events = watch(&network.config_maps()).await.unwrap();

    network.proxy.cut_watches("secrets");
    assert!(breaks_off(secret_events).await);
    assert_eq!(status(watch(&network.secrets()).await), None);
    let list = network.secrets().list(&ListParams::default()).await;
    assert_eq!(status(list), None);
    network.secrets().get("db").await.unwrap();
    network.create_config_map("settings").await;
    wait_until_added(&mut other_events, "settings").await;
    let exchanges = network.proxy.exchanges();
    assert_eq!(open_watches(&exchanges, "secrets"), 0);
    assert_eq!(open_watches(&exchanges, "configmaps"), 1);

    // The next watch can still be answered by script.
    let event = json!({
        "type": "ADDED",
        "object": { "kind": "Secret", "metadata": { "name": "db" }, "data": { "password": 12345 } },
    });
    let line = format!("{event}\n");
    network
        .proxy
        .answer_instead(secret_requests(Verb::Watch), 1, 200, line);
    let mut events = watch(&network.secrets()).await.unwrap();
    assert!(events.try_next().await.is_err());
    assert!(events.next().await.is_none());
    assert_eq!(status(watch(&network.secrets()).await), None);

    network.proxy.mend();
    let mut secret_events = watch(&network.secrets()).await.unwrap();
    network.create_secret("another").await;
    wait_until_added(&mut secret_events, "another").await;
    network.create_config_map("more-settings").await;
    wait_until_added(&mut other_events, "more-settings").await;
}

#[tokio::test]
async fn answers_are_replaced_changed_and_lost() {
    let network = Network::start().await;
    network.create_secret("db").await;
    network.create_secret("other").await;
    let secrets = network.secrets();

    // Replaced, the oldest first, for as many requests as it should.
    let read = secret_requests(Verb::Get).name("db");
    let undecodable = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": "db" },
        "data": { "password": 12345 },
    });
    let gone = json!({ "kind": "Status", "status": "Failure", "code": 410, "reason": "Gone" });
    network
        .proxy
        .answer_instead(read.clone(), 2, 200, undecodable.to_string());
    network
        .proxy
        .answer_instead(read.clone(), 1, 410, gone.to_string());
    for _ in 0..2 {
        let error = secrets.get("db").await.unwrap_err();
        assert!(matches!(error, kube::Error::SerdeError(_)), "{error}");
    }
    secrets.get("other").await.unwrap();
    assert_eq!(status(secrets.get("db").await), Some(410));
    secrets.get("db").await.unwrap();

    // Changed, but not in watches.
    network.proxy.rewrite(Matcher::resource("secrets"), |body| {
        let text = String::from_utf8(std::mem::take(body)).unwrap();
        *body = text.replace("\"other\"", "\"another-name\"").into_bytes();
    });
    assert_eq!(
        secrets.get("other").await.unwrap().name_any(),
        "another-name"
    );
    let mut events = watch(&secrets).await.unwrap();
    wait_until_added(&mut events, "other").await;

    // Lost, but done.
    let deletion = secret_requests(Verb::Delete);
    network.proxy.lose_answer(deletion.clone(), 1);
    let params = DeleteParams::default();
    assert_eq!(status(secrets.delete("db", &params).await), None);
    let at_the_server = network.secrets_at_the_server();
    assert!(at_the_server.get_opt("db").await.unwrap().is_none());
    secrets.delete("other", &params).await.unwrap();
    let deletions = network
        .proxy
        .wait_for(PATIENCE, |exchanges| {
            let mut deletions = exchanges.iter().filter(|it| deletion.matches(&it.request));
            deletions.all(|exchange| !exchange.open)
        })
        .await
        .unwrap();
    let answered = deletions
        .iter()
        .filter(|exchange| deletion.matches(&exchange.request))
        .map(|exchange| exchange.status);
    assert_eq!(answered.collect::<Vec<_>>(), [Some(200), Some(200)]);

    // Nothing of it stays.
    network.proxy.answer_instead(Matcher::any(), 1, 500, "");
    network.proxy.lose_answer(Matcher::any(), 1);
    network.proxy.mend();
    network.create_secret("other").await;
    assert_eq!(secrets.get("other").await.unwrap().name_any(), "other");
}

#[tokio::test]
async fn held_requests_wait() {
    let network = Network::start().await;
    let secrets = network.secrets();
    let update = |secret: &Secret, key: &str| {
        let mut secret = secret.clone();
        secret.string_data = Some([(key.to_owned(), "value".to_owned())].into());
        let secrets = secrets.clone();
        let params = PostParams::default();
        tokio::spawn(async move { secrets.replace("db", &params, &secret).await })
    };
    let at_the_server = network.secrets_at_the_server();
    let has_key = async |key: &str| {
        let secret = at_the_server.get("db").await.unwrap();
        secret.data.is_some_and(|data| data.contains_key(key))
    };
    let mut secret = network.create_secret("db").await;

    // Until released, whatever else goes on meanwhile.
    let hold = network.proxy.hold(secret_requests(Verb::Update));
    let request = update(&secret, "released");
    hold.wait_for_held(1, PATIENCE).await.unwrap();
    secrets.get("db").await.unwrap();
    assert!(!has_key("released").await);
    assert!(!request.is_finished());
    hold.release();
    secret = request.await.unwrap().unwrap();
    assert!(has_key("released").await);

    // Until mended, also by a second hold.
    let first = network.proxy.hold(secret_requests(Verb::Update));
    let second = network.proxy.hold(Matcher::any().path("/secrets/"));
    let request = update(&secret, "mended");
    first.wait_for_held(1, PATIENCE).await.unwrap();
    assert_eq!(second.held(), 0);
    drop(first);
    second.wait_for_held(1, PATIENCE).await.unwrap();
    assert!(!has_key("mended").await);
    network.proxy.mend();
    secret = request.await.unwrap().unwrap();
    assert!(has_key("mended").await);

    // One that is cut off, or whose client goes away, is never passed on.
    let hold = network.proxy.hold(secret_requests(Verb::Update));
    let request = update(&secret, "cut");
    hold.wait_for_held(1, PATIENCE).await.unwrap();
    network.proxy.cut();
    assert_eq!(status(request.await.unwrap()), None);
    assert_eq!(hold.held(), 0);
    network.proxy.mend();

    let hold = network.proxy.hold(secret_requests(Verb::Update));
    let request = update(&secret, "abandoned");
    hold.wait_for_held(1, PATIENCE).await.unwrap();
    request.abort();
    let abandoned = |exchanges: &[Exchange]| exchanges.last().is_some_and(|last| !last.open);
    network.proxy.wait_for(PATIENCE, abandoned).await.unwrap();
    hold.release();
    secrets.get("db").await.unwrap();
    assert!(!has_key("cut").await);
    assert!(!has_key("abandoned").await);

    // What does not come is told of, with what came.
    let hold = network.proxy.hold(secret_requests(Verb::Patch));
    let error = hold.wait_for_held(1, Duration::ZERO).await.unwrap_err();
    assert!(error.to_string().contains("/secrets/db"), "{error}");
}

#[tokio::test]
async fn dropping_it_ends_everything() {
    let network = Network::start().await;
    let events = watch(&network.secrets()).await.unwrap();
    let hold = network.proxy.hold(secret_requests(Verb::Get));
    let secrets = network.secrets();
    let request = tokio::spawn(async move { secrets.get("db").await });
    hold.wait_for_held(1, PATIENCE).await.unwrap();
    let address = network.proxy.url().replace("http://", "");

    drop(network.proxy);
    assert!(breaks_off(events).await);
    assert_eq!(status(request.await.unwrap()), None);
    let closed = async {
        while tokio::net::TcpStream::connect(&address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, closed).await.unwrap();
}
