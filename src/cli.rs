//! The command line.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::error::{ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;

use crate::credentials::{MetadataEndpoint, SourceName};
use crate::leader::Timings;
use crate::rds::client::LONGEST_RESET_TIMEOUT;
use crate::rds::endpoint::{Endpoint, EndpointError, Network, Region};
use crate::rds::signature::SignatureMethod;

/// Carries changed passwords from Kubernetes Secrets into the accounts of Alibaba Cloud ApsaraDB RDS instances.
#[derive(Debug, Parser)]
#[command(name = "rds-password-operator", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// The command line of this process. Where it is wrong, or asks for help, this prints and ends the process, as clap's own
    /// function does.
    ///
    /// A URL may stand in any variable or argument by mistake, with a password. So help shows no value of a variable, and an
    /// error no user info of a value.
    #[must_use]
    pub fn of_this_process() -> Self {
        let mut command = Self::command()
            .mut_subcommands(|command| command.mut_args(|argument| argument.hide_env_values(true)));
        command
            .try_get_matches_from_mut(std::env::args_os())
            .and_then(|matches| {
                let parsed = Self::from_arg_matches(&matches);
                parsed.map_err(|error| error.format(&mut command))
            })
            .unwrap_or_else(|error| without_user_info(error).exit())
    }
}

/// The error, with nothing before an `@` in what it quotes.
fn without_user_info(mut error: clap::Error) -> clap::Error {
    let quoted: Vec<_> = error
        .context()
        .map(|(kind, value)| (kind, value.clone()))
        .collect();
    for (kind, value) in quoted {
        let shown = match value {
            ContextValue::String(text) => ContextValue::String(shown(&text)),
            ContextValue::Strings(texts) => {
                ContextValue::Strings(texts.iter().map(|text| shown(text)).collect())
            }
            ContextValue::StyledStr(text) => {
                ContextValue::StyledStr(shown(&text.ansi().to_string()).into())
            }
            ContextValue::StyledStrs(texts) => {
                let shown =
                    |text: &clap::builder::StyledStr| shown(&text.ansi().to_string()).into();
                ContextValue::StyledStrs(texts.iter().map(shown).collect())
            }
            other => other,
        };
        error.insert(kind, shown);
    }
    error
}

