//! Reads replies. Whatever is not exactly what the contract says is unknown.

use std::collections::BTreeMap;

use accordant_protocol::effect::Answer;
use accordant_protocol::id::{Attempt, BranchIndex, Gtid};
use accordant_protocol::json::Json;
use accordant_protocol::limits::{REASON_BYTES_MAX, RESULT_BYTES_MAX};
use accordant_protocol::wire::contract::{
    ActAnswer, ActCall, ActReply, BranchEnd, FinishOrder, FinishReply, PrepareCall, PrepareReply,
    Vote, cut,
};
use accordant_protocol::wire::problem::Problem;
use http::StatusCode;
use serde::de::DeserializeOwned;

use super::transport::{Response, TransportError};

/// What came back over HTTP.
pub(super) type Received = Result<Response, TransportError>;

/// Reads the reply to a prepare call.
pub(super) fn read_vote(call: &PrepareCall, received: Received) -> Answer {
    let reply: PrepareReply = match read(received) {
        Ok(reply) => reply,
        Err(error) => return Answer::Unanswered { error },
    };
    if reply.attempt != call.attempt {
        return unanswered("the reply is to another attempt");
    }
    let result = match &reply.vote {
        Vote::Yes { result } | Vote::ReadOnly { result } | Vote::Committed { result } => result,
        Vote::No { .. } | Vote::InProgress | Vote::RetryLater { .. } => &None,
        // A vote that a later version added: this one does not understand it.
        _ => return unanswered("the vote is not known to this version"),
    };
    if too_large(result.as_ref()) {
        return unanswered("the result is larger than allowed");
    }
    Answer::Vote { identity: reply.identity, vote: reply.vote }
}

/// Reads the reply to an act call.
pub(super) fn read_acted(call: &ActCall, received: Received) -> Answer {
    let reply: ActReply = match read(received) {
        Ok(reply) => reply,
        Err(error) => return Answer::Unanswered { error },
    };
    if reply.attempt != call.attempt {
        return unanswered("the reply is to another attempt");
    }
    let result = match &reply.answer {
        ActAnswer::Done { result } => result.as_ref(),
        ActAnswer::Refused { .. } | ActAnswer::InProgress { .. } | ActAnswer::RetryLater { .. } => {
            None
        }
        // An answer that a later version added: this one does not understand it.
        _ => return unanswered("the answer is not known to this version"),
    };
    if too_large(result) {
        return unanswered("the result is larger than allowed");
    }
    Answer::Acted { identity: Some(reply.identity), answer: reply.answer }
}

/// Reads the reply to a finish call: an answer for each order.
pub(super) fn read_ends(orders: &[&FinishOrder], received: Received) -> Vec<Answer> {
    let reply: FinishReply = match read(received) {
        Ok(reply) => reply,
        Err(error) => {
            return orders
                .iter()
                .map(|_| Answer::Unanswered { error: error.clone() })
                .collect();
        }
    };
    let identity = reply.identity;
    let mut ends: BTreeMap<(Gtid, BranchIndex, Attempt), BranchEnd> = reply
        .answers
        .into_iter()
        .map(|answer| ((answer.gtid, answer.branch, answer.attempt), answer.end))
        .collect();
    let answer = |order: &FinishOrder| match ends.remove(&(order.gtid, order.branch, order.attempt))
    {
        None => unanswered("the reply leaves this order out"),
        // The end is a fact, whatever it brings along; the transaction must close.
        Some(BranchEnd::Committed { result }) if too_large(result.as_ref()) => {
            let end = BranchEnd::Committed { result: None };
            Answer::End { identity: identity.clone(), end }
        }
        Some(end) => Answer::End { identity: identity.clone(), end },
    };
    orders.iter().copied().map(answer).collect()
}

fn too_large(result: Option<&Json>) -> bool {
    result.is_some_and(|result| result.text().len() > RESULT_BYTES_MAX)
}

fn unanswered(error: &str) -> Answer {
    Answer::Unanswered { error: error.to_owned() }
}

