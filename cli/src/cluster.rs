//! With whom a node speaks: nobody but commands, or the other nodes of its cluster.
//!
//! Decides what the workers are told of that, from what the operator says and the last run has
//! left. Refuses to know what they make of it.

use std::net::UdpSocket;
use std::path::Path;
use std::sync::Arc;

use zufar_core::disk::Recovery;
use zufar_core::id::WorkerId;
use zufar_core::member::{Guid, NodeId};
use zufar_core::node::ClusterSettings;
use zufar_core::secure::{Credentials, Secrets};
use zufar_core::settings::Settings;
use zufar_core::time::{Now, Time};
use zufar_core::worker::Worker;

use crate::advertise::{self, Advertised};
use crate::error::{StartError, refuse};
use crate::generation;
use crate::listen::{self, Listening};
use crate::log::Log;
use crate::secrets::{self, SecretSource};
use crate::settings::Plan;

/// With whom a node speaks.
pub(crate) enum Company {
    /// With commands, in clear text.
    Alone,
    /// With commands that know a secret.
    Guarded(Credentials),
    /// With the nodes of this cluster.
    Cluster(Box<ClusterSettings>),
}

/// What has been made ready before the data directory is touched.
pub(crate) struct Prepared {
    secrets: Option<Secrets>,
    advertised: Option<Advertised>,
    /// Where datagrams of other nodes arrive.
    pub(crate) datagrams: Option<UdpSocket>,
}

/// The secrets that the operator has given.
pub(crate) fn secrets(plan: &Plan, log: &Log) -> Result<Option<Secrets>, StartError> {
    let Some(source) = SecretSource::find(plan.secret_file.clone()) else {
        return Ok(None);
    };
    let (secrets, warning) = source.read()?;
    if let Some(warning) = warning {
        log.warning("secret-file", warning);
    }
    Ok(Some(secrets))
}

impl Prepared {
    /// Works out where others reach a node that is to be in a cluster, and listens there for
    /// datagrams, too.
    pub(crate) fn new(
        plan: &Plan,
        secrets: Option<Secrets>,
        listening: &Listening,
    ) -> Result<Self, StartError> {
        let mut advertised = None;
        let mut datagrams = None;
        if let Some(cluster) = &plan.cluster {
            if secrets.is_none() {
                cluster.check_without_secret()?;
            }
            let (clients, peers) = (&listening.client_addresses, &listening.peers);
            let resolved = advertise::resolve(cluster, clients, peers, secrets.is_some())?;
            datagrams = Some(listen::bind_datagrams(peers, resolved.peer_address)?);
            advertised = Some(resolved);
        }
        Ok(Self {
            secrets,
            advertised,
            datagrams,
        })
    }

    /// Where other nodes, and commands, reach this one.
    pub(crate) fn peer_address(&self, listening: &Listening) -> String {
        match &self.advertised {
            Some(advertised) => advertised.peer.clone(),
            None => listening.peers[0].to_string(),
        }
    }

    /// With whom the node speaks, once its number is known, which is kept in `directory`.
    pub(crate) fn company(
        self,
        plan: &Plan,
        settings: &Settings,
        recovery: &Recovery,
        directory: Option<&Path>,
        unix_ms: u64,
    ) -> Result<Company, StartError> {
        let (Some(cluster), Some(advertised)) = (&plan.cluster, self.advertised) else {
            return Ok(match self.secrets {
                Some(secrets) => Company::Guarded(Credentials::new("", Some(secrets))),
                None => Company::Alone,
            });
        };
        let guid = Guid::new(&settings.guid).map_err(|error| refuse!("guid: {error}"))?;
        let known = &recovery.cluster;
        let generation = match directory {
            Some(directory) => generation::next(directory, unix_ms, known.generation)?,
            None => unix_ms,
        };
        Ok(Company::Cluster(Box::new(ClusterSettings {
            name: cluster.name.clone(),
            credentials: Credentials::new(&cluster.name, self.secrets),
            id: NodeId { guid, generation },
            address: advertised.peer_address,
            client_address: advertised.client,
            peer_address: advertised.peer,
            version: settings.version.clone(),
            rack: settings.rack.clone(),
            weight: cluster.weight,
            replication_factor: cluster.replication_factor,
            in_sync_min: usize::from(cluster.in_sync_min),
            split_brain: cluster.split_brain,
            seeds: cluster.join.iter().map(ToString::to_string).collect(),
            members: known.members.clone(),
            formation: known.formation,
            layout: known.layout.clone(),
            holds_data: recovery.holds_records,
        })))
    }
}

/// Tells of notes of the last run that are of no use.
pub(crate) fn tell_of_notes(plan: &Plan, recovery: &Recovery, log: &Log) {
    let known = &recovery.cluster;
    for name in &known.damaged {
        let what = "is damaged, or another release's: it counts as none";
        log.warning("note-damaged", format!("the note {name} {what}"));
    }
    if plan.cluster.is_none() && known.formation.is_some() {
        let what = "the data is that of a node in a cluster, and this one is in none: it serves \
                    alone";
        log.warning("cluster-left", what.to_owned());
    }
}

impl Company {
    /// All workers of a node that starts at this time.
    pub(crate) fn workers(
        &self,
        settings: &Arc<Settings>,
        recovery: &Recovery,
        unix_ms: u64,
    ) -> Result<Vec<Worker>, StartError> {
        let ids = (0..settings.workers).map(WorkerId);
        let workers = ids.map(|id| {
            let worker = Worker::new(Arc::clone(settings), id, recovery);
            self.join(worker, unix_ms)
        });
        workers.collect()
    }

    /// A worker that knows with whom it speaks.
    fn join(&self, worker: Worker, unix_ms: u64) -> Result<Worker, StartError> {
        // The clock of the workers begins when they do.
        let time = Time::ZERO;
        match self {
            Self::Alone => Ok(worker),
            Self::Guarded(credentials) => Ok(worker.guarded(credentials.clone(), secrets::seed()?)),
            Self::Cluster(settings) => worker
                .in_cluster(
                    Now { time, unix_ms },
                    settings.as_ref().clone(),
                    secrets::seed()?,
                )
                .map_err(|error| refuse!("what the node says of itself: {error}")),
        }
    }
}
