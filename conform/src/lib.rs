//! A nasty coordinator: it plays repeats, reordering, a compensation before its act, late calls and
//! rubbish against a service, and reports which rules of the contract the service breaks.
//!
//! The service may be written in any language; the kit knows it by its address alone. The rules are
//! those of `docs/participants.md` (for plain endpoints: of `docs/modes.md`), and [`checks`] lists
//! how each is tested. Run it against a test instance: operations are carried out for real, and what
//! is committed stays.
//!
//! | module | what it answers for |
//! |---|---|
//! | `options` | what is tested: which ways of working, which operations, with what |
//! | `check` | one rule, and what came of it |
//! | `checks` | all of them |
//! | `run` | carries them out, one after the other |
//! | `cleanup` | ends what a check has begun |
//! | `session`, `action`, `branch`, `endpoint`, `witness` | calls, and what is remembered of them |
//! | `http` | one request, bounded in time and size |
//! | `report` | what came of all |
//! | `cli` | `accordant conform` |

mod action;
mod branch;
mod check;
mod checks;
mod cleanup;
mod cli;
mod clock;
mod endpoint;
mod http;
mod limits;
mod options;
mod report;
mod run;
mod seed;
mod session;
mod witness;

pub use accordant_protocol as protocol;
pub use check::{Area, Check, Exchange, Failure, Level, Outcome};
pub use checks::checks;
pub use cli::{Arguments, ConformError, Ending, conform};
pub use options::{Operation, Options, OptionsError, Plain};
pub use report::{CheckReport, Report, Sum};
pub use run::{RunError, run};
pub use seed::{Seed, SeedError};
