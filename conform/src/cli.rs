//! `accordant conform`: for the binary, which only passes its arguments on.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use accordant_protocol::id::{OperationName, ParticipantName};
use accordant_protocol::json::Json;
use accordant_protocol::limits::CALL_BYTES_MAX;
use accordant_protocol::plan::ActionRequest;
use clap::Args;
use http::Uri;

use crate::checks::checks;
use crate::limits::{DUPLICATES_DEFAULT, PATIENCE_MS_DEFAULT, TIMEOUT_MS_DEFAULT};
use crate::options::{Operation, Options, OptionsError, Plain};
use crate::run::{RunError, run};
use crate::seed::{Seed, SeedError};

/// What can be typed behind `accordant conform`.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// The address below which the service answers, as it is registered at a coordinator. Use a test
    /// instance: operations are carried out, and what is committed stays.
    #[arg(long, value_name = "URL", required_unless_present = "list")]
    participant: Option<Uri>,
    /// The name by which the service goes.
    #[arg(long, value_name = "NAME", default_value = "service")]
    name: ParticipantName,
    /// Test this operation as an action with a compensation.
    #[arg(long, value_name = "OPERATION")]
    act: Option<OperationName>,
    /// Test this operation as a two-phase branch. It must write something.
    #[arg(long, value_name = "OPERATION")]
    two_phase: Option<OperationName>,
    /// Test this operation as a TCC branch.
    #[arg(long, value_name = "OPERATION")]
    tcc: Option<OperationName>,
    /// A payload that these operations carry out, each time they are asked: JSON, or @FILE.
    #[arg(long, value_name = "JSON", default_value = "null")]
    payload: Text,
    /// A payload that they refuse for reasons of business: JSON, or @FILE.
    #[arg(long, value_name = "JSON")]
    refused: Option<Text>,
    /// Test plain endpoints: an action as in a plan, with `act` and `compensate`, as JSON or @FILE.
    #[arg(long, value_name = "JSON")]
    plain: Option<Text>,
    /// A body of the plain act that is refused: JSON, or @FILE.
    #[arg(long, value_name = "JSON", requires = "plain")]
    plain_refused: Option<Text>,
    /// A path below the address whose GET shows what the operations change and nothing else, such as
    /// a balance. Without it only answers are seen, not effects.
    #[arg(long, value_name = "PATH")]
    state: Option<String>,
    /// Only checks whose id begins so. May be repeated.
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Repeat a run: the seed that it printed.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<Seed>,
    /// How long one call may take.
    #[arg(long, value_name = "MS", default_value_t = TIMEOUT_MS_DEFAULT)]
    timeout_ms: u64,
    /// How long a question is asked again while the answer is to ask again.
    #[arg(long, value_name = "MS", default_value_t = PATIENCE_MS_DEFAULT)]
    patience_ms: u64,
    /// How many calls are sent at once where repeats meet each other.
    #[arg(long, value_name = "NUMBER", default_value_t = DUPLICATES_DEFAULT)]
    duplicates: usize,
    /// Rules that should be kept count as much as those that must.
    #[arg(long)]
    strict: bool,
    /// Print JSON, for programs.
    #[arg(long)]
    json: bool,
    /// Show all checks, and call nobody.
    #[arg(long)]
    list: bool,
}

/// A text, or the name of a file that holds it.
#[derive(Clone, Debug)]
enum Text {
    Inline(String),
    File(PathBuf),
}

impl FromStr for Text {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.strip_prefix('@') {
            Some(file) => Self::File(file.into()),
            None => Self::Inline(text.to_owned()),
        })
    }
}

