//! The node's lasting name.
//!
//! Decides where a name comes from: the operator, the data directory, or a draw. Refuses to
//! know what it names.

#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::rand::{GetRandomFlags, getrandom};

use crate::error::{StartError, describe, refuse};
use crate::settings::is_guid;

const FILE: &str = "guid";
const FILE_BYTES_MAX: u64 = 64;

/// The name that `directory` keeps; a new one is drawn, and kept, if it keeps none.
pub(crate) fn kept(directory: &Path) -> Result<String, StartError> {
    let path = directory.join(FILE);
    let refused = |error: &io::Error| refuse!("guid file {}: {}", path.display(), describe(error));
    let mut content = String::new();
    match File::open(&path) {
        Ok(file) => {
            let read = file.take(FILE_BYTES_MAX).read_to_string(&mut content);
            read.map_err(|error| refused(&error))?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let guid = drawn()?;
            keep(directory, FILE, &guid).map_err(|error| refused(&error))?;
            return Ok(guid);
        }
        Err(error) => return Err(refused(&error)),
    }
    let guid = content.trim_end();
    if !is_guid(guid) {
        return Err(refuse!("guid file {}: it holds no guid", path.display()));
    }
    Ok(guid.to_owned())
}

/// A new name.
pub(crate) fn drawn() -> Result<String, StartError> {
    let mut bytes = [0; 4];
    let drawn = getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(|error| refuse!("can't draw a guid: {}", describe(&error.into())))?;
    assert_eq!(drawn, bytes.len(), "so few bytes always come whole");
    Ok(format!("{:08x}", u32::from_be_bytes(bytes)))
}

/// Writes one line to a file so that after a crash it is there whole or not at all.
pub(crate) fn keep(directory: &Path, name: &str, line: &str) -> io::Result<()> {
    let new = directory.join(format!("{name}.new"));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    writeln!(file, "{line}")?;
    file.sync_all()?;
    fs::rename(&new, directory.join(name))?;
    File::open(directory)?.sync_all()
}
