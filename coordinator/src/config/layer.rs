//! The settings as one source gives them: any of them may be missing.

use std::net::SocketAddr;

use clap::{Args, Command};
use serde::{Deserialize, Serialize};

use super::checked::LogFormat;
use super::journal::SecretText;
use crate::driver::Settings;
use crate::journal::limits::PARTITIONS_DEFAULT;

/// What one source says: the flags with the environment, a file, or the defaults.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Layer {
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(
        long,
        env = "ACCORDANT_LISTEN",
        hide_env_values = true,
        value_name = "ADDRESS"
    )]
    pub listen: Option<SocketAddr>,
    /// The address at which participants reach this coordinator: where plain services are told to
    /// call back.
    #[arg(
        long,
        env = "ACCORDANT_PUBLIC_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub public_url: Option<String>,
    /// Listen on an address other than loopback, without authentication and TLS.
    #[arg(long, env = "ACCORDANT_INSECURE", hide_env_values = true, value_name = "BOOL",
        num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = clap::builder::BoolishValueParser::new())]
    pub insecure: Option<bool>,
    /// Where decisions are kept: sqlite:PATH, postgres://USER@HOST/DATABASE or memory:.
    #[arg(
        long,
        env = "ACCORDANT_JOURNAL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub journal: Option<SecretText>,
    /// The name of the cluster, 1 to 8 lower-case letters and digits; part of every transaction's id.
    #[arg(
        long,
        env = "ACCORDANT_CLUSTER",
        hide_env_values = true,
        value_name = "NAME"
    )]
    pub cluster: Option<String>,
    /// How many partitions a new journal gets, for ever; an old journal must have as many.
    #[arg(
        long,
        env = "ACCORDANT_PARTITIONS",
        hide_env_values = true,
        value_name = "N"
    )]
    pub partitions: Option<u16>,
    /// The name of this process as an owner of partitions, unique among those that run; made of host
    /// name and address unless given.
    #[arg(
        long,
        env = "ACCORDANT_OWNER",
        hide_env_values = true,
        value_name = "NAME"
    )]
    pub owner: Option<String>,
    /// What is logged: a level, or a filter such as info,accordant_coordinator=debug.
    #[arg(
        long,
        env = "ACCORDANT_LOG",
        hide_env_values = true,
        value_name = "FILTER"
    )]
    pub log: Option<String>,
    /// How it is logged.
    #[arg(
        long,
        env = "ACCORDANT_LOG_FORMAT",
        hide_env_values = true,
        value_name = "FORMAT"
    )]
    pub log_format: Option<LogFormat>,
    /// Threads of work, each with a part of the partitions; one per core, at most 8, unless given.
    #[arg(
        long,
        env = "ACCORDANT_SHARDS",
        hide_env_values = true,
        value_name = "N"
    )]
    pub shards: Option<u32>,
    /// Transactions that may be open; more are refused with 429.
    #[arg(
        long,
        env = "ACCORDANT_OPEN_MAX",
        hide_env_values = true,
        value_name = "N"
    )]
    pub open_max: Option<u32>,
    /// Branches that may be open at one participant. Keep it below max_prepared_transactions of its
    /// database.
    #[arg(
        long,
        env = "ACCORDANT_PARTICIPANT_OPEN_MAX",
        hide_env_values = true,
        value_name = "N"
    )]
    pub participant_open_max: Option<u32>,
    /// Prepare calls that are out at one participant at a time.
    #[arg(
        long,
        env = "ACCORDANT_PREPARES_MAX",
        hide_env_values = true,
        value_name = "N"
    )]
    pub prepares_max: Option<u32>,
    /// Commit and abort calls that are out at one participant at a time; each carries many branches.
    #[arg(
        long,
        env = "ACCORDANT_FINISHES_MAX",
        hide_env_values = true,
        value_name = "N"
    )]
    pub finishes_max: Option<u32>,
    /// Calls to act or to make good that are out at one participant at a time.
    #[arg(
        long,
        env = "ACCORDANT_ACTS_MAX",
        hide_env_values = true,
        value_name = "N"
    )]
    pub acts_max: Option<u32>,
    /// Connections to each participant that are kept open while nothing is sent.
    #[arg(
        long,
        env = "ACCORDANT_IDLE_CONNECTIONS_MAX",
        hide_env_values = true,
        value_name = "N"
    )]
    pub idle_connections_max: Option<u32>,
    /// How long one prepare call may take; the transaction's deadline may end it earlier.
    #[arg(
        long,
        env = "ACCORDANT_PREPARE_TIMEOUT_MS",
        hide_env_values = true,
        value_name = "MS"
    )]
    pub prepare_timeout_ms: Option<u64>,
    /// How long one commit or abort call may take.
    #[arg(
        long,
        env = "ACCORDANT_FINISH_TIMEOUT_MS",
        hide_env_values = true,
        value_name = "MS"
    )]
    pub finish_timeout_ms: Option<u64>,
    /// How long a lease on a partition runs without renewal: a crashed owner's stand still as long.
    #[arg(
        long,
        env = "ACCORDANT_LEASE_MS",
        hide_env_values = true,
        value_name = "MS"
    )]
    pub lease_ms: Option<u32>,
    /// How long a request may wait for its transaction.
    #[arg(
        long,
        env = "ACCORDANT_WAIT_MAX_MS",
        hide_env_values = true,
        value_name = "MS"
    )]
    pub wait_max_ms: Option<u64>,
    /// How long a shutdown waits for open transactions; the next start finishes the others.
    #[arg(
        long,
        env = "ACCORDANT_DRAIN_MAX_MS",
        hide_env_values = true,
        value_name = "MS"
    )]
    pub drain_max_ms: Option<u64>,
    /// How long ended transactions are kept: at least as far back as a participant's database may
    /// ever be restored.
    #[arg(
        long,
        env = "ACCORDANT_RETENTION_S",
        hide_env_values = true,
        value_name = "SECONDS"
    )]
    pub retention_s: Option<u64>,
}

