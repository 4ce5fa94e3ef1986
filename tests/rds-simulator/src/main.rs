//! The simulator as a program, for people who point an SDK at it.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, str::FromStr, time::Duration};

use clap::Parser;
use rds_simulator::{
    AccessKey, Account, Call, Instance, OidcProvider, Outcome, RdsSimulator, Role, Timestamp,
};

/// Simulates the RDS API of Alibaba Cloud, and STS, over plain HTTP.
///
/// Prints its URL, and then a line for each call.
#[derive(Parser)]
struct Arguments {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// An access key, as ID:SECRET or, for a temporary one that does not expire, ID:SECRET:TOKEN. Repeatable.
    #[arg(
        long = "access-key",
        value_name = "ID:SECRET[:TOKEN]",
        default_value = "testid:testsecret"
    )]
    access_keys: Vec<AccessKeyArgument>,
    /// A running instance with an account, as ID:ACCOUNT:PASSWORD. Repeatable, also with the same instance.
    #[arg(long = "instance", value_name = "ID:ACCOUNT:PASSWORD", required = true)]
    accounts: Vec<AccountArgument>,
    /// A role that the access keys may assume, which are of the account 1000000000000001. Repeatable.
    #[arg(long = "role", value_name = "ARN")]
    roles: Vec<String>,
    /// A role for tokens of one subject of an OIDC issuer. The file is the issuer's key set, which kube-apiserver has at
    /// /openid/v1/jwks. Repeatable.
    #[arg(
        long = "oidc-role",
        value_name = "ROLE_ARN,PROVIDER_ARN,ISSUER,SUBJECT,JWKS_FILE"
    )]
    oidc_roles: Vec<OidcRoleArgument>,
}

#[derive(Clone)]
struct OidcRoleArgument {
    role: String,
    provider: String,
    issuer: String,
    subject: String,
    keys: PathBuf,
}

impl FromStr for OidcRoleArgument {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The file comes last, since its path may contain commas.
        let parts: Vec<_> = text.splitn(5, ',').collect();
        let [role, provider, issuer, subject, keys] = parts[..] else {
            return Err(
                "a role for tokens is given as ROLE_ARN,PROVIDER_ARN,ISSUER,SUBJECT,JWKS_FILE",
            );
        };
        Ok(Self {
            role: role.to_owned(),
            provider: provider.to_owned(),
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            keys: keys.into(),
        })
    }
}

#[derive(Clone)]
struct AccessKeyArgument {
    id: String,
    secret: String,
    token: Option<String>,
}

impl FromStr for AccessKeyArgument {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, ':').map(str::to_owned);
        let (Some(id), Some(secret), token) = (parts.next(), parts.next(), parts.next()) else {
            return Err("an access key is given as ID:SECRET or ID:SECRET:TOKEN");
        };
        Ok(Self { id, secret, token })
    }
}

#[derive(Clone)]
struct AccountArgument {
    instance: String,
    account: String,
    password: String,
}

impl FromStr for AccountArgument {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The password comes last, since it may contain colons.
        let mut parts = text.splitn(3, ':').map(str::to_owned);
        let (Some(instance), Some(account), Some(password)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err("an instance is given as ID:ACCOUNT:PASSWORD");
        };
        Ok(Self {
            instance,
            account,
            password,
        })
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(
                clippy::print_stderr,
                reason = "a program's only way to say why it ends"
            )]
            {
                eprintln!("rds-simulator: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let simulator = RdsSimulator::start_on(arguments.listen).await?;
    for argument in arguments.access_keys {
        let key = AccessKey::new(argument.id, argument.secret);
        simulator.add_access_key(match argument.token {
            Some(token) => key.security_token(token, Timestamp::MAX),
            None => key,
        });
    }
    for argument in arguments.accounts {
        let account = Account::new(argument.account, argument.password);
        // Only the first account of an instance finds it missing.
        if simulator
            .add_account(&argument.instance, account.clone())
            .is_err()
        {
            simulator.add_instance(Instance::new(argument.instance).account(account));
        }
    }
    for role in arguments.roles {
        simulator.add_role(Role::new(role).trusts_account("1000000000000001"));
    }
    for argument in arguments.oidc_roles {
        let OidcRoleArgument {
            role,
            provider,
            issuer,
            subject,
            keys,
        } = argument;
        let keys = std::fs::read_to_string(&keys)
            .map_err(|error| format!("cannot read {}: {error}", keys.display()))?;
        simulator.add_oidc_provider(OidcProvider::new(&provider, &issuer, &keys)?);
        simulator.add_role(Role::new(role).trusts_oidc(
            provider,
            issuer,
            "sts.aliyuncs.com",
            subject,
        ));
    }
    print(&simulator.url());
    tokio::select! {
        () = print_calls(&simulator) => Ok(()),
        result = stop_signal() => Ok(result?),
    }
}

/// Prints each call as it ends.
async fn print_calls(simulator: &RdsSimulator) {
    let mut printed = std::collections::BTreeSet::new();
    let ended = |call: &&Call| call.outcome != Outcome::UnderWay;
    loop {
        let new = |call: &&Call| ended(call) && !printed.contains(&call.number);
        // How long to wait is of no importance: after it, the same wait begins again.
        let waited = simulator
            .journal()
            .wait_for(Duration::from_secs(3600), |calls| {
                calls.iter().any(|call| new(&call))
            })
            .await;
        for call in waited
            .iter()
            .flatten()
            .filter(new)
            .cloned()
            .collect::<Vec<_>>()
        {
            print(&line(&call));
            printed.insert(call.number);
        }
    }
}

/// One call, without any secret.
fn line(call: &Call) -> String {
    let status = call
        .status
        .map_or_else(|| "-".to_owned(), |status| status.to_string());
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    format!(
        "{} {} {} {:?} key={} role={} subject={} instance={} account={} {:?} {status} code={} request={} effect={} password-in-url={}",
        call.arrived,
        call.http_method,
        call.action,
        call.signature,
        or_dash(&call.access_key_id),
        or_dash(&call.role),
        or_dash(&call.subject),
        or_dash(&call.instance),
        or_dash(&call.account),
        call.outcome,
        or_dash(&call.code),
        call.request_id,
        call.took_effect,
        call.password_in_url,
    )
}

#[cfg(unix)]
async fn stop_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn stop_signal() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}

#[expect(clippy::print_stdout, reason = "this is what the program is for")]
fn print(text: &str) {
    println!("{text}");
}