/// Why nothing was tested.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConformError {
    /// A text is not the JSON that it should be.
    #[error("{flag} is not of its form")]
    Json {
        /// Which.
        flag: &'static str,
        /// Why not.
        source: serde_json::Error,
    },
    /// A file cannot be read.
    #[error("the file of {flag}, {}, cannot be read", .path.display())]
    File {
        /// Which flag.
        flag: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The options do not fit together.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// No seed.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// Nothing answers.
    #[error("{0}")]
    Unreachable(String),
    /// The report cannot be written.
    #[error("the output cannot be written")]
    Output(#[from] std::io::Error),
}

/// How a run has ended, for an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The service keeps the contract.
    Holds,
    /// It does not; the report says where.
    Broken,
}

/// Carries out `accordant conform`: tests the service and prints the report to standard output.
///
/// # Cancel safety
/// Dropping the future may leave behind what the check at work has begun.
///
/// # Errors
/// [`ConformError`] if nothing was tested, or nothing could be printed.
pub async fn conform(arguments: Arguments) -> Result<Ending, ConformError> {
    if arguments.list {
        list()?;
        return Ok(Ending::Holds);
    }
    let (strict, json) = (arguments.strict, arguments.json);
    let options = options(arguments)?;
    let report = run(&options).await.map_err(|error| match error {
        RunError::Options(error) => ConformError::Options(error),
        unreachable @ RunError::Unreachable { .. } => {
            ConformError::Unreachable(unreachable.to_string())
        }
    })?;
    let text = if json { report.json() } else { report.text() };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", text.trim_end())?;
    Ok(if report.holds(strict) {
        Ending::Holds
    } else {
        Ending::Broken
    })
}

fn list() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for check in checks() {
        writeln!(out, "{:<32} {}", check.id, check.requires)?;
    }
    Ok(())
}

fn options(arguments: Arguments) -> Result<Options, ConformError> {
    let payload = json("--payload", arguments.payload)?;
    let refused = arguments
        .refused
        .map(|text| json("--refused", text))
        .transpose()?;
    let operation = |name: Option<OperationName>| {
        let (payload, refused) = (payload.clone(), refused.clone());
        name.map(|name| Operation { name, payload, refused })
    };
    let plain_refused = arguments
        .plain_refused
        .map(|text| json("--plain-refused", text));
    let plain = match arguments.plain {
        Some(text) => {
            let request = plain_action(&json("--plain", text)?);
            let form = |source| ConformError::Json { flag: "--plain", source };
            Some(Plain::new(
                request.map_err(form)?,
                plain_refused.transpose()?,
            )?)
        }
        None => None,
    };
    let seed = arguments.seed.map_or_else(Seed::fresh, Ok)?;
    let base = arguments.participant.ok_or(OptionsError::Base)?;
    Ok(Options {
        act: operation(arguments.act),
        two_phase: operation(arguments.two_phase),
        tcc: operation(arguments.tcc),
        plain,
        state: arguments.state,
        timeout: Duration::from_millis(arguments.timeout_ms),
        patience: Duration::from_millis(arguments.patience_ms),
        duplicates: arguments.duplicates,
        only: arguments.only,
        ..Options::new(base, arguments.name, seed)
    })
}

/// An action as in a plan; here it need not say whose it is.
fn plain_action(text: &Json) -> Result<ActionRequest, serde_json::Error> {
    let mut fields: BTreeMap<String, Json> = text.to()?;
    let service = Json::from_value("service")?;
    fields.entry("participant".to_owned()).or_insert(service);
    Json::from_value(&fields)?.to()
}

fn json(flag: &'static str, text: Text) -> Result<Json, ConformError> {
    let text = match text {
        Text::Inline(text) => text,
        Text::File(path) => {
            let read = read_bounded(&path);
            read.map_err(|source| ConformError::File { flag, path, source })?
        }
    };
    Json::from_text(text.trim().to_owned()).map_err(|source| ConformError::Json { flag, source })
}

/// No payload is larger, and a device has no end.
fn read_bounded(path: &std::path::Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let bytes_max = u64::try_from(CALL_BYTES_MAX).unwrap_or(u64::MAX);
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(bytes_max)
        .read_to_string(&mut text)?;
    Ok(text)
}