/// A key: its name in the file, its help, and its environment variable.
pub(super) struct Key {
    pub(super) name: String,
    pub(super) help: String,
    pub(super) variable: String,
}

impl Layer {
    /// Every key, in the order of the fields.
    pub(super) fn keys() -> Vec<Key> {
        let command = Self::augment_args(Command::new("keys"));
        let arguments = command.get_arguments();
        arguments
            .map(|argument| Key {
                name: argument.get_id().to_string(),
                help: argument
                    .get_help()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                variable: argument
                    .get_env()
                    .map(|it| it.to_string_lossy().into_owned())
                    .unwrap_or_default(),
            })
            .collect()
    }

    /// What holds where nothing else is said. Empty are the keys whose default is not one value.
    #[must_use]
    pub fn defaults() -> Self {
        let settings = Settings::new(crate::delivery::Registry::default(), String::new());
        let delivery = settings.delivery;
        let ms = |duration: std::time::Duration| u64::try_from(duration.as_millis()).ok();
        Self {
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 7650))),
            public_url: None,
            insecure: Some(false),
            journal: Some(SecretText::new("sqlite:accordant.db".to_owned())),
            cluster: Some("acc".to_owned()),
            partitions: None,
            owner: None,
            log: Some("info".to_owned()),
            log_format: Some(LogFormat::Text),
            shards: None,
            open_max: u32::try_from(settings.open_max).ok(),
            participant_open_max: u32::try_from(settings.participant_open_max).ok(),
            prepares_max: u32::try_from(delivery.prepares_max).ok(),
            finishes_max: u32::try_from(delivery.finishes_max).ok(),
            acts_max: u32::try_from(delivery.acts_max).ok(),
            idle_connections_max: Some(64),
            prepare_timeout_ms: ms(delivery.prepare_timeout),
            finish_timeout_ms: ms(delivery.finish_timeout),
            lease_ms: Some(settings.lease_ms),
            wait_max_ms: ms(settings.wait_max),
            drain_max_ms: ms(settings.drain_max),
            retention_s: Some(settings.retention.as_secs()),
        }
    }

    /// In words, the default of a key that has no single one.
    pub(super) fn computed_default(key: &str) -> Option<String> {
        match key {
            "partitions" => Some(format!("{PARTITIONS_DEFAULT}, or what the journal has")),
            "public_url" => Some("none: only the path is told".to_owned()),
            "owner" => Some("host name and address".to_owned()),
            "shards" => Some("one per core, at most 8".to_owned()),
            _ => None,
        }
    }

    /// This layer, with what it leaves open taken from another.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            listen: self.listen.or(other.listen),
            public_url: self.public_url.or(other.public_url),
            insecure: self.insecure.or(other.insecure),
            journal: self.journal.or(other.journal),
            cluster: self.cluster.or(other.cluster),
            partitions: self.partitions.or(other.partitions),
            owner: self.owner.or(other.owner),
            log: self.log.or(other.log),
            log_format: self.log_format.or(other.log_format),
            shards: self.shards.or(other.shards),
            open_max: self.open_max.or(other.open_max),
            participant_open_max: self.participant_open_max.or(other.participant_open_max),
            prepares_max: self.prepares_max.or(other.prepares_max),
            finishes_max: self.finishes_max.or(other.finishes_max),
            acts_max: self.acts_max.or(other.acts_max),
            idle_connections_max: self.idle_connections_max.or(other.idle_connections_max),
            prepare_timeout_ms: self.prepare_timeout_ms.or(other.prepare_timeout_ms),
            finish_timeout_ms: self.finish_timeout_ms.or(other.finish_timeout_ms),
            lease_ms: self.lease_ms.or(other.lease_ms),
            wait_max_ms: self.wait_max_ms.or(other.wait_max_ms),
            drain_max_ms: self.drain_max_ms.or(other.drain_max_ms),
            retention_s: self.retention_s.or(other.retention_s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_flag_a_variable_help_and_a_default_in_value_or_in_words() {
        let defaults = serde_json::to_value(Layer::defaults()).unwrap();
        let defaults = defaults.as_object().unwrap();
        let keys = Layer::keys();
        assert_eq!(keys.len(), defaults.len());
        for key in keys {
            let variable = format!("ACCORDANT_{}", key.name.to_uppercase());
            assert_eq!(key.variable, variable);
            assert!(!key.help.is_empty(), "{}", key.name);
            let value = !defaults[&key.name].is_null();
            assert_ne!(
                value,
                Layer::computed_default(&key.name).is_some(),
                "{}",
                key.name
            );
        }
    }

    #[test]
    fn a_layer_leaves_to_the_next_what_it_does_not_say_and_nothing_else() {
        let defaults = Layer::defaults();
        assert_eq!(Layer::default().or(defaults.clone()), defaults);
        let full = Layer {
            partitions: Some(3),
            owner: Some("me".into()),
            public_url: Some("http://me".into()),
            shards: Some(2),
            open_max: Some(9),
            ..defaults.clone()
        };
        assert_eq!(full.clone().or(defaults), full);
        assert_eq!(Layer::default().or(full.clone()), full);
    }
}
