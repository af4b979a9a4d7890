//! `accordant config`.

use std::collections::BTreeMap;
use std::io::Write;

use super::arguments::{ConfigArguments, ConfigCommand};
use super::exit::Exit;
use crate::config::{Config, Faults, FileError, FileLayer, Layer, render_defaults};

/// Why a configuration was not shown or is wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfigError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the configuration is wrong:\n  {0}")]
    Faults(Faults),
    #[error("the output cannot be written")]
    Output(#[from] std::io::Error),
}

impl ConfigError {
    pub(super) const fn exit(&self) -> Exit {
        match self {
            Self::File(_) | Self::Faults(_) => Exit::Config,
            Self::Output(_) => Exit::Internal,
        }
    }
}

pub(super) fn config(arguments: ConfigArguments) -> Result<Exit, ConfigError> {
    let mut out = std::io::stdout().lock();
    if arguments.show_defaults {
        out.write_all(render_defaults().as_bytes())?;
    }
    if let Some(ConfigCommand::Check { config: path }) = arguments.command {
        let file = FileLayer::read(&path)?;
        let config = Config::resolve(Layer::default(), BTreeMap::new(), file);
        let config = config.map_err(ConfigError::Faults)?;
        let participants = config.settings.registry.len();
        writeln!(
            out,
            "{}: well; listen {}, journal {}, participants {participants}",
            path.display(),
            config.listen,
            config.journal,
        )?;
    }
    Ok(Exit::Ok)
}
