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
    /// A token of the metadata service: `PUT /latest/api/token`
    GetMetadataToken,
    /// The name of the instance's role: `GET /latest/meta-data/ram/security-credentials/`
    GetMetadataRoleName,
    /// A key of the instance's role: `GET /latest/meta-data/ram/security-credentials/<role>`
    GetMetadataCredentials,
    /// A key from a credentials URI
    GetCredentialsUri,
}

/// Whose an action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Service {
    Rds,
    Sts,
    Metadata,
    CredentialsUri,
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

    /// The product that an API is of, if it is an API; in lower case as RAM policies have it, as in
    /// `rds:DescribeAccounts`.
    pub(crate) fn product(self) -> Option<&'static str> {
        match self {
            Self::Rds => Some("Rds"),
            Self::Sts => Some("Sts"),
            Self::Metadata | Self::CredentialsUri => None,
        }
    }
}

impl Action {
    const ALL: [Self; 9] = [
        Self::ResetAccountPassword,
        Self::DescribeDBInstanceAttribute,
        Self::DescribeAccounts,
        Self::AssumeRole,
        Self::AssumeRoleWithOidc,
        Self::GetMetadataToken,
        Self::GetMetadataRoleName,
        Self::GetMetadataCredentials,
        Self::GetCredentialsUri,
    ];

    /// The API's name of it, or the variant's where there is no API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ResetAccountPassword => "ResetAccountPassword",
            Self::DescribeDBInstanceAttribute => "DescribeDBInstanceAttribute",
            Self::DescribeAccounts => "DescribeAccounts",
            Self::AssumeRole => "AssumeRole",
            Self::AssumeRoleWithOidc => "AssumeRoleWithOIDC",
            Self::GetMetadataToken => "GetMetadataToken",
            Self::GetMetadataRoleName => "GetMetadataRoleName",
            Self::GetMetadataCredentials => "GetMetadataCredentials",
            Self::GetCredentialsUri => "GetCredentialsUri",
        }
    }

    pub(crate) fn service(self) -> Service {
        match self {
            Self::ResetAccountPassword
            | Self::DescribeDBInstanceAttribute
            | Self::DescribeAccounts => Service::Rds,
            Self::AssumeRole | Self::AssumeRoleWithOidc => Service::Sts,
            Self::GetMetadataToken | Self::GetMetadataRoleName | Self::GetMetadataCredentials => {
                Service::Metadata
            }
            Self::GetCredentialsUri => Service::CredentialsUri,
        }
    }

    pub(crate) fn named(service: Service, name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|action| action.service() == service && action.name() == name)
    }
}