fn shown(text: &str) -> String {
    let Some((hidden, rest)) = text.rsplit_once('@') else {
        return text.to_owned();
    };
    match hidden.split_once("://") {
        Some((scheme, _)) => format!("{scheme}://***@{rest}"),
        None => format!("***@{rest}"),
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator.
    Run(Box<RunArguments>),
    /// Print the CustomResourceDefinition.
    Crd,
}

/// How to run the operator.
#[derive(Debug, clap::Args)]
pub struct RunArguments {
    /// Region of the RDS instances whose resource names none, for example cn-shanghai.
    #[arg(long, env = "ALIBABA_CLOUD_REGION_ID")]
    pub region: Region,

    /// Regions that a resource may name, beside --region; may be given more than once. All that this version knows by default.
    ///
    /// The host of a call is built from the region, so it must be one of RDS.
    #[arg(
        long,
        env = "RDS_PASSWORD_OPERATOR_ALLOWED_REGIONS",
        value_name = "REGION",
        value_delimiter = ','
    )]
    pub allowed_regions: Vec<Region>,

    /// Endpoint to call instead of the region's own: `https://HOST`, or `http://HOST` for a loopback address.
    #[arg(long, env = "RDS_PASSWORD_OPERATOR_RDS_ENDPOINT", hide_env_values = true, value_parser = EndpointParser)]
    pub rds_endpoint: Option<Endpoint>,

    /// Whether to call a region's public endpoint or the one inside a VPC.
    #[arg(
        long,
        env = "RDS_PASSWORD_OPERATOR_RDS_NETWORK",
        default_value = "public",
        value_name = "public|vpc"
    )]
    pub rds_network: Network,

    /// How calls are signed: 1.0 (HMAC-SHA1), or acs3 (ACS3-HMAC-SHA256), which has the password in the URL.
    ///
    /// With 1.0 the password is in the body of the request. With acs3 it is in the URL, as with the official SDKs: TLS encrypts
    /// it on the way, and the operator never logs it, but whatever ends TLS (a proxy that inspects traffic, one that
    /// --rds-endpoint names, the cloud) may write URLs into an access log. Take acs3 only when the cloud no longer takes 1.0,
    /// which its documentation calls discontinued.
    #[arg(
        long,
        env = "RDS_PASSWORD_OPERATOR_RDS_SIGNATURE",
        default_value_t,
        value_name = "1.0|acs3"
    )]
    pub rds_signature: SignatureMethod,

    /// Source of the operator's own cloud credentials; by default the first that is configured: environment, oidc, profile,
    /// file, uri, node-role.
    ///
    /// oidc is what RRSA sets up; profile is the aliyun tool's file, file the SDKs'. node-role needs --allow-node-role.
    #[arg(
        long,
        env = "RDS_PASSWORD_OPERATOR_CREDENTIALS_SOURCE",
        value_name = "environment|oidc|profile|file|uri|node-role",
        requires_if("node-role", "allow_node_role")
    )]
    pub credentials_source: Option<SourceName>,

    /// Use the RAM role of the ECS instance where no other source is configured, or a profile or file names it. Every pod of
    /// the node can have that role.
    #[arg(long, env = "RDS_PASSWORD_OPERATOR_ALLOW_NODE_ROLE")]
    pub allow_node_role: bool,

    /// OIDC provider of RAM that knows this cluster, for ServiceAccounts that a resource names and that name none themselves:
    /// `acs:ram::ACCOUNT:oidc-provider/NAME`.
    #[arg(long, env = "ALIBABA_CLOUD_OIDC_PROVIDER_ARN", value_parser = trimmed)]
    pub oidc_provider_arn: Option<String>,

    /// Endpoint of STS instead of that of `ALIBABA_CLOUD_STS_REGION`: `https://HOST`, or `http://HOST` for a loopback address.
    #[arg(long, env = "RDS_PASSWORD_OPERATOR_STS_ENDPOINT", hide_env_values = true, value_parser = EndpointParser)]
    pub sts_endpoint: Option<Endpoint>,

    /// Where the metadata service is; for tests.
    #[arg(long, hide = true, default_value = "http://100.100.100.200")]
    pub metadata_endpoint: MetadataEndpoint,

    /// Address of /livez, /readyz and /metrics; `[::]` stands for all addresses of IPv6 and IPv4, and of IPv4 alone on a host
    /// without IPv6.
    #[arg(
        long,
        env = "RDS_PASSWORD_OPERATOR_LISTEN",
        default_value = "[::]:8080"
    )]
    pub listen: SocketAddr,

    /// Serve no metrics of single resources. Those that cannot be decoded are named all the same.
    #[arg(long, env = "RDS_PASSWORD_OPERATOR_NO_RESOURCE_METRICS")]
    pub no_resource_metrics: bool,

    /// Namespace of the lease and of the fingerprint key; the kubeconfig's by default.
    #[arg(long, env = "POD_NAMESPACE", value_parser = namespace)]
    pub namespace: Option<String>,

    /// Namespace to watch; may be given more than once. All by default.
    #[arg(
        long = "watch-namespace",
        env = "RDS_PASSWORD_OPERATOR_WATCH_NAMESPACE",
        value_name = "NAMESPACE",
        value_delimiter = ',',
        value_parser = namespace
    )]
    pub watch_namespaces: Vec<String>,

    /// How many cloud calls may be under way at once.
    #[arg(long, env = "RDS_PASSWORD_OPERATOR_CONCURRENCY", default_value = "16")]
    pub concurrency: NonZeroU32,

    /// How many cloud calls a second, for each cloud identity and region.
    #[arg(long, env = "RDS_PASSWORD_OPERATOR_RDS_QPS", default_value = "10")]
    pub rds_qps: NonZeroU32,

    /// How long to wait for the answer to a reset. It doubles with each send of the same value that has no answer, up to 2 minutes.
    #[arg(long, env = "RDS_PASSWORD_OPERATOR_RESET_TIMEOUT", default_value = "20s", value_parser = reset_timeout)]
    pub reset_timeout: Duration,

    /// How long RDS may still carry out a reset after the operator stopped waiting for its answer.
    ///
    /// For so long no resource is Ready whose account may still get an earlier value; after it, the present value is sent once more.
    /// RDS documents no such time. A shorter one than RDS takes makes Ready untrue.
    #[arg(long, env = "RDS_PASSWORD_OPERATOR_RESET_SETTLING_TIME", default_value = "3m", value_parser = settling_time)]
    pub reset_settling_time: Duration,

    /// How log lines are written.
    #[arg(long, env = "RDS_PASSWORD_OPERATOR_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// How much is logged. No level opens the output of the libraries underneath.
    #[arg(long, env = "RDS_PASSWORD_OPERATOR_LOG_LEVEL", default_value = "info")]
    pub log_level: LogLevel,

    /// Work without a lease: only where there can never be a second process.
    #[arg(long, env = "RDS_PASSWORD_OPERATOR_NO_LEADER_ELECTION")]
    pub no_leader_election: bool,

    /// How long the other replicas wait for the leader's renewal before one takes over.
    #[arg(long, env = "RDS_PASSWORD_OPERATOR_LEASE_DURATION", default_value = "15s", value_parser = duration)]
    pub lease_duration: Duration,

    /// How long the leader tries to renew its lease before it gives up; shorter than the lease.
    #[arg(long, env = "RDS_PASSWORD_OPERATOR_LEASE_RENEW_DEADLINE", default_value = "10s", value_parser = duration)]
    pub lease_renew_deadline: Duration,

    /// How often the lease is renewed, or looked at; shorter than the renew deadline.
    #[arg(long, env = "RDS_PASSWORD_OPERATOR_LEASE_RETRY_PERIOD", default_value = "2s", value_parser = duration)]
    pub lease_retry_period: Duration,

    /// How long resets that are under way may take to end after SIGTERM; shorter than the pod's grace period.
    #[arg(long, env = "RDS_PASSWORD_OPERATOR_SHUTDOWN_GRACE", default_value = "25s", value_parser = duration)]
    pub shutdown_grace: Duration,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Nothing works without a person.
    Error,
    /// Something did not work.
    Warn,
    /// Each reset.
    Info,
    /// Each pass.
    Debug,
    /// Everything.
    Trace,
}

