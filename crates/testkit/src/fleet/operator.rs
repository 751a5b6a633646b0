//! ToolHive's operator: answers each change of what is reported by a write to the
//! top level of the same object, one object after the other.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::server::{ApiServer, RequestError};

const TIMEOUT: Duration = Duration::from_secs(10);
/// Before the next try where the server could not be reached.
const PAUSE: Duration = Duration::from_secs(1);

/// Lives for ever. What changes again before its turn has come is answered once.
pub async fn answer(server: ApiServer) {
    loop {
        let id = server.next_unanswered().await;
        loop {
            match timeout(TIMEOUT, server.answer(id)).await {
                Ok(Ok(())) => break,
                Ok(Err(RequestError::TooMany(pause))) => sleep(pause).await,
                Ok(Err(RequestError::Conflict | RequestError::Broken | RequestError::Unreachable)) | Err(_) => {
                    sleep(PAUSE).await;
                }
            }
        }
    }
}
