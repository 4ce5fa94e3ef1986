//! The proxy between the operator and the API server, found as kubectl finds it, and the client that goes through it.
//!
//! The `proxy-url` of a kubeconfig goes first, whatever else is set. Otherwise it is `HTTPS_PROXY` (for a server at `http://`,
//! `HTTP_PROXY`), unless the server is this machine itself or `NO_PROXY` names it. Sources: client-go's
//! `tools/clientcmd/client_config.go` and `transport/cache.go`, and `golang.org/x/net/http/httpproxy` for the variables.
//!
//! kube 5.0.0 reads the same places by other rules, so only its `Config` is used. Its feature `http-proxy` compares `NO_PROXY`
//! with the proxy instead of the server and ends at an empty entry, its feature `socks5` leaves the user name out, and without
//! both its error prints the whole URL.
//!
//! A proxy's URL may hold a password. No error and no text of this module has more of it than scheme, host and port.

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderValue, Uri};
use hyper::rt::{Read, Write};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt as _};
use kube::{Client, Config};
use percent_encoding::percent_decode_str;
use reqwest::Url;
use thiserror::Error;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt as _};
use zeroize::Zeroizing;

/// What names a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxySource {
    /// `proxy-url` of the kubeconfig's cluster.
    Kubeconfig,
    /// `HTTPS_PROXY` or `https_proxy`.
    HttpsProxy,
    /// `HTTP_PROXY` or `http_proxy`.
    HttpProxy,
}

impl fmt::Display for ProxySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kubeconfig => "proxy-url in the kubeconfig",
            Self::HttpsProxy => "HTTPS_PROXY",
            Self::HttpProxy => "HTTP_PROXY",
        })
    }
}

/// What is wrong with a proxy that would be used. The text itself is not repeated: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProxyError {
    /// No URL.
    #[error(
        "{0} is not the URL of a proxy; write scheme://host:port or scheme://user:password@host:port, with %40 for @, %3A for :, %2F for / and %25 for % in user and password"
    )]
    NotAUrl(ProxySource),
    /// A protocol that kubectl does not know either.
    #[error(
        "{0} names a proxy whose protocol is not known here; http://, https:// and socks5:// are"
    )]
    Scheme(ProxySource),
}

/// Why a connection by a proxy did not come about. It is in the chain of sources of a [`kube::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProxyFailure {
    /// It asks for a user name and a password, or for others.
    #[error(
        "the proxy to the API server refuses the user name and password, or asks for them; correct HTTPS_PROXY or the kubeconfig's proxy-url, and restart the operator"
    )]
    Unauthorized,
    /// It is away, does not know the API server, or may not connect to it.
    #[error(
        "the proxy to the API server could not be reached, or opens no connection to the API server; check HTTPS_PROXY, NO_PROXY and the kubeconfig's proxy-url"
    )]
    NoConnection,
}

impl ProxyFailure {
    fn of<E: Into<BoxError>>(error: E) -> Self {
        // The types of these errors are not public in hyper-util. The words are those of HTTP's 407, and of a SOCKS server that
        // takes no password, none other than by another method, or not this one.
        const UNAUTHORIZED: [&str; 4] = [
            "proxy authorization required",
            "credentials not accepted",
            "does not support user/pass authentication",
            "implements authentication incorrectly",
        ];
        let words = error.into().to_string();
        if UNAUTHORIZED.iter().any(|known| words.contains(known)) {
            Self::Unauthorized
        } else {
            Self::NoConnection
        }
    }
}

