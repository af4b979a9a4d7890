//! What is not of the contract's form.

use accordant_protocol::id::{BranchIndex, Gtid};
use accordant_protocol::limits::{CALL_BYTES_MAX, PAYLOAD_BYTES_MAX};
use accordant_protocol::plan::Mode;
use accordant_protocol::wire::contract::{ACT_PATH, FINISH_PATH, PREPARE_PATH};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use super::call::kind_of;
use crate::action::Action;
use crate::branch::Branch;
use crate::check::{Verdict, checks, ensure, fail};
use crate::cleanup::undo;
use crate::clock;
use crate::http::{Request, Response, Silence, describe};
use crate::limits::NESTING;
use crate::session::{JSON, Session, Unit, unanswered};

checks! { Contract:
    Must "rubbish.not_json",
        "A body that is no JSON, or another JSON value, is answered with a status other than 200.",
        not_json;
    Must "rubbish.missing_field",
        "A call without one of its fields is answered with a status other than 200.",
        missing_field;
    Must "rubbish.wrong_type",
        "A field of another type is answered with a status other than 200.",
        wrong_type;
    Must "rubbish.unknown_field",
        "A call with a field that the contract does not know is answered with a status other than 200.",
        unknown_field;
    Must "rubbish.numbers",
        "A number out of its range is answered with a status other than 200.",
        numbers;
    Must "rubbish.ids",
        "A transaction id that is not of its form is answered with a status other than 200.",
        ids;
    Must "rubbish.verb",
        "A verb that the contract does not know is answered with a status other than 200.",
        verb;
    Must "rubbish.oversized",
        "A body of more than 1 MiB is answered with a status other than 200, and the service lives on.",
        oversized;
    Must "rubbish.nesting",
        "Deep nesting neither crashes nor hangs the service.",
        nesting;
    Should "rubbish.names",
        "An operation's name that is not of its form is answered with a status other than 200.",
        names;
    Should "rubbish.payload_size",
        "A payload of more than 64 KiB is answered with a status other than 200.",
        payload_size;
    Should "rubbish.media_type",
        "Another content type than application/json is answered with a status other than 200.",
        media_type;
    Should "rubbish.method",
        "A GET is answered with a status other than 200.",
        method;
    Should "rubbish.status",
        "A call that is at fault is answered with 4xx, not 5xx: asking again will not mend it.",
        status;
}

/// Where calls come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Act,
    Prepare(Mode),
    Finish(Mode),
}

/// A body that is sent to a door.
#[derive(Clone, Debug)]
pub(super) struct Variant {
    pub what: String,
    body: Bytes,
}

impl Variant {
    fn raw(what: &str, body: impl Into<Bytes>) -> Self {
        Self { what: what.to_owned(), body: body.into() }
    }

    pub(super) fn json(what: &str, value: &Value) -> Self {
        Self::raw(what, value.to_string())
    }
}

