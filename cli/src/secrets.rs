//! The cluster's secrets, from where an operator keeps them.
//!
//! Decides where they are looked for, and that files which others may read are told of. Refuses
//! to know what a secret looks like and what it is for.

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::rand::{GetRandomFlags, getrandom};
use zufar_core::secure::{SECRET_FILE_BYTES_MAX, Secrets, Seed};

use crate::error::{StartError, describe, refuse};

/// The environment variable that holds secrets where there is no file.
pub(crate) const VARIABLE: &str = "ZUFAR_SECRET";

/// Where secrets are.
#[derive(Clone)]
pub(crate) enum SecretSource {
    /// In this file.
    File(PathBuf),
    /// In the environment.
    Environment(OsString),
}

impl SecretSource {
    /// The file that was named, or else the environment; an empty variable is none.
    pub(crate) fn find(file: Option<PathBuf>) -> Option<Self> {
        let environment = || std::env::var_os(VARIABLE).filter(|text| !text.is_empty());
        let file = file.map(Self::File);
        file.or_else(|| environment().map(Self::Environment))
    }

    /// Reads the secrets, and what the operator should know although they will do.
    pub(crate) fn read(&self) -> Result<(Secrets, Option<String>), StartError> {
        match self {
            Self::File(path) => read_file(path),
            Self::Environment(text) => {
                let secrets = Secrets::parse(text.as_bytes());
                let secrets = secrets.map_err(|error| refuse!("{VARIABLE}: {error}"))?;
                Ok((secrets, None))
            }
        }
    }
}

/// What it holds is not shown.
impl fmt::Debug for SecretSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(formatter, "File({})", path.display()),
            Self::Environment(_) => formatter.write_str("Environment"),
        }
    }
}

fn read_file(path: &Path) -> Result<(Secrets, Option<String>), StartError> {
    let shown = path.display();
    let refused = |error: &std::io::Error| refuse!("secret-file {shown}: {}", describe(error));
    let file = File::open(path).map_err(|error| refused(&error))?;
    let metadata = file.metadata().map_err(|error| refused(&error))?;
    let mode = metadata.permissions().mode() & 0o777;
    let mut text = Vec::new();
    // One byte more tells that it is too long.
    let bytes_max = u64::try_from(SECRET_FILE_BYTES_MAX + 1).expect("a short file");
    let read = file.take(bytes_max).read_to_end(&mut text);
    read.map_err(|error| refused(&error))?;
    let secrets = Secrets::parse(&text).map_err(|error| refuse!("secret-file {shown}: {error}"))?;
    let warning = (mode & 0o077 != 0).then(|| {
        format!("secret-file {shown}: its mode is {mode:o}, so others may read it; 600 will do")
    });
    Ok((secrets, warning))
}

/// Randomness from the system, for one use.
pub(crate) fn seed() -> Result<Seed, StartError> {
    let mut bytes = [0; 32];
    let drawn = getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(|error| refuse!("can't draw keys: {}", describe(&error.into())))?;
    assert_eq!(drawn, bytes.len(), "so few bytes always come whole");
    Ok(Seed::new(bytes))
}
