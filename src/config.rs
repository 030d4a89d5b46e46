//! Configuration: flags, then environment, then one TOML file, then defaults.
//!
//! [`SETTINGS`] is the one table of all keys. The flags, the environment's names, the
//! keys of the file, `--help` and the documentation are all made from it.

use clap::{Arg, ArgMatches, Command, error::Error as ClapError};
use goodword_core::text::WebUrl;
use ipnet::IpNet;
use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
};

/// The name of the configuration file in the data folder.
pub const FILE_NAME: &str = "goodword.toml";

/// What the program was told. Everything else lives in the database.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    pub data: PathBuf,
    pub database_url: Option<String>,
    pub listen: SocketAddr,
    /// Without a slash at the end. [`Config::public_url`] has a value in any case.
    public_url: Option<String>,
    pub trusted_proxies: Vec<IpNet>,
    pub connections_max: usize,
    pub connections_per_address_max: usize,
    pub rate_limit_per_minute: u32,
    pub compat_limit_per_minute: u32,
    pub form_limit_per_minute: u32,
    pub visit_ip_days: u32,
    pub delivery_days: u32,
    /// Networks that webhooks may reach although they are not of the public internet.
    pub allow_networks: Vec<IpNet>,
    pub secret_key: Option<String>,
    pub secret_key_file: Option<PathBuf>,
    pub metrics_token: Option<String>,
    pub log: String,
    pub log_format: LogFormat,
    pub otlp_endpoint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for a terminal, JSON for everything else.
    Auto,
    Text,
    Json,
}

/// One key of the configuration.
pub struct Setting {
    /// In the file; `--flag` and `GOODWORD_ENVIRONMENT` are made from it.
    pub key: &'static str,
    pub group: Group,
    /// What stands for the value in the help: `--listen <ADDRESS>`.
    pub value_name: &'static str,
    /// In words where it is not a value.
    pub default: &'static str,
    pub help: &'static str,
    /// Secrets have no flag: every user of the machine can read the arguments of a process.
    pub secret: bool,
    set: fn(&mut Config, &str) -> Result<(), String>,
}

/// Which commands care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    Data,
    Server,
    Limits,
    Secrets,
    Observation,
}

impl Group {
    pub const fn title(self) -> &'static str {
        match self {
            Group::Data => "Data",
            Group::Server => "Server",
            Group::Limits => "Limits",
            Group::Secrets => "Secrets",
            Group::Observation => "Observation",
        }
    }
}

impl Setting {
    pub fn flag(&self) -> String {
        self.key.replace('_', "-")
    }

    pub fn environment(&self) -> String {
        format!("GOODWORD_{}", self.key.to_ascii_uppercase())
    }
}