impl Door {
    /// Those that the options open.
    pub(super) fn open(s: &Session<'_>) -> Vec<Self> {
        let mut doors = Vec::new();
        if s.options.act.is_some() {
            doors.push(Self::Act);
        }
        let mode = match (&s.options.two_phase, &s.options.tcc) {
            (Some(_), _) => Mode::TwoPhase,
            (None, Some(_)) => Mode::Tcc,
            (None, None) => return doors,
        };
        doors.extend([Self::Prepare(mode), Self::Finish(mode)]);
        doors
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Act => ACT_PATH,
            Self::Prepare(_) => PREPARE_PATH,
            Self::Finish(_) => FINISH_PATH,
        }
    }

    /// A call without fault, about a fresh transaction.
    pub(super) fn call(self, s: &Session<'_>) -> Verdict<Value> {
        let gtid = s.gtid()?;
        let operation = match self {
            Self::Act => crate::action::operation(s)?,
            Self::Prepare(mode) | Self::Finish(mode) => crate::branch::operation(s, mode)?,
        };
        let (name, payload) = (operation.name.clone(), operation.payload.clone());
        let unit = Unit {
            gtid,
            branch: BranchIndex(0),
            kind: kind_of(self),
            operation: name.clone(),
            payload: payload.clone(),
        };
        s.begin(unit);
        let participant = &s.options.name;
        let timeout_ms = u64::try_from(s.options.timeout.as_millis()).unwrap_or(u64::MAX);
        let deadline = clock::now().plus_millis(timeout_ms);
        let head = json!({ "gtid": gtid, "branch": 0, "attempt": 1, "epoch": 1, "watermark": 0 });
        let mut call = match self {
            Self::Finish(_) => {
                return Ok(finish_call(
                    self,
                    participant.as_str(),
                    head,
                    &name,
                    &payload,
                ));
            }
            Self::Act => json!({ "verb": "act" }),
            Self::Prepare(Mode::Tcc) => json!({ "mode": "tcc" }),
            Self::Prepare(Mode::TwoPhase | Mode::Local) => json!({ "mode": "two_phase" }),
        };
        let rest = json!({ "participant": participant, "deadline": deadline, "operation": name, "payload": payload });
        for (field, value) in [head, rest].iter().filter_map(Value::as_object).flatten() {
            if let Some(call) = call.as_object_mut() {
                call.insert(field.clone(), value.clone());
            }
        }
        Ok(call)
    }

    /// The object that holds the fields of one unit.
    fn order(self, call: &mut Value) -> Option<&mut Value> {
        match self {
            Self::Act | Self::Prepare(_) => Some(call),
            Self::Finish(_) => call.pointer_mut("/orders/0"),
        }
    }

    /// A field of it.
    pub(super) fn slot<'c>(self, call: &'c mut Value, field: &str) -> Option<&'c mut Value> {
        self.order(call)?.get_mut(field)
    }

    pub(super) fn gtid(self, call: &Value) -> Option<Gtid> {
        let mut call = call.clone();
        let gtid = self.slot(&mut call, "gtid")?.as_str()?.parse();
        gtid.ok()
    }

    /// The fields that may not be left out, by the pointer of what holds them.
    fn fields(self, call: &Value) -> Vec<(&'static str, String)> {
        let of = |pointer: &'static str| {
            let object = call.pointer(pointer).and_then(Value::as_object);
            let names = object.into_iter().flat_map(|it| it.keys().cloned());
            let optional = ["mode", "work", "want_result"];
            let required = names.filter(move |name| !optional.contains(&name.as_str()));
            required
                .map(move |name| (pointer, name))
                .collect::<Vec<_>>()
        };
        match self {
            Self::Act | Self::Prepare(_) => of(""),
            Self::Finish(_) => [of(""), of("/orders/0")].concat(),
        }
    }

    pub(super) async fn send(
        self,
        s: &Session<'_>,
        variant: &Variant,
    ) -> Result<Response, Silence> {
        s.post(self.path(), "conform-rubbish", JSON, variant.body.clone())
            .await
    }
}

fn finish_call(
    door: Door,
    participant: &str,
    head: Value,
    name: &accordant_protocol::id::OperationName,
    payload: &accordant_protocol::json::Json,
) -> Value {
    let mut order = head;
    let verb = match door {
        Door::Finish(mode) | Door::Prepare(mode) => undo(mode),
        Door::Act => undo(Mode::TwoPhase),
    };
    if let Some(order) = order.as_object_mut() {
        order.insert("verb".to_owned(), json!(verb));
        if door == Door::Finish(Mode::Tcc) {
            order.insert(
                "work".to_owned(),
                json!({ "operation": name, "payload": payload }),
            );
        }
    }
    json!({ "participant": participant, "orders": [order] })
}

/// A call that is in order is still answered.
pub(super) async fn is_alive(s: &Session<'_>, door: Door) -> Verdict {
    match door {
        Door::Act => Action::fresh(s)?.undone().await.map(drop),
        Door::Prepare(mode) | Door::Finish(mode) => {
            let branch = Branch::fresh(s, mode)?;
            branch.aborted(undo(mode), "nothing of it is there").await
        }
    }
}

