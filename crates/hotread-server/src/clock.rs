//! Protection against a clock whose time HTTP cannot write. An answer's `Date` has a year from 1970 to
//! 9999, and hyper panics at each step of a connection while the clock shows another one, also without that
//! header.

use crate::error::Failure;
use axum::http::StatusCode;
use hotread_proto::Code;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// First second that is too late: 10000-01-01T00:00:00Z.
const END_S: u64 = 253_402_300_800;

/// Returns the milliseconds of a time, saturating.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Returns `true` if HTTP can write this machine's time.
pub(crate) fn is_writable() -> bool {
    can_write(SystemTime::now())
}

fn can_write(now: SystemTime) -> bool {
    let since = now.duration_since(UNIX_EPOCH);
    since.is_ok_and(|since| since.as_secs() < END_S)
}

/// Returns the failure for requests at such a time.
pub(crate) fn failure() -> Failure {
    let message = "the server's clock shows no year from 1970 to 9999, which HTTP cannot write; set the clock";
    Failure::new(Code::Internal, message).with_status(StatusCode::SERVICE_UNAVAILABLE)
}

/// Drives a connection, and ends it when the clock leaps to a time at which hyper would panic.
pub(crate) fn guarded<F>(mut connection: Pin<&mut F>) -> impl Future<Output = hyper::Result<()>>
where
    F: Future<Output = hyper::Result<()>>,
{
    poll_fn(move |cx| match is_writable() {
        true => connection.as_mut().poll(cx),
        false => Poll::Ready(Ok(())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn years_of_four_digits_since_1970_can_be_written() {
        let end = UNIX_EPOCH + Duration::from_secs(END_S);
        let second = Duration::from_secs(1);
        assert!(can_write(UNIX_EPOCH) && can_write(end - second));
        assert!(!can_write(UNIX_EPOCH - second) && !can_write(end));
    }
}
