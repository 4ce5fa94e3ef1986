//! What a request asks of the Kubernetes API, in the words of RBAC, and which requests a script concerns.

use std::sync::Arc;

use hyper::{Method, Uri};

/// What RBAC calls the kind of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// One object is read, or something that is not an object, such as `/version`.
    Get,
    /// All objects of a collection are read.
    List,
    /// All changes of a collection are read, as they come.
    Watch,
    /// `POST`
    Create,
    /// `PUT`
    Update,
    /// `PATCH`
    Patch,
    /// One object is deleted.
    Delete,
    /// A collection is deleted.
    DeleteCollection,
    /// Another HTTP method, which RBAC knows no verb for.
    Other,
}

/// A request without its headers, which hold the client's token, and without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiRequest {
    /// The HTTP method.
    pub method: String,
    /// The path of the URL.
    pub path: String,
    /// The query of the URL, without the question mark; empty if there is none.
    pub query: String,
    /// What it does.
    pub verb: Verb,
    /// What it does that to, such as `secrets`, with the subresource as in `pods/log`; none if it is no resource.
    pub resource: Option<String>,
    /// The namespace; none for what has none, and for all of them.
    pub namespace: Option<String>,
    /// The object's name, if the path has it.
    pub name: Option<String>,
}

impl ApiRequest {
    /// Reads the path as kube-apiserver does: `/api/v1/…` or `/apis/GROUP/VERSION/…`, then
    /// `[namespaces/NAMESPACE/]RESOURCE[/NAME[/SUBRESOURCE]]`.
    pub(super) fn new(method: &Method, uri: &Uri) -> Self {
        let path = uri.path();
        let query = uri.query().unwrap_or_default();
        let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let target = match segments[..] {
            ["api", _, ref target @ ..] | ["apis", _, _, ref target @ ..] => target,
            _ => &[],
        };
        let (namespace, object) = match target {
            // These two are subresources of a namespace, and no collections in it.
            ["namespaces", _, "status" | "finalize", ..] => (None, target),
            ["namespaces", namespace, object @ ..] if !object.is_empty() => {
                (Some((*namespace).to_owned()), object)
            }
            _ => (None, target),
        };
        let name = object.get(1).map(|name| (*name).to_owned());
        let resource = object.first().map(|resource| match object.get(2) {
            Some(subresource) => format!("{resource}/{subresource}"),
            None => (*resource).to_owned(),
        });
        let collection = resource.is_some() && name.is_none();
        let verb = match *method {
            Method::GET | Method::HEAD if collection && asks_to_watch(query) => Verb::Watch,
            Method::GET | Method::HEAD if collection => Verb::List,
            Method::GET | Method::HEAD => Verb::Get,
            Method::POST => Verb::Create,
            Method::PUT => Verb::Update,
            Method::PATCH => Verb::Patch,
            Method::DELETE if collection => Verb::DeleteCollection,
            Method::DELETE => Verb::Delete,
            _ => Verb::Other,
        };
        Self {
            method: method.as_str().to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            verb,
            resource,
            namespace,
            name,
        }
    }
}

/// kube-apiserver takes everything but these two values for true.
fn asks_to_watch(query: &str) -> bool {
    query.split('&').any(|parameter| {
        parameter
            .strip_prefix("watch=")
            .is_some_and(|value| !matches!(value, "0" | "false"))
    })
}

type Condition = Arc<dyn Fn(&ApiRequest) -> bool + Send + Sync>;

/// Which requests are meant: those that fulfil all of its conditions.
#[derive(Clone, Default)]
pub struct Matcher {
    conditions: Vec<Condition>,
}

impl Matcher {
    /// Every request.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Requests for a resource as RBAC names it, such as `secrets` or `deployments/status`. A resource does not stand for
    /// its subresources.
    #[must_use]
    pub fn resource(resource: &str) -> Self {
        let resource = resource.to_owned();
        Self::any().when(move |request| request.resource.as_deref() == Some(&*resource))
    }

    /// Of these, only the ones with this verb.
    #[must_use]
    pub fn verb(self, verb: Verb) -> Self {
        self.when(move |request| request.verb == verb)
    }