/// Every key, in the order of the help.
pub static SETTINGS: &[Setting] = &[
    Setting {
        key: "data",
        group: Group::Data,
        value_name: "DIR",
        default: "goodword-data",
        help: "Folder of the database, its keys and goodword.toml",
        secret: false,
        set: |config, text| text_value(text).map(|text| config.data = text.into()),
    },
    Setting {
        key: "database_url",
        group: Group::Data,
        value_name: "URL",
        default: "a SQLite file in the data folder",
        help: "postgres://user:password@host/database; DATABASE_URL is read as well",
        secret: false,
        set: |config, text| {
            let known = ["postgres://", "postgresql://", "sqlite:"].iter().any(|scheme| text.starts_with(scheme));
            if !known {
                return Err("an address that begins with postgres:// or sqlite:".into());
            }
            config.database_url = Some(text.into());
            Ok(())
        },
    },
    Setting {
        key: "listen",
        group: Group::Server,
        value_name: "ADDRESS",
        default: "127.0.0.1:8080",
        help: "Address and port to listen on; port 0 takes a free one",
        secret: false,
        set: |config, text| {
            let address = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
            parse(&address, "an address and a port like 127.0.0.1:8080 or [::]:8080").map(|listen| config.listen = listen)
        },
    },
    Setting {
        key: "public_url",
        group: Group::Server,
        value_name: "URL",
        default: "http:// and the address that is listened on",
        help: "Where people reach this server; links, e-mails and the API reference begin with it",
        secret: false,
        set: |config, text| {
            let url: WebUrl = parse(text, "an address like https://refer.example.com")?;
            let root = url.as_str().trim_end_matches('/');
            // Pages, their forms and cookies begin at the root of the host.
            if root.splitn(4, '/').count() > 3 || root.contains(['?', '#']) {
                return Err("an address without a path, since Goodword needs a host name of its own, like https://refer.example.com".into());
            }
            config.public_url = Some(root.to_owned());
            Ok(())
        },
    },
    Setting {
        key: "trusted_proxies",
        group: Group::Server,
        value_name: "NETWORKS",
        default: "none",
        help: "Proxies whose X-Forwarded-For or Forwarded is believed: 10.0.0.0/8,127.0.0.1",
        secret: false,
        set: |config, text| {
            let networks = text.split(',').map(str::trim).filter(|network| !network.is_empty()).map(network);
            networks.collect::<Result<_, _>>().map(|proxies| config.trusted_proxies = proxies)
        },
    },
    Setting {
        key: "connections_max",
        group: Group::Limits,
        value_name: "NUMBER",
        default: "10000",
        help: "Open connections; more wait until one is closed",
        secret: false,
        set: |config, text| number(text, 1, 1_000_000).map(|n| config.connections_max = n as usize),
    },
    Setting {
        key: "connections_per_address_max",
        group: Group::Limits,
        value_name: "NUMBER",
        default: "1024",
        help: "Open connections from one address that is not a trusted proxy",
        secret: false,
        set: |config, text| number(text, 1, 1_000_000).map(|n| config.connections_per_address_max = n as usize),
    },
    Setting {
        key: "rate_limit_per_minute",
        group: Group::Limits,
        value_name: "NUMBER",
        default: "6000",
        help: "Requests of one API key to one node in a minute; 0 is no limit",
        secret: false,
        set: |config, text| number(text, 0, 10_000_000).map(|n| config.rate_limit_per_minute = n),
    },
    Setting {
        key: "compat_limit_per_minute",
        group: Group::Limits,
        value_name: "NUMBER",
        default: "600",
        help: "Requests of one API key to /api/v1, /api/v2 and /api/n8n in a minute; 0 is no limit",
        secret: false,
        set: |config, text| number(text, 0, 10_000_000).map(|n| config.compat_limit_per_minute = n),
    },
    Setting {
        key: "form_limit_per_minute",
        group: Group::Limits,
        value_name: "NUMBER",
        default: "30",
        help: "Public forms sent from one address in a minute; 0 is no limit",
        secret: false,
        set: |config, text| number(text, 0, 10_000_000).map(|n| config.form_limit_per_minute = n),
    },
    Setting {
        key: "visit_ip_days",
        group: Group::Data,
        value_name: "DAYS",
        default: "30",
        help: "Days after which the network address of a visit is forgotten; 0 never keeps it",
        secret: false,
        set: |config, text| number(text, 0, 3_650).map(|n| config.visit_ip_days = n),
    },
    Setting {
        key: "delivery_days",
        group: Group::Data,
        value_name: "DAYS",
        default: "30",
        help: "Days after which the log of a webhook delivery is forgotten",
        secret: false,
        set: |config, text| number(text, 7, 3_650).map(|n| config.delivery_days = n),
    },
    Setting {
        key: "allow_networks",
        group: Group::Server,
        value_name: "NETWORKS",
        default: "none",
        help: "Networks that webhooks may reach beside the public internet: 127.0.0.0/8,10.0.0.0/8",
        secret: false,
        set: |config, text| {
            let networks = text.split(',').map(str::trim).filter(|network| !network.is_empty()).map(network);
            networks.collect::<Result<_, _>>().map(|networks| config.allow_networks = networks)
        },
    },
    Setting {
        key: "secret_key_file",
        group: Group::Secrets,
        value_name: "FILE",
        default: "secret.key in the data folder, made when it is needed",
        help: "File with the key that encrypts stored credentials",
        secret: false,
        set: |config, text| text_value(text).map(|text| config.secret_key_file = Some(text.into())),
    },
    Setting {
        key: "secret_key",
        group: Group::Secrets,
        value_name: "KEY",
        default: "read from the secret key file",
        help: "The key itself, for environments without files",
        secret: true,
        set: |config, text| text_value(text).map(|text| config.secret_key = Some(text)),
    },
    Setting {
        key: "metrics_token",
        group: Group::Secrets,
        value_name: "TOKEN",
        default: "none: /metrics answers the local network only",
        help: "Bearer token that opens /metrics from anywhere",
        secret: true,
        set: |config, text| text_value(text).map(|text| config.metrics_token = Some(text)),
    },
    Setting {
        key: "log",
        group: Group::Observation,
        value_name: "LEVELS",
        default: "info",
        help: "error, warn, info, debug or trace; also by part: info,goodword::http=debug",
        secret: false,
        set: |config, text| {
            parse::<tracing_subscriber::EnvFilter>(text, "levels like info or info,goodword::http=debug")?;
            config.log = text.to_owned();
            Ok(())
        },
    },
    Setting {
        key: "log_format",
        group: Group::Observation,
        value_name: "FORMAT",
        default: "auto",
        help: "text, json, or auto: text for a terminal and JSON for everything else",
        secret: false,
        set: |config, text| parse(text, "auto, text or json").map(|format| config.log_format = format),
    },
    Setting {
        key: "otlp_endpoint",
        group: Group::Observation,
        value_name: "URL",
        default: "none",
        help: "Where traces are sent as OTLP over HTTP: http://localhost:4318 (built with --features otel)",
        secret: false,
        set: |config, text| {
            let url: WebUrl = parse(text, "an address like http://localhost:4318")?;
            config.otlp_endpoint = Some(url.as_str().trim_end_matches('/').to_owned());
            Ok(())
        },
    },
];

