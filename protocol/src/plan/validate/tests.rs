use super::fault::PlanFaultCode;
use crate::limits::{BRANCHES_MAX, POINTER_BYTES_MAX, POINTER_TOKENS_MAX, REFERENCES_MAX};
use crate::plan::{Plan, PlanRequest};

fn faults(json: &str) -> Vec<(String, PlanFaultCode)> {
    let request: PlanRequest = serde_json::from_str(json).unwrap();
    let faults = Plan::try_from(request).unwrap_err().0;
    faults
        .into_iter()
        .map(|fault| (fault.path, fault.code))
        .collect()
}

#[test]
fn each_fault_is_named_with_its_path() {
    use PlanFaultCode::{Conflict, Duplicate, Empty, Form, Missing};
    let branch = |name: &str, more: &str| {
        format!(r#"{{"name":"{name}","participant":"p","operation":"o"{more}}}"#)
    };
    let a = branch("a", "");
    for (json, path, code) in [
        ("{}".into(), "branches", Missing),
        (r#"{"branches":[]}"#.into(), "branches", Empty),
        (r#"{"branches":[],"steps":[]}"#.into(), "branches", Conflict),
        (
            format!(r#"{{"branches":[{a},{a}]}}"#),
            "branches[1].name",
            Duplicate,
        ),
        (
            format!(r#"{{"branches":[{}]}}"#, branch("a'b", "")),
            "branches[0].name",
            Form,
        ),
        (
            format!(
                r#"{{"branches":[{a},{}]}}"#,
                branch("b", r#","mode":"local""#)
            ),
            "branches[1].mode",
            Conflict,
        ),
        (
            r#"{"steps":[{"name":"s"}]}"#.into(),
            "steps[0].group",
            Missing,
        ),
    ] {
        assert_eq!(faults(&json), [(path.to_owned(), code)], "{json}");
    }
}

#[test]
fn more_branches_than_allowed_are_refused() {
    let branches: Vec<_> = (0..=BRANCHES_MAX)
        .map(|n| format!(r#"{{"name":"b{n}","participant":"p","operation":"o"}}"#))
        .collect();
    let json = format!(r#"{{"branches":[{}]}}"#, branches.join(","));
    assert_eq!(
        faults(&json),
        [("branches".to_owned(), PlanFaultCode::TooMany)]
    );
}

#[test]
fn a_plan_whose_branch_is_called_group_comes_back_from_its_record() {
    let branch = |name| format!(r#"{{"name":"{name}","participant":"p","operation":"o"}}"#);
    let json = format!(
        r#"{{"branches":[{},{}]}}"#,
        branch("group"),
        branch("group_")
    );
    let plan = Plan::try_from(serde_json::from_str::<PlanRequest>(&json).unwrap()).unwrap();
    let stored = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&stored).unwrap(), plan);
}

#[test]
fn a_payload_keeps_every_digit_through_a_record() {
    let json = r#"{"branches":[{"name":"a","participant":"p","operation":"o",
        "payload":{"amount":12345678901234567890.10}}]}"#;
    let plan = Plan::try_from(serde_json::from_str::<PlanRequest>(json).unwrap()).unwrap();
    let stored = serde_json::to_string(&plan).unwrap();
    assert!(stored.contains("12345678901234567890.10"), "{stored}");
    assert_eq!(serde_json::from_str::<Plan>(&stored).unwrap(), plan);
}

/// A plain action.
fn plain(name: &str, after: &str, more: &str) -> String {
    format!(
        r#"{{"name":"{name}","after":[{after}],{more}"action":{{"participant":"p",
            "act":{{"path":"/do"}},"compensate":{{"path":"/mend"}}}}}}"#
    )
}

/// An action by the contract.
fn action(name: &str, after: &str, class: &str) -> String {
    let class = if class.is_empty() {
        String::new()
    } else {
        format!(r#""class":"{class}","#)
    };
    format!(
        r#"{{"name":"{name}","after":[{after}],{class}
            "action":{{"participant":"p","operation":"o","payload":1}}}}"#
    )
}

