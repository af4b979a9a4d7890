//! One action of a check, at endpoints that know nothing of Accordant.

use std::sync::atomic::{AtomicU32, Ordering};

use accordant_protocol::id::Gtid;
use accordant_protocol::json::Json;
use accordant_protocol::limits::RESULT_BYTES_MAX;
use accordant_protocol::plan::{Endpoint, Method as Planned};
use accordant_protocol::wire::contract::ActVerb;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::check::{Verdict, fail, skip};
use crate::http::{Request, Response, describe};
use crate::options::{Plain, STEP};
use crate::session::{Session, unanswered};

/// A plain action that a check plays with.
pub(crate) struct Requests<'s> {
    session: &'s Session<'s>,
    plain: &'s Plain,
    pub gtid: Gtid,
    /// In place of the body of the act.
    body: Option<Json>,
    attempt: AtomicU32,
}

/// What a status says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Done,
    Refused,
    /// In progress, or nothing: it is asked for again.
    Again,
}

impl<'s> Requests<'s> {
    /// In a fresh transaction.
    pub(crate) fn fresh(session: &'s Session<'s>) -> Verdict<Self> {
        Self::again(session, session.gtid()?)
    }

    /// Of a transaction that is known already.
    pub(crate) fn again(session: &'s Session<'s>, gtid: Gtid) -> Verdict<Self> {
        let Some(plain) = &session.options.plain else {
            return skip("no plain action was given");
        };
        let attempt = AtomicU32::new(0);
        Ok(Self { session, plain, gtid, body: None, attempt })
    }

    /// With a body that is refused.
    pub(crate) fn refusable(session: &'s Session<'s>) -> Verdict<Self> {
        let fresh = Self::fresh(session)?;
        match &fresh.plain.refused {
            Some(body) => Ok(Self { body: Some(body.clone()), ..fresh }),
            None => skip("no body that is refused was given (--plain-refused)"),
        }
    }

