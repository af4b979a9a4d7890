//! A service of a demo, in a process of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use accordant_participant::{Builder, Participant};
use accordant_testbed::process::{end_with_parent, tell_ready};
use anyhow::Context as _;
use axum::Router;
use clap::Args;
use tokio::net::TcpListener;

use crate::diary::Diary;
use crate::verdict;

/// What a service needs to know.
#[derive(Args, Clone, Debug)]
pub struct ServiceArguments {
    /// Its name as a participant.
    #[arg(long)]
    pub name: String,
    /// Its database.
    #[arg(long)]
    pub database: String,
    /// The coordinator.
    #[arg(long)]
    pub coordinator: String,
    /// Where to listen.
    #[arg(long)]
    pub listen: SocketAddr,
    /// Written once it serves.
    #[arg(long)]
    pub ready_file: PathBuf,
    /// Where it writes down what it was asked and has said.
    #[arg(long)]
    pub diary: Option<PathBuf>,
    /// How long each call waits before it is worked on, in milliseconds.
    #[arg(long, default_value_t = 0)]
    pub work_ms: u64,
}

/// Serves until the demo ends: a role's `main`.
pub fn run(arguments: &ServiceArguments, build: impl FnOnce(Builder) -> Builder) -> ExitCode {
    run_with(arguments, build, |_| Ok(Router::new()))
}

/// The same, with routes of the service's own beside those of the contract.
pub fn run_with(
    arguments: &ServiceArguments,
    build: impl FnOnce(Builder) -> Builder,
    routes: impl FnOnce(&Participant) -> anyhow::Result<Router>,
) -> ExitCode {
    end_with_parent();
    verdict::finish(serve(arguments, build, routes).map(|()| true))
}

fn serve(
    arguments: &ServiceArguments,
    build: impl FnOnce(Builder) -> Builder,
    routes: impl FnOnce(&Participant) -> anyhow::Result<Router>,
) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    let name = &arguments.name;
    let builder = Participant::builder(name)
        .database(&arguments.database)
        .coordinator(&arguments.coordinator);
    let builder = build(builder);
    let runtime = tokio::runtime::Runtime::new().context("the runtime did not start")?;
    runtime.block_on(async {
        let participant = builder.connect().await;
        let participant = participant.with_context(|| format!("{name} did not start"))?;
        let listener = TcpListener::bind(arguments.listen).await?;
        let address = listener.local_addr()?.to_string();
        tell_ready(&arguments.ready_file, &address)?;
        match &arguments.diary {
            None => participant.serve(listener).await,
            Some(path) => {
                let work = Duration::from_millis(arguments.work_ms);
                let router = Diary::open(name, path)?.around(participant.router(), work);
                let router = router.merge(routes(&participant)?);
                let service = router.into_make_service_with_connect_info::<SocketAddr>();
                axum::serve(listener, service).await
            }
        }
        .with_context(|| format!("{name} ended"))
    })
}
