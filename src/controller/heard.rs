//! Tells when a watch hears from the API server.
//!
//! kube's `watcher` keeps bookmarks to itself, and they are all that a quiet watch hears: without them nobody could tell a
//! cluster in which nothing happens from a connection that is dead. So this looks at what the client receives, below the
//! watcher.

use http_body_util::BodyExt as _;
use kube::Client;
use tower::service_fn;

use crate::metrics::watches::LastHeard;

/// The client, which tells of each successful answer and of each piece of its body. It shares the connections of `client`.
///
/// The API server sends a bookmark about every minute where kube asks for them, as it does by default, though a quiet kind's
/// first may take two; and a watch is opened anew after three minutes at the latest (`trigger`). An answer that refuses proves
/// nothing: the watch does not run.
#[must_use]
pub fn telling(client: &Client, last_heard: LastHeard) -> Client {
    let namespace = client.default_namespace().to_owned();
    let client = client.clone();
    let service = service_fn(move |request| {
        let (client, last_heard) = (client.clone(), last_heard.clone());
        async move {
            let answer = client.send(request).await?;
            let is_success = answer.status().is_success();
            if is_success {
                last_heard.heard();
            }
            let answer = answer.map(|body| {
                body.map_frame(move |frame| {
                    if is_success {
                        last_heard.heard();
                    }
                    frame
                })
            });
            Ok::<_, kube::Error>(answer)
        }
    });
    Client::new(service, namespace)
}