/// What is wrong with the configuration, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct ConfigError {
    /// `--listen`, `GOODWORD_LISTEN`, `goodword.toml`.
    pub place: String,
    pub problem: String,
}

impl ConfigError {
    fn new(place: impl fmt::Display, problem: impl Into<String>) -> Self {
        Self { place: place.to_string(), problem: problem.into() }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: "goodword-data".into(),
            database_url: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: None,
            trusted_proxies: Vec::new(),
            connections_max: 10_000,
            connections_per_address_max: 1_024,
            rate_limit_per_minute: 6_000,
            compat_limit_per_minute: 600,
            form_limit_per_minute: 30,
            visit_ip_days: 30,
            delivery_days: 30,
            allow_networks: Vec::new(),
            secret_key: None,
            secret_key_file: None,
            metrics_token: None,
            log: "info".into(),
            log_format: LogFormat::Auto,
            otlp_endpoint: None,
        }
    }
}

/// Secrets stay out of logs.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("data", &self.data).field("listen", &self.listen).finish_non_exhaustive()
    }
}

impl Config {
    /// Flags, environment, file and defaults together.
    #[expect(clippy::disallowed_methods, reason = "this is where settings come from")]
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        Self::gather(flags, |name| std::env::var(name).ok())
    }

    fn gather(flags: &Flags, environment: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let told = |setting: &Setting| -> Option<(String, String)> {
            let by_flag = flags.values.get(setting.key).map(|text| (format!("--{}", setting.flag()), text.clone()));
            let by_name = |name: String| environment(&name).filter(|text| !text.is_empty()).map(|text| (name, text));
            by_flag.or_else(|| by_name(setting.environment())).or_else(|| by_name("DATABASE_URL".into()).filter(|_| setting.key == "database_url"))
        };
        let apply = |config: &mut Self, setting: &Setting, place: &str, text: &str| {
            (setting.set)(config, text).map_err(|expected| {
                let found = if setting.secret || setting.key.ends_with("_url") { String::new() } else { format!(", found {text:?}") };
                ConfigError::new(place, format!("expected {expected}{found}"))
            })
        };

        let mut config = Self::default();
        // The data folder first: the file may lie there.
        for setting in SETTINGS.iter().filter(|setting| setting.key == "data") {
            if let Some((place, text)) = told(setting) {
                apply(&mut config, setting, &place, &text)?;
            }
        }
        let explicit = flags.file.clone().or_else(|| environment("GOODWORD_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from));
        let path = explicit.clone().unwrap_or_else(|| config.data.join(FILE_NAME));
        if let Some(text) = read_file(&path, explicit.is_some())? {
            let place = path.display().to_string();
            for (setting, value) in read_toml(&place, &text)? {
                apply(&mut config, setting, &format!("{place}: {}", setting.key), &value)?;
            }
        }
        for setting in SETTINGS {
            if let Some((place, text)) = told(setting) {
                apply(&mut config, setting, &place, &text)?;
            }
        }
        Ok(config)
    }

    /// Where people reach this server, without a slash at the end.
    pub fn public_url(&self) -> String {
        self.public_url.clone().unwrap_or_else(|| self.local_url())
    }

    /// Where programs on this machine reach this server.
    pub fn local_url(&self) -> String {
        let ip = self.listen.ip();
        let ip = if !ip.is_unspecified() {
            ip
        } else if ip.is_ipv6() {
            IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])
        } else {
            IpAddr::from([127, 0, 0, 1])
        };
        format!("http://{}", SocketAddr::new(ip, self.listen.port()))
    }

    /// Which addresses webhooks may reach.
    pub fn guard(&self) -> crate::delivery::Guard {
        crate::delivery::Guard::new(self.allow_networks.clone()).with_own(self.listen, &self.public_url())
    }

    /// The file with the secret key; `None` where the key itself is a setting.
    pub fn secret_key_path(&self) -> Option<PathBuf> {
        self.secret_key.is_none().then(|| self.secret_key_file.clone().unwrap_or_else(|| self.data.join("secret.key")))
    }

    /// The keys that secrets are sealed with; their file is made where there is none.
    pub fn vault(&self) -> Result<crate::engine::vault::Vault, ConfigError> {
        use crate::engine::vault::Vault;
        match self.secret_key_path() {
            None => Vault::from_text(self.secret_key.as_deref().unwrap_or_default()).map_err(|problem| ConfigError::new("secret_key", problem)),
            Some(path) => Vault::from_file(&path).map_err(|problem| ConfigError::new("secret_key_file", problem)),
        }
    }

    /// Whether people come by https: cookies are `Secure` then.
    pub fn is_https(&self) -> bool {
        self.public_url().starts_with("https://")
    }

    pub fn set_public_url(&mut self, url: impl Into<String>) {
        self.public_url = Some(url.into());
    }
}

