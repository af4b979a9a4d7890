//! The services that actions are done at: each remembers what it did, as it should, and checks that
//! nothing is asked of it that must not be.

use std::collections::{BTreeMap, BTreeSet};

use super::fixture::identity;
use crate::effect::{Answer, Call, Message};
use crate::id::{BranchIndex, Gtid};
use crate::json::Json;
use crate::plan::{Class, Compensation, Plan, PlanRequest};
use crate::record::Fate;
use crate::wire::contract::{ActAnswer, ActVerb, Refusal};

/// All of them.
#[derive(Default)]
pub(super) struct Services {
    units: BTreeMap<(Gtid, BranchIndex), Unit>,
    /// Of these a compensation was sent.
    turned: BTreeSet<Gtid>,
    executions: u64,
}

/// What a service holds of one action.
#[derive(Clone, Debug, Default)]
pub(super) struct Unit {
    /// What the one execution returned.
    pub(super) acted: Option<Json>,
    /// It refused, or by the contract a compensation came first.
    pub(super) blocked: bool,
    /// It is made good.
    pub(super) compensated: bool,
}

/// The parts of a call to an action that matter here.
pub(super) struct Asked {
    pub(super) gtid: Gtid,
    pub(super) index: BranchIndex,
    pub(super) verb: ActVerb,
    plain: bool,
    said: String,
}

impl Asked {
    pub(super) fn read(call: &Call) -> Option<Self> {
        match &call.message {
            Message::Act(it) => Some(Self {
                gtid: it.gtid,
                index: it.branch,
                verb: it.verb,
                plain: false,
                said: it.payload.text().to_owned(),
            }),
            Message::Endpoint(it) => Some(Self {
                gtid: it.gtid,
                index: it.branch,
                verb: it.verb,
                plain: true,
                said: it.path.clone(),
            }),
            Message::Prepare(_) | Message::Finish(_) => None,
        }
    }
}

impl Services {
    pub(super) fn unit(&mut self, gtid: Gtid, index: BranchIndex) -> &mut Unit {
        self.units.entry((gtid, index)).or_default()
    }

    /// A call leaves the coordinator, whose journal holds this fate.
    pub(super) fn check_sent(&mut self, plan: &Plan, fate: Option<Fate>, asked: &Asked) {
        let (gtid, action) = (asked.gtid, plan.action(asked.index).unwrap());
        match (asked.verb, action.class) {
            (ActVerb::Compensate, class) => {
                assert_eq!(class, Class::Compensatable);
                assert_eq!(fate, Some(Fate::Abort), "made good before it turned back");
                self.turned.insert(gtid);
                for pivot in plan.actions().filter(|it| it.class == Class::Pivot) {
                    let passed = self.unit(gtid, pivot.index).acted.is_some();
                    assert!(!passed, "made good although the pivot has passed");
                }
            }
            (ActVerb::Act, Class::Retriable) => assert_eq!(fate, Some(Fate::Commit)),
            (ActVerb::Act, Class::Compensatable | Class::Pivot) => {
                assert_eq!(fate, None, "acts although it is decided");
                assert!(!self.turned.contains(&gtid), "acts after a compensation");
                let done = self.unit(gtid, asked.index).acted.is_some();
                let later = plan.actions();
                let later = later.filter(|it| plan.comes_before(action.index, it.index));
                for later in later.map(|it| it.index) {
                    let early = self.unit(gtid, later).acted.is_some() && !done;
                    assert!(!early, "acts out of order");
                }
            }
        }
        if let Some(wanted) = asked.said.strip_prefix(REFERRED) {
            let of = self.unit(gtid, BranchIndex(0)).acted.clone();
            let of = of.expect("called with the result of what never acted");
            assert_eq!(of.text(), wanted.trim_end_matches('}'));
        }
    }

    /// What the service makes of it; what does not come back may have been carried out or not.
    pub(super) fn answer(&mut self, plan: &Plan, asked: &Asked, how: u8) -> Answer {
        let identity = (!asked.plain).then(identity);
        let lost = || Answer::Unanswered { error: "no reply".to_owned() };
        let answer = match (how % 10, asked.verb) {
            (4, _) => {
                self.carry_out(plan, asked);
                return lost();
            }
            (6, _) => return lost(),
            (9, _) => return Answer::Unsent { error: "no room".to_owned() },
            (7, _) => ActAnswer::InProgress { retry_after_ms: Some(20) },
            (8, _) => ActAnswer::RetryLater { reason: "busy".to_owned() },
            (5, ActVerb::Act) => self.refuse(asked),
            (5, ActVerb::Compensate) => ActAnswer::Refused { refusal: refusal() },
            (_, _) => self.carry_out(plan, asked),
        };
        Answer::Acted { identity, answer }
    }

    /// Whether an operator can see that something has not acted, and keep it so.
    pub(super) fn is_seen_not_done(
        &mut self,
        gtid: Gtid,
        index: BranchIndex,
        verb: ActVerb,
    ) -> bool {
        let unit = self.unit(gtid, index);
        let so = verb == ActVerb::Act && unit.acted.is_none();
        unit.blocked |= so;
        so
    }

    fn refuse(&mut self, asked: &Asked) -> ActAnswer {
        let unit = self.unit(asked.gtid, asked.index);
        match &unit.acted {
            Some(result) => ActAnswer::Done { result: Some(result.clone()) },
            None => {
                unit.blocked = true;
                ActAnswer::Refused { refusal: refusal() }
            }
        }
    }

