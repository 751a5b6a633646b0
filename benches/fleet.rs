//! A fleet in simulation.

#[path = "fleet/sim.rs"]
mod sim;

use std::time::Duration;

fn main() {
    let size: usize = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(1000);
    let quiet = Duration::from_secs(std::env::args().nth(2).and_then(|a| a.parse().ok()).unwrap_or(3600));
    let t = sim::Timeline::new(quiet);
    for design in [
        sim::Design::Reporter { refresh: None },
        sim::Design::Reporter { refresh: Some(Duration::from_secs(30)) },
        sim::Design::Reporter { refresh: Some(Duration::from_secs(300)) },
        sim::Design::GetPut { in_step: true },
        sim::Design::GetPut { in_step: false },
    ] {
        let wall = std::time::SystemTime::now();
        let l = sim::run(design, size, sim::Limits::default(), t);
        println!("{size} {design:?} took {:?}", wall.elapsed());
        for (n, r) in [("start", Duration::ZERO..t.started), ("quiet", t.started..t.outage), ("back", t.back..t.end)] {
            let a = l.load(r.clone());
            let s = if n == "back" { l.staleness_after_outage() } else { l.staleness(r) };
            println!(
                "  {n}: req {:.2}/s peak {} writes {:.2} peak {} {:?}\n     stale {s:?}",
                a.requests(), a.peak_requests, a.writes(), a.peak_writes, a.total
            );
        }
    }
}
