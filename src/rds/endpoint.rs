//! Where requests are sent.

use std::{collections::BTreeSet, fmt, net::IpAddr, str::FromStr, sync::Arc};

use reqwest::Url;
use thiserror::Error;

/// Regions that share one public endpoint; each other region has its own.
///
/// Sources: the product list of aliyun-openapi-meta (`en-US/products.json`, 2026-04-21), and for the regions that it
/// does not list (the last four) the endpoint table of the official SDK rds-20140815 (2026-02-27). Where the two
/// disagree (ap-southeast-1, us-east-1, us-west-1, cn-shenzhen-finance-1) both names are published; the product list
/// wins, since it is newer and knows of VPC endpoints.
const SHARE_THE_CENTRAL_ENDPOINT: &[&str] = &[
    "cn-hangzhou",
    "cn-shanghai",
    "cn-beijing",
    "cn-shenzhen",
    "cn-qingdao",
    "cn-heyuan",
    "cn-hongkong",
    "cn-hangzhou-finance",
    "cn-shanghai-finance-1",
    "cn-beijing-finance-1",
    "cn-north-2-gov-1",
    "cn-beijing-gov-1",
    "cn-wuhan",
    "cn-fujian",
];

/// The regions with a public endpoint of their own, by the same product list.
const HAVE_AN_ENDPOINT_OF_THEIR_OWN: &[&str] = &[
    "cn-chengdu",
    "cn-guangzhou",
    "cn-huhehaote",
    "cn-wulanchabu",
    "cn-zhangjiakou",
    "cn-shenzhen-finance-1",
    "ap-northeast-1",
    "ap-southeast-1",
    "ap-southeast-3",
    "ap-southeast-5",
    "ap-southeast-6",
    "eu-central-1",
    "eu-west-1",
    "me-east-1",
    "na-south-1",
    "us-east-1",
    "us-west-1",
];

const LONGEST_REGION: usize = 64;

/// A region's id, such as `cn-shanghai`.
///
/// Host names are built from it, so it can hold nothing that would lead a request elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region(String);

/// What is wrong with a region's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "a region's id has lower-case letters, digits and dashes only, and 64 of them at most; write it as in \"cn-shanghai\""
)]
pub struct RegionError;

impl Region {
    /// The id as RDS writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Region {
    type Err = RegionError;

    fn from_str(text: &str) -> Result<Self, RegionError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let right = (1..=LONGEST_REGION).contains(&text.len())
            && text.bytes().all(plain)
            // Marks a name in another script; no region is one, and not every such name is valid in a URL.
            && !text.starts_with("xn--");
        right.then(|| Self(text.to_owned())).ok_or(RegionError)
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// From which network RDS' API is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Network {
    /// The internet.
    #[default]
    Public,
    /// A VPC of the same region, without a way to the internet.
    Vpc,
}

/// A network that is neither `public` nor `vpc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("write \"public\" or \"vpc\"")]
pub struct NetworkError;

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        match text {
            "public" => Ok(Self::Public),
            "vpc" => Ok(Self::Vpc),
            _ => Err(NetworkError),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "public",
            Self::Vpc => "vpc",
        })
    }
}

/// Where RDS' API is called for a resource. A resource names a region, and never an endpoint.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// For resources that name no region.
    default: Region,
    /// What a resource may name.
    allowed: BTreeSet<Region>,
    network: Network,
    /// Instead of the region's own.
    fixed: Option<Endpoint>,
}

/// Why a resource's region is not called.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RegionProblem {
    /// The text is no region's id. The schema refuses it; this is for a definition that was installed without its rules.
    #[error(
        "spec.regionId must be a region ID such as cn-shanghai: lower-case letters, digits and hyphens"
    )]
    Malformed,
    /// A host would be built from it that need not be one of RDS: `rds.oss-cn-hangzhou.aliyuncs.com` is a storage bucket named `rds`.
    #[error(
        "this operator calls no region {0}; correct spec.regionId, or have the region added to the operator's --allowed-regions"
    )]
    NotAllowed(Region),
}

