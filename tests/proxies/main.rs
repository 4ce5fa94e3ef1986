//! The operator reaches the API server by the proxy that kubectl would take, and the cloud by the environment's, with user name and
//! password. Neither these nor those of any other URL that it is given are told.

mod relay;

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams};
use rstest::rstest;
use serde_json::{Value, json};
use testbed::bed::NAMESPACE;
use testbed::install::{OPERATOR as NAME, write_kubeconfig};
use testbed::operator::{OperatorBuilder, PATIENCE};
use testbed::{Operator, Search, Testbed};
use tokio::time::{Instant, sleep};

use relay::{Protocol, Relay, Routes};

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");

const USER: &str = "corp";
const PASSWORD: &str = "Proxy:Secret@1";
/// The two as a URL has them.
const USER_INFO: &str = "corp:Proxy%3ASecret%401";

/// A name that nothing but the proxy of a test knows.
const SERVER: &str = "kube.example:6443";

/// What no output may have.
fn canaries() -> Result<Search> {
    Search::of(["Proxy-Secret", PASSWORD])
}

/// The address of the real API server.
fn api_server(bed: &Testbed) -> Result<SocketAddr> {
    let server = bed.control_plane.server();
    let address = server.strip_prefix("https://").context("no https://")?;
    Ok(address.trim_end_matches('/').parse()?)
}

async fn relay(bed: &Testbed, protocol: Protocol) -> Result<Relay> {
    let address = api_server(bed)?;
    let names = [SERVER.to_owned(), address.to_string()];
    let routes: Routes = names.into_iter().map(|name| (name, address)).collect();
    Relay::start(protocol, (USER, PASSWORD), routes).await
}

/// A kubeconfig of the operator's ServiceAccount for this server, with more fields of the cluster.
async fn kubeconfig(bed: &Testbed, server: &str, fields: Value) -> Result<PathBuf> {
    let authority = bed.control_plane.certificate_authority();
    let path = bed.directory().join("kubeconfig");
    write_kubeconfig(&bed.client, (NAME, NAME), (server, Some(&authority)), &path).await?;
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
    let cluster = config["clusters"][0]["cluster"].as_object_mut();
    let cluster = cluster.context("no cluster")?;
    // The certificate is of this name.
    cluster.insert("tls-server-name".to_owned(), json!("localhost"));
    for (name, value) in fields.as_object().into_iter().flatten() {
        cluster.insert(name.clone(), value.clone());
    }
    fs::write(&path, config.to_string())?;
    Ok(path)
}

async fn operator(bed: &Testbed, kubeconfig: &Path) -> Result<OperatorBuilder> {
    Ok(bed.operator().await?.env("KUBECONFIG", kubeconfig))
}

/// Nothing that can be read has a canary.
async fn assert_silent(bed: &Testbed, operator: &Operator) -> Result<()> {
    let events = Api::<Event>::namespaced(bed.client.clone(), NAMESPACE);
    let resources = bed.resources().list(&ListParams::default()).await?;
    let all = [
        operator.log(),
        operator.get("/readyz").await?.1,
        operator.get("/metrics").await?.1,
        serde_json::to_string(&events.list(&ListParams::default()).await?)?,
        serde_json::to_string(&resources)?,
    ];
    let found = canaries()?.find(&all.join("\n"));
    ensure!(found.is_empty(), "{found:#?}");
    Ok(())
}

/// By `HTTPS_PROXY`, where `NO_PROXY` names the proxy and not the server: kube's own rule would take no proxy.
#[rstest]
#[case::connect("http", Protocol::Connect)]
#[case::without_scheme("", Protocol::Connect)]
#[case::socks5("socks5", Protocol::Socks5)]
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_of_the_environment(
    #[case] scheme: &str,
    #[case] protocol: Protocol,
) -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let relay = relay(&bed, protocol).await?;
    let config = kubeconfig(&bed, &format!("https://{SERVER}"), json!({})).await?;
    let separator = if scheme.is_empty() { "" } else { "://" };
    let proxy = format!("{scheme}{separator}{USER_INFO}@{}", relay.address);
    let operator = operator(&bed, &config)
        .await?
        .env("HTTPS_PROXY", proxy)
        .env("NO_PROXY", "127.0.0.1,,other.example:6443,")
        .start()
        .await?;
    operator.wait_until_leading().await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;
    bed.wait_for_password("First#Password1").await?;

    let names: BTreeSet<String> = relay.served().into_iter().collect();
    assert_eq!(names, BTreeSet::from([SERVER.to_owned()]));
    let shown = format!("://{}", relay.address);
    ensure!(operator.log().contains(&shown), "{}", operator.log());
    assert_silent(&bed, &operator).await
}