fn group(name: &str, branch: &str, after: &str) -> String {
    format!(
        r#"{{"name":"{name}","after":[{after}],"group":{{"branches":[
            {{"name":"{branch}","participant":"p","operation":"o"}}]}}}}"#
    )
}

fn message(name: &str, after: &str) -> String {
    format!(
        r#"{{"name":"{name}","after":[{after}],"message":{{"to":[
            {{"participant":"p","operation":"o"}}]}}}}"#
    )
}

fn with_action(inner: &str) -> String {
    format!(r#"{{"name":"a","action":{{"participant":"p",{inner}}}}}"#)
}

fn steps(steps: &[String]) -> String {
    format!(r#"{{"steps":[{}]}}"#, steps.join(","))
}

fn plan(json: &str) -> Plan {
    let request: PlanRequest = serde_json::from_str(json).unwrap();
    Plan::try_from(request).unwrap_or_else(|faults| panic!("{faults}: {json}"))
}

#[test]
fn what_the_steps_are_to_each_other_is_checked() {
    use PlanFaultCode::{Conflict, Cycle, Duplicate, Order, TooMany, Unknown};
    let a = action("a", "", "");
    for (given, path, code) in [
        (
            vec![action("a", r#""none""#, "")],
            "steps[0].after[0]",
            Unknown,
        ),
        (vec![action("a", r#""a""#, "")], "steps[0].after", Cycle),
        (
            vec![a.clone(), action("b", r#""a","a""#, "")],
            "steps[1].after[1]",
            Duplicate,
        ),
        (vec![a.clone(), a.clone()], "steps[1].name", Duplicate),
        (
            vec![group("g", "x", ""), group("h", "y", r#""g""#)],
            "steps[1].group",
            TooMany,
        ),
        (
            vec![action("a", "", "pivot"), action("b", r#""a""#, "pivot")],
            "steps[1].class",
            TooMany,
        ),
        (
            vec![a.clone(), group("g", "x", "")],
            "steps[0].class",
            Order,
        ),
        (
            vec![
                action("p", "", "pivot"),
                action("b", r#""p""#, "compensatable"),
            ],
            "steps[1].class",
            Order,
        ),
        (
            vec![action("p", "", "pivot"), action("b", "", "retriable")],
            "steps[1].class",
            Order,
        ),
        (
            vec![a.clone(), message("m", r#""a""#)],
            "steps[1].class",
            Order,
        ),
        (
            vec![message("m", "").replace(r#""after""#, r#""class":"pivot","after""#)],
            "steps[0].class",
            Conflict,
        ),
    ] {
        let found = faults(&steps(&given));
        assert!(
            found.contains(&(path.to_owned(), code)),
            "{given:?}: {found:?}"
        );
    }
    let circle = steps(&[action("a", r#""b""#, ""), action("b", r#""a""#, "")]);
    assert_eq!(faults(&circle)[0], ("steps[0].after".to_owned(), Cycle));
}

/// This step has this fault, among others perhaps.
fn checked(given: &String, path: &str, code: PlanFaultCode) {
    let found = faults(&steps(std::slice::from_ref(given)));
    let path = format!("steps[0].{path}");
    assert!(
        found.contains(&(path.clone(), code)),
        "{given}: {path}: {found:?}"
    );
}

#[test]
fn what_an_action_asks_for_is_checked() {
    use PlanFaultCode::{Conflict, Missing};
    for (given, path, code) in [
        (
            with_action(r#""act":{"path":"/x"}"#),
            "action.compensate",
            Missing,
        ),
        (with_action(r#""payload":1"#), "action.operation", Missing),
        (
            with_action(r#""operation":"o","act":{"path":"/x"}"#),
            "action.act",
            Conflict,
        ),
        (
            with_action(r#""operation":"o","compensate":{"path":"/x"}"#),
            "action.compensate",
            Conflict,
        ),
        (
            with_action(r#""act":{"path":"/x"},"payload":1,"without_compensation":true"#),
            "action.payload",
            Conflict,
        ),
        (
            plain("a", "", r#""class":"pivot","#),
            "action.compensate",
            Conflict,
        ),
    ] {
        checked(&given, path, code);
    }
}

#[test]
fn the_requests_of_an_action_are_checked() {
    use PlanFaultCode::{Conflict, Form, Order, Range, Unknown};
    let act = |act: &str| with_action(&format!(r#""act":{{{act}}},"without_compensation":true"#));
    for (given, path, code) in [
        (act(r#""path":"x""#), "action.act.path", Form),
        (act(r#""path":"//host/x""#), "action.act.path", Form),
        (act(r#""path":"/a/../x""#), "action.act.path", Form),
        (act(r#""path":"/a/%2E%2e/x""#), "action.act.path", Form),
        (act(r#""path":"/..%2f..%2fx""#), "action.act.path", Form),
        (act(r#""path":"/..;/x""#), "action.act.path", Form),
        (act(r#""path":"/a#b""#), "action.act.path", Form),
        (act(r#""path":"/a b""#), "action.act.path", Form),
        (act(r#""path":"/{none#/x}""#), "action.act.path", Unknown),
        (act(r#""path":"/{a#/x}""#), "action.act.path", Order),
        (
            act(r#""path":"/x","body":{"$result":"a"}"#),
            "action.act.body",
            Order,
        ),
        (
            act(r#""path":"/x","headers":{"Host":"h"}"#),
            "action.act.headers.Host",
            Conflict,
        ),
        (
            act(r#""path":"/x","headers":{"X-A":"b\r\nX-B: c"}"#),
            "action.act.headers.X-A",
            Form,
        ),
        (
            act(r#""path":"/x","done":[425]"#),
            "action.act.done[0]",
            Range,
        ),
        (
            act(r#""path":"/x","done":[200],"refused":[200]"#),
            "action.act.refused[0]",
            Conflict,
        ),
        (
            act(r#""path":"/x","refused":[201]"#),
            "action.act.refused",
            Conflict,
        ),
        (
            with_action(r#""operation":"o","retry":{"pause_ms":9,"pause_ms_max":1}"#),
            "action.retry.pause_ms_max",
            Range,
        ),
        (
            with_action(r#""operation":"o","retry":{"pause_ms":9}"#),
            "action.retry.pause_ms",
            Range,
        ),
        (
            with_action(r#""operation":"o","timeout_ms":1"#),
            "action.timeout_ms",
            Range,
        ),
    ] {
        checked(&given, path, code);
    }
}

#[test]
fn a_pointer_is_bounded_in_a_new_plan_and_passed_in_a_stored_one() {
    use PlanFaultCode::TooLarge;
    let refer = |pointer: &str| {
        let body = format!(r#""path":"/x","body":[{{"$result":"a#{pointer}"}}]"#);
        let path = format!(r#""path":"/x/{{a#{pointer}}}""#);
        [(body, "body"), (path, "path")].map(|(act, field)| {
            let step = format!(
                r#"{{"name":"b","after":["a"],"action":{{"participant":"p",
                    "act":{{{act}}},"without_compensation":true}}}}"#
            );
            let field = format!("steps[1].action.act.{field}");
            (steps(&[action("a", "", ""), step]), field)
        })
    };
    let long = format!("/{}", "n".repeat(POINTER_BYTES_MAX));
    for pointer in ["/0".repeat(POINTER_TOKENS_MAX + 1), long] {
        for (json, field) in refer(&pointer) {
            assert_eq!(faults(&json), [(field, TooLarge)]);
            let stored: Plan = serde_json::from_str(&json).unwrap();
            let again = serde_json::to_string(&stored).unwrap();
            assert_eq!(serde_json::from_str::<Plan>(&again).unwrap(), stored);
        }
    }
    for (json, _) in refer(&"/0".repeat(POINTER_TOKENS_MAX)) {
        plan(&json);
    }
}

#[test]
fn as_many_references_as_are_allowed_fit_into_a_path() {
    let path = |count: usize| {
        let path = "/{a#/x}".repeat(count);
        let step = format!(
            r#"{{"name":"b","after":["a"],"action":{{"participant":"p",
                "act":{{"path":"{path}"}},"without_compensation":true}}}}"#
        );
        steps(&[action("a", "", ""), step])
    };
    plan(&path(REFERENCES_MAX));
    let fault = (
        "steps[1].action.act.path".to_owned(),
        PlanFaultCode::TooMany,
    );
    assert_eq!(faults(&path(REFERENCES_MAX + 1)), [fault]);
}

#[test]
fn more_units_than_have_a_number_are_refused() {
    use PlanFaultCode::TooMany;
    let units = (0..10).map(|nr| {
        let to = [r#"{"participant":"p","operation":"o"}"#; 10].join(",");
        format!(r#"{{"name":"m{nr}","message":{{"to":[{to}]}}}}"#)
    });
    let found = faults(&steps(&units.collect::<Vec<_>>()));
    assert_eq!(found[0], ("steps[9].message.to[6]".to_owned(), TooMany));
}

#[test]
fn a_result_is_there_only_for_what_comes_later() {
    let refer = |name: &str, after: &str, to: &str| {
        action(name, after, "").replace(
            r#""payload":1"#,
            &format!(r#""payload":{{"x":{{"$result":"{to}#/id"}}}}"#),
        )
    };
    let beside = steps(&[action("a", "", ""), refer("b", "", "a")]);
    let path = "steps[1].action.payload".to_owned();
    assert_eq!(faults(&beside), [(path, PlanFaultCode::Order)]);
    let chain = [
        action("a", "", ""),
        action("b", r#""a""#, ""),
        refer("c", r#""b""#, "a"),
    ];
    let plan = plan(&steps(&chain));
    let referenced = plan.actions().filter(|it| plan.is_referenced(it.index));
    let referenced: Vec<_> = referenced.map(|it| it.name.as_str().to_owned()).collect();
    assert_eq!(referenced, ["a"]);
}

#[test]
fn every_way_of_working_comes_back_from_its_record() {
    let tcc = group("pay", "debit", r#""a""#)
        .replace(r#""operation":"o"}"#, r#""operation":"o","mode":"tcc"}"#);
    let own = plain("a", "", "").replace("/mend", "/mend/{a#/id}/{gtid}");
    for given in [
        vec![
            own,
            tcc,
            action("ship", r#""pay""#, ""),
            message("m", r#""ship""#),
        ],
        vec![message("m", "")],
        vec![
            plain("a", "", ""),
            plain("b", r#""a""#, r#""class":"pivot","#)
                .replace(r#","compensate":{"path":"/mend"}"#, ""),
        ],
    ] {
        let plan = plan(&steps(&given));
        let stored = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&stored).unwrap(), plan);
    }
}

#[test]
fn classes_left_out_follow_from_the_pivot() {
    use crate::plan::Class::{Compensatable, Pivot, Retriable};
    let given = [
        action("a", "", ""),
        group("pay", "debit", r#""a""#),
        action("ship", r#""pay""#, ""),
        message("m", r#""ship""#),
    ];
    let plan = plan(&steps(&given));
    let classes: Vec<_> = plan.steps().iter().map(|step| step.class).collect();
    assert_eq!(classes, [Compensatable, Pivot, Retriable, Retriable]);
    assert_eq!(plan.fate(), None);
    let outbox = self::plan(&steps(&[message("m", "")]));
    assert_eq!(outbox.fate(), Some(crate::record::Fate::Commit));
}
