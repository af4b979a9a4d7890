//! Actions, the requests that they make, and messages.

use super::check::Check;
use super::fault::PlanFaultCode;
use super::graph::Graph;
use crate::id::BranchName;
use crate::json::Json;
use crate::limits::{
    ATTEMPT_MS_MAX, ATTEMPTS_MAX, HEADER_BYTES_MAX, HEADERS_MAX, PATH_BYTES_MAX, PAUSE_MS_MAX,
    PAUSE_MS_MIN, SAGA_TIMEOUT_MS_MAX, STATUSES_MAX, TIMEOUT_MS_MIN, UNITS_MAX,
};
use crate::plan::climb::leads_up;
use crate::plan::request::{
    ActionRequest, Class, EndpointRequest, MessageRequest, Method, RetryRequest,
};
use crate::plan::template::Resolve;
use crate::plan::{Action, Compensation, Endpoint, Message, Retry, Task};

impl Check {
    pub(super) fn message(
        &mut self,
        path: &str,
        step: &str,
        message: MessageRequest,
        at: usize,
        graph: &Graph,
    ) -> Message {
        self.count(&format!("{path}.to"), message.to.len(), UNITS_MAX);
        let delay = self.range(
            &format!("{path}.delay_ms"),
            message.delay_ms,
            0,
            SAGA_TIMEOUT_MS_MAX,
        );
        let targets = message.to.into_iter().take(UNITS_MAX).enumerate();
        let targets = targets
            .filter_map(|(nr, it)| self.action(&format!("{path}.to[{nr}]"), step, it, at, graph));
        Message {
            targets: targets.collect(),
            delay_ms: delay.unwrap_or_default(),
        }
    }

    pub(super) fn action(
        &mut self,
        path: &str,
        step: &str,
        action: ActionRequest,
        at: usize,
        graph: &Graph,
    ) -> Option<Action> {
        let index = self.unit(path);
        let class = graph.class(at);
        let participant = self.name(&format!("{path}.participant"), &action.participant);
        let timeout_ms = self.range(
            &format!("{path}.timeout_ms"),
            action.timeout_ms,
            TIMEOUT_MS_MIN,
            ATTEMPT_MS_MAX,
        );
        let deadline_ms = self.range(
            &format!("{path}.deadline_ms"),
            action.deadline_ms,
            TIMEOUT_MS_MIN,
            SAGA_TIMEOUT_MS_MAX,
        );
        let retry = self.retry(&format!("{path}.retry"), action.retry.as_ref(), Retry::ACT);
        let given = action.compensate_retry.as_ref();
        let compensate_retry = format!("{path}.compensate_retry");
        if class != Class::Compensatable && given.is_some() {
            self.not_compensatable(&compensate_retry);
        }
        let compensate_retry = self.retry(&compensate_retry, given, Retry::COMPENSATE);
        let (act, compensation) = self.task(path, step, action, at, graph);
        Some(Action {
            index,
            // Whether the name is free was looked at with those of the other steps.
            name: step.parse::<BranchName>().ok()?,
            participant: participant?,
            class,
            act: act?,
            compensation: compensation?,
            timeout_ms,
            deadline_ms,
            retry,
            compensate_retry,
        })
    }

