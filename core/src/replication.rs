//! Replication and take-over of one partition: who may execute, who must have it, who takes over.
//!
//! A [`Replica`] is one node's part in one partition, in whichever roles it has at the moment:
//! voter, backup, primary, claimant, source or target of a fill. It decides who is primary and
//! until when, which replicas are in sync, when a write is acknowledged and when a read may be
//! answered. It refuses to know what a command or an item is, how a message travels, how liveness
//! is found out ([`View`]) and how data is kept ([`Store`]).
//!
//! # The protocol
//!
//! Voters (the replicas and tie-breakers) keep a small [`Record`]: term, in-sync replicas, voters.
//! Every change is one *claim*, after CASPaxos (Rystsov, 2018): Prepare at a higher [`Term`] to the
//! voters; from a majority's promises take the record with the highest term, the *base*; write its
//! successor with Accept; open once majorities of the base's voters and of the new ones have
//! accepted. Only a run that the base names as in sync may claim. Data never passes through
//! voters: a write is acknowledged when every in-sync replica has applied it in this term.
//!
//! * **Writes** stay in the [tail] of every replica until they are known to be everywhere. A claim
//!   merges the tails of those who stay in sync; what it has merged counts as unacknowledged in
//!   the new term.
//! * **Reads** need a lease of every in-sync replica, counted from the sending of what it has
//!   acknowledged (`lease_ms`), and a key without unacknowledged writes. A backup that acknowledges
//!   grants (`grant_ms`, from receipt): it makes no claim before that has ended.
//! * **A replica is added** by a fill: live entries first, then what the source holds, then the
//!   digests are compared with nothing unacknowledged and new writes held back, then one claim.
//! * **A voter that has restarted** is *blank*: it votes again when it has learned from all others.
//!
//! # Where the description was silent
//!
//! * A term's tag is the claimant's *run*, and the record's primary is the term's node.
//! * **Voters change only in a claim that starts while open, on the very record that it was open
//!   under.** Otherwise a claimant could take its own unchosen change as base and make another one
//!   on top: two steps from what is in force, and majorities that do not meet.
//! * **A newcomer among the voters** may be blank; the Accept that makes it a voter names its run
//!   and is all that it needs: no majority of the base counted on it.
//! * **A sole voter** counts its own vote for a record that adds a second one only once its disk
//!   has it ([`Input::Kept`]): after a restart there would be nobody to learn that from.
//! * **Recovery.** When the in-sync replicas are gone (all have restarted, or a majority of the
//!   voters is blank), a claim may ask *all* voters, of its own record and of a later one that it
//!   has heard of, listing the run of each; a blank voter promises if its own run is listed, and
//!   all that are listed have to. The base is the highest of their records, disks included.
//!   If a run that the base names is among them, complete, only it goes on, as in any claim. If
//!   not, the claimant gathers what the nodes that the base names have (their disks), the highest
//!   version winning, and opens alone. Nodes that the base does not name are not asked: their old
//!   entries could override acknowledged ones. What counts of a node that the base names is what its
//!   disk has, be it nothing: all may have been deleted. Under `available` ten seconds replace the
//!   answers of those that are not alive; of one that is, they are waited for however long it takes.
//!   Who is to be primary goes first, and says so again while it gathers, so that the others wait.
//! * **Lineage.** The term of a recovery or a Force stays in the record. A request says since which
//!   term counter it is under way; one older than the lineage may have been carried out before the
//!   memory of requests was lost, so its outcome is unknown. And a fill's target that was complete
//!   in another lineage is asked for its entries first, without its tail: so the copies of both
//!   sides of a Force are merged by version, and nothing is ever merged without one.
//! * **An attempt of a request names the term that it is meant for**, and is refused in any other.
//!   Otherwise one that got stuck on its way to a primary could be carried out by that node years
//!   later, after a retry elsewhere was answered NOT_STORED. Within one term the primary remembers
//!   its negative answers itself ([`Replica::note_negative`]).
//! * **Replicas that do not answer are dropped only when something waits for them**, but where only
//!   a Force could do that it is begun at once, for all partitions: it takes seconds, and the first
//!   request of each of them would wait for them anew. Where the processes of all who are missing
//!   are known to have died it counts from then.
//! * **What a replica knows to be everywhere it does not apply again**, though a new primary that
//!   does not know sends it once more: the store may have evicted something newer meanwhile, and
//!   an older state would come back.
//! * **A digest is over one session of a fill**, not over all that two stores hold ([`Store`]).
//!
//! [tail]: Message::Promise

mod claim;
mod entry;
mod members;
mod message;
mod output;
pub mod planted;
mod record;
mod replica;
mod requests;
mod settings;
mod store;
mod tail;
pub mod wire;

#[cfg(test)]
mod tests;

pub use entry::{Entry, Request, RequestId, State};
pub use message::{Holding, Message};
pub use output::{Event, Output};
pub use record::{NODES_MAX, Record, Term};
pub use replica::{
    Admission, Context, Figures, Input, Liveness, Reading, Refused, Replica, Start, View,
};
pub use requests::{Origin, Seen};
pub use settings::{Settings, SplitBrain};
pub use store::{Arrival, Digest, Scan, Store};
