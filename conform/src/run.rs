//! Carries the checks out, one after the other, and cleans up after each.

use accordant_protocol::limits::CALL_BYTES_MAX;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use crate::check::{Check, Failure, Outcome, Stop, Verdict};
use crate::checks::checks;
use crate::cleanup::end_all;
use crate::clock::Stopwatch;
use crate::http::{Http, Request, Silence, describe};
use crate::limits::SILENT_MAX;
use crate::options::{Options, OptionsError};
use crate::report::{CheckReport, Report};
use crate::session::{Session, look};
use crate::witness::Witness;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Change the options.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// Start the service, or give another address.
    #[error("nothing answers at {base}: {why}")]
    Unreachable {
        /// Where.
        base: String,
        /// What the attempt came to.
        why: String,
    },
}

/// Carries out all checks that the options ask for.
///
/// Every call has a time limit, every reply is read up to a bound, and redirects are not followed, so
/// this ends whatever the service does. What a check has begun is compensated, aborted or cancelled
/// before the next one; [`Report::leftovers`] names what could not be.
///
/// # Cancel safety
/// Dropping the future may leave behind what the check at work has begun.
///
/// # Errors
/// [`RunError`]: no check was carried out.
pub async fn run(options: &Options) -> Result<Report, RunError> {
    options.check()?;
    let http = Http::new(options.base.clone(), options.timeout);
    reach(&http, options).await?;
    see_state(&http, options).await?;
    let witness = Witness::default();
    let mut report = Report::new(options);
    let mut silent = 0;
    for check in checks().filter(|check| is_asked_for(check, options)) {
        if silent >= SILENT_MAX {
            let why = format!("the last {SILENT_MAX} checks got no answer");
            report.push(CheckReport::new(check, Outcome::Skipped { why }, 0));
            continue;
        }
        let session = Session::new(options, &http, &witness, check.id);
        let since = Stopwatch::start();
        let verdict = (check.run)(&session).await;
        let failed = matches!(&verdict, Err(Stop::Failed { silent: true, .. }));
        let has_none = failed && !session.was_answered();
        let outcome = outcome(&session, verdict);
        report.push(CheckReport::new(check, outcome, since.elapsed_ms()));
        silent = if has_none { silent + 1 } else { 0 };
        report.leftovers.extend(end_all(&session).await);
    }
    Ok(report)
}

fn is_asked_for(check: &Check, options: &Options) -> bool {
    let named = options.only.is_empty() || options.only.iter().any(|it| check.id.starts_with(it));
    named && options.has(check.area)
}

/// Whether anything is there, whatever it answers.
async fn reach(http: &Http, options: &Options) -> Result<(), RunError> {
    let request = Request {
        method: Method::GET,
        path: "/".to_owned(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        reply_bytes_max: CALL_BYTES_MAX,
    };
    match http.send(request).await {
        Err(silence @ (Silence::Connection(_) | Silence::Request(_))) => {
            let (base, why) = (options.base.to_string(), silence.to_string());
            Err(RunError::Unreachable { base, why })
        }
        // The checks find out what else is wrong.
        Ok(_) | Err(Silence::Timeout(_) | Silence::Body(_)) => Ok(()),
    }
}

/// Whether the state is shown at all: a path with a slip in it would make every check of effects
/// worthless.
async fn see_state(http: &Http, options: &Options) -> Result<(), OptionsError> {
    let Some(path) = &options.state else {
        return Ok(());
    };
    let came = match http.send(look(path)).await {
        Ok(response) if response.status != StatusCode::OK => describe(&response),
        Err(silence @ Silence::Request(_)) => silence.to_string(),
        // The checks find out what else is wrong.
        Ok(_) | Err(Silence::Connection(_) | Silence::Timeout(_) | Silence::Body(_)) => {
            return Ok(());
        }
    };
    Err(OptionsError::StateUnseen { path: path.clone(), came })
}

fn outcome(session: &Session<'_>, verdict: Verdict) -> Outcome {
    match verdict {
        Ok(()) => Outcome::Passed,
        Err(Stop::Skipped(why)) => Outcome::Skipped { why },
        Err(Stop::Failed { expected, came, .. }) => {
            Outcome::Failed(Failure { expected, came, exchanges: session.exchanges() })
        }
    }
}
