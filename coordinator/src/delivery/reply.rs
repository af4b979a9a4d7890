//! Reads replies. Whatever is not exactly what the contract says is unknown.

use std::collections::BTreeMap;

use accordant_protocol::group::Answer;
use accordant_protocol::id::{Attempt, BranchIndex, Gtid};
use accordant_protocol::json::Json;
use accordant_protocol::limits::{REASON_BYTES_MAX, RESULT_BYTES_MAX};
use accordant_protocol::wire::contract::{
    BranchEnd, FinishOrder, FinishReply, PrepareCall, PrepareReply, Vote, cut,
};
use accordant_protocol::wire::problem::Problem;
use bytes::Bytes;
use http::StatusCode;
use serde::de::DeserializeOwned;

use super::transport::TransportError;

/// What came back over HTTP.
pub(super) type Received = Result<(StatusCode, Bytes), TransportError>;

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

/// Reads the reply to a finish call: an answer for each order.
pub(super) fn read_ends(orders: &[FinishOrder], received: Received) -> Vec<Answer> {
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
    orders.iter().map(answer).collect()
}

fn too_large(result: Option<&Json>) -> bool {
    result.is_some_and(|result| result.text().len() > RESULT_BYTES_MAX)
}

fn unanswered(error: &str) -> Answer {
    Answer::Unanswered { error: error.to_owned() }
}

fn read<T: DeserializeOwned>(received: Received) -> Result<T, String> {
    let (status, body) = received.map_err(|error| cut(&error.to_string(), REASON_BYTES_MAX))?;
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
