//! Looks names up as the system does, and tells a name that does not exist from a lookup that failed.
//!
//! The two need different words: a region that was mistyped has to be corrected, and a resolver that does not answer passes.
//! `getaddrinfo` tells them apart, but the standard library keeps the text of its code only, not the code. So that text is read
//! here. It comes from `gai_strerror`, which is in English in a program that sets no locale, as this one does not. Where the
//! text is none of those below, the lookup counts as failed, as any other. Asking a name server directly would tell more, and
//! would pass by `/etc/hosts`, the search list and `nsswitch.conf`, by which everything else on the machine finds names.
//!
//! The lookup is one of its own, instead of that of the HTTP library, for the name: with a proxy, it is the proxy's that is
//! looked up, and what does not exist then is not the host that was to be called.

use std::io;
use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;

/// What `getaddrinfo` says of a name that does not exist (`EAI_NONAME`), or that has no address (`EAI_NODATA`): glibc's words,
/// those of musl, and those of macOS. A name server that fails, refuses or does not answer is `EAI_AGAIN` with all of them.
///
/// Sources: `gai_strerror` of glibc (<https://github.com/bminor/glibc/blob/master/sysdeps/posix/gai_strerror-strs.h>) and of musl
/// (<https://github.com/bminor/musl/blob/master/src/network/gai_strerror.c>). The words of macOS are what it prints.
const THERE_IS_NONE: [&str; 5] = [
    "Name or service not known",
    "No address associated with hostname",
    "Name does not resolve",
    "Name has no usable address",
    "nodename nor servname provided, or not known",
];

/// How the standard library begins the text of an error of `getaddrinfo`.
const BEGINS: &str = "failed to lookup address information: ";

/// A name that could not be looked up.
#[derive(Debug, Error)]
#[error("the name {name} could not be looked up")]
pub(crate) struct LookupError {
    /// The name.
    name: String,
    /// Whether there is no such name, or no address of it.
    there_is_none: bool,
    #[source]
    source: Option<io::Error>,
}

impl LookupError {
    /// Whether this host does not exist, and not another one that was looked up on the way to it.
    pub(crate) fn is_absence_of(&self, host: &str) -> bool {
        self.there_is_none && self.name.eq_ignore_ascii_case(host)
    }
}

/// Looks names up with `getaddrinfo`, as the HTTP library does by default.
pub(crate) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let name = name.as_str();
            // The HTTP library fills the port in.
            match tokio::net::lookup_host((name, 0)).await {
                Ok(addresses) => {
                    let addresses: Vec<SocketAddr> = addresses.collect();
                    let found: Addrs = Box::new(addresses.into_iter());
                    Ok(found)
                }
                Err(error) => Err(LookupError {
                    name: name.to_owned(),
                    there_is_none: says_that_there_is_none(&error.to_string()),
                    source: Some(error),
                }
                .into()),
            }
        })
    }
}

fn says_that_there_is_none(text: &str) -> bool {
    text.strip_prefix(BEGINS)
        .is_some_and(|reason| THERE_IS_NONE.contains(&reason))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(
        "failed to lookup address information: Name or service not known",
        true
    )]
    #[case(
        "failed to lookup address information: No address associated with hostname",
        true
    )]
    #[case("failed to lookup address information: Name does not resolve", true)]
    #[case(
        "failed to lookup address information: Temporary failure in name resolution",
        false
    )]
    #[case("failed to lookup address information: Try again", false)]
    #[case(
        "failed to lookup address information: Non-recoverable failure in name resolution",
        false
    )]
    #[case("Name or service not known", false)]
    #[case("Connection refused (os error 111)", false)]
    fn texts(#[case] text: &str, #[case] there_is_none: bool) {
        assert_eq!(says_that_there_is_none(text), there_is_none);
    }

    async fn look_up(name: &str) -> Result<Vec<SocketAddr>, LookupError> {
        let found = SystemResolver.resolve(name.parse().unwrap()).await;
        found
            .map(Iterator::collect)
            .map_err(|error| *error.downcast::<LookupError>().unwrap())
    }

    /// The system's own answer, without asking a name server: no name has so long a part (RFC 1035, section 2.3.4), and the other
    /// one is an address with an interface that there is not. Should a new standard library or libc say it otherwise, this
    /// test tells.
    #[rstest]
    #[case::too_long_a_part(format!("rds.{}.example", "a".repeat(64)))]
    #[case::no_such_interface("::1%no-such-interface".to_owned())]
    #[tokio::test]
    async fn the_system_says_that_there_is_none(#[case] name: String) {
        let error = look_up(&name).await.unwrap_err();
        assert!(error.is_absence_of(&name), "{error:?}");
        assert!(error.is_absence_of(&name.to_ascii_uppercase()));
        assert!(!error.is_absence_of("rds.aliyuncs.com"), "another name");
    }

    #[tokio::test]
    async fn a_name_that_exists_is_found() {
        let found = look_up("localhost").await.unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback()));
        assert!(!found.is_empty());
    }
}