fn read_file(path: &Path, must_exist: bool) -> Result<Option<String>, ConfigError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => Ok(None),
        Err(error) => Err(ConfigError::new(path.display(), format!("cannot be read: {error}"))),
    }
}

fn read_toml(place: &str, text: &str) -> Result<Vec<(&'static Setting, String)>, ConfigError> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| ConfigError::new(place, error.to_string().trim_end()))?;
    let pairs = table.into_iter().map(|(key, value)| {
        let setting = SETTINGS.iter().find(|setting| setting.key == key).ok_or_else(|| {
            let known: Vec<_> = SETTINGS.iter().map(|setting| setting.key).collect();
            ConfigError::new(place, format!("there is no key {key:?}; the keys are {}", known.join(", ")))
        })?;
        let text = toml_text(&value).ok_or_else(|| ConfigError::new(place, format!("{key}: expected a text, a number or a list of texts")))?;
        Ok((setting, text))
    });
    pairs.collect()
}

fn toml_text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Array(list) => list.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>().map(|texts| texts.join(",")),
        _ => None,
    }
}

fn parse<T: FromStr>(text: &str, expected: &str) -> Result<T, String> {
    text.trim().parse().map_err(|_| expected.to_owned())
}

fn text_value(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("a text that is not empty".into()) } else { Ok(text.trim().to_owned()) }
}

fn number(text: &str, min: u32, max: u32) -> Result<u32, String> {
    let expected = || format!("a whole number from {min} to {max}");
    text.trim().replace('_', "").parse().ok().filter(|n| (min..=max).contains(n)).ok_or_else(expected)
}

