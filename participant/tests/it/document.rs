//! `docs/participants.md` says what is so.

use accordant_participant::BarrierMarkdown;
use accordant_participant::protocol::branch::TableMarkdown;
use accordant_participant::protocol::wire::api::OutcomeReply;
use accordant_participant::protocol::wire::contract::{
    ActAnswer, ActCall, ActReply, BranchEnd, FinishCall, FinishOrder, FinishReply, PrepareCall,
    PrepareReply, Vote,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

const DOCUMENT: &str = include_str!("../../../docs/participants.md");

/// The example is of the type, and the type writes it as it stands.
fn same<T: DeserializeOwned + Serialize>(example: &str) {
    let value: T = serde_json::from_str(example).unwrap_or_else(|e| panic!("{e}: {example}"));
    let mut written = serde_json::to_value(&value).unwrap();
    let mut stands: Value = serde_json::from_str(example).unwrap();
    // Fields that are left out when they are false.
    for field in ["one_phase", "want_result"] {
        for side in [&mut written, &mut stands] {
            side.as_object_mut().and_then(|fields| fields.remove(field));
        }
    }
    assert_eq!(written, stands);
}

#[test]
fn every_example_is_of_the_type_that_stands_above_it() {
    let mut count = 0;
    for part in DOCUMENT.split("<!-- ").skip(1) {
        let (name, rest) = part.split_once(" -->\n```json\n").unwrap();
        let (example, _) = rest.split_once("```").unwrap();
        match name {
            "PrepareCall" => same::<PrepareCall>(example),
            "PrepareReply" => same::<PrepareReply>(example),
            "Vote" => same::<Vote>(example),
            "FinishCall" => same::<FinishCall>(example),
            "FinishReply" => same::<FinishReply>(example),
            "BranchEnd" => same::<BranchEnd>(example),
            "FinishOrder" => same::<FinishOrder>(example),
            "ActCall" => same::<ActCall>(example),
            "ActReply" => same::<ActReply>(example),
            "ActAnswer" => same::<ActAnswer>(example),
            "OutcomeReply" => same::<OutcomeReply>(example),
            _ => panic!("no type {name}"),
        }
        count += 1;
    }
    assert_eq!(
        count,
        DOCUMENT.matches("```json").count(),
        "each example has its type"
    );
}

#[test]
fn the_table_is_the_one_in_the_code() {
    assert!(
        DOCUMENT.contains(&TableMarkdown.to_string()),
        "{TableMarkdown}"
    );
    assert!(
        DOCUMENT.contains(&BarrierMarkdown.to_string()),
        "{BarrierMarkdown}"
    );
}
