//! The config file.
//!
//! Decides how a wrong one is told: file, line and key. Refuses to know what the keys mean.

#[cfg(test)]
mod tests;

use std::path::Path;

use serde::Deserialize;
use toml::de::DeTable;
use toml::{Table, Value};

use crate::error::{StartError, describe, refuse};
use crate::options::Options;

/// Longest config file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads the config file at `path`.
pub(crate) fn read(path: &Path) -> Result<Options, StartError> {
    let shown = path.display();
    let length = std::fs::metadata(path).map(|metadata| metadata.len());
    if length.is_ok_and(|length| length > FILE_BYTES_MAX) {
        return Err(refuse!("config {shown}: longer than 1 MiB"));
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| refuse!("config {shown}: {}", describe(&error)))?;
    parse(&text).map_err(|Wrong { line, what }| refuse!("config {shown}, line {line}: {what}"))
}

/// What is wrong with a config, and where.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    line: usize,
    what: String,
}

fn parse(text: &str) -> Result<Options, Wrong> {
    let line_of = |at: usize| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
    let syntax = |error: &toml::de::Error| Wrong {
        line: line_of(error.span().map_or(0, |span| span.start)),
        what: first_line(error.message()),
    };
    let places = DeTable::parse(text).map_err(|error| syntax(&error))?;
    let values: Table = toml::from_str(text).map_err(|error| syntax(&error))?;

    let mut keys: Vec<_> = places
        .into_inner()
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    keys.sort_by_key(|key| key.span().start);
    for key in keys {
        let line = line_of(key.span().start);
        let key = key.into_inner().into_owned();
        let value = values[&key].clone();
        check_key(&key, value).map_err(|what| Wrong { line, what })?;
    }
    Options::deserialize(values).map_err(|error| syntax(&error))
}

/// Reads one key alone, so that an error can name it.
fn check_key(key: &str, value: Value) -> Result<(), String> {
    let table = Table::from_iter([(key.to_owned(), value)]);
    let Err(error) = Options::deserialize(table) else {
        return Ok(());
    };
    Err(if error.message().starts_with("unknown field") {
        format!("unknown key `{key}`")
    } else {
        format!("key `{key}`: {}", first_line(error.message()))
    })
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