    fn task(
        &mut self,
        path: &str,
        step: &str,
        action: ActionRequest,
        at: usize,
        graph: &Graph,
    ) -> (Option<Task>, Option<Compensation>) {
        let earlier = |name: &str| graph.resolve(name, at, None);
        let without = action.without_compensation;
        match (action.operation, action.act) {
            (Some(operation), None) => {
                if action.compensate.is_some() {
                    let detail = "an operation is made good under its own name";
                    self.fault(
                        &format!("{path}.compensate"),
                        PlanFaultCode::Conflict,
                        detail,
                    );
                }
                let operation = self.name(&format!("{path}.operation"), &operation);
                let payload = action.payload.unwrap_or_else(Json::null);
                let payload = self.template(&format!("{path}.payload"), payload, &earlier);
                let compensation = match graph.class(at) {
                    Class::Compensatable if !without => Compensation::Operation,
                    Class::Compensatable | Class::Pivot | Class::Retriable => Compensation::Nothing,
                };
                let task = operation.zip(payload);
                let task = task.map(|(operation, payload)| Task::Operation { operation, payload });
                (task, Some(compensation))
            }
            (None, Some(act)) => {
                if action.payload.is_some() {
                    let detail = "belongs to an operation; a request has a body";
                    self.fault(&format!("{path}.payload"), PlanFaultCode::Conflict, detail);
                }
                let act = self.endpoint(&format!("{path}.act"), act, &earlier);
                let own = |name: &str| graph.resolve(name, at, Some(step));
                let compensation =
                    self.compensation(path, action.compensate, without, graph.class(at), &own);
                (act.map(Task::Endpoint), compensation)
            }
            (Some(_), Some(_)) => {
                let detail = "give an operation, or act and compensate";
                self.fault(&format!("{path}.act"), PlanFaultCode::Conflict, detail);
                (None, None)
            }
            (None, None) => {
                let detail = "give an operation, or act and compensate";
                self.fault(&format!("{path}.operation"), PlanFaultCode::Missing, detail);
                (None, None)
            }
        }
    }

    fn compensation(
        &mut self,
        path: &str,
        given: Option<EndpointRequest>,
        without: bool,
        class: Class,
        resolve: Resolve<'_>,
    ) -> Option<Compensation> {
        let path = format!("{path}.compensate");
        match (given, class) {
            (Some(_), Class::Pivot | Class::Retriable) => {
                self.not_compensatable(&path);
                None
            }
            (None, Class::Pivot | Class::Retriable) => Some(Compensation::Nothing),
            (Some(_), Class::Compensatable) if without => {
                let detail = "given, and denied by without_compensation";
                self.fault(&path, PlanFaultCode::Conflict, detail);
                None
            }
            (Some(given), Class::Compensatable) => {
                let endpoint = self.endpoint(&path, given, resolve);
                endpoint.map(Compensation::Endpoint)
            }
            (None, Class::Compensatable) if without => Some(Compensation::Nothing),
            (None, Class::Compensatable) => {
                let detail = "a compensatable step needs one, or without_compensation: true";
                self.fault(&path, PlanFaultCode::Missing, detail);
                None
            }
        }
    }

    fn not_compensatable(&mut self, path: &str) {
        let detail = "only a compensatable step is made good";
        self.fault(path, PlanFaultCode::Conflict, detail);
    }

    fn endpoint(
        &mut self,
        path: &str,
        endpoint: EndpointRequest,
        resolve: Resolve<'_>,
    ) -> Option<Endpoint> {
        self.path(&format!("{path}.path"), &endpoint.path);
        let target = self.path_template(&format!("{path}.path"), &endpoint.path, resolve);
        self.headers(&format!("{path}.headers"), &endpoint);
        let done = endpoint.done.unwrap_or_default();
        let refused = endpoint.refused.unwrap_or_default();
        self.statuses(&format!("{path}.done"), &done, &[]);
        self.statuses(&format!("{path}.refused"), &refused, &done);
        if done.is_empty() && refused.iter().any(|status| (200..300).contains(status)) {
            let detail = "a status of 200 to 299 says done, unless `done` says otherwise";
            self.fault(&format!("{path}.refused"), PlanFaultCode::Conflict, detail);
        }
        let body = match endpoint.body {
            Some(body) => Some(self.template(&format!("{path}.body"), body, resolve)?),
            None => None,
        };
        Some(Endpoint {
            method: endpoint.method.unwrap_or(Method::Post),
            path: target?,
            headers: endpoint.headers.into_iter().collect(),
            body,
            done,
            refused,
        })
    }

    /// A path leads nowhere but below its participant's base address.
    fn path(&mut self, path: &str, text: &str) {
        if text.len() > PATH_BYTES_MAX {
            let detail = format!("at most {PATH_BYTES_MAX} bytes are allowed");
            return self.fault(path, PlanFaultCode::TooLarge, detail);
        }
        // A reference in braces has a '#' of its own.
        let outside = outside_braces(text);
        let plain = outside.bytes().all(|byte| byte.is_ascii_graphic())
            && !outside.contains(['#', '\\', '"', '<', '>', '^', '`', '|']);
        // One that was stored does not come past the filling in.
        let up = !self.stored && leads_up(&outside);
        if !text.starts_with('/') || text.starts_with("//") || up || !plain {
            let detail = "must be an absolute path in visible ASCII, without `.` or `..` as a part, \
                          also where it is written with escapes or with a tail behind `;`";
            self.fault(path, PlanFaultCode::Form, detail);
        }
    }

