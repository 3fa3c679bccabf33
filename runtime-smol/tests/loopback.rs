//! The cases of `tests/loopback`, over smol.

#[path = "../../tests/loopback/mod.rs"]
mod cases;

use zufar_runtime_smol::launch;
