//! The steps of the demo.

use std::iter::once;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::jiff::Timestamp;
use rds_password_operator::api::{DatabaseAccountPassword, Reset};
use rds_simulator::{Action, Call};
use testbed::bed::{ACCOUNT, INITIAL_PASSWORD, INSTANCE, NAMESPACE};
use testbed::build::{self, Profile};
use testbed::install::{install_crd, install_rbac};
use testbed::{Operator, Testbed, condition};

use crate::page::{block, command, say, show, title};
use crate::table;

const RESOURCE: &str = "orders-app";
const SECRET: &str = "orders-db";
const MANIFEST: &str = "\
apiVersion: rds.password-operator.dev/v1alpha1
kind: DatabaseAccountPassword
metadata:
  name: orders-app
  namespace: shop
spec:
  instanceId: rm-shop
  accountName: app
  passwordSecretRef:
    name: orders-db
";

// Made up for this, and valid nowhere else: so they can be shown.
const FIRST: &str = "First#Password1";
const SECOND: &str = "Second#Password2";
const THIRD: &str = "Third#Password3";
const FOURTH: &str = "Fourth#Password4";

/// Tells the whole story; `keep`: to be looked at further, until somebody ends it.
///
/// # Errors
/// The first step that fails.
pub(crate) async fn tell(keep: bool) -> Result<()> {
    let program = build().await.context("cannot build the operator")?;
    let bed = start(program)
        .await
        .context("cannot start the API server and the RDS simulator")?;
    let operator = install(&bed).await.context("cannot install the operator")?;
    first_reset(&bed).await.context("no first reset")?;
    rotation(&bed).await.context("no rotation")?;
    rotation_while_rebooting(&bed)
        .await
        .context("no rotation while the instance reboots")?;
    calls(&bed)?;
    if keep {
        look_around(&bed).await?;
    }
    stop(operator).await.context("the operator does not stop")?;
    drop(bed);
    say("The API server and the simulator have ended too, and their files are removed.")
}

async fn build() -> Result<PathBuf> {
    title(1, "Build the operator")?;
    command(build::command_line(Profile::Debug))?;
    let began = Instant::now();
    let program = build::operator(Profile::Debug).await?;
    say(format!("Built in {}.", seconds(began.elapsed())))?;
    Ok(program)
}

async fn start(program: PathBuf) -> Result<Testbed> {
    title(2, "Start a Kubernetes API server and an RDS API")?;
    say("The API server is a real kube-apiserver, with etcd. \
         A simulator of the RDS API stands in for Alibaba Cloud: it checks requests as RDS does. \
         Both listen on 127.0.0.1 only.")?;
    let began = Instant::now();
    let bed = Testbed::start_bare(program).await?;
    say(format!(
        "Up after {}: {} and {}",
        seconds(began.elapsed()),
        bed.control_plane.server(),
        bed.rds.url()
    ))?;
    say(format!(
        "RDS has the instance {INSTANCE}, which is Running, with the account {ACCOUNT}, whose password is {INITIAL_PASSWORD}. \
         (All passwords here are made up, so they are shown.)"
    ))?;
    Ok(bed)
}

async fn install(bed: &Testbed) -> Result<Operator> {
    title(3, "Install and run the operator")?;
    command("kubectl apply -f crds/ -f deploy/rbac.yaml")?;
    install_crd(&bed.client).await?;
    install_rbac(&bed.client).await?;
    say(
        "That is the kind DatabaseAccountPassword (dap), and a ServiceAccount with the rights of the operator and no others.",
    )?;
    command(format!(
        "rds-password-operator run --region cn-shanghai --rds-endpoint {}",
        bed.rds.url()
    ))?;
    let operator = bed.operator().await?.flag("log-level", "info");
    let operator = operator.start().await?;
    operator.wait_until_leading().await?;
    say(
        "It runs with that ServiceAccount's token, holds the lease, and watches the daps and the metadata of the Secrets.",
    )?;
    bed.create_namespace(NAMESPACE).await?;
    Ok(operator)
}

