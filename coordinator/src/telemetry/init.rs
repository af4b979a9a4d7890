//! Starting the log and the recorder of the metrics, once per process.

use std::io::IsTerminal;
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::task::JoinHandle;
use tracing_subscriber::EnvFilter;

use super::catalogue;
use crate::config::LogFormat;

/// Bounds of the histograms of times: from a forced write on a fast disk to a participant that was
/// away for minutes.
const SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0, 300.0,
];

/// Bounds of the histogram of batch sizes, up to the largest batch.
const ENTRIES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// How often the histograms take in what was recorded; until then it is kept value by value.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Why the log or the recorder did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The filter is none.
    #[error("the log filter cannot be used")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The process has a recorder already, or the bounds are none.
    #[error("the recorder of the metrics did not start")]
    Recorder(#[from] BuildError),
}

/// Writes log lines to standard error, those that the filter lets pass. Does nothing in a process
/// that has a log already.
///
/// # Errors
/// [`TelemetryError::Filter`].
pub fn start_log(filter: &str, format: LogFormat) -> Result<(), TelemetryError> {
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(filter)?)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // An error says that a program which embeds the coordinator has a log of its own.
    let _has_one = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).with_ansi(false).try_init(),
    };
    Ok(())
}

/// Starts to record what the process measures. Follow with [`spawn_upkeep`].
///
/// # Errors
/// [`TelemetryError::Recorder`].
pub fn start_metrics() -> Result<PrometheusHandle, TelemetryError> {
    let handle = builder()?.install_recorder()?;
    catalogue::describe();
    Ok(handle)
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(
            Matcher::Full("accordant_log_batch_size".to_owned()),
            ENTRIES,
        )
}

/// Lets the histograms take in what was recorded, every five seconds, until it is aborted.
///
/// # Panics
/// Outside a tokio runtime.
pub fn spawn_upkeep(handle: PrometheusHandle) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP_EVERY);
        loop {
            ticks.tick().await;
            handle.run_upkeep();
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_batches_become_histograms_with_bounds() {
        let recorder = builder().unwrap().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            catalogue::describe();
            metrics::histogram!("accordant_log_flush_seconds").record(0.003);
            metrics::histogram!("accordant_log_batch_size").record(3.0);
        });
        let page = recorder.handle().render();
        assert!(
            page.contains("accordant_log_flush_seconds_bucket{le=\"0.005\"} 1"),
            "{page}"
        );
        assert!(
            page.contains("accordant_log_batch_size_bucket{le=\"2\"} 0"),
            "{page}"
        );
        assert!(
            page.contains("# HELP accordant_log_flush_seconds Time of one flush"),
            "{page}"
        );
    }
}