impl Endpoints {
    /// `default` is for resources that name no region, and always allowed. `allowed` are the others; where it is empty, all regions that
    /// this program knows. `fixed` is called instead of any region's own endpoint.
    #[must_use]
    pub fn new(
        default: Region,
        allowed: &[Region],
        network: Network,
        fixed: Option<Endpoint>,
    ) -> Self {
        let known = SHARE_THE_CENTRAL_ENDPOINT
            .iter()
            .chain(HAVE_AN_ENDPOINT_OF_THEIR_OWN);
        let known = known.map(|region| Region((*region).to_owned()));
        let mut regions: BTreeSet<Region> = if allowed.is_empty() {
            known.collect()
        } else {
            allowed.iter().cloned().collect()
        };
        regions.insert(default.clone());
        Self {
            default,
            allowed: regions,
            network,
            fixed,
        }
    }

    /// The region of a resource that names this one, and where it is called. With a fixed endpoint no host is built from the region, so it may
    /// be any.
    ///
    /// # Errors
    /// Where the region is none, or is not called by this operator.
    pub fn of(&self, region_id: Option<&str>) -> Result<(Region, Endpoint), RegionProblem> {
        let region = match region_id {
            Some(region) => region.parse().map_err(|_| RegionProblem::Malformed)?,
            None => self.default.clone(),
        };
        let endpoint = match &self.fixed {
            Some(endpoint) => endpoint.clone(),
            None if self.allowed.contains(&region) => Endpoint::of_region(&region, self.network),
            None => return Err(RegionProblem::NotAllowed(region)),
        };
        Ok((region, endpoint))
    }
}

/// An API server: scheme, host and port.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint(Url);

/// A server's host, and port unless it is the scheme's own. It holds no secret: neither user information nor a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host(Arc<str>);

impl Host {
    /// That of a URL.
    pub(crate) fn of(url: &Url) -> Self {
        let name = url.host_str().unwrap_or_default();
        Self(match url.port() {
            Some(port) => format!("{name}:{port}").into(),
            None => name.into(),
        })
    }

    /// For tests of modules that have no endpoint.
    #[cfg(test)]
    pub(crate) fn for_test(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is wrong with an endpoint. The text itself is not repeated: it may hold a password by mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EndpointError {
    /// Not a URL at all.
    #[error("the endpoint is not a URL; write it as in \"https://rds.aliyuncs.com\"")]
    NotAUrl,
    /// Neither HTTPS nor HTTP, or no scheme written.
    #[error("the endpoint has to begin with https://, as in \"https://rds.aliyuncs.com\"")]
    Scheme,
    /// HTTP to another machine would send passwords in the clear.
    #[error(
        "http:// is taken only for this machine itself (127.0.0.1, [::1], localhost), since passwords are sent; write https://"
    )]
    NotEncrypted,
    /// User name or password.
    #[error("the endpoint must not hold a user name or password; write scheme, host and port only")]
    UserInfo,
    /// A path, query or fragment.
    #[error(
        "the endpoint must not have a path, query or fragment; write scheme, host and port only"
    )]
    MoreThanAHost,
}