async fn first_reset(bed: &Testbed) -> Result<()> {
    title(4, "Name an account and a Secret")?;
    command(format!(
        "kubectl -n {NAMESPACE} create secret generic {SECRET} --from-literal=password={FIRST}"
    ))?;
    bed.create_secret(SECRET, FIRST).await?;
    command("kubectl apply -f - <<EOF")?;
    for line in MANIFEST.lines().chain(["EOF"]) {
        show(line)?;
    }
    let resource: DatabaseAccountPassword = serde_yaml_ng::from_str(MANIFEST)?;
    bed.create(&resource).await?;
    let resource = bed.wait_until_ready(RESOURCE).await?;
    show("")?;
    say(
        "This account has never been reset, so the operator makes sure that the instance is Running, \
         and sends the Secret's value with ResetAccountPassword:",
    )?;
    show_table(bed).await?;
    show_conditions(&resource)?;
    show_last_reset(&resource)?;
    logins(bed, INITIAL_PASSWORD, FIRST)
}

async fn rotation(bed: &Testbed) -> Result<()> {
    title(5, "Rotate")?;
    let before = last_reset(&bed.resources().get(RESOURCE).await?).cloned();
    show_patch(SECOND)?;
    let began = Instant::now();
    bed.rotate(SECRET, SECOND).await?;
    bed.wait_for_password(SECOND).await?;
    let took = seconds(began.elapsed());
    say(
        "The watch says that the Secret changed, and its value's fingerprint differs from that of the last reset. \
         So the operator resets the account again.",
    )?;
    say(format!(
        "RDS has the new password {took} after the change was sent:"
    ))?;
    let resource = bed
        .wait_for(RESOURCE, "reset again", |resource| {
            let is_ready = condition(resource, "Ready").is_some_and(|ready| ready.status == "True");
            is_ready && last_reset(resource) != before.as_ref()
        })
        .await?;
    show_table(bed).await?;
    show_last_reset(&resource)?;
    logins(bed, FIRST, SECOND)
}

async fn rotation_while_rebooting(bed: &Testbed) -> Result<()> {
    title(6, "Rotate while the instance reboots")?;
    bed.rds.set_instance_status(INSTANCE, "Rebooting")?;
    say(
        "The instance leaves Running, in which alone RDS changes passwords. Then the Secret changes:",
    )?;
    show_patch(THIRD)?;
    bed.rotate(SECRET, THIRD).await?;
    let resource = bed.wait_for_reason(RESOURCE, "InstanceNotRunning").await?;
    show_table(bed).await?;
    show_conditions(&resource)?;
    let status = resource.status.as_ref();
    let attempt = status.and_then(|status| status.last_attempt.as_ref());
    let attempt = attempt.context("the status names no next try")?;
    say(match &attempt.code {
        Some(code) => format!(
            "The operator had seen the instance Running less than 3 s before, so it sent the value, and RDS refused it ({code})."
        ),
        None => "The operator looked at the instance first, so it sent nothing.".to_owned(),
    })?;
    ensure!(
        bed.rds.password_of(INSTANCE, ACCOUNT).as_deref() == Some(SECOND),
        "the account has another password, though its instance reboots"
    );
    let wait = attempt.next_time.0.duration_since(Timestamp::now());
    say(format!(
        "The account still has {SECOND}. RDS tells nobody when an instance is back, so the operator asks again: in {}, \
         and then at growing intervals of 2 minutes at most.",
        seconds(Duration::try_from(wait).unwrap_or_default())
    ))?;

    title(7, "The instance is back")?;
    bed.rds.set_instance_status(INSTANCE, "Running")?;
    let began = Instant::now();
    bed.wait_for_password(THIRD).await?;
    let took = seconds(began.elapsed());
    let resource = bed.wait_until_ready(RESOURCE).await?;
    say(format!(
        "Nobody has to do anything: {took} after the instance was back, RDS has the value:"
    ))?;
    show_table(bed).await?;
    show_last_reset(&resource)?;
    logins(bed, SECOND, THIRD)
}

/// What RDS received.
fn calls(bed: &Testbed) -> Result<()> {
    title(8, "What RDS received")?;
    let calls = bed.calls();
    ensure!(
        !calls.iter().any(|call| call.password_in_url),
        "a password was in a URL"
    );
    let header = ["TIME", "ACTION", "ANSWER", "REQUEST-ID"].map(str::to_owned);
    let began = calls.first().map(|call| call.arrived);
    let rows = calls.iter().map(|call| {
        let after = began.map(|began| call.arrived.duration_since(began).as_secs_f64());
        let time = format!("{:.2} s", after.unwrap_or_default());
        let request_id = call.request_id.clone();
        vec![time, call.action.clone(), answer(call), request_id]
    });
    block(table::aligned(
        &once(header.to_vec()).chain(rows).collect::<Vec<_>>(),
    ))?;
    say(
        "No password was in a URL: it is in the body of a POST. While nothing changes, there are no calls.",
    )
}

