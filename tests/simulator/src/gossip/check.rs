//! What must hold once nothing goes wrong any more.
//!
//! Decides when all nodes agree. Refuses to know how they came to.

use zufar_core::layout::LayoutState;
use zufar_core::membership::Liveness;

use super::host::{Host, Process};
use super::world::World;

/// Processes that serve, and their hosts.
fn serving(world: &World) -> Vec<(&Host, &Process)> {
    let hosts = world.hosts.iter();
    let running = hosts.filter_map(|host| Some((host, host.process.as_ref()?)));
    running.filter(|(_, process)| process.serving).collect()
}

/// Whether all nodes that live know each other, and agree on who is in the cluster.
///
/// # Errors
/// With what one of them sees otherwise.
pub fn converged(world: &World) -> Result<(), String> {
    let serving = serving(world);
    for host in &world.hosts {
        let count = serving.iter().filter(|(it, _)| it.guid == host.guid);
        match (host.process.is_some(), count.count()) {
            (true, 0) => return Err(format!("{} does not serve", host.guid)),
            (_, 2..) => return Err(format!("two serve as {}", host.guid)),
            (true, 1) | (false, _) => {}
        }
    }
    for (host, process) in &serving {
        for (other, its) in &serving {
            if host.guid != other.guid {
                knows(host, process, other, its)?;
            }
        }
        for known in process.membership.members() {
            let guid = known.identity.id.guid;
            let lives = serving.iter().any(|(host, _)| host.guid == guid);
            if !lives && known.liveness != Liveness::Down {
                return Err(format!("{} does not know that {guid} is down", host.guid));
            }
        }
    }
    agree(&serving)
}

fn knows(host: &Host, process: &Process, other: &Host, its: &Process) -> Result<(), String> {
    let (guid, whom) = (host.guid, other.guid);
    let Some(known) = process.membership.member(&whom) else {
        return Err(format!("{guid} has not heard of {whom}"));
    };
    let identity = its.membership.identity();
    if known.identity != *identity {
        let known = known.identity;
        return Err(format!("{guid} knows {known:?}, and it is {identity:?}"));
    }
    if known.liveness != Liveness::Up {
        return Err(format!("{whom} is {:?} for {guid}", known.liveness));
    }
    let described = process.membership.descriptor(&whom);
    if described != its.membership.descriptor(&whom) {
        return Err(format!("{guid} has an old descriptor of {whom}"));
    }
    Ok(())
}

fn agree(serving: &[(&Host, &Process)]) -> Result<(), String> {
    let Some((first_host, first)) = serving.first() else {
        return Ok(());
    };
    for (host, process) in serving {
        let (guid, other) = (host.guid, first_host.guid);
        let membership = &process.membership;
        if membership.formation() != first.membership.formation() {
            return Err(format!("{guid} belongs to another cluster than {other}"));
        }
        if membership.layout().digest() != first.membership.layout().digest() {
            return Err(format!("{guid} has another layout than {other}"));
        }
        let generation = membership.identity().id.generation;
        let placed = membership.layout().entry(&guid);
        let placed = placed.map(|entry| (entry.generation, entry.state));
        if placed != Some((generation, LayoutState::Normal)) {
            return Err(format!(
                "{guid} of run {generation} is placed as {placed:?}"
            ));
        }
    }
    Ok(())
}