/// A network, or one address.
fn network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| "networks like 10.0.0.0/8 or 127.0.0.1, with commas between".into())
}

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "auto" => Ok(LogFormat::Auto),
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(()),
        }
    }
}

/// What was said on the command line. Commands take [`ServerFlags`] or [`DataFlags`] and hand them to
/// [`Config::load`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    values: BTreeMap<&'static str, String>,
    file: Option<PathBuf>,
}

/// All flags, for a command that serves.
#[derive(Debug, Clone, Default)]
pub struct ServerFlags(pub Flags);

/// The flags of a command that works on the data: where it lies, and how to log.
#[derive(Debug, Clone, Default)]
pub struct DataFlags(pub Flags);

impl Flags {
    /// Whether a key was given on the command line.
    pub fn names(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    fn declare(command: Command, wanted: fn(&Setting) -> bool) -> Command {
        let file = Arg::new("config").long("config").value_name("FILE").help_heading(Group::Data.title()).value_parser(clap::value_parser!(PathBuf));
        let help = format!("The configuration file [default: {FILE_NAME} in the data folder] [env: GOODWORD_CONFIG]");
        SETTINGS.iter().filter(|setting| !setting.secret && wanted(setting)).fold(command.arg(file.help(help)), |command, setting| {
            let arg = Arg::new(setting.key).long(setting.flag()).value_name(setting.value_name).help_heading(setting.group.title());
            let short = (setting.key == "data").then_some('d');
            command.arg(arg.short(short).help(format!("{} [default: {}]", setting.help, setting.default)))
        })
    }

    fn collect(matches: &ArgMatches) -> Self {
        let told = |setting: &'static Setting| Some((setting.key, matches.try_get_one::<String>(setting.key).ok()??.clone()));
        Self { values: SETTINGS.iter().filter_map(told).collect(), file: matches.try_get_one::<PathBuf>("config").ok().flatten().cloned() }
    }
}

macro_rules! flags {
    ($name:ident, $wanted:expr) => {
        impl clap::Args for $name {
            fn augment_args(command: Command) -> Command {
                Flags::declare(command, $wanted)
            }

            fn augment_args_for_update(command: Command) -> Command {
                Self::augment_args(command)
            }
        }

        impl clap::FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, ClapError> {
                Ok(Self(Flags::collect(matches)))
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), ClapError> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }
    };
}

flags!(ServerFlags, |_| true);
flags!(DataFlags, |setting| matches!(setting.group, Group::Data | Group::Secrets) || setting.key.starts_with("log"));