/// Leaves everything running, and shows what comes.
async fn look_around(bed: &Testbed) -> Result<()> {
    title(9, "Look around")?;
    say("For an hour, which is how long the operator's token lasts. In another terminal:")?;
    let kubeconfig = bed.control_plane.kubeconfig();
    block([
        format!("export KUBECONFIG={}", kubeconfig.display()),
        format!("kubectl -n {NAMESPACE} get dap -o wide"),
        format!("kubectl -n {NAMESPACE} describe dap {RESOURCE}"),
        patch(FOURTH),
    ])?;
    say("Ctrl-C ends everything. Until then, what RDS receives is shown here.")?;
    let journal = bed.rds.journal();
    let mut shown = bed.calls().len();
    loop {
        let next = |calls: &[Call]| {
            calls
                .get(shown)
                .filter(|call| call.finished.is_some())
                .cloned()
        };
        // The wait has an end, and then it begins anew.
        let waited = journal.wait_for(Duration::from_secs(60), |calls| next(calls).is_some());
        let Some(call) = waited.await.ok().and_then(|calls| next(&calls)) else {
            continue;
        };
        shown += 1;
        show(format!("{}: {}", call.action, answer(&call)))?;
        if call.is(Action::ResetAccountPassword) {
            let password = bed.rds.password_of(INSTANCE, ACCOUNT);
            let password = password.context("the account is gone")?;
            show(format!("the password of {ACCOUNT} is now {password}"))?;
        }
    }
}

async fn stop(operator: Operator) -> Result<()> {
    title(9, "Stop")?;
    let (status, log) = operator.terminate().await?;
    ensure!(status.success(), "it ends with {status}:\n{log}");
    say(
        "On SIGTERM the operator finishes what it does, gives its lease up, and ends with exit code 0.",
    )
}

async fn show_table(bed: &Testbed) -> Result<()> {
    show("")?;
    command(format!("kubectl -n {NAMESPACE} get dap"))?;
    for line in table::of_resources(&bed.client, NAMESPACE).await? {
        show(line)?;
    }
    show("")
}

fn show_conditions(resource: &DatabaseAccountPassword) -> Result<()> {
    say("The conditions in its status:")?;
    let conditions = resource.status.iter().flat_map(|status| &status.conditions);
    let rows = conditions.map(|condition| {
        let [type_, status] = [&condition.type_, &condition.status].map(Clone::clone);
        vec![type_, status, condition.reason.clone()]
    });
    block(table::aligned(&rows.collect::<Vec<_>>()))?;
    let ready = condition(resource, "Ready").context("no condition Ready")?;
    say(format!("The message of Ready: {}.", ready.message))
}

fn show_last_reset(resource: &DatabaseAccountPassword) -> Result<()> {
    let reset = last_reset(resource).context("the status names no reset")?;
    say(format!(
        "The last reset in its status: {:?}, at {}, RequestId {}.",
        reset.trigger, reset.time.0, reset.request_id
    ))
}

fn show_patch(password: &str) -> Result<()> {
    command(patch(password))
}

fn patch(password: &str) -> String {
    format!(
        "kubectl -n {NAMESPACE} patch secret {SECRET} -p '{{\"stringData\":{{\"password\":\"{password}\"}}}}'"
    )
}

fn logins(bed: &Testbed, old: &str, new: &str) -> Result<()> {
    let login = |password| bed.rds.login(INSTANCE, ACCOUNT, password);
    ensure!(login(new), "{ACCOUNT} cannot log in with {new}");
    ensure!(!login(old), "{ACCOUNT} can still log in with {old}");
    say(format!(
        "A login as {ACCOUNT} with {new} works, and with {old} it does not."
    ))
}

fn last_reset(resource: &DatabaseAccountPassword) -> Option<&Reset> {
    resource.status.as_ref()?.last_reset.as_ref()
}

fn answer(call: &Call) -> String {
    match (call.status, &call.code) {
        (Some(status), Some(code)) => format!("{status} {code}"),
        (Some(status), None) => status.to_string(),
        (None, _) => "none".to_owned(),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
