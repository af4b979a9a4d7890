//! Sagas that are halfway when the coordinator changes: how each gets there, what is done by hand
//! afterwards, and what must have happened in the end.

use serde_json::{Value, json};

use super::stage::Stage;
use super::trip::CENTS;

/// A saga that stands still until it is let go on.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) key: String,
    pub(crate) steps: Value,
    /// Where it is before the coordinator changes.
    pub(crate) halfway: Halfway,
    /// What is done by hand before that.
    pub(crate) before: Option<ByHand>,
    /// What is done by hand after that.
    pub(crate) after: Option<ByHand>,
    pub(crate) outcome: &'static str,
    /// What takes effect at the desk: all acts, and then what is made good in its order.
    pub(crate) executed: Vec<String>,
    /// What the entries at each bank come to.
    pub(crate) sums: [i64; 2],
}

/// What tells that a scene is halfway.
#[derive(Clone, Debug)]
pub(crate) enum Halfway {
    /// The desk was asked for this.
    Called(&'static str, &'static str),
    /// Its action of this number is stuck.
    Stuck(usize),
    /// Its action of this number was tried in vain.
    Tried(usize),
    /// Its branch of this number was told to prepare.
    Preparing(usize),
    /// It has turned back, and nobody has heard that it was made good.
    TurnedBack,
}

/// What people do about the first action.
#[derive(Clone, Debug)]
pub(crate) enum ByHand {
    /// The service calls back.
    CallBack(Value),
    /// An operator decides about what it was told.
    Resolve(&'static str, Value),
}

/// For ever, or until the desk lets go.
const PATIENT: u32 = 0;

fn acts(steps: impl IntoIterator<Item = usize>) -> Vec<String> {
    let acts = steps.into_iter().map(|number| format!("act s{number}"));
    acts.collect()
}

fn chain(actions: Vec<Value>) -> Value {
    let steps = actions.into_iter().enumerate().map(|(number, work)| {
        let after: Vec<String> = (0..number)
            .rev()
            .take(1)
            .map(|it| format!("s{it}"))
            .collect();
        let kind = if work.get("branches").is_some() {
            "group"
        } else if work.get("to").is_some() {
            "message"
        } else {
            "action"
        };
        json!({"name": format!("s{number}"), "after": after, kind: work})
    });
    Value::Array(steps.collect())
}

/// A step at the desk that is made good however long that takes.
fn desk(key: &str, number: usize, act: &str, compensate: &str) -> Value {
    let mut action = Stage::plain(key, &format!("s{number}"), act, compensate);
    action["compensate_retry"]["attempts"] = json!(PATIENT);
    action
}

/// A step at the desk that has no way back.
fn only(key: &str, number: usize, act: &str) -> Value {
    let path = Stage::path(key, &format!("s{number}"), "act", act);
    json!({"participant": "desk", "act": {"path": path},
        "retry": {"pause_ms": 20, "pause_ms_max": 100}})
}

/// An entry at the bank that is in trouble.
fn entry(key: &str, retry: Value) -> Value {
    let more = json!({"timeout_ms": 300, "retry": retry});
    Stage::bank(key, "bank-b", "enter", 7, more)
}

/// From an account of its own: what is prepared keeps it locked.
fn paid(key: &str, account: i64, at_b: &str, mode: &str) -> Value {
    let payload = json!({"transfer": key, "account": account, "cents": CENTS});
    json!({"timeout_ms": 30_000, "branches": [
        {"name": "a", "participant": "bank-a", "operation": "debit", "payload": payload},
        {"name": "b", "participant": "bank-b", "operation": at_b, "payload": payload,
            "mode": mode}]})
}

fn patient() -> Value {
    json!({"pause_ms": 20, "pause_ms_max": 100})
}

impl Scene {
    /// Every scene, with keys of its own for each round.
    pub(crate) fn all(round: &str) -> Vec<Self> {
        let mut all = Vec::new();
        all.extend((0..4).map(|step| Self::refused(round, step)));
        all.extend((0..3).map(|step| Self::made_good(round, step)));
        for verb in ["retry", "done", "skip", "abandon"] {
            all.push(Self::resolved_after(round, verb));
        }
        // To abandon would end it at once.
        for verb in ["done", "skip"] {
            all.push(Self::resolved_before(round, verb));
        }
        all.extend([
            Self::done(round),
            Self::away(round),
            Self::unheard(round),
            Self::called_back(round),
            Self::arms(round),
            Self::pivot(round),
            Self::pivot_not_done(round),
            Self::paid(round),
            Self::reserved(round),
            Self::pivot_refused(round),
            Self::stuck_after_the_pivot(round),
            Self::message(round),
        ]);
        all
    }

