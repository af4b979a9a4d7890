//! A configuration that holds together.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use accordant_protocol::id::{Cluster, ParticipantName};
use accordant_protocol::limits::PARTITIONS_MAX;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use super::file::FileLayer;
use super::journal::{JournalUrl, SecretText};
use super::layer::Layer;
use super::{Fault, Faults};
use crate::delivery::{DeliveryConfig, HttpTransport, Registry};
use crate::driver::Settings;
use crate::journal::store::OwnerId;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// How a coordinator is to run. Every value has been checked.
#[derive(Clone)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Whether an address other than loopback may be listened on.
    pub insecure: bool,
    /// Where the journal is.
    pub journal: JournalUrl,
    /// Whose journal it is.
    pub cluster: Cluster,
    /// How many partitions a new journal gets.
    pub partitions: Option<u16>,
    /// The owner's name, if it is given.
    pub owner: Option<String>,
    /// What is logged.
    pub log: String,
    /// How.
    pub log_format: LogFormat,
    /// How the coordinator runs; the owner's name in it is empty unless it was given.
    pub settings: Settings,
}

/// The participants are shown by name; the journal without its password.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("insecure", &self.insecure)
            .field("journal", &self.journal)
            .field("cluster", &self.cluster)
            .field("participants", &self.settings.registry)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Puts the sources together, flags and environment first, then the file, then the defaults.
    /// A participant in `flags` stands in for the one of the same name in the file.
    ///
    /// # Errors
    /// [`Faults`]: all that were found.
    pub fn resolve(
        flags: Layer,
        participants: BTreeMap<String, String>,
        file: FileLayer,
    ) -> Result<Self, Faults> {
        let layer = flags.or(file.settings).or(Layer::defaults());
        let mut all = file.participants;
        all.extend(participants);
        let mut check = Check::default();
        let config = check.config(layer, all);
        match config {
            Some(config) if check.faults.is_empty() => Ok(config),
            Some(_) | None => Err(Faults(check.faults)),
        }
    }
}

/// Collects faults, so that all are reported at once.
#[derive(Default)]
struct Check {
    faults: Vec<Fault>,
}

impl Check {
    fn config(&mut self, layer: Layer, participants: BTreeMap<String, String>) -> Option<Config> {
        let registry = self.registry(participants);
        let journal = self.take("journal", layer.journal.as_ref(), JournalUrl::parse);
        let cluster = self.take("cluster", layer.cluster.as_ref(), |it| Cluster::new(it));
        let log = self.take("log", layer.log.as_ref(), |it| {
            EnvFilter::try_new(it).map(|_| it.clone())
        });
        if let Some(owner) = &layer.owner {
            self.take("owner", Some(owner), |it| OwnerId::new(it));
        }
        let partitions = layer.partitions;
        let partitions = partitions.map(|it| self.range("partitions", it, 1..=PARTITIONS_MAX));
        let settings = self.settings(&layer, registry)?;
        Some(Config {
            listen: layer.listen?,
            insecure: layer.insecure?,
            journal: journal?,
            cluster: cluster?,
            partitions,
            owner: layer.owner,
            log: log?,
            log_format: layer.log_format?,
            settings,
        })
    }

    fn settings(&mut self, layer: &Layer, registry: Registry) -> Option<Settings> {
        let defaults = Settings::new(registry, layer.owner.clone().unwrap_or_default());
        let shards = layer.shards.map(|it| self.count("shards", it, 1..=64));
        let idle = self.count(
            "idle_connections_max",
            layer.idle_connections_max?,
            0..=10_000,
        );
        let delivery = DeliveryConfig {
            prepare_timeout: self.ms(
                "prepare_timeout_ms",
                layer.prepare_timeout_ms?,
                10..=HOUR_MS,
            ),
            finish_timeout: self.ms("finish_timeout_ms", layer.finish_timeout_ms?, 10..=HOUR_MS),
            prepares_max: self.count("prepares_max", layer.prepares_max?, 1..=10_000),
            finishes_max: self.count("finishes_max", layer.finishes_max?, 1..=1_000),
            acts_max: self.count("acts_max", layer.acts_max?, 1..=10_000),
        };
        let public_url = self.take("public_url", layer.public_url.as_ref(), |it| public_url(it));
        Some(Settings {
            transport: Arc::new(HttpTransport::new(idle)),
            delivery,
            public_url,
            shards: shards.unwrap_or(defaults.shards),
            open_max: self.count("open_max", layer.open_max?, 1..=10_000_000),
            participant_open_max: self.count(
                "participant_open_max",
                layer.participant_open_max?,
                1..=10_000_000,
            ),
            lease_ms: self.range("lease_ms", layer.lease_ms?, 300..=600_000),
            wait_max: self.ms("wait_max_ms", layer.wait_max_ms?, 10..=HOUR_MS),
            drain_max: self.ms("drain_max_ms", layer.drain_max_ms?, 0..=HOUR_MS),
            retention: self.seconds(
                "retention_s",
                layer.retention_s?,
                RETENTION_S_MIN..=CENTURY_S,
            ),
            ..defaults
        })
    }