    /// Of these, only the ones for an object of this name.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        let name = name.to_owned();
        self.when(move |request| request.name.as_deref() == Some(&*name))
    }

    /// Of these, only the ones whose path contains this text.
    #[must_use]
    pub fn path(self, part: &str) -> Self {
        let part = part.to_owned();
        self.when(move |request| request.path.contains(&part))
    }

    /// Of these, only the ones that fulfil a condition.
    #[must_use]
    pub fn when(mut self, condition: impl Fn(&ApiRequest) -> bool + Send + Sync + 'static) -> Self {
        self.conditions.push(Arc::new(condition));
        self
    }

    /// Whether this request is meant.
    #[must_use]
    pub fn matches(&self, request: &ApiRequest) -> bool {
        self.conditions.iter().all(|condition| condition(request))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[expect(clippy::unwrap_used, reason = "the tests' own URLs")]
    fn request(method: &str, uri: &str) -> ApiRequest {
        ApiRequest::new(&method.parse().unwrap(), &uri.parse().unwrap())
    }

    #[rstest]
    #[case("GET", "/version", Verb::Get, None, None, None)]
    #[case("GET", "/apis/apps/v1", Verb::Get, None, None, None)]
    #[case("GET", "/api/v1/secrets", Verb::List, Some("secrets"), None, None)]
    #[case(
        "GET",
        "/api/v1/secrets?limit=5&watch=false",
        Verb::List,
        Some("secrets"),
        None,
        None
    )]
    #[case(
        "GET",
        "/api/v1/secrets?allowWatchBookmarks=true",
        Verb::List,
        Some("secrets"),
        None,
        None
    )]
    #[case(
        "GET",
        "/api/v1/secrets?&watch=true&limit=5",
        Verb::Watch,
        Some("secrets"),
        None,
        None
    )]
    #[case(
        "GET",
        "/api/v1/secrets?watch=1",
        Verb::Watch,
        Some("secrets"),
        None,
        None
    )]
    #[case(
        "GET",
        "/api/v1/namespaces/shop/secrets",
        Verb::List,
        Some("secrets"),
        Some("shop"),
        None
    )]
    #[case(
        "GET",
        "/api/v1/namespaces/shop/secrets/db",
        Verb::Get,
        Some("secrets"),
        Some("shop"),
        Some("db")
    )]
    #[case(
        "GET",
        "/api/v1/namespaces/shop",
        Verb::Get,
        Some("namespaces"),
        None,
        Some("shop")
    )]
    #[case(
        "GET",
        "/api/v1/namespaces?watch=true",
        Verb::Watch,
        Some("namespaces"),
        None,
        None
    )]
    #[case(
        "PUT",
        "/api/v1/namespaces/shop/finalize",
        Verb::Update,
        Some("namespaces/finalize"),
        None,
        Some("shop")
    )]
    #[case(
        "PUT",
        "/apis/apps/v1/namespaces/shop/deployments/web/status",
        Verb::Update,
        Some("deployments/status"),
        Some("shop"),
        Some("web")
    )]
    #[case(
        "POST",
        "/apis/apps/v1/namespaces/shop/deployments",
        Verb::Create,
        Some("deployments"),
        Some("shop"),
        None
    )]
    #[case(
        "PATCH",
        "/apis/apps/v1/namespaces/shop/deployments/web",
        Verb::Patch,
        Some("deployments"),
        Some("shop"),
        Some("web")
    )]
    #[case(
        "DELETE",
        "/api/v1/namespaces/shop/secrets/db",
        Verb::Delete,
        Some("secrets"),
        Some("shop"),
        Some("db")
    )]
    #[case(
        "DELETE",
        "/api/v1/namespaces/shop/secrets",
        Verb::DeleteCollection,
        Some("secrets"),
        Some("shop"),
        None
    )]
    #[case("OPTIONS", "/api/v1/secrets", Verb::Other, Some("secrets"), None, None)]
    fn reads_a_request(
        #[case] method: &str,
        #[case] uri: &str,
        #[case] verb: Verb,
        #[case] resource: Option<&str>,
        #[case] namespace: Option<&str>,
        #[case] name: Option<&str>,
    ) {
        let request = request(method, uri);
        assert_eq!(request.verb, verb);
        assert_eq!(request.resource.as_deref(), resource);
        assert_eq!(request.namespace.as_deref(), namespace);
        assert_eq!(request.name.as_deref(), name);
    }

    #[rstest]
    #[case(Matcher::any(), true)]
    #[case(Matcher::resource("secrets"), true)]
    #[case(Matcher::resource("secret"), false)]
    #[case(Matcher::resource("secrets").verb(Verb::Get).name("db"), true)]
    #[case(Matcher::resource("secrets").verb(Verb::List), false)]
    #[case(Matcher::resource("secrets").name("other"), false)]
    #[case(Matcher::any().path("/shop/"), true)]
    #[case(Matcher::any().path("/shops/"), false)]
    #[case(Matcher::any().when(|request| request.query == "limit=5"), true)]
    #[case(Matcher::resource("secrets").when(|_| false), false)]
    fn takes_all_conditions(#[case] matcher: Matcher, #[case] matches: bool) {
        let request = request("GET", "/api/v1/namespaces/shop/secrets/db?limit=5");
        assert_eq!(matcher.matches(&request), matches);
    }
}