/// By `proxy-url`, which goes before all variables, and serves this machine's addresses too.
#[rstest]
#[case::connect("http", Protocol::Connect)]
#[case::socks5("socks5", Protocol::Socks5)]
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_of_the_kubeconfig(#[case] scheme: &str, #[case] protocol: Protocol) -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let relay = relay(&bed, protocol).await?;
    let proxy = format!("{scheme}://{USER_INFO}@{}", relay.address);
    let fields = json!({ "proxy-url": proxy });
    let config = kubeconfig(&bed, &bed.control_plane.server(), fields).await?;
    let operator = operator(&bed, &config)
        .await?
        // Nothing listens there.
        .env("HTTPS_PROXY", format!("http://{USER_INFO}@127.0.0.1:9"))
        .env("NO_PROXY", "*")
        .start()
        .await?;
    operator.wait_until_leading().await?;
    let names: BTreeSet<String> = relay.served().into_iter().collect();
    assert_eq!(names, BTreeSet::from([api_server(&bed)?.to_string()]));
    assert_silent(&bed, &operator).await
}

/// The proxy is for something else: kubectl would not ask it either.
#[rstest]
#[case::named_by_no_proxy(&[("HTTPS_PROXY", "http://corp:Proxy-Secret-1@127.0.0.1:9"), ("NO_PROXY", "127.0.0.1")])]
#[case::this_machine(&[("HTTPS_PROXY", "socks5://corp:Proxy-Secret-1@127.0.0.1:9")])]
#[case::for_http(&[("HTTP_PROXY", "http://corp:Proxy-Secret-1@127.0.0.1:9"), ("ALL_PROXY", "http://corp:Proxy-Secret-1@127.0.0.1:9")])]
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_not_used(#[case] variables: &[(&str, &str)]) -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let mut operator = bed.operator().await?;
    for (name, value) in variables {
        operator = operator.env(name, *value);
    }
    let operator = operator.start().await?;
    operator.wait_until_leading().await?;
    assert_silent(&bed, &operator).await
}

/// The operator lives on, and nothing that it says has what it sent.
#[rstest]
#[case::connect("http", Protocol::Connect)]
#[case::socks5("socks5", Protocol::Socks5)]
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_wants_another_password(
    #[case] scheme: &str,
    #[case] protocol: Protocol,
) -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let relay = relay(&bed, protocol).await?;
    let fields =
        json!({ "proxy-url": format!("{scheme}://corp:Proxy-Secret-2@{}", relay.address) });
    let config = kubeconfig(&bed, &format!("https://{SERVER}"), fields).await?;
    let operator = operator(&bed, &config).await?.start().await?;
    let asked = async || relay.asked().len() > 2;
    wait_until("the proxy is asked more than once", asked).await?;
    ensure!(relay.served().is_empty());
    assert_eq!(operator.get("/livez").await?.0, 200);
    wait_until_not_ready(
        &operator,
        "the proxy to the API server refuses the user name and password",
    )
    .await?;
    assert_silent(&bed, &operator).await
}

/// The first connects to no such server, and nothing listens at the second's address.
#[rstest]
#[case::connect("http", Some(Protocol::Connect))]
#[case::socks5("socks5", Some(Protocol::Socks5))]
#[case::away("http", None)]
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_makes_no_connection(
    #[case] scheme: &str,
    #[case] protocol: Option<Protocol>,
) -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let relay = match protocol {
        Some(protocol) => Some(relay(&bed, protocol).await?),
        None => None,
    };
    let away = SocketAddr::from(([127, 0, 0, 1], 9));
    let address = relay.as_ref().map_or(away, |relay| relay.address);
    let fields = json!({ "proxy-url": format!("{scheme}://{USER_INFO}@{address}") });
    let config = kubeconfig(&bed, "https://other.example", fields).await?;
    let operator = operator(&bed, &config).await?.start().await?;
    wait_until_not_ready(
        &operator,
        "the proxy to the API server could not be reached",
    )
    .await?;
    assert_silent(&bed, &operator).await
}

async fn wait_until_not_ready(operator: &Operator, why: &str) -> Result<()> {
    let says = async || {
        let answer = operator.get("/readyz").await;
        answer.is_ok_and(|(status, text)| status == 503 && text.contains(why))
    };
    wait_until(why, says).await
}