    fn new(key: String, steps: Value, halfway: Halfway) -> Self {
        Self {
            key,
            steps,
            halfway,
            before: None,
            after: None,
            outcome: "aborted",
            executed: Vec::new(),
            sums: [0, 0],
        }
    }

    /// Three steps, the second of which has not been done yet and is called with the first one's
    /// result.
    fn done(round: &str) -> Self {
        let key = format!("{round}-done");
        let mut second = desk(&key, 1, "until-done", "done");
        second["act"]["body"] = json!({"first": {"$result": "s0#/id"}});
        let third = json!({"payload": {"transfer": key, "cents": 0,
            "account": {"$result": "s0#/id"}}});
        let third = Stage::bank(&key, "bank-a", "enter", 0, third);
        let steps = chain(vec![desk(&key, 0, "done", "done"), second, third]);
        let executed = acts(0..2);
        let scene = Self::new(key, steps, Halfway::Called("s1", "act"));
        Self { outcome: "committed", executed, sums: [1, 0], ..scene }
    }

    /// This step refuses, once the coordinator has changed.
    fn refused(round: &str, refusing: usize) -> Self {
        const NAMES: [&str; 4] = ["s0", "s1", "s2", "s3"];
        let key = format!("{round}-refused-{refusing}");
        let how = |number| {
            if number == refusing {
                "until-refuse"
            } else {
                "done"
            }
        };
        let actions = (0..4).map(|number| desk(&key, number, how(number), "done"));
        let steps = chain(actions.collect());
        let mut executed = acts(0..refusing);
        executed.extend((0..refusing).rev().map(|it| format!("compensate s{it}")));
        let name = NAMES.get(refusing).copied().unwrap_or("s3");
        Self {
            executed,
            ..Self::new(key, steps, Halfway::Called(name, "act"))
        }
    }

    /// The last step has refused, and this one is not made good yet.
    fn made_good(round: &str, waiting: usize) -> Self {
        const NAMES: [&str; 3] = ["s0", "s1", "s2"];
        let key = format!("{round}-made-good-{waiting}");
        let how = |number| {
            if number == waiting {
                "until-done"
            } else {
                "done"
            }
        };
        let actions = (0..3).map(|number| desk(&key, number, "done", how(number)));
        let actions = actions.chain([desk(&key, 3, "refuse", "done")]);
        let steps = chain(actions.collect());
        let mut executed = acts(0..3);
        executed.extend((0..3).rev().map(|it| format!("compensate s{it}")));
        let name = NAMES.get(waiting).copied().unwrap_or("s2");
        Self {
            executed,
            ..Self::new(key, steps, Halfway::Called(name, "compensate"))
        }
    }

    /// A step is at a bank that is in trouble.
    fn away(round: &str) -> Self {
        let key = format!("{round}-away");
        let actions = vec![entry(&key, patient()), desk(&key, 1, "done", "done")];
        let steps = chain(actions);
        let scene = Self::new(key, steps, Halfway::Tried(0));
        Self {
            outcome: "committed",
            executed: acts([1]),
            sums: [0, 1],
            ..scene
        }
    }