    /// Whether there is anything that makes it good.
    pub(crate) fn compensation(&self) -> Verdict<&'s Endpoint> {
        let compensate = self.plain.compensate();
        compensate.map_or_else(|| skip("the plain action has no compensation"), Ok)
    }

    pub(crate) fn act(&self) -> Verdict<&'s Endpoint> {
        let act = self.plain.act();
        act.map_or_else(|| skip("the plain action has no act"), Ok)
    }

    fn request(&self, verb: ActVerb, body: Option<Bytes>) -> Verdict<Request> {
        let endpoint = match verb {
            ActVerb::Act => self.act()?,
            ActVerb::Compensate => self.compensation()?,
        };
        let result = self.session.plain_result(self.gtid);
        let found = |_| result.as_ref();
        let path = endpoint.path.render(self.gtid, found);
        let path = path.or_else(|error| {
            fail(
                "a result that the compensation can refer to",
                error.to_string(),
            )
        })?;
        let written = endpoint
            .body
            .as_ref()
            .map(|body| body.render(found))
            .transpose();
        let written = written.or_else(|error| {
            fail(
                "a result that the compensation can refer to",
                error.to_string(),
            )
        })?;
        let written = match (&self.body, verb) {
            (Some(body), ActVerb::Act) => Some(body.clone()),
            _ => written,
        };
        let body = body.or_else(|| written.map(|body| Bytes::from(body.text().to_owned())));
        Ok(Request {
            method: method(endpoint.method),
            path,
            headers: self.headers(endpoint, verb, body.is_some()),
            body: body.unwrap_or_default(),
            reply_bytes_max: RESULT_BYTES_MAX,
        })
    }

    fn headers(&self, endpoint: &Endpoint, verb: ActVerb, has_body: bool) -> HeaderMap {
        let (gtid, word) = (self.gtid, verb.word());
        let attempt = self.attempt.fetch_add(1, Ordering::Relaxed) + 1;
        let ours = [
            ("idempotency-key", format!("{gtid}:0:{word}")),
            ("accordant-transaction", gtid.to_string()),
            ("accordant-step", STEP.to_owned()),
            ("accordant-verb", word.to_owned()),
            ("accordant-attempt", attempt.to_string()),
            (
                "accordant-call-back",
                format!("/v1/transactions/{gtid}/actions/0"),
            ),
        ];
        let ours = ours.map(|(name, value)| (name.to_owned(), value));
        let mut headers = HeaderMap::new();
        for (name, value) in endpoint.headers.iter().cloned().chain(ours) {
            let name = HeaderName::from_bytes(name.as_bytes());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&value)) {
                headers.insert(name, value);
            }
        }
        if has_body {
            let json = HeaderValue::from_static(crate::session::JSON);
            headers.insert(header::CONTENT_TYPE, json);
        }
        headers
    }

    /// Sends one request.
    pub(crate) async fn once(&self, verb: ActVerb) -> Verdict<(Said, Response)> {
        self.send(verb, None).await
    }

    /// Sends one request with another body.
    pub(crate) async fn send(
        &self,
        verb: ActVerb,
        body: Option<Bytes>,
    ) -> Verdict<(Said, Response)> {
        let request = self.request(verb, body)?;
        let endpoint = match verb {
            ActVerb::Act => self.act()?,
            ActVerb::Compensate => self.compensation()?,
        };
        let response = self.session.send(request).await;
        let response = response.map_err(|silence| unanswered(&silence))?;
        let said = said(endpoint, response.status.as_u16());
        match (said, verb) {
            (Said::Done, ActVerb::Act) => self.session.plain_done(self.gtid, result(&response)),
            (Said::Done, ActVerb::Compensate) => self.session.plain_undone(self.gtid),
            (Said::Refused | Said::Again, _) => {}
        }
        Ok((said, response))
    }

    /// Sends requests until one says done or refused.
    pub(crate) async fn settled(&self, verb: ActVerb) -> Verdict<(Said, Response)> {
        let mut waiting = self.session.waiting();
        loop {
            let (said, response) = self.once(verb).await?;
            match said {
                Said::Done | Said::Refused => return Ok((said, response)),
                Said::Again if is_final(&response) => {
                    let expected = "a status that says done, refused, or that it is in progress";
                    return fail(expected, describe(&response));
                }
                Said::Again => waiting.pause(&describe(&response)).await?,
            }
        }
    }

    /// The same, where only done is right.
    pub(crate) async fn done(&self, verb: ActVerb) -> Verdict<Response> {
        match self.settled(verb).await? {
            (Said::Done, response) => Ok(response),
            (_, response) => {
                let expected = format!("a status that says that {} is done", verb.word());
                fail(expected, describe(&response))
            }
        }
    }

    /// The same, where only a refusal of the act is right.
    pub(crate) async fn refused(&self, why: &str) -> Verdict<Response> {
        match self.settled(ActVerb::Act).await? {
            (Said::Refused, response) => Ok(response),
            (_, response) => fail(
                format!("a status that says that it is refused: {why}"),
                describe(&response),
            ),
        }
    }
}

/// A redirect, or a fault of the request, that asking again will not mend.
fn is_final(response: &Response) -> bool {
    let status = response.status;
    let wait = crate::session::asks_again(status);
    !wait && (status.is_redirection() || status.is_client_error() || status.as_u16() == 500)
}

fn said(endpoint: &Endpoint, status: u16) -> Said {
    let done = match endpoint.done.as_slice() {
        [] => (200..300).contains(&status),
        named => named.contains(&status),
    };
    let refused = match endpoint.refused.as_slice() {
        [] => status == 409,
        named => named.contains(&status),
    };
    match (status, done, refused) {
        (425, _, _) => Said::Again,
        (_, true, _) => Said::Done,
        (_, false, true) => Said::Refused,
        (_, false, false) => Said::Again,
    }
}

fn result(response: &Response) -> Option<Json> {
    let text = std::str::from_utf8(&response.body).ok()?.trim();
    Json::from_text(text.to_owned()).ok()
}

const fn method(method: Planned) -> Method {
    match method {
        Planned::Get => Method::GET,
        Planned::Post => Method::POST,
        Planned::Put => Method::PUT,
        Planned::Patch => Method::PATCH,
        Planned::Delete => Method::DELETE,
    }
}