/// The cloud's APIs go by the proxy too, and what is wrong there is told without it.
#[rstest]
#[case::connect("http", Protocol::Connect)]
#[case::socks5("socks5h", Protocol::Socks5)]
#[tokio::test(flavor = "multi_thread")]
async fn the_cloud_by_a_proxy(#[case] scheme: &str, #[case] protocol: Protocol) -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let relay = relay(&bed, protocol).await?;
    let proxy = format!("{scheme}://{USER_INFO}@{}", relay.address);
    let operator = bed
        .operator()
        .await?
        .env("HTTPS_PROXY", proxy)
        .flag("rds-endpoint", "https://rds.example")
        .start()
        .await?;
    operator.wait_until_leading().await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_for_reason("orders-app", "RdsUnavailable").await?;
    ensure!(relay.served().contains(&"rds.example:443".to_owned()));
    assert_silent(&bed, &operator).await
}

async fn wait_until(what: &str, condition: impl AsyncFn() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        ensure!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn output(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Output> {
    Ok(Command::new(OPERATOR)
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()?)
}

/// What the operator says before it ends, which must have no canary.
fn said(arguments: &[&str], environment: &[(&str, &str)]) -> Result<(Option<i32>, String)> {
    let output = output(arguments, environment)?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said)?;
    let found = canaries()?.find(&said);
    ensure!(
        found.is_empty(),
        "{arguments:?} {environment:?}: {found:#?}"
    );
    Ok((output.status.code(), said))
}

/// A kubeconfig without a cluster behind it.
fn written(cluster: &Value) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "a",
        "contexts": [{ "name": "a", "context": { "cluster": "a", "user": "a" } }],
        "clusters": [{ "name": "a", "cluster": cluster }],
        "users": [{ "name": "a", "user": { "token": "Proxy-Secret-token" } }],
    })
    .to_string()
}

#[rstest]
#[case::scheme_of_a_variable(
    json!({ "server": "https://kube.example" }),
    "ftp://corp:Proxy-Secret-1@127.0.0.1:1",
    "HTTPS_PROXY names a proxy whose protocol is not known here"
)]
#[case::variable(
    json!({ "server": "https://kube.example" }),
    "http://corp:Proxy-Secret-1@:99999",
    "HTTPS_PROXY is not the URL of a proxy"
)]
#[case::variable_that_kube_cannot_read(
    json!({ "server": "https://kube.example" }),
    "http://corp:Proxy Secret-1#Proxy-Secret@127.0.0.1:1",
    "not the URL of a proxy"
)]
#[case::kubeconfig(
    json!({ "server": "https://kube.example", "proxy-url": "corp:Proxy-Secret-1@127.0.0.1:1" }),
    "",
    "proxy-url"
)]
#[case::scheme_in_the_kubeconfig(
    json!({ "server": "https://kube.example", "proxy-url": "socks4://corp:Proxy-Secret-1@127.0.0.1:1" }),
    "",
    "proxy-url in the kubeconfig names a proxy whose protocol is not known here"
)]
#[case::server(
    json!({ "server": "https://corp:Proxy-Secret-1@ kube.example" }),
    "",
    "failed to parse cluster url"
)]
#[case::authority(
    json!({
        "server": "https://corp:Proxy-Secret-1@kube.example",
        "certificate-authority-data": "Proxy-Secret-1",
    }),
    "",
    "failed to load certificate authority"
)]
fn a_wrong_url_is_not_repeated(
    #[case] cluster: Value,
    #[case] proxy: &str,
    #[case] expected: &str,
) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("kubeconfig");
    fs::write(&path, written(&cluster))?;
    let path = path.to_str().context("a path that is no text")?;
    let environment = [("KUBECONFIG", path), ("HTTPS_PROXY", proxy)];
    let arguments = ["run", "--region=cn-shanghai", "--listen=127.0.0.1:0"];
    let (code, said) = said(&arguments, &environment)?;
    ensure!(said.contains(expected), "{said}");
    assert_eq!(code, Some(1), "{said}");
    Ok(())
}

