//! The body of the fuzz target `config`, which compiles this module by itself; the tests replay its seeds.

use super::file::Source;
use super::{Config, ConfigError, Flags};

/// Any text as a configuration file. An error says where it is; and what is shown of a configuration is a file that
/// means the same.
pub(crate) fn any_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match read(text) {
        Err(error) => {
            let message = error.to_string();
            assert!(is_placed(&message), "an error without a place: {message}");
        }
        Ok(config) => {
            let again = read(&config.to_string()).expect("what is shown is a file");
            assert_eq!(settings(&config), settings(&again));
            assert_eq!(format!("{:?}", config.project), format!("{:?}", again.project));
        }
    }
}

fn read(text: &str) -> Result<Config, ConfigError> {
    Config::resolve(Flags::default(), |_| None, &Source::of("p.toml", text))
}

/// As `p.toml:3:1: ...`
fn is_placed(message: &str) -> bool {
    let mut parts = message.strip_prefix("p.toml:").unwrap_or_default().splitn(3, ':');
    let mut number = || parts.next().is_some_and(|part| part.parse::<u32>().is_ok_and(|number| number > 0));
    number() && number() && parts.next().is_some_and(|rest| rest.len() > 1)
}

/// What is shown, without the origins.
fn settings(config: &Config) -> Vec<String> {
    config
        .to_string()
        .lines()
        .map(|line| line.split("  #").next().unwrap_or_default().trim().into())
        .collect()
}