/// Sends variants to each door: none may be answered with 200, and the service must live on.
pub(super) async fn refused_by_all(
    s: &Session<'_>,
    variants: fn(&Session<'_>, Door) -> Verdict<Vec<Variant>>,
) -> Verdict {
    for door in Door::open(s) {
        for variant in variants(s, door)? {
            let response = door
                .send(s, &variant)
                .await
                .map_err(|silence| unanswered(&silence))?;
            ensure(
                response.status != StatusCode::OK,
                &format!(
                    "a status other than 200 from {} to {}",
                    door.path(),
                    variant.what
                ),
                || describe(&response),
            )?;
        }
        is_alive(s, door).await?;
    }
    Ok(())
}

fn texts(s: &Session<'_>, door: Door) -> Verdict<Vec<Variant>> {
    let call = door.call(s)?.to_string();
    let half = call.get(..call.len() / 2).unwrap_or_default().to_owned();
    Ok(vec![
        Variant::raw("an empty body", ""),
        Variant::raw("a word", "rubbish"),
        Variant::raw("binary", vec![0_u8, 159, 146, 150, 255]),
        Variant::raw("null", "null"),
        Variant::raw("a number", "1e400"),
        Variant::raw("an empty object", "{}"),
        Variant::raw("an array", format!("[{call}]")),
        Variant::raw("half a call", half),
        Variant::raw("a call and more", format!("{call}{call}")),
        Variant::raw("a form", "gtid=1&branch=0"),
    ])
}

async fn not_json(s: &Session<'_>) -> Verdict {
    refused_by_all(s, texts).await
}

/// The same call with one field changed, for each of its fields.
fn changed(
    s: &Session<'_>,
    door: Door,
    change: impl Fn(&mut serde_json::Map<String, Value>, &str) -> Vec<Value>,
) -> Verdict<Vec<Variant>> {
    let call = door.call(s)?;
    let mut variants = Vec::new();
    for (pointer, field) in door.fields(&call) {
        let mut without = call.clone();
        let Some(object) = without.pointer_mut(pointer).and_then(Value::as_object_mut) else {
            continue;
        };
        for value in change(object, &field) {
            let mut changed = without.clone();
            if let Some(object) = changed.pointer_mut(pointer).and_then(Value::as_object_mut) {
                object.insert(field.clone(), value.clone());
            }
            variants.push(Variant::json(&format!("{field} as {value}"), &changed));
        }
        if without != call {
            variants.push(Variant::json(&format!("a call without {field}"), &without));
        }
    }
    Ok(variants)
}

async fn missing_field(s: &Session<'_>) -> Verdict {
    refused_by_all(s, |s, door| {
        changed(s, door, |object, field| {
            object.remove(field);
            Vec::new()
        })
    })
    .await
}

async fn wrong_type(s: &Session<'_>) -> Verdict {
    refused_by_all(s, |s, door| {
        changed(s, door, |_, field| match field {
            // Any JSON is a payload.
            "payload" => Vec::new(),
            _ => vec![
                json!(null),
                json!(true),
                json!([[]]),
                json!({ "a": 1 }),
                json!(1.5),
            ],
        })
    })
    .await
}

async fn unknown_field(s: &Session<'_>) -> Verdict {
    refused_by_all(s, |s, door| {
        let mut call = door.call(s)?;
        if let Some(order) = door.order(&mut call).and_then(Value::as_object_mut) {
            order.insert("accordant_conform".to_owned(), json!(1));
        }
        Ok(vec![Variant::json("a call with an unknown field", &call)])
    })
    .await
}

/// The call with other values in a field of its unit.
fn with(s: &Session<'_>, door: Door, field: &str, values: &[&str]) -> Verdict<Vec<Variant>> {
    let call = door.call(s)?;
    let mut variants = Vec::new();
    for value in values {
        let mut changed = call.clone();
        let Some(slot) = door.slot(&mut changed, field) else {
            continue;
        };
        // Written in by hand: some are no values that a JSON library would write.
        *slot = json!("@here@");
        let text = changed.to_string().replacen("\"@here@\"", value, 1);
        variants.push(Variant::raw(&format!("{field} {value}"), text));
    }
    Ok(variants)
}

async fn numbers(s: &Session<'_>) -> Verdict {
    refused_by_all(s, |s, door| {
        let mut variants = with(
            s,
            door,
            "branch",
            &["96", "255", "256", "-1", "1.5", "\"0\"", "1e400"],
        )?;
        variants.extend(with(
            s,
            door,
            "attempt",
            &["-1", "4294967296", "0.5", "\"1\""],
        )?);
        let huge = &["-1", "18446744073709551616", "1e400", "\"1\""];
        for field in ["epoch", "deadline", "watermark"] {
            variants.extend(with(s, door, field, huge)?);
        }
        Ok(variants)
    })
    .await
}

async fn ids(s: &Session<'_>) -> Verdict {
    refused_by_all(s, |s, door| {
        let long = format!("\"{}\"", "a".repeat(4000));
        with(
            s,
            door,
            "gtid",
            &[
                "\"\"",
                "\"acc\"",
                "\"ACC.0.00001.1K3VQF8E200000000000000000000000001\"",
                "\"acc.0.00001.1k3vqf8e200000000000000000000000001'; drop table account; --\"",
                "\"acc.0.00001.1k3vqf8e20000000000000000000000000\\u0000\"",
                "\"../../etc/passwd\"",
                long.as_str(),
            ],
        )
    })
    .await
}

async fn names(s: &Session<'_>) -> Verdict {
    refused_by_all(s, |s, door| {
        let long = format!("\"{}\"", "a".repeat(4000));
        let names = &["\"\"", "\"a b\"", "\"a'b\"", "\"a\\u0000b\"", long.as_str()];
        with(s, door, "operation", names)
    })
    .await
}

async fn verb(s: &Session<'_>) -> Verdict {
    refused_by_all(s, |s, door| {
        let words = &["\"\"", "\"ACT\"", "\"prepare\"", "\"explode\"", "7"];
        let mut variants = with(s, door, "verb", words)?;
        variants.extend(with(s, door, "mode", &["\"three_phase\"", "\"local\""])?);
        Ok(variants)
    })
    .await
}

async fn oversized(s: &Session<'_>) -> Verdict {
    for door in Door::open(s) {
        let call = door.call(s)?.to_string();
        let body = format!("{}{call}", " ".repeat(CALL_BYTES_MAX));
        let sent = door
            .send(s, &Variant::raw("1 MiB of blanks before a call", body))
            .await;
        // Who closes the connection while we still write has refused it as well.
        if let Ok(response) = &sent
            && response.status == StatusCode::OK
        {
            return fail("a status other than 200", describe(response));
        }
        if let Err(silence @ Silence::Timeout(_)) = &sent {
            return Err(unanswered(silence));
        }
        is_alive(s, door).await?;
    }
    Ok(())
}

async fn nesting(s: &Session<'_>) -> Verdict {
    let deep = format!("{}{}", "[".repeat(NESTING), "]".repeat(NESTING));
    for door in Door::open(s) {
        let mut variants = with(s, door, "payload", &[deep.as_str()])?;
        variants.extend(with(s, door, "gtid", &[deep.as_str()])?);
        variants.push(Variant::raw(
            "half a megabyte of brackets",
            "[".repeat(500_000),
        ));
        variants.push(Variant::raw(
            "half a megabyte of braces",
            "{\"a\":".repeat(100_000),
        ));
        for variant in variants {
            door.send(s, &variant)
                .await
                .map_err(|silence| unanswered(&silence))?;
        }
        is_alive(s, door).await?;
    }
    Ok(())
}

async fn payload_size(s: &Session<'_>) -> Verdict {
    refused_by_all(s, |s, door| {
        let large = format!("\"{}\"", "a".repeat(PAYLOAD_BYTES_MAX));
        with(s, door, "payload", &[large.as_str()])
    })
    .await
}

async fn media_type(s: &Session<'_>) -> Verdict {
    for door in Door::open(s) {
        let body = Bytes::from(door.call(s)?.to_string());
        let response = s
            .post(door.path(), "conform-rubbish", "text/plain", body)
            .await;
        let response = response.map_err(|silence| unanswered(&silence))?;
        ensure(
            response.status != StatusCode::OK,
            "a status other than 200",
            || describe(&response),
        )?;
    }
    Ok(())
}

async fn method(s: &Session<'_>) -> Verdict {
    for door in Door::open(s) {
        let request = Request {
            method: Method::GET,
            path: door.path().to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            reply_bytes_max: CALL_BYTES_MAX,
        };
        let response = s
            .send(request)
            .await
            .map_err(|silence| unanswered(&silence))?;
        ensure(
            response.status != StatusCode::OK,
            "a status other than 200",
            || describe(&response),
        )?;
    }
    Ok(())
}

async fn status(s: &Session<'_>) -> Verdict {
    for door in Door::open(s) {
        for variant in texts(s, door)? {
            let response = door
                .send(s, &variant)
                .await
                .map_err(|silence| unanswered(&silence))?;
            ensure(
                response.status.is_client_error(),
                &format!("4xx to {}", variant.what),
                || describe(&response),
            )?;
        }
    }
    Ok(())
}