    pub(super) fn carry_out(&mut self, plan: &Plan, asked: &Asked) -> ActAnswer {
        let turned = self.turned.contains(&asked.gtid);
        let executions = self.executions + 1;
        let unit = self.unit(asked.gtid, asked.index);
        match asked.verb {
            ActVerb::Act if unit.blocked => ActAnswer::Refused { refusal: refusal() },
            ActVerb::Act => {
                if unit.acted.is_none() {
                    let class = plan.action(asked.index).unwrap().class;
                    assert!(
                        !turned || class == Class::Compensatable,
                        "the pivot acts too late"
                    );
                    unit.acted = Some(Json::from_value(&executions).unwrap());
                }
                let result = unit.acted.clone();
                self.executions = executions;
                ActAnswer::Done { result }
            }
            ActVerb::Compensate => {
                if unit.acted.is_some() {
                    unit.compensated = true;
                } else {
                    assert!(!asked.plain, "a plain service has no barrier");
                    unit.blocked = true;
                }
                ActAnswer::Done { result: None }
            }
        }
    }

    /// What the operator vouches for is so.
    pub(super) fn by_hand(&mut self, gtid: Gtid, index: BranchIndex, verb: ActVerb) {
        let unit = self.unit(gtid, index);
        match verb {
            ActVerb::Act => {
                let result = Json::from_value(&"by hand").unwrap();
                unit.blocked = false;
                unit.acted.get_or_insert(result);
            }
            ActVerb::Compensate => unit.compensated = true,
        }
    }

    /// Everything has ended: what was done stands, or was made good, but for what was given up.
    pub(super) fn check_ended(
        &mut self,
        gtid: Gtid,
        plan: &Plan,
        fate: Option<Fate>,
        given_up: &[BranchIndex],
    ) {
        for action in plan.actions().filter(|it| !given_up.contains(&it.index)) {
            let unit = self.unit(gtid, action.index);
            let what = format!("{gtid} {fate:?} {} {unit:?}", action.name);
            match fate {
                Some(Fate::Commit) => assert!(unit.acted.is_some(), "{what}: not done"),
                Some(Fate::Abort) => {
                    let stands = unit.acted.is_some() && !unit.compensated;
                    let may_stand = action.compensation == Compensation::Nothing
                        && action.class == Class::Compensatable;
                    assert!(!stands || may_stand, "{what}: not made good");
                }
                None => panic!("{what}: not decided"),
            }
        }
    }
}

fn refusal() -> Refusal {
    Refusal::new("no", "not now")
}

const REFERRED: &str = r#"{"of":"#;

/// Plans of every shape.
pub(super) fn shape(which: usize) -> Plan {
    let act = |name: &str, after: &str, more: &str| {
        format!(
            r#"{{"name":"{name}","after":[{after}]{more},"action":{{"participant":"p",
                "operation":"o","retry":{{"pause_ms":20,"attempts":0}}}}}}"#
        )
    };
    let refer = |name: &str, after: &str| {
        format!(
            r#"{{"name":"{name}","after":[{after}],"action":{{"participant":"p","operation":"o",
                "payload":{{"of":{{"$result":"a"}}}},
                "compensate_retry":{{"pause_ms":20,"attempts":2}}}}}}"#
        )
    };
    let plain = |name: &str, after: &str| {
        format!(
            r#"{{"name":"{name}","after":[{after}],"action":{{"participant":"q",
                "act":{{"path":"/do"}},"compensate":{{"path":"/mend"}},"deadline_ms":300,
                "retry":{{"pause_ms":20,"attempts":3}},
                "compensate_retry":{{"pause_ms":20,"attempts":2}}}}}}"#
        )
    };
    let only = |name: &str, after: &str, class: &str| {
        format!(
            r#"{{"name":"{name}","after":[{after}],"class":"{class}","action":{{
                "participant":"q","act":{{"path":"/do"}},
                "retry":{{"pause_ms":20,"attempts":2}}}}}}"#
        )
    };
    let group = |after: &str, mode: &str| {
        format!(
            r#"{{"name":"pay","after":[{after}],"group":{{"timeout_ms":200,"branches":[
                {{"name":"x","participant":"p","operation":"o"}},
                {{"name":"y","participant":"q","operation":"o","mode":"{mode}"}}]}}}}"#
        )
    };
    let message = |after: &str, delay: u64| {
        format!(
            r#"{{"name":"m","after":[{after}],"message":{{"delay_ms":{delay},"to":[
                {{"participant":"p","operation":"o"}},{{"participant":"q","operation":"o"}}]}}}}"#
        )
    };
    let local = r#"{"name":"own","group":{"branches":[
        {"name":"x","participant":"p","operation":"o","mode":"local"}]}}"#;
    let steps = match which % 9 {
        0 => vec![act("a", "", ""), refer("b", r#""a""#)],
        1 => vec![plain("a", ""), plain("b", r#""a""#)],
        2 => vec![plain("a", ""), act("b", "", ""), refer("c", r#""a","b""#)],
        3 => vec![
            act("a", "", ""),
            group(r#""a""#, "two_phase"),
            act("s", r#""pay""#, ""),
            message(r#""s""#, 0),
        ],
        4 => vec![
            plain("a", ""),
            only("b", r#""a""#, "pivot"),
            only("c", r#""b""#, "retriable"),
        ],
        5 => vec![message("", 70)],
        6 => vec![plain("a", ""), refer("b", r#""a""#), group(r#""b""#, "tcc")],
        7 => vec![local.to_owned(), message(r#""own""#, 0)],
        _ => vec![only("a", "", "pivot"), message(r#""a""#, 30)],
    };
    let json = format!(r#"{{"steps":[{}]}}"#, steps.join(","));
    let request: PlanRequest = serde_json::from_str(&json).unwrap();
    Plan::try_from(request).unwrap_or_else(|faults| panic!("{faults}: {json}"))
}
