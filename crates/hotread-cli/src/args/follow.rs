//! The arguments of the commands that ask a server how things go: `hotread watch` and `status`.

use super::values::Since;
use clap::Args;
use hotread_proto::TableName;

pub(crate) const WATCH_HELP: &str = "\
One line for each change, as it is committed: none is lost, and none are folded together. Changes
come from a server (--url). If it goes away, watch waits for it, and goes on where it was; with -v it says
when the server goes and comes back. If it cannot tell any more what happened in between (the history was cut, the table dropped or restored),
watch ends with an error, such as GONE or EPOCH_CHANGED. It ends with ctrl-C, and when nobody reads
its output any more.

The first line of a transaction says who made it and why, as far as that is known.

With --json each line has epoch, seq, time, op (put or delete), key, value, category, actor, note and
more. Where more is true, the next line is of the same transaction. Go on with --from EPOCH:SEQ of the last line
where more is false.

With --state the records that there are come first, as puts with \"state\": true and the seq of their
last change, and then a line with op live and the position that the changes follow.

With --exec a shell runs the command for each change, with its JSON on stdin, one after the other. If one
fails, watch ends, and says how to go on.

Examples:
  hotread --url 127.0.0.1:7400 watch flags
  hotread watch flags --prefix beta/ --json
  hotread watch flags --from 42 --json
  hotread watch flags --state --exec 'jq -c .key >> keys.log'";

pub(crate) const STATUS_HELP: &str = "\
LAG is how many transactions a subscriber has not acknowledged yet; POSITION is the last one that it
has. LAST NACK is the last value that its type refuses: it stays before it until the record is
changed. With --json all that the server tells is one object.

Examples:
  hotread status --url http://127.0.0.1:7400
  hotread status --json | jq '.sessions[] | select(.last_nack)'";

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The table
    pub(crate) table: TableName,
    /// Only keys that begin so
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
    /// Begin after this transaction: its sequence number, or EPOCH:SEQ; without it, with the next one
    #[arg(long, value_name = "SEQ")]
    pub(crate) from: Option<Since>,
    /// Print the records that there are first
    #[arg(long, conflicts_with = "from")]
    pub(crate) state: bool,
    /// Run this command for each change, in place of printing it
    #[arg(long, value_name = "COMMAND", conflicts_with = "json")]
    pub(crate) exec: Option<String>,
}