impl RunArguments {
    /// The timings of the election.
    ///
    /// # Errors
    /// A sentence, where they contradict each other.
    pub fn lease_timings(&self) -> Result<Timings, String> {
        let timings = Timings {
            lease_duration: self.lease_duration,
            renew_deadline: self.lease_renew_deadline,
            retry_period: self.lease_retry_period,
        };
        if timings.lease_duration < Duration::from_secs(1)
            || timings.lease_duration.subsec_nanos() > 0
        {
            return Err("--lease-duration must be whole seconds, and at least one".to_owned());
        }
        if timings.renew_deadline >= timings.lease_duration {
            return Err("--lease-renew-deadline must be shorter than --lease-duration: the leader has to give up before another takes over".to_owned());
        }
        if timings.retry_period >= timings.renew_deadline {
            return Err("--lease-retry-period must be shorter than --lease-renew-deadline: the leader needs more than one try".to_owned());
        }
        Ok(timings)
    }
}

/// Clap repeats what it refuses, and an endpoint may hold a password by mistake.
#[derive(Debug, Clone)]
struct EndpointParser;

impl TypedValueParser for EndpointParser {
    type Value = Endpoint;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Endpoint, clap::Error> {
        let flag = argument.and_then(clap::Arg::get_long).unwrap_or_default();
        let endpoint = value.to_str().ok_or(EndpointError::NotAUrl);
        endpoint.and_then(str::parse).map_err(|sentence| {
            clap::Error::raw(
                ErrorKind::ValueValidation,
                format!("--{flag}: {sentence}\n"),
            )
            .with_cmd(command)
        })
    }
}

/// A namespace's name (a DNS label, RFC 1123). The empty one would stand for all of them in a URL, and for none in a
/// resource.
fn namespace(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_right = (1..=63).contains(&text.len())
        && text.bytes().all(is_plain)
        && !text.starts_with('-')
        && !text.ends_with('-');
    is_right.then(|| text.to_owned()).ok_or_else(|| {
        "write a namespace's name: lower-case letters, digits and hyphens, at most 63; leave it out for the default"
            .to_owned()
    })
}

/// A duration from a second to the longest time-out of a reset.
fn reset_timeout(text: &str) -> Result<Duration, String> {
    let bounds = Duration::from_secs(1)..=LONGEST_RESET_TIMEOUT;
    duration(text)
        .ok()
        .filter(|duration| bounds.contains(duration))
        .ok_or_else(|| "write a duration from 1s to 2m, such as 20s".to_owned())
}

/// A duration from a second to an hour.
fn settling_time(text: &str) -> Result<Duration, String> {
    let bounds = Duration::from_secs(1)..=Duration::from_secs(3600);
    duration(text)
        .ok()
        .filter(|duration| bounds.contains(duration))
        .ok_or_else(|| "write a duration from 1s to 1h, such as 3m".to_owned())
}

/// A text without white space at its ends, as the same variable is read for the operator's own identity.
#[expect(
    clippy::unnecessary_wraps,
    reason = "what clap expects of the parser of a value"
)]
fn trimmed(text: &str) -> Result<String, Infallible> {
    Ok(text.trim().to_owned())
}