    /// The attempts at a bank in trouble are used up, and it is made good unheard: it has not acted,
    /// has acted, or will be asked to act when it is too late.
    fn unheard(round: &str) -> Self {
        let key = format!("{round}-unheard");
        let few = json!({"pause_ms": 10, "attempts": 2});
        let steps = chain(vec![entry(&key, few)]);
        Self::new(key, steps, Halfway::TurnedBack)
    }

    /// A service is at it, and calls back.
    fn called_back(round: &str) -> Self {
        let key = format!("{round}-called-back");
        let first = desk(&key, 0, "busy-1000000", "done");
        let actions = vec![first, desk(&key, 1, "done", "done")];
        let steps = chain(actions);
        let after = Some(ByHand::CallBack(json!({"done": {"result": {"id": 9}}})));
        let scene = Self::new(key, steps, Halfway::Called("s0", "act"));
        Self { after, outcome: "committed", executed: acts([1]), ..scene }
    }

    /// An operator decides after the change about what was stuck before.
    fn resolved_after(round: &str, verb: &str) -> Self {
        let key = format!("{round}-then-{verb}");
        let mut first = desk(&key, 0, "done", "until-done");
        first["compensate_retry"]["attempts"] = json!(2);
        let steps = chain(vec![first, desk(&key, 1, "refuse", "done")]);
        let mut executed = acts([0]);
        executed.extend((verb == "retry").then(|| "compensate s0".to_owned()));
        let scene = Self::new(key, steps, Halfway::Stuck(0));
        Self {
            after: Some(resolution("compensate", verb)),
            outcome: end_after(verb),
            executed,
            ..scene
        }
    }

    /// An operator has decided about one step while another is not made good yet.
    fn resolved_before(round: &str, verb: &str) -> Self {
        let key = format!("{round}-first-{verb}");
        let mut given_up = desk(&key, 0, "done", "away-1000000");
        given_up["compensate_retry"]["attempts"] = json!(2);
        let other = desk(&key, 1, "done", "until-done");
        let last = desk(&key, 2, "refuse", "done");
        let steps = json!([
            {"name": "s0", "action": given_up},
            {"name": "s1", "action": other},
            {"name": "s2", "after": ["s0", "s1"], "action": last},
        ]);
        let mut executed = acts(0..2);
        executed.push("compensate s1".to_owned());
        let scene = Self::new(key, steps, Halfway::Stuck(0));
        Self {
            before: Some(resolution("compensate", verb)),
            outcome: end_after(verb),
            executed,
            ..scene
        }
    }

    /// Two arms side by side: one has refused, and of the other it is not known whether it acted.
    fn arms(round: &str) -> Self {
        let key = format!("{round}-arms");
        let bank = |operation, number| Stage::bank(&key, "bank-a", operation, number, json!({}));
        let steps = json!([
            {"name": "s0", "action": desk(&key, 0, "until-done", "done")},
            {"name": "s1", "action": bank("enter", 1)},
            {"name": "s2", "after": ["s1"], "action": bank("deny", 2)},
        ]);
        let executed = vec!["act s0".to_owned(), "compensate s0".to_owned()];
        Self {
            executed,
            ..Self::new(key, steps, Halfway::Called("s0", "act"))
        }
    }

    /// A plain pivot has been asked for, and nobody knows whether it has passed.
    fn pivot(round: &str) -> Self {
        let key = format!("{round}-pivot");
        let first = Stage::bank(&key, "bank-a", "enter", 1, json!({}));
        let actions = vec![first, only(&key, 1, "until-done"), only(&key, 2, "done")];
        let mut steps = chain(actions);
        steps[1]["class"] = json!("pivot");
        let scene = Self::new(key, steps, Halfway::Called("s1", "act"));
        Self {
            outcome: "committed",
            executed: acts(1..3),
            sums: [1, 0],
            ..scene
        }
    }

