//! What a request carries along without passing it through every function: its id,
//! and what its middleware wants to know after the handler is done.

use super::limit::Quota;
use goodword_core::ids::ApiKeyId;
use std::{cell::Cell, fmt};
use uuid::Uuid;

tokio::task_local! {
    static CONTEXT: Context;
}

/// The longest id that is taken over from a caller or a proxy.
const REQUEST_ID_LEN_MAX: usize = 64;

/// An id that finds a request again in the log: the caller's own, or a new one.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestId(Box<str>);

impl RequestId {
    pub fn mint() -> Self {
        Self(Uuid::now_v7().simple().to_string().into())
    }

    /// The caller's id where it is harmless in a header and in a log line.
    pub fn accept(text: &str) -> Option<Self> {
        let sane = (1..=REQUEST_ID_LEN_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b));
        sane.then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Lives as long as the request does; see [`super::server::wrap_api`].
pub(super) struct Context {
    pub request_id: RequestId,
    quota: Cell<Option<Quota>>,
    key_id: Cell<Option<ApiKeyId>>,
}

/// What the handler left behind for its middleware.
#[derive(Default)]
pub(super) struct Left {
    pub quota: Option<Quota>,
    pub key_id: Option<ApiKeyId>,
}

/// Runs a request within its context.
pub(super) async fn within<T>(request_id: RequestId, work: impl Future<Output = T>) -> (T, Left) {
    let context = Context { request_id, quota: Cell::new(None), key_id: Cell::new(None) };
    let work = async {
        let output = work.await;
        let left = CONTEXT.try_with(|c| Left { quota: c.quota.get(), key_id: c.key_id.get() }).unwrap_or_default();
        (output, left)
    };
    CONTEXT.scope(context, work).await
}

/// The id of the request that is being answered, if it has one: redirects have none.
pub fn request_id() -> Option<RequestId> {
    CONTEXT.try_with(|context| context.request_id.clone()).ok()
}

pub(crate) fn leave_quota(quota: Quota) {
    let _ = CONTEXT.try_with(|context| context.quota.set(Some(quota)));
}

pub(crate) fn leave_key(key_id: ApiKeyId) {
    let _ = CONTEXT.try_with(|context| context.key_id.set(Some(key_id)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_request_ids_are_taken_over() {
        for good in ["a", "7b7c2f0e-8c1e-4f4e-a1b4-e54fd1b4f8a4", "Root:1-67891233.abc_d"] {
            assert_eq!(RequestId::accept(good).unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a\"b", "é", "a\n", &"x".repeat(65)] {
            assert!(RequestId::accept(bad).is_none(), "{bad:?}");
        }
        assert_eq!(RequestId::mint().as_str().len(), 32);
    }
}