/// A duration of at most a day, such as `15s`, `500ms` or `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    let duration: SignedDuration = text
        .parse()
        .map_err(|_| "write a duration such as 15s, 500ms or 2m".to_owned())?;
    Duration::try_from(duration)
        .ok()
        .filter(|duration| {
            (Duration::from_millis(1)..=Duration::from_secs(86_400)).contains(duration)
        })
        .ok_or_else(|| "a duration must be between 1ms and 24h".to_owned())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may end at the first surprise")]
mod tests {
    use rstest::rstest;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<RunArguments, clap::Error> {
        let all = ["rds-password-operator", "run"]
            .into_iter()
            .chain(arguments.iter().copied());
        Cli::try_parse_from(all).map(|cli| match cli.command {
            Command::Run(arguments) => *arguments,
            Command::Crd => unreachable!("the command is run"),
        })
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[rstest]
    #[case("moon", "moon")]
    #[case("https://rds.example", "https://rds.example")]
    #[case("https://corp:canary@rds.example", "https://***@rds.example")]
    #[case(
        "https://corp:canary@canary@rds.example/a",
        "https://***@rds.example/a"
    )]
    #[case("corp:canary@rds.example", "***@rds.example")]
    #[case("--flag=http://canary@h", "--flag=http://***@h")]
    fn user_info_is_not_shown(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(shown(text), expected);
    }

    #[rstest]
    #[case::missing_region(&[])]
    #[case::region_with_a_dot(&["--region", "cn.evil"])]
    #[case::region_with_a_slash(&["--region", "cn/evil"])]
    #[case::plain_http_elsewhere(&["--region", "cn-shanghai", "--rds-endpoint", "http://rds.example.com"])]
    #[case::plain_http_to_sts(&["--region", "cn-shanghai", "--sts-endpoint", "http://sts.example.com"])]
    #[case::metadata_elsewhere(&["--region", "cn-shanghai", "--metadata-endpoint", "http://10.0.0.1"])]
    #[case::credentials_source(&["--region", "cn-shanghai", "--credentials-source", "moon"])]
    #[case::node_role_that_is_not_allowed(&["--region", "cn-shanghai", "--credentials-source", "node-role"])]
    #[case::network(&["--region", "cn-shanghai", "--rds-network", "moon"])]
    #[case::signature(&["--region", "cn-shanghai", "--rds-signature", "2.0"])]
    #[case::no_concurrency(&["--region", "cn-shanghai", "--concurrency", "0"])]
    #[case::no_reset_timeout(&["--region", "cn-shanghai", "--reset-timeout", "500ms"])]
    #[case::endless_reset_timeout(&["--region", "cn-shanghai", "--reset-timeout", "3m"])]
    #[case::no_settling_time(&["--region", "cn-shanghai", "--reset-settling-time", "0s"])]
    #[case::duration_without_unit(&["--region", "cn-shanghai", "--lease-duration", "15"])]
    fn refused_with_exit_code_2(#[case] arguments: &[&str]) {
        assert_eq!(parse(arguments).unwrap_err().exit_code(), 2);
    }

    #[rstest]
    #[case::default(&[], SignatureMethod::HmacSha1)]
    #[case::named(&["--rds-signature", "1.0"], SignatureMethod::HmacSha1)]
    #[case::successor(&["--rds-signature=acs3"], SignatureMethod::Acs3HmacSha256)]
    fn rds_signature(#[case] arguments: &[&str], #[case] expected: SignatureMethod) {
        let arguments = [&["--region", "cn-shanghai"], arguments].concat();
        assert_eq!(parse(&arguments).unwrap().rds_signature, expected);
    }

    #[test]
    fn credentials() {
        let arguments = parse(&["--region", "cn-shanghai"]).unwrap();
        assert_eq!(arguments.credentials_source, None);
        assert!(!arguments.allow_node_role);
        let pinned = ["--credentials-source=node-role", "--allow-node-role"];
        let arguments = parse(&[&["--region", "cn-shanghai"], &pinned[..]].concat()).unwrap();
        assert_eq!(arguments.credentials_source, Some(SourceName::NodeRole));
        assert!(arguments.allow_node_role);
    }

    #[rstest]
    #[case::defaults(&[], true)]
    #[case::deadline_not_before_expiry(&["--lease-renew-deadline", "15s"], false)]
    #[case::retry_not_before_deadline(&["--lease-retry-period", "10s"], false)]
    #[case::broken_seconds(&["--lease-duration", "15500ms"], false)]
    fn lease_timings(#[case] arguments: &[&str], #[case] is_sound: bool) {
        let arguments = [&["--region", "cn-shanghai"], arguments].concat();
        assert_eq!(parse(&arguments).unwrap().lease_timings().is_ok(), is_sound);
    }
}
