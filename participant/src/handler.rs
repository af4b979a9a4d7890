//! A service's functions, typed outside and alike inside.

use std::marker::PhantomData;

use accordant_protocol::json::Json;
use accordant_protocol::limits::RESULT_BYTES_MAX;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::branch::Branch;
use crate::refusal::Refusal;

/// A function that does a branch's work.
///
/// Every `async fn(&mut Branch, P) -> Result<R, Refusal>` is one, and so is a closure
/// `async |branch: &mut Branch, order: P| { … }`. What they need besides the payload they get by
/// [`Branch::state`].
pub trait Handler<'b, P, R>: Send + Sync {
    /// The work, under way.
    type Work: Future<Output = Result<R, Refusal>> + Send + 'b;

    /// Begins the work.
    fn start(&self, branch: &'b mut Branch, payload: P) -> Self::Work;
}

impl<'b, F, P, R, W> Handler<'b, P, R> for F
where
    F: Fn(&'b mut Branch, P) -> W + Send + Sync,
    W: Future<Output = Result<R, Refusal>> + Send + 'b,
{
    type Work = W;

    fn start(&self, branch: &'b mut Branch, payload: P) -> W {
        self(branch, payload)
    }
}

/// A handler whose types are hidden.
pub(crate) trait Operation: Send + Sync {
    fn run<'b>(
        &'b self,
        branch: &'b mut Branch,
        payload: &'b Json,
    ) -> BoxFuture<'b, Result<Option<Json>, Refusal>>;
}

/// A handler with its types.
pub(crate) struct Typed<H, P, R> {
    handler: H,
    types: PhantomData<fn(P) -> R>,
}

impl<H, P, R> Typed<H, P, R> {
    pub(crate) fn new(handler: H) -> Self {
        Self { handler, types: PhantomData }
    }
}

impl<H, P, R> Operation for Typed<H, P, R>
where
    H: for<'b> Handler<'b, P, R>,
    P: DeserializeOwned + Send,
    R: Serialize + Send,
{
    fn run<'b>(
        &'b self,
        branch: &'b mut Branch,
        payload: &'b Json,
    ) -> BoxFuture<'b, Result<Option<Json>, Refusal>> {
        Box::pin(async move {
            let payload: P = payload.to().map_err(|error| {
                Refusal::new(
                    "accordant.payload",
                    format!("the payload does not fit: {error}"),
                )
            })?;
            let result = self.handler.start(branch, payload).await?;
            to_json(&result)
        })
    }
}

/// A result of `null` is none.
fn to_json<R: Serialize>(result: &R) -> Result<Option<Json>, Refusal> {
    let json = Json::from_value(result).map_err(|error| {
        Refusal::new(
            "accordant.result",
            format!("the result is not JSON: {error}"),
        )
    })?;
    match json.text().len() {
        bytes if bytes > RESULT_BYTES_MAX => Err(Refusal::new(
            "accordant.result_too_large",
            format!("the result has {bytes} bytes; at most {RESULT_BYTES_MAX} are allowed"),
        )),
        _ if json.text() == "null" => Ok(None),
        _ => Ok(Some(json)),
    }
}