/// The parser of YAML would quote the lines around what it does not take.
#[rstest]
#[case::not_yaml(
    "clusters:\n  - name: a\n    cluster:\n      server: https://corp:Proxy-Secret-1@h\n     proxy-url: ["
)]
#[case::other_types(
    "apiVersion: v1\nkind: Config\nclusters: http://corp:Proxy-Secret-1@h\nusers: {}\n"
)]
fn a_broken_kubeconfig_is_not_quoted(#[case] text: &str) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("kubeconfig");
    fs::write(&path, text)?;
    let path = path.to_str().context("a path that is no text")?;
    let (code, said) = said(&["run", "--region=cn-shanghai"], &[("KUBECONFIG", path)])?;
    ensure!(
        said.contains("kubeconfig: it is not what a kubeconfig is"),
        "{said}"
    );
    assert_eq!(code, Some(1), "{said}");
    Ok(())
}

/// kube would quote all that the program printed.
#[test]
fn the_output_of_an_exec_plugin_is_not_quoted() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("kubeconfig");
    let mut config: Value =
        serde_json::from_str(&written(&json!({ "server": "https://kube.example" })))?;
    config["users"][0]["user"] = json!({ "exec": {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "/bin/sh",
        "args": ["-c", "echo https://corp:Proxy-Secret-1@h; echo Proxy-Secret-2 >&2; exit 3"],
        "interactiveMode": "Never",
    }});
    fs::write(&path, config.to_string())?;
    let path = path.to_str().context("a path that is no text")?;
    let (code, said) = said(&["run", "--region=cn-shanghai"], &[("KUBECONFIG", path)])?;
    ensure!(
        said.contains("the kubeconfig's user cannot log in"),
        "{said}"
    );
    assert_eq!(code, Some(1), "{said}");
    Ok(())
}

/// Flags and variables that take a URL, or are near one that does.
#[rstest]
#[case::rds_endpoint("--rds-endpoint=https://corp:Proxy-Secret-1@rds.example")]
#[case::sts_endpoint("--sts-endpoint=https://corp:Proxy-Secret-1@sts.example")]
#[case::metadata_endpoint("--metadata-endpoint=http://corp:Proxy-Secret-1@127.0.0.1")]
#[case::region("--region=https://corp:Proxy-Secret-1@rds.example")]
#[case::listen("--listen=http://corp:Proxy-Secret-1@127.0.0.1:80")]
#[case::network("--rds-network=https://corp:Proxy-Secret-1@rds.example")]
#[case::source("--credentials-source=https://corp:Proxy-Secret-1@rds.example")]
#[case::level("--log-level=https://corp:Proxy-Secret-1@rds.example")]
#[case::number("--concurrency=https://corp:Proxy-Secret-1@rds.example")]
#[case::duration("--lease-duration=https://corp:Proxy-Secret-1@rds.example")]
#[case::namespace("--namespace=https://corp:Proxy-Secret-1@rds.example")]
#[case::switch("--allow-node-role=https://corp:Proxy-Secret-1@rds.example")]
#[case::misspelled("--rds-endpont=https://corp:Proxy-Secret-1@rds.example")]
#[case::no_flag("https://corp:Proxy-Secret-1@rds.example")]
#[case::short("-ehttps://corp:Proxy-Secret-1@rds.example")]
fn a_wrong_flag_is_not_repeated(#[case] flag: &str) -> Result<()> {
    let mut arguments = vec!["run", flag];
    if !flag.starts_with("--region") {
        arguments.push("--region=cn-shanghai");
    }
    let (code, said) = said(&arguments, &[])?;
    assert_eq!(code, Some(2), "{said}");
    if let Some((flag, _)) = flag.split_once('=') {
        ensure!(said.contains(flag), "{said}");
    }
    // As a command, too.
    let (code, said) = self::said(&[flag], &[])?;
    assert_eq!(code, Some(2), "{said}");
    Ok(())
}

/// `--help` shows the values of some variables.
#[rstest]
fn help_tells_no_url(#[values("-h", "--help")] help: &str) -> Result<()> {
    let (_, help_text) = said(&["run", "--help"], &[])?;
    let variables: BTreeSet<&str> = help_text
        .split("[env: ")
        .skip(1)
        .filter_map(|rest| rest.split(['=', ']']).next())
        .map(str::trim)
        .collect();
    ensure!(variables.len() > 10, "{variables:?}");
    let mut environment: Vec<(&str, &str)> = variables
        .into_iter()
        .map(|name| (name, "https://corp:Proxy-Secret-1@rds.example"))
        .collect();
    environment.push(("HTTPS_PROXY", "http://corp:Proxy-Secret-1@rds.example"));
    let (code, said) = said(&["run", help], &environment)?;
    assert_eq!(code, Some(0), "{said}");
    Ok(())
}
