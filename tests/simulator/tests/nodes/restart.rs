//! All nodes stop at once, as an operator has them do, and are started again.

use zufar_simulator::Random;
use zufar_simulator::world::HostId;

use super::{DISK, agree_within, ask, pass, start, wait_for_stop, world};

const KEYS: u16 = 120;

#[test]
fn nothing_is_lost_when_all_stop_and_start_again() {
    for seed in 0..5 {
        let mut world = world(seed, 3);
        let mut random = Random::new(seed);
        for host in 0..3 {
            start(&mut world, HostId(host), DISK);
            pass(&mut world, 300);
        }
        agree_within(&mut world, &[0, 1, 2], 10_000);
        pass(&mut world, random.below(5000));
        for at in 0..KEYS {
            let line = format!("set key{at} 0 0 3\r\n{at:03}\r\n");
            let host = HostId(at % 3);
            assert_eq!(ask(&mut world, host, &line, 6000), "STORED\r\n");
        }
        pass(&mut world, random.below(200));
        for host in 0..3 {
            world.stop_host(HostId(host));
            pass(&mut world, random.below(40));
        }
        wait_for_stop(&mut world, 10_000);
        for host in 0..3 {
            start(&mut world, HostId(host), DISK);
            pass(&mut world, random.below(400));
        }
        agree_within(&mut world, &[0, 1, 2], 10_000);
        for at in 0..KEYS {
            let line = format!("get key{at}\r\n");
            let host = HostId((at + 1) % 3);
            let expected = format!("VALUE key{at} 0 3\r\n{at:03}\r\nEND\r\n");
            let mut told = ask(&mut world, host, &line, 8000);
            if told.starts_with("SERVER_ERROR") {
                told = ask(&mut world, host, &line, 8000);
            }
            assert_eq!(told, expected, "seed {seed}");
        }
    }
}
