//! `zufar partitions`: asks a node who holds what, and shows that.
//!
//! Decides how it looks. Refuses to know how keys are placed.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::process::ExitCode;

use serde::Serialize;
use zufar_core::command::KEY_BYTES_MAX;
use zufar_core::protocol::peer::{Frame, Partitions, decode};

use crate::args::PartitionsArguments;
use crate::peer::{Conversation, begin, frame_bytes_max, plain};
use crate::{exit, output};

/// Shows who holds the key, or everything.
pub(crate) fn run(arguments: &PartitionsArguments) -> ExitCode {
    let key = arguments.key.as_deref().unwrap_or_default();
    let empty = arguments.key.is_some() && key.is_empty();
    if empty || key.len() > KEY_BYTES_MAX {
        output::complain(&format!("--key: a key has 1 to {KEY_BYTES_MAX} bytes"));
        return exit::NOT_STARTED.into();
    }
    let (mut conversation, shown) = match begin(&arguments.peer) {
        Ok(begun) => begun,
        Err(code) => return code,
    };
    match ask(&mut conversation, key.as_bytes(), arguments.json) {
        Ok(text) => output::show(&text),
        Err(error) => {
            output::complain(&format!("node {shown}: {error}"));
            exit::FAILED.into()
        }
    }
}

fn ask(conversation: &mut Conversation, key: &[u8], as_json: bool) -> Result<String, String> {
    conversation.say(&Frame::PartitionsRequest { key })?;
    loop {
        let frame = conversation.next_frame()?;
        if let Ok(Some((Frame::PartitionsReply(partitions), _))) = decode(&frame, frame_bytes_max())
        {
            return Ok(match partitions.partition {
                _ if as_json => json(&partitions),
                Some(partition) => holders(partition, &partitions),
                None => table(&partitions),
            });
        }
    }
}

fn table(partitions: &Partitions<'_>) -> String {
    let mut table = String::from("Primaries  Replicas  Share    GUID\n");
    let owners = partitions.owners.iter();
    let all: u32 = owners.map(|owner| u32::from(owner.primaries)).sum();
    for owner in &partitions.owners {
        let share = f64::from(owner.primaries) * 100.0 / f64::from(all.max(1));
        let (primaries, replicas) = (owner.primaries, owner.replicas);
        let guid = plain(owner.guid);
        writeln!(
            table,
            "{primaries:>9}  {replicas:>8}  {share:>5.1} %  {guid}"
        )
        .expect("a string takes everything");
    }
    table
}

fn holders(partition: u16, partitions: &Partitions<'_>) -> String {
    let mut guids = partitions.owners.iter().map(|owner| plain(owner.guid));
    let first = guids.next().unwrap_or_else(|| "?".to_owned());
    let others: Vec<String> = guids.collect();
    let backups = match &*others {
        [] => "none".to_owned(),
        others => others.join(", "),
    };
    let now = match partitions.primary {
        "" => "not known".to_owned(),
        primary => plain(primary),
    };
    format!(
        "Partition    {partition}\nPrimary      {first}\nBackups      {backups}\nPrimary now  {now}\n"
    )
}

/// What a node has answered, for programs.
#[derive(Serialize)]
#[serde(untagged)]
enum Report<'a> {
    All {
        nodes: Vec<Holding<'a>>,
    },
    One {
        partition: u16,
        /// As placed, the primary first.
        owners: Vec<&'a str>,
        /// Who is primary now, as far as the node knows.
        primary_now: Option<&'a str>,
    },
}

/// How much one node holds.
#[derive(Serialize)]
struct Holding<'a> {
    guid: &'a str,
    primaries: u16,
    replicas: u16,
}

fn json(partitions: &Partitions<'_>) -> String {
    let owners = partitions.owners.iter();
    let report = match partitions.partition {
        None => Report::All {
            nodes: owners
                .map(|owner| Holding {
                    guid: owner.guid,
                    primaries: owner.primaries,
                    replicas: owner.replicas,
                })
                .collect(),
        },
        Some(partition) => Report::One {
            partition,
            owners: owners.map(|owner| owner.guid).collect(),
            primary_now: Some(partitions.primary).filter(|primary| !primary.is_empty()),
        },
    };
    let text = serde_json::to_string(&report);
    text.expect("strings and numbers are JSON") + "\n"
}
