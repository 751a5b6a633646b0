//! The design to compare with: each report is a GET and a PUT, made while its
//! caller waits; repeated every 30 s whether anything changed or not.

use std::time::Duration;

use tokio::select;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use vmcp_status::{Phase, Status};

use super::gateway::Checks;
use super::server::{ApiServer, Expected, RequestError};
use super::{between, random};

const TICK: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(10);
/// As `RetryOnConflict` of Go's client with its defaults.
const CONFLICT_TRIES: usize = 5;
const CONFLICT_PAUSE: Duration = Duration::from_millis(10);
/// Go's client waits out a `Retry-After` this often.
const REFUSAL_TRIES: usize = 10;

/// Lives for ever. Its ticks have no jitter and count from its own start.
pub async fn report(server: ApiServer, id: usize, in_step: bool, mut checks: Checks) {
    if !in_step {
        sleep(between(&mut random(id, 3), Duration::ZERO, TICK)).await;
    }
    let mut ticks = interval_at(Instant::now() + TICK, TICK);
    // A ticker of Go drops the ticks that no receiver waits for.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let pending = Status { phase: Phase::Pending, ..Status::from_backends(checks.listed().iter().cloned()) };
    get_and_put(&server, id, &pending).await;
    loop {
        select! {
            _ = ticks.tick() => {}
            () = checks.due() => if !checks.round() { continue },
        }
        get_and_put(&server, id, &Status::derived_from(checks.found().iter().cloned())).await;
    }
}

async fn get_and_put(server: &ApiServer, id: usize, status: &Status) {
    for _ in 0..CONFLICT_TRIES {
        let tried = async {
            let (version, _) = patiently(|| server.read(id)).await?;
            patiently(|| server.write(id, Expected::Version(version), status)).await
        };
        match tried.await {
            Ok(_) => return,
            Err(RequestError::Conflict) => sleep(CONFLICT_PAUSE).await,
            Err(_) => break,
        }
    }
    server.gave_up();
}

/// One request, repeated while the server asks for patience.
async fn patiently<T, F>(request: impl Fn() -> F) -> Result<T, RequestError>
where
    F: Future<Output = Result<T, RequestError>>,
{
    for _ in 0..REFUSAL_TRIES {
        match timeout(TIMEOUT, request()).await {
            Err(_) => return Err(RequestError::Broken),
            Ok(Err(RequestError::TooMany(pause))) => sleep(pause).await,
            Ok(answer) => return answer,
        }
    }
    Err(RequestError::Broken)
}
