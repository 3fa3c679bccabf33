//! Becoming another user.
//!
//! Decides who that is and what must be handed over first. Refuses to know what the process
//! does afterwards.

#[cfg(test)]
mod tests;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

use crate::error::{StartError, describe, refuse};

/// Somebody to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    name: String,
    user_id: u32,
    group_id: u32,
    group_ids: Vec<u32>,
}

/// The user `name`, if the process can become somebody else at all. As in memcached, only root
/// does, and others go on as who they are.
pub(crate) fn find(name: &str) -> Result<Option<User>, StartError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let group = fs::read_to_string("/etc/group").unwrap_or_default();
    if let Some(user) = parse(name, &passwd, &group) {
        return Ok(Some(user));
    }
    // Users of a directory service are not in the file, but its lookup tool knows them.
    let asked = Command::new("getent")
        .args(["passwd", "--", name])
        .stdin(Stdio::null())
        .output();
    let passwd = asked.map_or_else(|_| Vec::new(), |output| output.stdout);
    parse(name, &String::from_utf8_lossy(&passwd), &group)
        .map(Some)
        .ok_or_else(|| refuse!("user {name}: there is no such user"))
}

fn parse(name: &str, passwd: &str, group: &str) -> Option<User> {
    let entry = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.len() >= 4 && fields[0] == name).then_some(fields)
    })?;
    let user_id = entry[2].parse().ok()?;
    let group_id = entry[3].parse().ok()?;
    let mut group_ids = vec![group_id];
    for line in group.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        if let [_, _, id, members] = fields[..]
            && members.split(',').any(|member| member == name)
            && let Ok(id) = id.parse()
            && !group_ids.contains(&id)
        {
            group_ids.push(id);
        }
    }
    Some(User {
        name: name.to_owned(),
        user_id,
        group_id,
        group_ids,
    })
}

impl User {
    /// Gives `path` to this user.
    pub(crate) fn own(&self, path: &Path) -> Result<(), StartError> {
        chown(path, Some(self.user_id), Some(self.group_id)).map_err(|error| {
            let (name, path) = (&self.name, path.display());
            refuse!("can't give {path} to user {name}: {}", describe(&error))
        })
    }

    /// Makes sure that the data directory is there, this user's own if it was not before.
    pub(crate) fn own_directory(&self, directory: &Path) -> Result<(), StartError> {
        let refused = |error: io::Error| {
            let directory = directory.display();
            refuse!(
                "can't create data directory {directory}: {}",
                describe(&error)
            )
        };
        if let Some(parent) = directory.parent() {
            // Others keep their data beside it: they must be able to pass.
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o755);
            builder.create(parent).map_err(refused)?;
        }
        match DirBuilder::new().mode(0o700).create(directory) {
            Ok(()) => self.own(directory),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(refused(error)),
        }
    }

    /// Becomes this user, for good.
    ///
    /// # Panics
    /// If the process has more than one thread: the kernel changes one, and new threads inherit.
    pub(crate) fn become_it(&self) -> Result<(), StartError> {
        let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
        assert!(
            threads == 1,
            "privileges are dropped before any thread starts"
        );
        let groups: Vec<Gid> = self.group_ids.iter().copied().map(Gid::from_raw).collect();
        set_thread_groups(&groups)
            .and_then(|()| set_thread_gid(Gid::from_raw(self.group_id)))
            .and_then(|()| set_thread_uid(Uid::from_raw(self.user_id)))
            .map_err(|error| {
                refuse!(
                    "can't become user {}: {}",
                    self.name,
                    describe(&error.into())
                )
            })
    }
}