    fn registry(&mut self, participants: BTreeMap<String, String>) -> Registry {
        let mut registry = Registry::default();
        for (name, address) in participants {
            let path = format!("participants.{name}");
            match ParticipantName::new(&name) {
                Err(error) => self
                    .faults
                    .push(Fault::new(path, format!("the name {error}"))),
                Ok(name) => {
                    if let Err(error) = registry.register(name, &address) {
                        let shown = SecretText::new(address);
                        let problem = format!("the address {shown:?} {error}");
                        self.faults.push(Fault::new(path, problem));
                    }
                }
            }
        }
        registry
    }

    fn take<V, T, E: fmt::Display>(
        &mut self,
        path: &str,
        value: Option<&V>,
        read: impl FnOnce(&V) -> Result<T, E>,
    ) -> Option<T> {
        match read(value?) {
            Ok(read) => Some(read),
            Err(error) => {
                self.faults.push(Fault::new(path, error));
                None
            }
        }
    }

    fn range<T: Copy + PartialOrd + fmt::Display>(
        &mut self,
        path: &str,
        value: T,
        range: RangeInclusive<T>,
    ) -> T {
        if !range.contains(&value) {
            let (least, most) = (range.start(), range.end());
            let problem = format!("{value} is not between {least} and {most}");
            self.faults.push(Fault::new(path, problem));
        }
        value
    }

    fn count(&mut self, path: &str, value: u32, range: RangeInclusive<u32>) -> usize {
        usize::try_from(self.range(path, value, range)).unwrap_or(usize::MAX)
    }

    fn ms(&mut self, path: &str, value: u64, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.range(path, value, range))
    }

    fn seconds(&mut self, path: &str, value: u64, range: RangeInclusive<u64>) -> Duration {
        Duration::from_secs(self.range(path, value, range))
    }
}

/// A base address in visible ASCII, so that it can stand in a header.
fn public_url(text: &str) -> Result<String, &'static str> {
    let form = "must be http://HOST[:PORT][/PATH] or https://..., without user and query";
    let uri: http::Uri = text.parse().map_err(|_| form)?;
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    let authority = uri.authority().map_or("", |it| it.as_str());
    if !known || uri.host().is_none_or(str::is_empty) || authority.contains('@') {
        return Err(form);
    }
    if uri.query().is_some() || text.contains('#') {
        return Err(form);
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// A longer time for one call or one wait is a mistake of units.
const HOUR_MS: u64 = 60 * 60 * 1000;

/// For ever, for all purposes, and far from the end of the clock.
const CENTURY_S: u64 = 100 * 365 * 24 * 60 * 60;
/// Twice the longest time for voting: what may still be asked about must not be old enough to go.
const RETENTION_S_MIN: u64 = 2 * 60 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn participants(name: &str, address: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), address.to_owned())])
    }

    fn resolve(flags: Layer) -> Result<Config, Faults> {
        Config::resolve(flags, BTreeMap::new(), FileLayer::default())
    }

    #[test]
    fn nothing_at_all_is_a_configuration() {
        let config = resolve(Layer::default()).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:7650");
        assert_eq!(config.journal.to_string(), "sqlite:accordant.db");
        assert!(!config.insecure);
    }

    #[test]
    fn flags_come_before_the_file_and_the_file_before_the_defaults() {
        let flags = Layer { open_max: Some(1), ..Layer::default() };
        let settings = Layer { open_max: Some(2), prepares_max: Some(3), ..Layer::default() };
        let mut both = participants("bank", "http://file");
        both.extend(participants("shop", "http://file"));
        let file = FileLayer { settings, participants: both };
        let config = Config::resolve(flags, participants("bank", "http://flag"), file).unwrap();
        assert_eq!(
            (
                config.settings.open_max,
                config.settings.delivery.prepares_max
            ),
            (1, 3)
        );
        assert_eq!(config.settings.delivery.finishes_max, 8);
        let addresses = config
            .settings
            .registry
            .iter()
            .map(|(_, it)| it.to_string());
        assert_eq!(
            addresses.collect::<Vec<_>>(),
            ["http://flag/", "http://file/"]
        );
    }

    #[test]
    fn every_fault_is_reported_at_once_with_its_path() {
        let flags = Layer {
            cluster: Some("Not a name".into()),
            journal: Some(SecretText::new("mysql://u:hush@h".into())),
            partitions: Some(0),
            lease_ms: Some(1),
            log: Some("a=b=c".into()),
            owner: Some(String::new()),
            ..Layer::default()
        };
        let mut wrong = participants("bank", "https://u:hush@bank");
        wrong.extend(participants("no name", "http://b"));
        let faults = Config::resolve(flags, wrong, FileLayer::default()).unwrap_err();
        let paths: Vec<_> = faults.0.iter().map(|fault| fault.path.as_str()).collect();
        let expected = [
            "participants.bank",
            "participants.no name",
            "journal",
            "cluster",
            "log",
            "owner",
            "partitions",
            "lease_ms",
        ];
        assert_eq!(paths, expected);
        assert!(!faults.to_string().contains("hush"), "{faults}");
    }
}