fn read<T: DeserializeOwned>(received: Received) -> Result<T, String> {
    let response = received.map_err(|error| cut(&error.to_string(), REASON_BYTES_MAX))?;
    let Response { status, body: Some(body), .. } = response else {
        return Err("the reply is larger than allowed".to_owned());
    };
    if status != StatusCode::OK {
        let problem: Option<Problem> = serde_json::from_slice(&body).ok();
        let detail = problem
            .map(|problem| format!(": {}", problem.detail))
            .unwrap_or_default();
        return Err(cut(
            &format!("HTTP {}{detail}", status.as_u16()),
            REASON_BYTES_MAX,
        ));
    }
    serde_json::from_slice(&body).map_err(|error| {
        cut(
            &format!("the reply is not of the contract's form: {error}"),
            REASON_BYTES_MAX,
        )
    })
}

#[cfg(test)]
mod tests {
    use accordant_protocol::id::{Cluster, Epoch, Incarnation, PartitionId};
    use accordant_protocol::time::Timestamp;
    use accordant_protocol::wire::contract::{ActVerb, Identity, Refusal};
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;

    fn call() -> ActCall {
        let minted = Timestamp::from_millis(1_700_000_000_000);
        let cluster = Cluster::new("acc").unwrap();
        ActCall {
            gtid: Gtid::mint(cluster, PartitionId(3), Incarnation(1), minted, 7).unwrap(),
            branch: BranchIndex(0),
            participant: "p".parse().unwrap(),
            verb: ActVerb::Act,
            attempt: Attempt(3),
            epoch: Epoch(1),
            deadline: minted,
            watermark: minted,
            operation: "o".parse().unwrap(),
            payload: Json::null(),
            result: None,
        }
    }

    fn received(status: u16, body: Option<&str>) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        let body = body.map(|body| Bytes::from(body.to_owned()));
        read_acted(
            &call(),
            Ok(Response { status, headers: HeaderMap::new(), body }),
        )
    }

    fn reply(attempt: u32, answer: &str) -> String {
        format!(
            r#"{{"attempt":{attempt},"identity":{{"system":"7/1","timeline":1,"starts":2}},"answer":{answer}}}"#
        )
    }

    fn answered(answer: &str) -> ActAnswer {
        let answer = received(200, Some(&reply(3, answer)));
        let Answer::Acted { identity, answer } = answer else {
            panic!("{answer:?}")
        };
        let system = "7/1".to_owned();
        let expected = Identity { system, timeline: 1, starts: 2 };
        assert_eq!(identity, Some(expected));
        answer
    }

    fn error(status: u16, body: Option<&str>) -> String {
        let answer = received(status, body);
        let Answer::Unanswered { error } = answer else {
            panic!("{answer:?}")
        };
        error
    }

    #[test]
    fn an_answer_of_the_contracts_form_is_taken_at_its_word() {
        let result = Some(Json::from_text("1.10".to_owned()).unwrap());
        assert_eq!(
            answered(r#"{"done":{"result":1.10}}"#),
            ActAnswer::Done { result }
        );
        assert_eq!(answered(r#"{"done":{}}"#), ActAnswer::Done { result: None });
        let refusal = Refusal::new("full", "no rooms");
        assert_eq!(
            answered(r#"{"refused":{"refusal":{"code":"full","detail":"no rooms"}}}"#),
            ActAnswer::Refused { refusal }
        );
        let later = ActAnswer::InProgress { retry_after_ms: Some(7) };
        assert_eq!(answered(r#"{"in_progress":{"retry_after_ms":7}}"#), later);
        let reason = "busy".to_owned();
        assert_eq!(
            answered(r#"{"retry_later":{"reason":"busy"}}"#),
            ActAnswer::RetryLater { reason }
        );
    }

    #[test]
    fn whatever_else_came_back_is_unknown() {
        let done = r#"{"done":{}}"#;
        assert!(error(200, Some(&reply(2, done))).contains("another attempt"));
        let large = format!(
            r#"{{"done":{{"result":"{}"}}}}"#,
            "x".repeat(RESULT_BYTES_MAX)
        );
        assert!(error(200, Some(&reply(3, &large))).contains("larger"));
        assert!(error(200, None).contains("larger"));
        for rubbish in [
            "",
            "hello",
            "[]",
            r#"{"attempt":3}"#,
            &reply(3, r#"{"maybe":{}}"#),
        ] {
            let error = error(200, Some(rubbish));
            assert!(error.contains("form"), "{rubbish:?}: {error}");
        }
        for status in [201, 204, 302, 400, 409, 425, 500, 503] {
            let error = error(status, Some(&reply(3, done)));
            assert!(error.contains(&status.to_string()), "{error}");
        }
    }
}