/// The proxy for an API server. `proxy_url` is the kubeconfig's, `variable` reads a variable of the environment.
///
/// # Errors
/// Where the proxy that would be used is not one.
pub fn proxy_for(
    server: &Uri,
    proxy_url: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Uri>, ProxyError> {
    if let Some(url) = proxy_url.filter(|url| !url.is_empty()) {
        return parse(url, ProxySource::Kubeconfig).map(Some);
    }
    let first = |names: [&str; 2]| {
        let mut values = names.into_iter().filter_map(&variable);
        values.find(|value| !value.is_empty())
    };
    let (source, names) = if server.scheme_str() == Some("http") {
        (ProxySource::HttpProxy, ["HTTP_PROXY", "http_proxy"])
    } else {
        (ProxySource::HttpsProxy, ["HTTPS_PROXY", "https_proxy"])
    };
    let Some(proxy) = first(names).map(Zeroizing::new) else {
        return Ok(None);
    };
    let exceptions = first(["NO_PROXY", "no_proxy"]).unwrap_or_default();
    if is_direct(server, &exceptions) {
        return Ok(None);
    }
    parse(&proxy, source).map(Some)
}

/// A proxy's URL with scheme, user info as it is, host and port. One without a scheme is an `http://` one in a variable, and
/// wrong in a kubeconfig.
fn parse(text: &str, source: ProxySource) -> Result<Uri, ProxyError> {
    let text = text.trim();
    let has_host = |url: &Url| url.host_str().is_some_and(|host| !host.is_empty());
    let url = Url::parse(text).ok().filter(has_host);
    let url = match source {
        ProxySource::Kubeconfig => url,
        ProxySource::HttpsProxy | ProxySource::HttpProxy if text.contains("://") => url,
        ProxySource::HttpsProxy | ProxySource::HttpProxy => url.or_else(|| {
            let with_scheme = Zeroizing::new(format!("http://{text}"));
            Url::parse(&with_scheme).ok().filter(has_host)
        }),
    };
    let url = url.ok_or(ProxyError::NotAUrl(source))?;
    let (scheme, default_port) = match (url.scheme(), source) {
        ("http", _) => ("http", 80),
        ("https", _) => ("https", 443),
        // The second is the same to Go, which knows it in variables only.
        ("socks5", _) | ("socks5h", ProxySource::HttpsProxy | ProxySource::HttpProxy) => {
            ("socks5", 1080)
        }
        _ => return Err(ProxyError::Scheme(source)),
    };
    let port = url.port().unwrap_or(default_port);
    let host = url.host_str().unwrap_or_default();
    let user = match (url.username(), url.password()) {
        ("", None) => String::new(),
        (user, password) => format!("{user}:{}@", password.unwrap_or_default()),
    };
    let normalized = Zeroizing::new(format!("{scheme}://{user}{host}:{port}/"));
    let uri: Uri = normalized
        .parse()
        .map_err(|_| ProxyError::NotAUrl(source))?;
    // Both halves have to be text to be sent.
    match UserInfo::of(&uri) {
        Some(UserInfo(None)) => Err(ProxyError::NotAUrl(source)),
        _ => Ok(uri),
    }
}

/// Whether no proxy of the environment serves this server: it is this machine, or `NO_PROXY` (a list with commas) names it. An
/// entry that says nothing is skipped.
fn is_direct(server: &Uri, exceptions: &str) -> bool {
    let host = server.host().unwrap_or_default().to_ascii_lowercase();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address: Option<IpAddr> = host.parse().ok();
    let port = server.port_u16().unwrap_or(default_port(server));
    host == "localhost"
        || address.is_some_and(|address| address.is_loopback())
        || exceptions
            .split(',')
            .map(|entry| entry.trim().to_ascii_lowercase())
            .any(|entry| is_named(&entry, host, address, port))
}

fn default_port(server: &Uri) -> u16 {
    if server.scheme_str() == Some("http") {
        80
    } else {
        443
    }
}

/// Whether an entry of `NO_PROXY` names the host: `*`, an address, a network such as `10.0.0.0/8`, or a domain. `a.b` names
/// `a.b` and all below it, `.a.b` and `*.a.b` only what is below. Address and domain may be followed by a port.
fn is_named(entry: &str, host: &str, address: Option<IpAddr>, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    if let Some((network, bits)) = entry.split_once('/')
        && let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>())
    {
        return address.is_some_and(|address| is_within(address, network, bits));
    }
    let (name, only_port) = split_port(entry);
    if name.is_empty() || only_port.is_some_and(|only| only.parse() != Ok(port)) {
        return false;
    }
    if let Ok(named) = name.parse::<IpAddr>() {
        return address.is_some_and(|address| address.to_canonical() == named.to_canonical());
    }
    if address.is_some() {
        return false;
    }
    let name = name
        .strip_prefix('*')
        .filter(|rest| rest.starts_with('.'))
        .unwrap_or(name);
    match name.strip_prefix('.') {
        Some(_) => host.ends_with(name),
        None => host == name || host.ends_with(&format!(".{name}")),
    }
}

