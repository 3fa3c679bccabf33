//! The file that holds the process id.
//!
//! Decides when it is created, filled and removed: a start that fails leaves a file that was
//! there before as it was. Refuses to know who reads it.

#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::{StartError, describe, refuse};

/// A process id is at most ten digits; a file with more is somebody else's.
const BYTES_MAX: u64 = 32;

/// Removes the file when dropped, if it is this process's.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    file: File,
    created: bool,
    written: bool,
}

impl PidFile {
    /// Makes sure that the file can be written, without changing what it holds.
    pub(crate) fn prepare(path: &Path) -> Result<Self, StartError> {
        let open = |create_new: bool| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(create_new)
                .mode(0o644)
                .open(path)
        };
        let (opened, created) = match open(true) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => (open(false), false),
            opened => (opened, true),
        };
        let file =
            opened.map_err(|error| refuse!("pidfile {}: {}", path.display(), describe(&error)))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            created,
            written: false,
        })
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes this process's id.
    pub(crate) fn write(&mut self) -> Result<(), StartError> {
        self.written = true;
        self.replace(&format!("{}\n", std::process::id()))
            .map_err(|error| refuse!("pidfile {}: {}", self.path.display(), describe(&error)))
    }

    fn replace(&mut self, content: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(content.as_bytes())
    }

    fn is_own(&mut self) -> bool {
        let mut content = String::new();
        let read = File::open(&self.path)
            .and_then(|file| file.take(BYTES_MAX).read_to_string(&mut content));
        read.is_ok() && content.trim() == std::process::id().to_string()
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let ours = if self.written {
            self.is_own()
        } else {
            self.created
        };
        if ours && fs::remove_file(&self.path).is_err() {
            // The directory may be root's. An empty file at least names no process.
            let _ = self.file.set_len(0);
        }
    }
}
