//! The actions that the simulator knows, and which service each belongs to.

use crate::{rds, sts};

/// An action of an API, or a request to a service that hands out credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// RDS' `ResetAccountPassword`
    ResetAccountPassword,
    /// RDS' `DescribeDBInstanceAttribute`
    DescribeDBInstanceAttribute,
    /// RDS' `DescribeAccounts`
    DescribeAccounts,
    /// STS' `AssumeRole`
    AssumeRole,
    /// STS' `AssumeRoleWithOIDC`
    AssumeRoleWithOidc,
}

/// An API, told apart from others by its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Service {
    Rds,
    Sts,
}

impl Service {
    /// The API of this version.
    pub(crate) fn of_version(version: &str) -> Option<Self> {
        match version {
            rds::VERSION => Some(Self::Rds),
            sts::VERSION => Some(Self::Sts),
            _ => None,
        }
    }

    /// The service's name in RAM policies, such as `rds` in `rds:DescribeAccounts`.
    pub(crate) fn ram_name(self) -> &'static str {
        match self {
            Self::Rds => "rds",
            Self::Sts => "sts",
        }
    }

    /// The service's name in the API's own links.
    pub(crate) fn product(self) -> &'static str {
        match self {
            Self::Rds => "Rds",
            Self::Sts => "Sts",
        }
    }
}

impl Action {
    const ALL: [Self; 5] = [
        Self::ResetAccountPassword,
        Self::DescribeDBInstanceAttribute,
        Self::DescribeAccounts,
        Self::AssumeRole,
        Self::AssumeRoleWithOidc,
    ];

    /// The API's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ResetAccountPassword => "ResetAccountPassword",
            Self::DescribeDBInstanceAttribute => "DescribeDBInstanceAttribute",
            Self::DescribeAccounts => "DescribeAccounts",
            Self::AssumeRole => "AssumeRole",
            Self::AssumeRoleWithOidc => "AssumeRoleWithOIDC",
        }
    }

    pub(crate) fn service(self) -> Service {
        match self {
            Self::ResetAccountPassword
            | Self::DescribeDBInstanceAttribute
            | Self::DescribeAccounts => Service::Rds,
            Self::AssumeRole | Self::AssumeRoleWithOidc => Service::Sts,
        }
    }

    pub(crate) fn named(service: Service, name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|action| action.service() == service && action.name() == name)
    }
}
