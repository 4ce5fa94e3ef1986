//! What tests hold in their hand.

mod identity;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use tokio::{net::TcpListener, sync::watch};

use crate::{
    endpoint::Endpoint,
    fault::{Fault, FaultId, Point, Target},
    handles::{Journal, Pause},
    rds::instance::{Account, Instance},
    secret::Password,
    server,
    shared::Shared,
    state::State,
    throttle::Throttle,
    timeline::Timeline,
};

/// A running simulator; dropping it stops it and closes its connections.
///
/// Its methods take effect at once, also for requests that are under way.
pub struct RdsSimulator {
    address: SocketAddr,
    shared: Arc<Shared>,
    _stop: watch::Sender<()>,
}

/// The instance or account that was to be changed does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoSuchTarget {
    /// No instance has this id.
    #[error("the simulator has no instance {0}")]
    Instance(String),
    /// The instance has no account of this name.
    #[error("the simulator's instance {0} has no account {1}")]
    Account(String, String),
}

impl RdsSimulator {
    /// Starts an empty simulator on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// If no port can be opened.
    pub async fn start() -> io::Result<Self> {
        Self::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    /// Starts an empty simulator on this address.
    ///
    /// # Errors
    /// If it cannot be listened on.
    pub async fn start_on(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new());
        let (stop, stopped) = watch::channel(());
        tokio::spawn(server::serve(
            listener,
            Endpoint::Apis,
            Arc::clone(&shared),
            stopped,
        ));
        Ok(Self {
            address,
            shared,
            _stop: stop,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, such as `http://127.0.0.1:40123`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds an instance, or replaces the one with its id, accounts included. Its timelines begin now.
    pub fn add_instance(&self, instance: Instance) {
        self.shared
            .update(|state| state.add_instance(instance, Timestamp::now()));
    }

    /// Removes an instance: the API no longer knows it.
    pub fn remove_instance(&self, id: &str) {
        self.shared.update(|state| state.instances.remove(id));
    }

    /// Adds an account to an instance, or replaces the one with its name. Its timeline begins now.
    ///
    /// # Errors
    /// If there is no such instance.
    pub fn add_account(&self, instance: &str, account: Account) -> Result<(), NoSuchTarget> {
        self.change_instance(instance, |found| {
            found.accounts.insert(account.name.clone(), account);
            found.begin(Timestamp::now());
        })
    }

    /// Removes an account.
    ///
    /// # Errors
    /// If there is no such instance or account.
    pub fn remove_account(&self, instance: &str, account: &str) -> Result<(), NoSuchTarget> {
        self.change_account(instance, account, |_| ())?;
        self.change_instance(instance, |found| {
            found.accounts.remove(account);
        })
    }

    /// Sets `DBInstanceStatus`; a timeline begins now.
    ///
    /// # Errors
    /// If there is no such instance.
    pub fn set_instance_status(
        &self,
        instance: &str,
        status: impl Into<Timeline>,
    ) -> Result<(), NoSuchTarget> {
        self.change_instance(instance, |found| {
            found.status = status.into();
            found.begin(Timestamp::now());
        })
    }

    /// Sets `LockMode`; `None` leaves it out of descriptions, and the instance is not locked.
    ///
    /// # Errors
    /// If there is no such instance.
    pub fn set_lock_mode(&self, instance: &str, mode: Option<&str>) -> Result<(), NoSuchTarget> {
        self.change_instance(instance, |found| found.lock_mode = mode.map(str::to_owned))
    }

    /// Sets `AccountStatus`; a timeline begins now.
    ///
    /// # Errors
    /// If there is no such instance or account.
    pub fn set_account_status(
        &self,
        instance: &str,
        account: &str,
        status: impl Into<Timeline>,
    ) -> Result<(), NoSuchTarget> {
        self.change_account(instance, account, |found| {
            found.status = status.into();
            found.status.peek(Timestamp::now());
        })
    }

    /// Sets what `AccountStatus` does from each later reset on; `None` for nothing.
    ///
    /// # Errors
    /// If there is no such instance or account.
    pub fn set_account_status_after_reset(
        &self,
        instance: &str,
        account: &str,
        status: Option<Timeline>,
    ) -> Result<(), NoSuchTarget> {
        self.change_account(instance, account, |found| found.after_reset = status)
    }

    /// Changes a password behind the API's back, as someone in the console would. It is not part of the history.
    ///
    /// # Errors
    /// If there is no such instance or account.
    pub fn set_password(
        &self,
        instance: &str,
        account: &str,
        password: &str,
    ) -> Result<(), NoSuchTarget> {
        self.change_account(instance, account, |found| {
            found.password = Password::new(password);
        })
    }

    /// The password that an account has, if there is such an account.
    #[must_use]
    pub fn password_of(&self, instance: &str, account: &str) -> Option<String> {
        self.shared.read(|state| {
            find_account(state, instance, account).map(|found| found.password.expose().to_owned())
        })
    }

    /// The passwords that `ResetAccountPassword` has given to an account, oldest first; the one that it was added with is
    /// not among them.
    #[must_use]
    pub fn password_history(&self, instance: &str, account: &str) -> Vec<Password> {
        self.shared.read(|state| {
            find_account(state, instance, account)
                .map(|found| found.history.clone())
                .unwrap_or_default()
        })
    }

    /// Whether the database would let this account in with this password.
    #[must_use]
    pub fn login(&self, instance: &str, account: &str, password: &str) -> bool {
        self.shared.update(|state| {
            let now = Timestamp::now();
            let Some(found) = state.instances.get_mut(instance) else {
                return false;
            };
            found.status.peek(now) == "Running"
                && found.accounts.get_mut(account).is_some_and(|account| {
                    account.password == password && account.status.peek(now) != "Lock"
                })
        })
    }

    /// Lets something go wrong. If several faults match a request, it meets the oldest.
    #[expect(
        clippy::must_use_candidate,
        reason = "only a fault that is cleared by itself needs its id"
    )]
    pub fn add_fault(&self, fault: Fault) -> FaultId {
        self.shared.update(|state| state.faults.add(fault))
    }

    /// Ends a fault, also for requests that hang by it. Does nothing if it has ended.
    pub fn clear_fault(&self, id: FaultId) {
        self.shared.update(|state| state.faults.clear(id));
    }

    /// Ends all faults; pauses stay.
    pub fn clear_faults(&self) {
        self.shared.update(|state| state.faults.clear_all());
    }

    /// Holds matching requests right before they take effect, until released: "wait until a reset is under way, do
    /// something, then let it go".
    ///
    /// The state that a request meets is that of its release. It is carried out then even if its client has gone, as in
    /// the real cloud.
    #[must_use = "dropping a pause releases its requests"]
    pub fn pause(&self, target: impl Into<Target>) -> Pause {
        self.pause_at(Point::BeforeEffect, target.into())
    }

    /// Holds matching requests after they have taken effect and before the answer is sent, until released.
    #[must_use = "dropping a pause releases its requests"]
    pub fn pause_after_effect(&self, target: impl Into<Target>) -> Pause {
        self.pause_at(Point::AfterEffect, target.into())
    }

    /// Limits how often each cloud account may call. Several limits hold together.
    pub fn add_throttle(&self, throttle: Throttle) {
        self.shared.update(|state| state.throttles.push(throttle));
    }

    /// Ends all limits.
    pub fn clear_throttles(&self) {
        self.shared.update(|state| state.throttles.clear());
    }

    /// Sets how far the cloud's clock is ahead of this machine's (behind it, if negative). The clock decides about
    /// timestamps of requests and the expiry of security tokens; timelines do not follow it.
    pub fn set_clock_skew(&self, ahead: SignedDuration) {
        self.shared.update(|state| state.clock_skew = ahead);
    }

    /// What has happened; stays readable after the simulator has stopped.
    #[must_use]
    pub fn journal(&self) -> Journal {
        Journal::new(Arc::clone(&self.shared))
    }

    fn pause_at(&self, point: Point, target: Target) -> Pause {
        let id = self
            .shared
            .update(|state| state.faults.pause(target, point));
        Pause::new(id, self.journal())
    }

    fn change_instance(
        &self,
        id: &str,
        change: impl FnOnce(&mut Instance),
    ) -> Result<(), NoSuchTarget> {
        self.shared.update(|state| {
            let instance = state
                .instances
                .get_mut(id)
                .ok_or_else(|| NoSuchTarget::Instance(id.to_owned()))?;
            change(instance);
            Ok(())
        })
    }

    fn change_account(
        &self,
        id: &str,
        name: &str,
        change: impl FnOnce(&mut Account),
    ) -> Result<(), NoSuchTarget> {
        self.shared.update(|state| {
            let instance = state
                .instances
                .get_mut(id)
                .ok_or_else(|| NoSuchTarget::Instance(id.to_owned()))?;
            let no_account = || NoSuchTarget::Account(id.to_owned(), name.to_owned());
            change(instance.accounts.get_mut(name).ok_or_else(no_account)?);
            Ok(())
        })
    }
}

fn find_account<'a>(state: &'a State, instance: &str, account: &str) -> Option<&'a Account> {
    state.instances.get(instance)?.accounts.get(account)
}
