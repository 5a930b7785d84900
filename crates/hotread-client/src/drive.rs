//! Drives a session: carries frames, time and decisions between [`Follow`] and the outside world.

use crate::connection::Announcer;
use crate::endpoint::Endpoint;
use crate::heavy::{HEAVY_FRAME_BYTES, heavy};
use crate::servers::Round;
use crate::socket::{Lost, Wire};
use hotread_proto::session::{Batch, Follow, FollowConfig, Mode, Output, Target};
use hotread_proto::{ErrorBody, Position, TableName};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// Destination of batches.
pub(crate) trait Publish<T: Target>: Send {
    /// Takes a batch, and returns whether it is visible already. An error ends the session.
    fn apply(
        &mut self,
        batch: Batch<T::Action>,
    ) -> impl Future<Output = Result<bool, ErrorBody>> + Send;

    /// Returns `true` if there is room for the content of the next frame.
    fn has_room(&self) -> bool;

    /// `true` if timers run while there is no room. If they do not, an unread connection does not count as
    /// lost.
    const KEEPS_TIME: bool;

    /// Resolves with the position that became visible, or with `None` once there is room again. Cancel
    /// safe.
    fn progress(&mut self) -> impl Future<Output = Result<Option<Position>, ErrorBody>> + Send;

    /// Takes the session's current status, after each step, and the server of its last connection.
    fn report(&mut self, follow: &Follow<T>, server: &Arc<str>);
}

/// Returns the settings common to everything that follows a table.
pub(crate) fn config(endpoint: &Arc<Endpoint>, mode: Mode, keep_ops: bool) -> FollowConfig {
    FollowConfig {
        name: endpoint.settings.name.clone(),
        mode,
        skip_bad_keys: false,
        keep_ops,
        ping_every: endpoint.settings.ping_every,
        max_bytes: usize::MAX,
        waits_for_table: endpoint.settings.wait_for_tables,
        renews_token: endpoint.credentials.is_renewable(),
        servers: endpoint.servers.count(),
        seed: RandomState::new().hash_one(0),
    }
}

/// Runs the session until it fails permanently, and returns that failure.
pub(crate) async fn drive<T: Target + Send + 'static, P: Publish<T>>(
    mut follow: Follow<T>,
    publish: &mut P,
    endpoint: &Arc<Endpoint>,
    table: &TableName,
    began: Instant,
) -> ErrorBody
where
    T::Action: Send,
{
    let now = || began.elapsed();
    let mut wire = Wire::Closed;
    let servers = &endpoint.servers;
    let mut round = Round::default();
    let (mut at, mut up) = (round.next(servers), false);
    let mut announcer = Announcer {
        table,
        callback: endpoint.settings.on_connection.as_ref(),
        last: None,
    };
    loop {
        while let Some(output) = follow.poll_output() {
            match output {
                Output::Connect => {
                    at = round.next(servers);
                    wire = Wire::open(endpoint, at, table);
                }
                Output::Disconnect => wire = Wire::Closed,
                Output::Send(frame) => {
                    if let Err(lost) = wire.send(frame).await {
                        tell(&mut follow, lost, now());
                    }
                }
                Output::Apply(batch) => {
                    let position = batch.head.position;
                    match publish.apply(batch).await {
                        Ok(true) => follow.handle_published(position, now()),
                        Ok(false) => {}
                        Err(body) => return body,
                    }
                }
                Output::Failed(body) => return body,
                // A decision unknown to this version cannot be carried out.
                _ => {}
            }
        }
        if follow.is_up() && !up {
            servers.works(at);
        }
        up = follow.is_up();
        if follow.server_failed() {
            round.fail(servers, at, &follow.trouble().unwrap_or_default());
        }
        let server = &servers.get(at).name;
        publish.report(&follow, server);
        announcer.look(&follow, server);
        let reads = publish.has_room();
        let at = follow.poll_timeout().map(|at| (began + at).into());
        let at = at.unwrap_or_else(tokio::time::Instant::now);
        tokio::select! {
            biased;
            done = publish.progress() => match done {
                Ok(Some(position)) => follow.handle_published(position, now()),
                Ok(None) => {}
                Err(body) => return body,
            },
            came = wire.next(), if reads => {
                match came {
                    Ok(None) => follow.handle_connected(now()),
                    Ok(Some(text)) => follow = read(follow, text, now()).await,
                    Err(lost) => tell(&mut follow, lost, now()),
                }
                // Pings are sent on time even if frames never stop arriving.
                if follow.is_up() && follow.poll_timeout().is_some_and(|at| at <= now()) {
                    follow.handle_timeout(now());
                }
            }
            () = tokio::time::sleep_until(at), if reads || P::KEEPS_TIME => {
                if wire.is_heard() {
                    follow.handle_part(now());
                }
                follow.handle_timeout(now());
            }
        }
    }
}

/// Passes a frame to the session. A large frame, and the small one that ends a snapshot, are handled on
/// another thread.
async fn read<T: Target + Send + 'static>(
    mut follow: Follow<T>,
    text: Utf8Bytes,
    now: Duration,
) -> Follow<T>
where
    T::Action: Send,
{
    if !follow.is_loading() && text.len() < HEAVY_FRAME_BYTES {
        follow.handle_text(&text, now);
        return follow;
    }
    heavy(move || {
        follow.handle_text(&text, now);
        follow
    })
    .await
}

fn tell<T: Target>(follow: &mut Follow<T>, lost: Lost, now: Duration) {
    match lost {
        Lost::Refused(body) => follow.handle_refused(body, now),
        Lost::Broken(why) => {
            tracing::debug!(why, "the connection to the server was lost");
            follow.handle_disconnected(&why, now);
        }
    }
}
