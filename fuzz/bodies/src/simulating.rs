//! Whole runs of the simulator, in which bytes decide what is left to chance otherwise.
//!
//! Decides nothing: the simulator draws the node, its clients' requests and what goes wrong from
//! the input, and checks every answer. Refuses to know what it draws.

use zufar_simulator::run::run_script;

/// Runs what `input` says.
pub fn simulating(input: &[u8]) {
    let report = run_script(input, false);
    if let Some(violation) = report.violation {
        panic!("{violation}\n{:#?}", report.plan);
    }
}