    /// Nobody knows whether the pivot has passed, until an operator sees that it has not.
    fn pivot_not_done(round: &str) -> Self {
        let key = format!("{round}-not-done");
        let mut pivot = only(&key, 0, "away-1000000");
        pivot["retry"]["attempts"] = json!(2);
        // First in the plan, so that it is the action of number 0.
        let steps = json!([
            {"name": "s0", "class": "pivot", "after": ["s1"], "action": pivot},
            {"name": "s1", "action": desk(&key, 1, "done", "done")},
        ]);
        let scene = Self::new(key, steps, Halfway::Stuck(0));
        let executed = vec!["act s1".to_owned(), "compensate s1".to_owned()];
        Self {
            after: Some(resolution("act", "not_done")),
            executed,
            ..scene
        }
    }

    /// Two banks pay as the pivot, one of which is in trouble.
    fn paid(round: &str) -> Self {
        let key = format!("{round}-paid");
        let group = paid(&key, 1, "credit", "two_phase");
        let actions = vec![desk(&key, 0, "done", "done"), group, only(&key, 2, "done")];
        let steps = chain(actions);
        let scene = Self::new(key, steps, Halfway::Preparing(1));
        let (executed, sums) = (acts([0, 2]), [-CENTS, CENTS]);
        Self { outcome: "committed", executed, sums, ..scene }
    }

    /// One bank pays, and the other, which is in trouble, holds a reservation of its own.
    fn reserved(round: &str) -> Self {
        let key = format!("{round}-reserved");
        let actions = vec![desk(&key, 0, "done", "done"), paid(&key, 2, "hold", "tcc")];
        let steps = chain(actions);
        let scene = Self::new(key, steps, Halfway::Preparing(1));
        Self {
            outcome: "committed",
            executed: acts([0]),
            sums: [-CENTS, 1],
            ..scene
        }
    }

    /// The bank that is in trouble will refuse.
    fn pivot_refused(round: &str) -> Self {
        let key = format!("{round}-pivot-refused");
        let group = paid(&key, 3, "refuse", "two_phase");
        let steps = chain(vec![desk(&key, 0, "done", "done"), group]);
        let executed = vec!["act s0".to_owned(), "compensate s0".to_owned()];
        Self { executed, ..Self::new(key, steps, Halfway::Preparing(1)) }
    }

    /// What comes after the pivot refuses, so that an operator must do it.
    fn stuck_after_the_pivot(round: &str) -> Self {
        let key = format!("{round}-after-the-pivot");
        // First in the plan, so that it is the action of number 0.
        let steps = json!([
            {"name": "s0", "after": ["s1"], "action": only(&key, 0, "refuse")},
            {"name": "s1", "class": "pivot", "action": only(&key, 1, "done")},
            {"name": "s2", "after": ["s0"], "message": {"to": [only(&key, 2, "done")]}},
        ]);
        let scene = Self::new(key, steps, Halfway::Stuck(0));
        let after = Some(resolution("act", "done"));
        Self { after, outcome: "committed", executed: acts([1, 2]), ..scene }
    }

    /// The target of a message is not there.
    fn message(round: &str) -> Self {
        let key = format!("{round}-message");
        let message = json!({"to": [only(&key, 0, "until-done"), only(&key, 0, "until-done")]});
        let steps = chain(vec![message]);
        let executed = acts([0, 0]);
        let scene = Self::new(key, steps, Halfway::Called("s0", "act"));
        Self { outcome: "committed", executed, ..scene }
    }
}

fn resolution(of: &'static str, verb: &str) -> ByHand {
    let resolution = match verb {
        "done" => json!({"done": {}}),
        verb => json!(verb),
    };
    ByHand::Resolve(of, resolution)
}

/// What was given up is never a success.
fn end_after(verb: &str) -> &'static str {
    match verb {
        "skip" | "abandon" => "heuristic",
        _ => "aborted",
    }
}
