//! The types and reasons of the conditions: the whole vocabulary that a person or a pipeline can meet in a status.

use std::fmt;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl $name {
            /// Every word, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as it stands in the status.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($variant)),+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// The type of a condition. `Reconciling` and `Stalled` follow kstatus: present only while true, never together
    /// (<https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md>).
    ConditionType {
        /// RDS accepted the Secret's current value for this account.
        Ready,
        /// The Secret has a value that RDS can take.
        SecretReady,
        /// The instance can take a reset. Unknown while nobody had to ask.
        InstanceReady,
        /// The Secret's value is the account's password.
        PasswordSynced,
        /// The operator will get there by itself.
        Reconciling,
        /// A person has to act.
        Stalled,
        /// `spec.suspend` is true.
        Suspended,
    }
}

words! {
    /// Why `SecretReady` is as it is.
    SecretReadyReason {
        /// The value keeps RDS' password rules.
        Valid,
        /// There is no such Secret.
        SecretNotFound,
        /// The Secret has no such key.
        KeyNotFound,
        /// The Secret is there, and the operator may not or cannot read it.
        SecretUnreadable,
        /// The value breaks a password rule of RDS.
        PasswordInvalid,
    }
}

words! {
    /// Why `InstanceReady` is as it is.
    InstanceReadyReason {
        /// The instance is `Running` and not locked.
        Running,
        /// Nobody had to ask RDS yet.
        NotAsked,
        /// The instance is in another state than `Running`.
        InstanceNotRunning,
        /// The instance is locked.
        InstanceLocked,
        /// There is no such instance, for this cloud identity.
        InstanceNotFound,
    }
}

words! {
    /// Why `PasswordSynced` is as it is.
    PasswordSyncedReason {
        /// RDS accepted the value.
        Reset,
        /// The value has not been sent yet.
        Pending,
        /// RDS accepted the value, but may still carry out an earlier reset with another value.
        Unsettled,
        /// There is no such account.
        AccountNotFound,
        /// The account is not `Available`.
        AccountNotAvailable,
        /// The account is locked, until a person unlocks it.
        AccountLocked,
        /// RDS cannot reset the password of such an account.
        AccountNotSupported,
        /// RAM denies the call.
        AccessDenied,
        /// The operator has no usable cloud credentials.
        CredentialsUnavailable,
        /// The cloud API limits the rate of calls.
        Throttled,
        /// The cloud API cannot be reached or fails.
        RdsUnavailable,
        /// DNS knows no host of the name that the region gives.
        EndpointNotFound,
        /// The operator's clock differs from the cloud's.
        ClockSkew,
        /// RDS refused the call for another reason.
        Rejected,
        /// Another resource owns this account.
        Conflict,
    }
}

/// Why `Ready` is as it is: `InSync`, `Suspended`, or the reason of the first thing in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadyReason {
    /// RDS accepted the Secret's current value for this account.
    InSync,
    /// `spec.suspend` is true, and the Secret's value has not been applied.
    Suspended,
    /// The Secret is in the way.
    Secret(SecretReadyReason),
    /// The instance is in the way.
    Instance(InstanceReadyReason),
    /// The account or the call is in the way.
    Password(PasswordSyncedReason),
}

impl ReadyReason {
    /// Every reason that `Ready` can have: what is as it should be is in nobody's way.
    pub fn all() -> impl Iterator<Item = Self> {
        use InstanceReadyReason::{NotAsked, Running};
        let secret = SecretReadyReason::ALL.iter().copied();
        let instance = InstanceReadyReason::ALL.iter().copied();
        let password = PasswordSyncedReason::ALL.iter().copied();
        [Self::InSync, Self::Suspended]
            .into_iter()
            .chain(
                secret
                    .filter(|reason| *reason != SecretReadyReason::Valid)
                    .map(Self::Secret),
            )
            .chain(
                instance
                    .filter(|reason| !matches!(reason, Running | NotAsked))
                    .map(Self::Instance),
            )
            .chain(
                password
                    .filter(|reason| *reason != PasswordSyncedReason::Reset)
                    .map(Self::Password),
            )
    }

    /// The word as it stands in the status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InSync => "InSync",
            Self::Suspended => "Suspended",
            Self::Secret(reason) => reason.as_str(),
            Self::Instance(reason) => reason.as_str(),
            Self::Password(reason) => reason.as_str(),
        }
    }
}

impl fmt::Display for ReadyReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
