//! `/v1/tables/{table}/search`.

use super::answer::Answer;
use super::call::Call;
use super::records::present;
use crate::error::Failure;
use crate::limits::{MAX_FOUND, MAX_QUERY_BYTES, PAGE_MEMORY};
use hotread_proto::Search;

/// `GET /v1/tables/{table}/search`: the best first.
pub(super) async fn get(call: Call) -> Answer {
    let table = call.table()?;
    let missing = || Failure::bad_request("q is missing; give the words to search for");
    let query = call.query.get("q").ok_or_else(missing)?.to_owned();
    if query.len() > MAX_QUERY_BYTES {
        let message = format!("q has more than {MAX_QUERY_BYTES} bytes; shorten it");
        return Err(Failure::bad_request(message));
    }
    let search = Search {
        query,
        category: call.query.read("category")?,
        limit: call.query.limit(MAX_FOUND, MAX_FOUND)?,
    };
    let answer = call.answer(PAGE_MEMORY, move |store| {
        let mut found = store.search(&table, &search)?;
        found.records = present(found.records);
        Ok(found)
    });
    answer.await
}
