//! The search for a server: each way in turn, until one is open.

use std::path::PathBuf;

use crate::account::Account;
use crate::binaries::{self, Binaries};
use crate::builder::Builder;
use crate::cluster::Cluster;
use crate::environment;
use crate::error::{NotFound, StartError};
use crate::existing::Existing;
use crate::fetch;
use crate::postgres::{Kind, Postgres};
use crate::source::Source;

/// Starts the first server that can be had, with the databases asked for.
pub(crate) async fn start(builder: Builder) -> Result<Postgres, StartError> {
    builder.settings.check()?;
    let postgres = Postgres::new(find(&builder).await?);
    for name in &builder.databases {
        postgres.create_database(name).await?;
    }
    Ok(postgres)
}

async fn find(builder: &Builder) -> Result<Kind, StartError> {
    let sources = match &builder.sources {
        Some(sources) => sources.clone(),
        None => environment::sources()?,
    };
    let mut tried = NotFound::new();
    for source in sources {
        let found = match source {
            Source::Url => visit(builder).await?,
            Source::Installed => installed(builder).await?,
            Source::Docker => container(builder).await?,
            Source::Fetched => fetched(builder).await?,
        };
        match found {
            Ok(kind) => return Ok(kind),
            Err(why) => tried.note(source.title(), why),
        }
    }
    Err(StartError::NotFound(tried))
}

/// A way that is closed says why, and the next one is tried. An error ends the search: it comes
/// from something that was asked for explicitly, or from a server that was found and failed.
type Found = Result<Result<Kind, String>, StartError>;

async fn visit(builder: &Builder) -> Found {
    if builder.private {
        return Ok(Err("a private server was asked for".to_owned()));
    }
    let (url, origin) = match &builder.server_url {
        Some(url) => (url.clone(), "`Builder::server_url`"),
        None => match environment::text(environment::URL) {
            Some(url) => (url, environment::URL),
            None => return Ok(Err(format!("{} is not set", environment::URL))),
        },
    };
    Ok(Ok(Kind::Existing(Existing::visit(&url, origin).await?)))
}

async fn installed(builder: &Builder) -> Found {
    let account = Account::choose().await?;
    let search = match (&builder.search_in, environment::path(environment::BIN)) {
        (Some(folders), _) => binaries::search(folders, false, &account).await,
        (None, Some(folder)) => {
            let found = Binaries::in_folder(&folder, &account)
                .await
                .map_err(|why| StartError::BadChoice { what: environment::BIN.to_owned(), why })?;
            Ok(found)
        }
        (None, None) => binaries::search(&environment::search_path(), true, &account).await,
    };
    run(search, account, builder).await
}

async fn fetched(builder: &Builder) -> Found {
    let account = Account::choose().await?;
    let Some(cache) = cache(builder, &account) else {
        return Ok(Err(format!(
            "no folder for them: set HOME or {}",
            environment::CACHE
        )));
    };
    let fetched = fetch::binaries(&cache, &account).await;
    run(fetched, account, builder).await
}

fn cache(builder: &Builder, account: &Account) -> Option<PathBuf> {
    let root = matches!(account, Account::Other { .. });
    builder
        .cache
        .clone()
        .or_else(|| environment::path(environment::CACHE))
        .or_else(|| environment::default_cache(root))
}

async fn run(found: Result<Binaries, String>, account: Account, builder: &Builder) -> Found {
    match found {
        Ok(binaries) => Ok(Ok(Kind::Own(
            Cluster::start(binaries, account, &builder.settings).await?,
        ))),
        Err(why) => Ok(Err(why)),
    }
}

#[cfg(feature = "docker")]
async fn container(builder: &Builder) -> Found {
    let started = crate::container::Container::start(&builder.settings).await;
    Ok(started.map(|container| Kind::Container(Box::new(container))))
}

#[cfg(not(feature = "docker"))]
async fn container(_: &Builder) -> Found {
    Ok(Err("this build has no feature `docker`".to_owned()))
}
