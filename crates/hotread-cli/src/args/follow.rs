//! The arguments of the commands that observe a server: `hotread watch` and `status`.

use super::values::Since;
use clap::Args;
use hotread_proto::TableName;

pub(crate) const WATCH_HELP: &str = "\
Prints one line for each change as it is committed. No change is lost, and each has a line of its own.
Changes come from a server (--url). If the server goes away, watch waits for it and resumes where it was;
-v reports when the server goes and comes back. If the changes in between are no longer available (the history
was cut, or the table was dropped or restored), watch ends with an error such as GONE or EPOCH_CHANGED. It
also ends on ctrl-C, and when its output is closed.

The first line of a transaction names its actor and its note, if known.

With --json each line has epoch, seq, time, op (put or delete), key, value, category, actor, note and
more. If more is true, the next line belongs to the same transaction. To resume, give --from EPOCH:SEQ of
the last line whose more is false.

With --state the existing records come first, as puts with \"state\": true and the seq of their last
change, followed by a line with op live and the position that the changes follow.

With --exec a shell runs the command for each change, with its JSON on stdin, one change at a time. If a
command fails, watch ends, and says how to resume.

Examples:
  hotread --url 127.0.0.1:7400 watch flags
  hotread watch flags --prefix beta/ --json
  hotread watch flags --from 42 --json
  hotread watch flags --state --exec 'jq -c .key >> keys.log'";

pub(crate) const STATUS_HELP: &str = "\
LAG is the number of transactions that a subscriber has not acknowledged yet; POSITION is the last one
that it has. LAST NACK is the last value that the subscriber's type refused: the subscriber stays before
it until the record is changed. With --json, the whole report of the server is one object.

Examples:
  hotread status --url http://127.0.0.1:7400
  hotread status --json | jq '.sessions[] | select(.last_nack)'";

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The table
    pub(crate) table: TableName,
    /// Only keys with this prefix
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
    /// Begin after this transaction: its sequence number, or EPOCH:SEQ [default: begin with the next
    /// one]
    #[arg(long, value_name = "SEQ")]
    pub(crate) from: Option<Since>,
    /// Print the existing records first
    #[arg(long, conflicts_with = "from")]
    pub(crate) state: bool,
    /// Run this command for each change, instead of printing it
    #[arg(long, value_name = "COMMAND", conflicts_with = "json")]
    pub(crate) exec: Option<String>,
}