/// `host:port`, `[address]:port`, or a host alone, which may be an IPv6 address without brackets.
fn split_port(entry: &str) -> (&str, Option<&str>) {
    if let Some((address, rest)) = entry
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        return (address, rest.strip_prefix(':'));
    }
    match entry.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, Some(port)),
        _ => (entry, None),
    }
}

fn is_within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    // The first bits of both, aligned to the left.
    let (left, right, length) = match (address.to_canonical(), network.to_canonical()) {
        (IpAddr::V4(left), IpAddr::V4(right)) => (
            u128::from(left.to_bits()) << 96,
            u128::from(right.to_bits()) << 96,
            32,
        ),
        (IpAddr::V6(left), IpAddr::V6(right)) => (left.to_bits(), right.to_bits(), 128),
        _ => return false,
    };
    let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    bits <= length && (left ^ right) & mask == 0
}

/// The user name and password of a proxy's URL, decoded; `None` inside where they are not text.
struct UserInfo(Option<(Zeroizing<String>, Zeroizing<String>)>);

impl UserInfo {
    fn of(proxy: &Uri) -> Option<Self> {
        let (user_info, _) = proxy.authority()?.as_str().rsplit_once('@')?;
        let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
        let decoded = |text| {
            let text = percent_decode_str(text).decode_utf8().ok()?;
            Some(Zeroizing::new(text.into_owned()))
        };
        Some(Self(decoded(user).zip(decoded(password))))
    }

    fn into_pair(self) -> Option<(Zeroizing<String>, Zeroizing<String>)> {
        self.0
    }
}

/// A proxy's URL as it may be shown: scheme, host and port.
#[must_use]
pub fn shown(proxy: &Uri) -> String {
    let scheme = proxy.scheme_str().unwrap_or_default();
    let host = proxy.host().unwrap_or_default();
    let port = proxy.port_u16().unwrap_or_default();
    format!("{scheme}://{host}:{port}")
}

/// The client, by the proxy that `proxy_url` of the configuration names, as [`proxy_for`] returns it.
///
/// # Errors
/// As kube's.
pub fn client(mut config: Config) -> kube::Result<Client> {
    let Some(proxy) = config.proxy_url.take() else {
        return Client::try_from(config);
    };
    config.cluster_url = with_port(config.cluster_url);
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    let user_info = UserInfo::of(&proxy).and_then(UserInfo::into_pair);
    match proxy.scheme_str() {
        Some("socks5") => {
            let socks = SocksV5::new(without_user_info(&proxy, "http"), tcp);
            let socks = match user_info {
                Some((user, password)) => {
                    socks.with_auth(user.as_str().to_owned(), password.as_str().to_owned())
                }
                None => socks,
            };
            through(&config, socks)
        }
        Some("https") => {
            // As with client-go, the certificate authorities are the cluster's.
            let tls = config.rustls_https_connector_with_connector(tcp)?;
            let tunnel = Tunnel::new(without_user_info(&proxy, "https"), tls);
            through(&config, authorized(tunnel, user_info))
        }
        _ => {
            let tunnel = Tunnel::new(without_user_info(&proxy, "http"), tcp);
            through(&config, authorized(tunnel, user_info))
        }
    }
}

