use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::error::{Retry, SinkError};
use crate::human_duration::human_duration;
use crate::leadership::Leadership;

/// What bounds a call of a sink.
#[derive(Clone, Debug)]
pub(super) struct CallGuard {
    pub(super) time: Duration,
    pub(super) give_up: CancellationToken,
    /// The call goes on only while this process leads.
    pub(super) leadership: Option<Leadership>,
}

impl CallGuard {
    /// Calls a sink within these bounds. A panic in it is a failure like others,
    /// so that the callers of a flush or a shutdown get their answer.
    pub(super) async fn guard<T>(self, call: impl Future<Output = Result<T, SinkError>>) -> Result<T, SinkError> {
        let CallGuard { time, give_up, leadership } = self;
        // Nothing that a replica sends arrives after its term.
        let term = leadership.as_ref().map_or(Duration::MAX, Leadership::time_left);
        let call = timeout(time.min(term), while_leading(leadership, call));
        let call = give_up.run_until_cancelled(AssertUnwindSafe(call).catch_unwind());
        match call.await {
            Some(Ok(Ok(result))) => result,
            Some(Ok(Err(_elapsed))) if term < time => Err(not_leading()),
            Some(Ok(Err(_elapsed))) => {
                let message = format!("the store did not answer within {}: is it reachable?", human_duration(time));
                Err(SinkError::new(Retry::Transient, message))
            }
            Some(Err(_panic)) => {
                Err(SinkError::new(Retry::Transient, "the sink panicked: see the panic message above"))
            }
            None => Err(SinkError::new(Retry::Transient, "the reporter has ended")),
        }
    }
}

fn not_leading() -> SinkError {
    SinkError::new(Retry::Conflict, "the write was given up: this replica does not lead any more")
}

/// Looks each time before the call could go on: the machine may have slept, or
/// the process may have been stopped, since the last time.
async fn while_leading<T>(
    leadership: Option<Leadership>,
    call: impl Future<Output = Result<T, SinkError>>,
) -> Result<T, SinkError> {
    let mut call = pin!(call);
    poll_fn(|cx| {
        if leadership.as_ref().is_none_or(|leadership| leadership.leadership_state().may_write()) {
            return call.as_mut().poll(cx);
        }
        Poll::Ready(Err(not_leading()))
    })
    .await
}
