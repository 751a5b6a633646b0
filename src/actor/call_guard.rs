use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::error::{Retry, SinkError};

/// What bounds a call of a sink.
#[derive(Clone, Debug)]
pub(super) struct CallGuard {
    pub(super) time: Duration,
    pub(super) give_up: CancellationToken,
}

impl CallGuard {
    /// Calls a sink within these bounds. A panic in it is a failure like
    /// others: whoever waits for a flush or the shutdown is answered all the
    /// same.
    pub(super) async fn guard<T>(self, call: impl Future<Output = Result<T, SinkError>>) -> Result<T, SinkError> {
        let CallGuard { time, give_up } = self;
        let call = give_up.run_until_cancelled(AssertUnwindSafe(timeout(time, call)).catch_unwind());
        match call.await {
            Some(Ok(Ok(result))) => result,
            Some(Ok(Err(_elapsed))) => {
                let message = format!("the store did not answer within {time:?}: is it reachable?");
                Err(SinkError::new(Retry::Transient, message))
            }
            Some(Err(_panic)) => {
                Err(SinkError::new(Retry::Transient, "the sink panicked: see the panic message above"))
            }
            None => Err(SinkError::new(Retry::Transient, "the reporter has ended")),
        }
    }
}