fn authorized<C>(
    tunnel: Tunnel<C>,
    user_info: Option<(Zeroizing<String>, Zeroizing<String>)>,
) -> Tunnel<C> {
    let Some((user, password)) = user_info else {
        return tunnel;
    };
    let plain = Zeroizing::new(format!("{}:{}", user.as_str(), password.as_str()));
    let basic = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(&*plain)));
    match HeaderValue::from_str(&basic) {
        Ok(value) => tunnel.with_auth(value),
        // Never: base64 is fit for a header.
        Err(_) => tunnel,
    }
}

/// What the connector dials. hyper's connector knows no scheme `socks5`.
fn without_user_info(proxy: &Uri, scheme: &str) -> Uri {
    let host = proxy.host().unwrap_or_default();
    let port = proxy.port_u16().unwrap_or_default();
    format!("{scheme}://{host}:{port}/")
        .parse()
        .unwrap_or_default()
}

/// The tunnels take 443 where there is no port, also for `http://`.
fn with_port(server: Uri) -> Uri {
    let (Some(authority), None) = (server.authority(), server.port_u16()) else {
        return server;
    };
    let with_port = format!("{authority}:{}", default_port(&server));
    let mut parts = server.clone().into_parts();
    parts.authority = with_port.parse().ok();
    Uri::from_parts(parts).unwrap_or(server)
}

