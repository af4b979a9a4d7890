//! A service's functions, typed outside and alike inside.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use accordant_protocol::id::OperationName;
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

/// A function that ends what a [`Handler`] began: a compensation, a confirm or a cancel.
///
/// Every `async fn(&mut Branch, P, Option<R>) -> Result<C, Refusal>` is one, and so is a closure
/// `async |branch: &mut Branch, order: P, result: Option<R>| { … }`. It gets the payload of what it
/// ends and the result of it; none if that was `null`.
pub trait FollowUp<'b, P, R, C>: Send + Sync {
    /// The work, under way.
    type Work: Future<Output = Result<C, Refusal>> + Send + 'b;

    /// Begins the work.
    fn start(&self, branch: &'b mut Branch, payload: P, result: Option<R>) -> Self::Work;
}

impl<'b, F, P, R, C, W> FollowUp<'b, P, R, C> for F
where
    F: Fn(&'b mut Branch, P, Option<R>) -> W + Send + Sync,
    W: Future<Output = Result<C, Refusal>> + Send + 'b,
{
    type Work = W;

    fn start(&self, branch: &'b mut Branch, payload: P, result: Option<R>) -> W {
        self(branch, payload, result)
    }
}

/// What a participant can do. One name may stand for each way of working: a call says which.
#[derive(Default)]
pub(crate) struct Operations {
    pub two_phase: BTreeMap<OperationName, Box<dyn Operation>>,
    pub actions: BTreeMap<OperationName, Action>,
    pub tcc: BTreeMap<OperationName, Tcc>,
}

/// The handlers of an action.
pub(crate) struct Action {
    pub act: Box<dyn Operation>,
    /// Absent where there is nothing to make good.
    pub compensate: Option<Box<dyn Sequel>>,
    /// Whether a no of the act stands for good. That of a message does not: its sender has committed,
    /// so an operator must have it done all the same.
    pub refusable: bool,
}

/// The handlers of a TCC branch.
pub(crate) struct Tcc {
    pub reserve: Box<dyn Operation>,
    pub confirm: Box<dyn Sequel>,
    pub cancel: Box<dyn Sequel>,
}

/// A follow-up whose types are hidden.
pub(crate) trait Sequel: Send + Sync {
    fn run<'b>(
        &'b self,
        branch: &'b mut Branch,
        payload: &'b Json,
        result: Option<Json>,
    ) -> BoxFuture<'b, Result<Option<Json>, Refusal>>;
}

/// A follow-up with its types.
pub(crate) struct TypedSequel<H, P, R, C> {
    handler: H,
    types: PhantomData<fn(P, R) -> C>,
}

impl<H, P, R, C> TypedSequel<H, P, R, C> {
    pub(crate) fn new(handler: H) -> Self {
        Self { handler, types: PhantomData }
    }
}

impl<H, P, R, C> Sequel for TypedSequel<H, P, R, C>
where
    H: for<'b> FollowUp<'b, P, R, C>,
    P: DeserializeOwned + Send,
    R: DeserializeOwned + Send,
    C: Serialize + Send,
{
    fn run<'b>(
        &'b self,
        branch: &'b mut Branch,
        payload: &'b Json,
        result: Option<Json>,
    ) -> BoxFuture<'b, Result<Option<Json>, Refusal>> {
        Box::pin(async move {
            let payload: P = read_payload(payload)?;
            let result: Option<R> = match result {
                None => None,
                Some(result) => Some(result.to().map_err(|error| {
                    let detail = format!("the result of the first call does not fit: {error}");
                    Refusal::new("accordant.result", detail)
                })?),
            };
            let done = self.handler.start(branch, payload, result).await?;
            to_json(&done)
        })
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
            let payload: P = read_payload(payload)?;
            let result = self.handler.start(branch, payload).await?;
            to_json(&result)
        })
    }
}

fn read_payload<P: DeserializeOwned>(payload: &Json) -> Result<P, Refusal> {
    payload.to().map_err(|error| {
        Refusal::new(
            "accordant.payload",
            format!("the payload does not fit: {error}"),
        )
    })
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