    fn headers(&mut self, path: &str, endpoint: &EndpointRequest) {
        if endpoint.headers.len() > HEADERS_MAX {
            self.count(path, endpoint.headers.len(), HEADERS_MAX);
        }
        for (name, value) in endpoint.headers.iter().take(HEADERS_MAX) {
            let path = format!("{path}.{name}");
            let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            let is_token = !name.is_empty() && name.len() <= 64 && name.bytes().all(token);
            let visible = value.bytes().all(|byte| (0x20..0x7f).contains(&byte));
            if !is_token || !visible || value.len() > HEADER_BYTES_MAX {
                let detail = format!(
                    "a header is a name of letters, digits and '-', with a value of at most \
                     {HEADER_BYTES_MAX} visible ASCII characters"
                );
                self.fault(&path, PlanFaultCode::Form, detail);
            }
            if is_ours(name) {
                let detail = "this header is set by the coordinator";
                self.fault(&path, PlanFaultCode::Conflict, detail);
            }
        }
    }

    fn statuses(&mut self, path: &str, statuses: &[u16], others: &[u16]) {
        if statuses.len() > STATUSES_MAX {
            self.count(path, statuses.len(), STATUSES_MAX);
        }
        for (nr, status) in statuses.iter().take(STATUSES_MAX).enumerate() {
            let path = format!("{path}[{nr}]");
            if !(200..600).contains(status) || *status == IN_PROGRESS {
                let detail = format!("must be from 200 to 599, and not {IN_PROGRESS}: in progress");
                self.fault(&path, PlanFaultCode::Range, detail);
            } else if others.contains(status) {
                let detail = "says done already";
                self.fault(&path, PlanFaultCode::Conflict, detail);
            }
        }
    }

    fn retry(&mut self, path: &str, given: Option<&RetryRequest>, unasked: Retry) -> Retry {
        let Some(given) = given else {
            return unasked;
        };
        let least = if self.stored { 1 } else { PAUSE_MS_MIN };
        let pause = format!("{path}.pause_ms");
        let pause_ms = self.range(&pause, given.pause_ms, least, PAUSE_MS_MAX);
        let most = format!("{path}.pause_ms_max");
        let pause_ms_max = self.range(&most, given.pause_ms_max, least, PAUSE_MS_MAX);
        let attempts = given.attempts.map(u64::from);
        self.range(
            &format!("{path}.attempts"),
            attempts,
            0,
            u64::from(ATTEMPTS_MAX),
        );
        let pause_ms = pause_ms.unwrap_or(unasked.pause_ms);
        let pause_ms_max = pause_ms_max.unwrap_or_else(|| unasked.pause_ms_max.max(pause_ms));
        if pause_ms > pause_ms_max {
            let detail = "is shorter than the first pause";
            self.fault(&most, PlanFaultCode::Range, detail);
        }
        let attempts = match given.attempts {
            None => unasked.attempts,
            Some(0) => None,
            Some(attempts) => Some(attempts),
        };
        Retry { pause_ms, pause_ms_max, attempts }
    }
}

/// RFC 8470's 425, which says here: in progress.
const IN_PROGRESS: u16 = 425;

fn is_ours(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let ours = [
        "connection",
        "content-length",
        "content-type",
        "expect",
        "host",
        "idempotency-key",
        "keep-alive",
        "te",
        "traceparent",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    ours.contains(&name.as_str()) || name.starts_with("accordant-") || name.starts_with("proxy-")
}

fn outside_braces(text: &str) -> String {
    let mut outside = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        outside.push_str(before);
        outside.push('x');
        rest = after.split_once('}').map_or("", |(_, left)| left);
    }
    outside.push_str(rest);
    outside
}
