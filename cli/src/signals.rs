//! Signals.
//!
//! Decides what each means. Refuses to know how a node stops.

use std::io;
use std::sync::Arc;

use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use zufar_host::Stopper;

use crate::log::Log;

/// Takes the signals over; they wait until [`obey`] is called. (SIGPIPE is ignored by every
/// Rust program.)
pub(crate) fn hold() -> io::Result<Signals> {
    // memcached stops gracefully on SIGUSR1.
    Signals::new([SIGTERM, SIGINT, SIGUSR1, SIGHUP])
}

/// Obeys signals from now on, on a thread of its own that ends with the process.
pub(crate) fn obey(mut signals: Signals, stopper: Stopper, log: Arc<Log>) -> io::Result<()> {
    let thread = std::thread::Builder::new().name("zufar-signals".to_owned());
    let obey = move || {
        for signal in signals.forever() {
            match signal {
                SIGHUP => {
                    log.info("reload", "SIGHUP: there is nothing to reload".to_owned());
                }
                _ if log.begin_stop() => {
                    log.info("stopping", "writing what is not on disk yet".to_owned());
                    stopper.stop();
                }
                _ => log.info(
                    "stopping",
                    "still writing; only SIGKILL ends this sooner, and loses what is left"
                        .to_owned(),
                ),
            }
        }
    };
    thread.spawn(obey).map(drop)
}
