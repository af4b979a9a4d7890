//! The plans that are played, and what each must come to.

use serde_json::{Value, json};

/// What a plan is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Two plain steps and one by the contract, called with the first one's result.
    Chain,
    /// The last of three steps refuses.
    RefusedAtLast,
    /// A plain act is carried out, and its reply lost, again and again; then its attempts are used
    /// up.
    UnknownPlain,
    /// Two arms side by side, one of which refuses.
    Arms,
    /// Two banks pay as the pivot; then something that is away for a while, and a message.
    PaidByGroup,
    /// The group refuses.
    RefusedByGroup,
    /// A plain pivot whose reply is lost, and a step after it.
    PlainPivot,
    /// A two-phase and a TCC branch in one group.
    Mixed,
    /// Messages alone.
    Messages,
}

impl Form {
    pub(crate) const ALL: [Self; 9] = [
        Self::Chain,
        Self::RefusedAtLast,
        Self::UnknownPlain,
        Self::Arms,
        Self::PaidByGroup,
        Self::RefusedByGroup,
        Self::PlainPivot,
        Self::Mixed,
        Self::Messages,
    ];

    /// Whether it happens, with everything up.
    pub(crate) const fn happens(self) -> bool {
        match self {
            Self::Chain | Self::PaidByGroup | Self::PlainPivot | Self::Mixed | Self::Messages => {
                true
            }
            Self::RefusedAtLast | Self::UnknownPlain | Self::Arms | Self::RefusedByGroup => false,
        }
    }
}

impl Form {
    /// Whether it may happen when the coordinator dies: that its attempts are used up is forgotten
    /// unless the saga has turned back.
    pub(crate) const fn may_happen(self) -> bool {
        self.happens() || matches!(self, Self::UnknownPlain)
    }
}

/// One trip.
#[derive(Clone, Debug)]
pub(crate) struct Trip {
    pub(crate) key: String,
    pub(crate) form: Form,
}

