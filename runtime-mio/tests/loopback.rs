//! The cases of `tests/loopback`, over mio.

#[path = "../../tests/loopback/mod.rs"]
mod cases;

use zufar_runtime_mio::launch;