/// The layers are those of kube's own client (`client/builder.rs` of kube-client 5.0.0), without its retries and spans.
fn through<C>(config: &Config, connector: C) -> kube::Result<Client>
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Connection + Read + Write + Send + Unpin + 'static,
    C::Future: Send + 'static,
    C::Error: Into<BoxError>,
{
    let connector = connector.map_err(ProxyFailure::of::<C::Error>);
    let tls = config.rustls_https_connector_with_connector(connector)?;
    let mut timeouts = TimeoutConnector::new(tls);
    timeouts.set_connect_timeout(config.connect_timeout);
    timeouts.set_read_timeout(config.read_timeout);
    timeouts.set_write_timeout(config.write_timeout);
    timeouts.set_reset_reader_on_write(config.reset_reader_on_write);
    let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new()).build(timeouts);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace.clone()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const SERVER: &str = "https://kube.example:6443";

    fn found(
        server: &str,
        proxy_url: Option<&str>,
        variables: &[(&str, &str)],
    ) -> Result<Option<String>, ProxyError> {
        let server: Uri = server.parse().unwrap();
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let proxy = proxy_for(&server, proxy_url, variable)?;
        Ok(proxy.map(|proxy| proxy.to_string()))
    }

    /// The expected values are what `httpproxy.FromEnvironment` and clientcmd of client-go give.
    #[rstest]
    #[case::none(SERVER, None, &[], None)]
    #[case::https(SERVER, None, &[("HTTPS_PROXY", "http://p:3128")], Some("http://p:3128/"))]
    #[case::lower_case(SERVER, None, &[("https_proxy", "http://p:3128")], Some("http://p:3128/"))]
    #[case::upper_case_goes_first(SERVER, None, &[("https_proxy", "http://b"), ("HTTPS_PROXY", "http://a")], Some("http://a:80/"))]
    #[case::an_empty_one_does_not(SERVER, None, &[("https_proxy", "http://b"), ("HTTPS_PROXY", "")], Some("http://b:80/"))]
    #[case::http_is_not_for_https(SERVER, None, &[("HTTP_PROXY", "http://p")], None)]
    #[case::http("http://kube.example", None, &[("HTTP_PROXY", "http://p"), ("HTTPS_PROXY", "http://q")], Some("http://p:80/"))]
    #[case::all_is_none_of_gos(SERVER, None, &[("ALL_PROXY", "http://p")], None)]
    #[case::without_scheme(SERVER, None, &[("HTTPS_PROXY", "p:3128")], Some("http://p:3128/"))]
    #[case::address_without_scheme(SERVER, None, &[("HTTPS_PROXY", "127.0.0.1:3128")], Some("http://127.0.0.1:3128/"))]
    #[case::user_without_scheme(SERVER, None, &[("HTTPS_PROXY", "u:s@p:3128")], Some("http://u:s@p:3128/"))]
    #[case::newline_at_the_end(SERVER, None, &[("HTTPS_PROXY", "http://p:3128\n")], Some("http://p:3128/"))]
    #[case::tls(SERVER, None, &[("HTTPS_PROXY", "https://p")], Some("https://p:443/"))]
    #[case::socks5(SERVER, None, &[("HTTPS_PROXY", "socks5://p")], Some("socks5://p:1080/"))]
    #[case::socks5h(SERVER, None, &[("HTTPS_PROXY", "socks5h://u@p:1")], Some("socks5://u:@p:1/"))]
    #[case::ipv6(SERVER, None, &[("HTTPS_PROXY", "http://[::1]:3128")], Some("http://[::1]:3128/"))]
    #[case::user(SERVER, None, &[("HTTPS_PROXY", "http://u:a%40b@p:3128")], Some("http://u:a%40b@p:3128/"))]
    #[case::kubeconfig_goes_first(SERVER, Some("socks5://k:1"), &[("HTTPS_PROXY", "http://p")], Some("socks5://k:1/"))]
    #[case::no_exception_from_the_kubeconfigs("https://127.0.0.1:6443", Some("http://k:1"), &[("NO_PROXY", "*")], Some("http://k:1/"))]
    #[case::empty_in_the_kubeconfig(SERVER, Some(""), &[("HTTPS_PROXY", "http://p")], Some("http://p:80/"))]
    #[case::loopback("https://127.0.0.1:6443", None, &[("HTTPS_PROXY", "http://p")], None)]
    #[case::loopback_of_ipv6("https://[::1]:6443", None, &[("HTTPS_PROXY", "http://p")], None)]
    #[case::localhost("https://localhost:6443", None, &[("HTTPS_PROXY", "http://p")], None)]
    #[case::broken_and_not_used("https://localhost:6443", None, &[("HTTPS_PROXY", "ftp://p")], None)]
    fn as_kubectl(
        #[case] server: &str,
        #[case] proxy_url: Option<&str>,
        #[case] variables: &[(&str, &str)],
        #[case] expected: Option<&str>,
    ) {
        let expected = expected.map(str::to_owned);
        assert_eq!(found(server, proxy_url, variables), Ok(expected));
    }

    /// The expected values are those of the table in `httpproxy`'s own tests and of its documentation.
    #[rstest]
    #[case("kube.example:6443", "", false)]
    #[case("kube.example:6443", "*", true)]
    #[case("kube.example:6443", "a, *", true)]
    #[case("kube.example:6443", "kube.example", true)]
    #[case("KUBE.example:6443", "kube.EXAMPLE", true)]
    #[case("kube.example:6443", " other , kube.example ", true)]
    #[case("kube.example:6443", ",,kube.example,", true)]
    #[case("kube.example:6443", "example", true)]
    #[case("kube.example:6443", ".example", true)]
    #[case("kube.example:6443", "*.example", true)]
    #[case("kube.example:6443", ".kube.example", false)]
    #[case("kube.example:6443", "*.kube.example", false)]
    #[case("kube.example:6443", "be.example", false)]
    #[case("kube.example:6443", "kube.example:6443", true)]
    #[case("kube.example:6443", "kube.example:443", false)]
    #[case("kube.example", "kube.example:443", true)]
    #[case("kube.example:6443", "https://kube.example", false)]
    #[case("kube.example:6443", ":6443", false)]
    #[case("10.1.2.3:6443", "10.1.2.3", true)]
    #[case("10.1.2.3:6443", "10.1.2.3:6443", true)]
    #[case("10.1.2.3:6443", "10.1.2.3:443", false)]
    #[case("10.1.2.3:6443", "10.1.0.0/16", true)]
    #[case("10.1.2.3:6443", "10.1.0.0/24", false)]
    #[case("10.1.2.3:6443", "0.0.0.0/0", true)]
    #[case("10.1.2.3:6443", "10.1.2.3/33", false)]
    #[case("10.1.2.3:6443", "::/0", false)]
    #[case("10.1.2.3:6443", "2.3", false)]
    #[case("[fd00::1]:6443", "fd00::1", true)]
    #[case("[fd00::1]:6443", "[fd00::1]:6443", true)]
    #[case("[fd00::1]:6443", "[fd00::1]:443", false)]
    #[case("[fd00::1]:6443", "fd00::/8", true)]
    #[case("[fd00::1]:6443", "fe00::/8", false)]
    fn what_no_proxy_names(
        #[case] server: &str,
        #[case] exceptions: &str,
        #[case] is_direct: bool,
    ) {
        let variables = [("HTTPS_PROXY", "http://p"), ("no_proxy", exceptions)];
        let found = found(&format!("https://{server}"), None, &variables);
        assert_eq!(found.map(|proxy| proxy.is_none()), Ok(is_direct));
    }

    #[rstest]
    #[case::no_host(
        "http://corp:canary@",
        None,
        ProxyError::NotAUrl(ProxySource::HttpsProxy)
    )]
    #[case::port(
        "http://corp:canary@p:99999",
        None,
        ProxyError::NotAUrl(ProxySource::HttpsProxy)
    )]
    #[case::not_text(
        "http://corp:canary%ff@p",
        None,
        ProxyError::NotAUrl(ProxySource::HttpsProxy)
    )]
    #[case::scheme(
        "ftp://corp:canary@p",
        None,
        ProxyError::Scheme(ProxySource::HttpsProxy)
    )]
    #[case::in_the_kubeconfig(
        "",
        Some("corp:canary@p:1"),
        ProxyError::NotAUrl(ProxySource::Kubeconfig)
    )]
    #[case::scheme_in_the_kubeconfig(
        "",
        Some("socks5h://corp:canary@p:1"),
        ProxyError::Scheme(ProxySource::Kubeconfig)
    )]
    fn what_is_no_proxy(
        #[case] variable: &str,
        #[case] proxy_url: Option<&str>,
        #[case] expected: ProxyError,
    ) {
        let error = found(SERVER, proxy_url, &[("HTTPS_PROXY", variable)]);
        assert_eq!(error, Err(expected));
        assert!(!format!("{expected} {expected:?}").contains("canary"));
    }

    #[rstest]
    #[case("http://p:1/", None)]
    #[case("http://u:@p:1/", Some(("u", "")))]
    #[case("http://a%40b:c%3Ad%2F@p:1/", Some(("a@b", "c:d/")))]
    fn user_info(#[case] proxy: &str, #[case] expected: Option<(&str, &str)>) {
        let proxy: Uri = proxy.parse().unwrap();
        let pair = UserInfo::of(&proxy).and_then(UserInfo::into_pair);
        let pair = pair.as_ref();
        let pair = pair.map(|(user, password)| (user.as_str(), password.as_str()));
        assert_eq!(pair, expected);
        assert_eq!(shown(&proxy), "http://p:1");
    }

    #[rstest]
    #[case("http://kube.example", "http://kube.example:80/")]
    #[case("https://kube.example/a", "https://kube.example:443/a")]
    #[case("https://kube.example:6443", "https://kube.example:6443/")]
    fn ports(#[case] server: &str, #[case] expected: &str) {
        assert_eq!(with_port(server.parse().unwrap()).to_string(), expected);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(server in "(https?://)?[a-z0-9.:\\[\\]]{0,12}", proxy in ".{0,24}", exceptions in ".{0,24}") {
            if let Ok(server) = server.parse::<Uri>() {
                let variable = |name: &str| {
                    Some(if name.starts_with("NO") { exceptions.clone() } else { proxy.clone() })
                };
                let _ = proxy_for(&server, None, variable);
                let _ = proxy_for(&server, Some(&proxy), |_| None);
                let _ = with_port(server);
            }
        }
    }
}