impl Endpoint {
    /// The endpoint of a region, by the sources named at the table of central regions; VPC endpoints are always of
    /// one region.
    #[must_use]
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "no region that Region lets pass breaks a host name"
    )]
    pub fn of_region(region: &Region, network: Network) -> Self {
        let host = match network {
            Network::Vpc => format!("rds-vpc.{region}.aliyuncs.com"),
            Network::Public if SHARE_THE_CENTRAL_ENDPOINT.contains(&region.as_str()) => {
                "rds.aliyuncs.com".to_owned()
            }
            Network::Public => format!("rds.{region}.aliyuncs.com"),
        };
        let url = Url::parse(&format!("https://{host}/")).expect("a region fits into a URL");
        Self(url)
    }

    /// Whether only TLS will do; false for this machine itself.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Host, and port unless it is the scheme's own: what the header `Host` holds.
    pub(crate) fn host(&self) -> &str {
        self.0.authority()
    }

    /// The host, for messages.
    #[must_use]
    pub fn name(&self) -> Host {
        Host::of(&self.0)
    }

    /// The URL of a request with this query (already percent-encoded). RPC APIs know one path only, `/`.
    pub(crate) fn url(&self, query: &str) -> Url {
        let mut url = self.0.clone();
        url.set_query(Some(query));
        url
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    /// Takes an operator-wide override, such as a proxy within the cluster or a simulator.
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let scheme = text.split_once("://").map(|(scheme, _)| scheme);
        if !matches!(scheme, Some("https" | "http")) {
            return Err(EndpointError::Scheme);
        }
        let url = Url::parse(text).map_err(|_| EndpointError::NotAUrl)?;
        if url.scheme() != "https" && !is_loopback(&url) {
            return Err(EndpointError::NotEncrypted);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EndpointError::UserInfo);
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(EndpointError::MoreThanAHost);
        }
        Ok(Self(url))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("cn-hangzhou", Network::Public, "https://rds.aliyuncs.com")]
    #[case("cn-shanghai", Network::Public, "https://rds.aliyuncs.com")]
    #[case("cn-north-2-gov-1", Network::Public, "https://rds.aliyuncs.com")]
    #[case("cn-chengdu", Network::Public, "https://rds.cn-chengdu.aliyuncs.com")]
    #[case(
        "ap-southeast-1",
        Network::Public,
        "https://rds.ap-southeast-1.aliyuncs.com"
    )]
    #[case(
        "cn-hangzhou",
        Network::Vpc,
        "https://rds-vpc.cn-hangzhou.aliyuncs.com"
    )]
    #[case(
        "eu-central-1",
        Network::Vpc,
        "https://rds-vpc.eu-central-1.aliyuncs.com"
    )]
    fn of_a_region(#[case] region: &str, #[case] network: Network, #[case] endpoint: &str) {
        assert_eq!(
            Endpoint::of_region(&region.parse().unwrap(), network).to_string(),
            endpoint
        );
    }

    #[rstest]
    #[case::central(&[], "cn-shanghai", Some("https://rds.aliyuncs.com"))]
    #[case::of_its_own(&[], "eu-central-1", Some("https://rds.eu-central-1.aliyuncs.com"))]
    #[case::default_that_is_not_known(&[], "cn-brand-new", Some("https://rds.cn-brand-new.aliyuncs.com"))]
    #[case::a_storage_bucket(&[], "oss-cn-hangzhou", None)]
    #[case::mistyped(&[], "cn-shangai", None)]
    #[case::named(&["ap-new-1"], "ap-new-1", Some("https://rds.ap-new-1.aliyuncs.com"))]
    #[case::default_beside_the_named(&["ap-new-1"], "cn-brand-new", Some("https://rds.cn-brand-new.aliyuncs.com"))]
    #[case::not_among_the_named(&["ap-new-1"], "cn-shanghai", None)]
    fn regions_that_are_called(
        #[case] allowed: &[&str],
        #[case] region: &str,
        #[case] expected: Option<&str>,
    ) {
        let allowed: Vec<Region> = allowed.iter().map(|it| it.parse().unwrap()).collect();
        let default: Region = "cn-brand-new".parse().unwrap();
        let endpoints = Endpoints::new(default, &allowed, Network::Public, None);
        let found = endpoints.of(Some(region));
        match expected {
            Some(expected) => assert_eq!(found.unwrap().1.to_string(), expected),
            None => assert_eq!(
                found,
                Err(RegionProblem::NotAllowed(region.parse().unwrap()))
            ),
        }
    }

    #[test]
    fn a_fixed_endpoint_is_called_for_any_region() {
        let fixed: Endpoint = "https://proxy.internal".parse().unwrap();
        let default: Region = "cn-shanghai".parse().unwrap();
        let endpoints = Endpoints::new(default, &[], Network::Public, Some(fixed.clone()));
        let (region, endpoint) = endpoints.of(Some("oss-cn-hangzhou")).unwrap();
        assert_eq!((region.as_str(), endpoint), ("oss-cn-hangzhou", fixed));
        let malformed = endpoints.of(Some("evil.example/?"));
        assert_eq!(malformed, Err(RegionProblem::Malformed));
    }

    #[rstest]
    fn regions_that_would_lead_elsewhere_are_refused(
        #[values(
            "",
            "cn.shanghai",
            "cn/shanghai",
            "CN-Shanghai",
            "cn shanghai",
            "cn-shanghai\n",
            "evil.example/#",
            "a@b",
            "xn--a",
            "中国"
        )]
        region: &str,
    ) {
        assert_eq!(region.parse::<Region>(), Err(RegionError));
    }

    #[test]
    fn a_region_has_64_characters_at_most() {
        assert!("a".repeat(64).parse::<Region>().is_ok());
        assert!("a".repeat(65).parse::<Region>().is_err());
    }

    #[rstest]
    #[case("https://rds.aliyuncs.com", "https://rds.aliyuncs.com")]
    #[case("https://rds.aliyuncs.com/", "https://rds.aliyuncs.com")]
    #[case("https://proxy.internal:8443", "https://proxy.internal:8443")]
    #[case("http://127.0.0.1:8080", "http://127.0.0.1:8080")]
    #[case("http://127.8.9.1:8080", "http://127.8.9.1:8080")]
    #[case("http://[::1]:8080", "http://[::1]:8080")]
    #[case("http://localhost:8080", "http://localhost:8080")]
    fn takes(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), shown);
    }

    #[rstest]
    #[case("https://rds.aliyuncs.com:443", "rds.aliyuncs.com")]
    #[case("https://rds.aliyuncs.com:8443", "rds.aliyuncs.com:8443")]
    #[case("http://[::1]:8080", "[::1]:8080")]
    fn hosts(#[case] text: &str, #[case] host: &str) {
        let endpoint: Endpoint = text.parse().unwrap();
        assert_eq!(endpoint.host(), host);
        assert_eq!(endpoint.name().to_string(), host);
    }

    #[test]
    fn a_host_is_told_without_what_may_be_secret() {
        let url = Url::parse("https://user:word@a.example:8443/path?token=x#y").unwrap();
        assert_eq!(Host::of(&url).to_string(), "a.example:8443");
    }

    #[rstest]
    #[case("", EndpointError::Scheme)]
    #[case("rds.aliyuncs.com", EndpointError::Scheme)]
    #[case("rds.aliyuncs.com:443", EndpointError::Scheme)]
    #[case("localhost:8080", EndpointError::Scheme)]
    #[case("ftp://rds.aliyuncs.com", EndpointError::Scheme)]
    #[case("https://", EndpointError::NotAUrl)]
    #[case("https://rds.aliyuncs.com:port", EndpointError::NotAUrl)]
    #[case("http://rds.aliyuncs.com", EndpointError::NotEncrypted)]
    #[case("http://10.0.0.1", EndpointError::NotEncrypted)]
    #[case("http://0.0.0.0:8080", EndpointError::NotEncrypted)]
    #[case("http://127.0.0.1.evil.example", EndpointError::NotEncrypted)]
    #[case("http://localhost.evil.example", EndpointError::NotEncrypted)]
    #[case("http://127.0.0.1@evil.example", EndpointError::NotEncrypted)]
    #[case("https://user:word@rds.aliyuncs.com", EndpointError::UserInfo)]
    #[case("https://:word@rds.aliyuncs.com", EndpointError::UserInfo)]
    #[case("https://rds.aliyuncs.com/path", EndpointError::MoreThanAHost)]
    #[case("https://rds.aliyuncs.com/?a=b", EndpointError::MoreThanAHost)]
    #[case("https://rds.aliyuncs.com/#a", EndpointError::MoreThanAHost)]
    fn refuses(#[case] text: &str, #[case] error: EndpointError) {
        assert_eq!(text.parse::<Endpoint>(), Err(error));
    }

    #[test]
    fn networks_are_read_as_they_are_written() {
        for network in [Network::Public, Network::Vpc] {
            assert_eq!(network.to_string().parse(), Ok(network));
        }
        assert_eq!("intranet".parse::<Network>(), Err(NetworkError));
    }

    proptest! {
        /// No region, however odd, makes a URL fail or leave the cloud's domain.
        #[test]
        fn every_region_stays_in_the_domain(
            region in "[a-z0-9-]{1,64}",
            network in prop_oneof![Just(Network::Public), Just(Network::Vpc)],
        ) {
            if let Ok(region) = region.parse::<Region>() {
                let endpoint = Endpoint::of_region(&region, network);
                prop_assert!(endpoint.0.host_str().unwrap().ends_with(".aliyuncs.com"));
                prop_assert_eq!(endpoint.to_string().parse::<Endpoint>(), Ok(endpoint));
            }
        }

        #[test]
        fn no_override_is_unencrypted_to_another_machine(text in "https?://[a-z0-9.:@/\\[\\]-]{1,24}") {
            if let Ok(endpoint) = text.parse::<Endpoint>() {
                prop_assert!(endpoint.0.scheme() == "https" || is_loopback(&endpoint.0));
            }
        }
    }
}