/// The table for the documentation, in Markdown.
pub fn reference() -> String {
    let mut text = String::from("| key | flag | environment | default | meaning |\n|---|---|---|---|---|\n");
    for setting in SETTINGS {
        let flag = if setting.secret { "–".to_owned() } else { format!("`--{} <{}>`", setting.flag(), setting.value_name) };
        text.push_str(&format!("| `{}` | {flag} | `{}` | {} | {} |\n", setting.key, setting.environment(), setting.default, setting.help));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, FromArgMatches};

    fn flags(arguments: &[&str]) -> Flags {
        let command = ServerFlags::augment_args(Command::new("serve").no_binary_name(true));
        ServerFlags::from_arg_matches(&command.try_get_matches_from(arguments).unwrap()).unwrap().0
    }

    fn file(text: &str) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        std::fs::write(&path, text).unwrap();
        let path = path.display().to_string();
        (dir, path)
    }

    fn error(toml: &str) -> String {
        let (_dir, path) = file(toml);
        Config::gather(&flags(&["--config", &path]), |_| None).unwrap_err().problem
    }

    #[test]
    fn without_a_word_everything_is_default() {
        assert_eq!(Config::gather(&flags(&["--data", "/nowhere"]), |_| None).unwrap(), Config { data: "/nowhere".into(), ..Config::default() });
    }

    #[test]
    fn flag_before_environment_before_file_before_default() {
        let (_dir, path) = file("listen = '127.0.0.1:1'\nrate_limit_per_minute = 1\nlog = 'debug'\n");
        let environment = |name: &str| match name {
            "GOODWORD_LISTEN" => Some("127.0.0.1:2".to_owned()),
            "GOODWORD_RATE_LIMIT_PER_MINUTE" => Some("2".to_owned()),
            "DATABASE_URL" => Some("postgres://h/d".to_owned()),
            _ => None,
        };
        let config = Config::gather(&flags(&["--config", &path, "--listen", "127.0.0.1:3"]), environment).unwrap();
        assert_eq!((config.listen.port(), config.rate_limit_per_minute, config.log.as_str(), config.visit_ip_days), (3, 2, "debug", 30));
        assert_eq!(config.database_url.as_deref(), Some("postgres://h/d"));
    }

    #[test]
    fn the_file_in_the_data_folder_is_read() {
        let (dir, _) = file("visit_ip_days = 7\ntrusted_proxies = ['10.0.0.0/8', '::1']\n");
        let config = Config::gather(&flags(&["--data", &dir.path().display().to_string()]), |_| None).unwrap();
        assert_eq!((config.visit_ip_days, config.trusted_proxies.len()), (7, 2));
    }

    #[test]
    fn what_is_unknown_or_wrong_is_refused_by_name() {
        assert!(error("lissten = '1'").starts_with("there is no key \"lissten\""));
        assert!(error("listen = 'here'").starts_with("expected an address and a port"));
        assert!(error("visit_ip_days = -1").contains("a whole number from 0 to 3650"));
        assert!(error("public_url = 'https://example.com/refer/'").contains("a host name of its own, like https://refer.example.com"));
        assert!(error("public_url = 'https://example.com?x=1'").contains("without a path"));
        assert!(error("[server]\nlisten = 'x'").contains("no key \"server\""));
        assert!(error("listen = {}").contains("expected a text"));
        assert!(error("a b").contains("line 1"));
        assert!(!error("database_url = 'mysql://u:secret@h'").contains("secret"));
        let missing = Config::gather(&flags(&["--config", "/nowhere.toml"]), |_| None).unwrap_err();
        assert_eq!(missing.place, "/nowhere.toml");
        let wrong = Config::gather(&flags(&[]), |name| (name == "GOODWORD_LOG_FORMAT").then(|| "xml".into())).unwrap_err();
        assert_eq!(wrong.to_string(), "GOODWORD_LOG_FORMAT: expected auto, text or json, found \"xml\"");
    }

    /// Every default in the table that is a value is the default of the struct; every key changes something.
    #[test]
    fn the_table_and_the_struct_say_the_same() {
        for setting in SETTINGS {
            let mut config = Config::default();
            if (setting.set)(&mut config, setting.default).is_ok() && !setting.default.contains(' ') && setting.default != "none" {
                assert!(config == Config::default(), "{}", setting.key);
            }
            let example = match setting.key {
                "database_url" => "postgres://h/d",
                "listen" => "[::]:9",
                "public_url" | "otlp_endpoint" => "https://x.example",
                "trusted_proxies" | "allow_networks" => "10.0.0.0/8",
                "log" => "warn",
                "log_format" => "json",
                _ => "77",
            };
            let mut config = Config::default();
            assert_eq!((setting.set)(&mut config, example), Ok(()), "{}", setting.key);
            assert!(config != Config::default(), "{} changes nothing", setting.key);
            assert!(reference().contains(&format!("`{}`", setting.key)));
        }
    }

    #[test]
    fn secrets_have_no_flag_and_are_not_printed() {
        let command = ServerFlags::augment_args(Command::new("serve"));
        assert!(command.get_arguments().all(|arg| !["secret_key", "metrics_token"].contains(&arg.get_id().as_str())));
        let config = Config { secret_key: Some("hush".into()), database_url: Some("hush".into()), ..Config::default() };
        assert!(!format!("{config:?}").contains("hush"));
    }

    #[test]
    fn the_public_address_is_one_that_can_be_opened() {
        let listening = |text: &str| Config { listen: text.parse().unwrap(), ..Config::default() }.public_url();
        assert_eq!(listening("0.0.0.0:80"), "http://127.0.0.1:80");
        assert_eq!(listening("[::]:8080"), "http://[::1]:8080");
        assert_eq!(listening("192.0.2.1:8080"), "http://192.0.2.1:8080");
    }
}