/// Where a step is done, and what may become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    /// A compensatable step at the desk.
    Desk(&'static str),
    /// The pivot, at the desk.
    Pivot(&'static str),
    /// A step after the pivot, or a message, at the desk.
    Later(&'static str),
    /// A compensatable step at bank-a, with the number of its entries.
    Bank(i64),
    /// A step after the pivot, or a message, at bank-a.
    BankLater(i64),
    /// A TCC branch at bank-b.
    Reserved(i64),
    /// A two-phase debit of 5 at bank-a and credit at bank-b.
    Paid,
    /// A two-phase debit of 5 at bank-a.
    Debited,
}

pub(crate) const CENTS: i64 = 5;

impl Trip {
    /// The steps in their order.
    pub(crate) fn places(&self) -> Vec<Where> {
        use Where::{Bank, BankLater, Debited, Desk, Later, Paid, Pivot, Reserved};
        match self.form {
            Form::Chain => vec![Desk("one"), Desk("two"), Bank(103)],
            Form::RefusedAtLast => vec![Desk("one"), Bank(102), Desk("three")],
            Form::UnknownPlain => vec![Bank(101), Desk("two")],
            Form::Arms => vec![Desk("one"), Bank(102), Bank(103)],
            Form::PaidByGroup => vec![Bank(101), Paid, Later("ship"), BankLater(104)],
            Form::RefusedByGroup => vec![Desk("one"), Debited],
            Form::PlainPivot => vec![Bank(101), Pivot("buy"), Later("ship")],
            Form::Mixed => vec![Bank(101), Debited, Reserved(103)],
            Form::Messages => vec![Later("first"), BankLater(102)],
        }
    }

    fn desk(&self, step: &str, verb: &str, how: &str) -> Value {
        let path = format!("/{}/{step}/{verb}/{how}", self.key);
        json!({"path": path, "body": {"of": step}})
    }

    fn plain(&self, step: &str, how: &str) -> Value {
        json!({"participant": "desk", "act": self.desk(step, "act", how),
            "compensate": self.desk(step, "compensate", "lose-1"), "retry": {"pause_ms": 20},
            "compensate_retry": {"pause_ms": 20}})
    }

    fn only(&self, step: &str, how: &str) -> Value {
        json!({"participant": "desk", "act": self.desk(step, "act", how),
            "retry": {"pause_ms": 20, "pause_ms_max": 100}})
    }

    fn bank(&self, operation: &str, number: i64) -> Value {
        json!({"participant": "bank-a", "operation": operation,
            "payload": {"transfer": self.key, "account": number, "cents": 0},
            "retry": {"pause_ms": 20, "pause_ms_max": 200},
            "compensate_retry": {"pause_ms": 20, "pause_ms_max": 200, "attempts": 0}})
    }

    fn note(&self, number: i64) -> Value {
        json!({"participant": "bank-a", "operation": "note",
            "payload": {"transfer": self.key, "account": number, "cents": 0},
            "retry": {"pause_ms": 20, "pause_ms_max": 200}})
    }

    fn branch(&self, name: &str, bank: &str, operation: &str) -> Value {
        json!({"name": name, "participant": bank, "operation": operation,
            "payload": {"transfer": self.key, "account": 1, "cents": CENTS}})
    }

    pub(crate) fn steps(&self) -> Value {
        match self.form {
            Form::Chain => {
                let mut two = self.plain("two", "done");
                two["act"]["body"] = json!({"of": "two", "first": {"$result": "one#/id"}});
                json!([
                    {"name": "one", "action": self.plain("one", "lose-1")},
                    {"name": "two", "after": ["one"], "action": two},
                    {"name": "three", "after": ["two"], "action": self.bank("enter", 103)},
                ])
            }
            Form::RefusedAtLast => json!([
                {"name": "one", "action": self.plain("one", "done")},
                {"name": "two", "after": ["one"], "action": self.bank("enter", 102)},
                {"name": "three", "after": ["two"], "action": self.plain("three", "refuse")},
            ]),
            Form::UnknownPlain => {
                let mut two = self.plain("two", "lose-4");
                two["retry"] = json!({"pause_ms": 10, "attempts": 2});
                json!([
                    {"name": "one", "action": self.bank("enter", 101)},
                    {"name": "two", "after": ["one"], "action": two},
                ])
            }
            Form::Arms => json!([
                {"name": "one", "action": self.plain("one", "away-1")},
                {"name": "two", "action": self.bank("enter", 102)},
                {"name": "three", "after": ["two"], "action": self.bank("deny", 103)},
            ]),
            Form::PaidByGroup => json!([
                {"name": "one", "action": self.bank("enter", 101)},
                {"name": "pay", "after": ["one"], "group": {"branches": [
                    self.branch("debit", "bank-a", "debit"), self.branch("credit", "bank-b", "credit")]}},
                {"name": "ship", "after": ["pay"], "action": self.only("ship", "away-2")},
                {"name": "tell", "after": ["ship"], "message": {"to": [self.note(104)]}},
            ]),
            Form::RefusedByGroup => json!([
                {"name": "one", "action": self.plain("one", "done")},
                {"name": "pay", "after": ["one"], "group": {"branches": [
                    self.branch("debit", "bank-a", "debit"), self.branch("credit", "bank-b", "refuse")]}},
            ]),
            Form::PlainPivot => json!([
                {"name": "one", "action": self.bank("enter", 101)},
                {"name": "buy", "after": ["one"], "class": "pivot",
                    "action": self.only("buy", "lose-2")},
                {"name": "ship", "after": ["buy"], "action": self.only("ship", "busy-1")},
            ]),
            Form::Mixed => {
                let mut hold = self.branch("hold", "bank-b", "hold");
                hold["mode"] = json!("tcc");
                hold["payload"]["account"] = json!(103);
                json!([
                    {"name": "one", "action": self.bank("enter", 101)},
                    {"name": "pay", "after": ["one"], "group": {"branches": [
                        self.branch("debit", "bank-a", "debit"), hold]}},
                ])
            }
            Form::Messages => json!([
                {"name": "tell", "message": {"to": [self.only("first", "away-1"), self.note(102)]}},
            ]),
        }
    }
}
