//! Requests to a server, and their outcomes.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::process::Failure;

/// A caller.
#[derive(Clone)]
pub(super) struct Api {
    client: reqwest::Client,
    url: String,
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    body: Vec<u8>,
}

impl Answer {
    pub(super) fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Its body, unless it is an error.
    pub(super) fn body(self) -> Result<Vec<u8>, Failure> {
        match self.is_ok() {
            true => Ok(self.body),
            false => Err(self.summary().into()),
        }
    }

    /// The status, and the code of an error.
    pub(super) fn summary(&self) -> String {
        #[derive(Deserialize)]
        struct Error {
            code: String,
        }
        match serde_json::from_slice::<Error>(&self.body) {
            Ok(error) if !self.is_ok() => format!("{} {}", self.status, error.code),
            _ => self.status.to_string(),
        }
    }
}

/// The fields of a table that matter here.
#[derive(Debug, Deserialize)]
pub(super) struct Table {
    #[serde(flatten)]
    pub(super) place: Place,
    pub(super) records: u64,
}

/// A position in a table that a session may have reached.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(in super::super) struct Place {
    pub(super) epoch: String,
    pub(super) seq: u64,
    pub(super) digest: String,
}

impl Api {
    /// A caller from this address.
    pub(super) fn new(server: SocketAddr, from: IpAddr) -> Self {
        let client = reqwest::Client::builder().local_address(from).no_proxy();
        Self {
            client: client.build().expect("no setting is out of the ordinary"),
            url: format!("http://{server}/v1/tables"),
        }
    }

    /// Makes a request; `path` is behind `/v1/tables`.
    pub(super) async fn ask(
        &self,
        method: reqwest::Method,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> Result<Answer, Failure> {
        let request = self.client.request(method, format!("{}{path}", self.url));
        let request = request
            .header("content-type", "application/json")
            .body(body);
        let mut answer = request.send().await?;
        let status = answer.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            // Only errors are parsed, and they are short.
            if body.len() < 64 << 10 {
                body.extend_from_slice(&chunk);
            }
        }
        Ok(Answer { status, body })
    }

    /// Gets a path.
    pub(super) async fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.ask(reqwest::Method::GET, path, "").await
    }

    /// Puts a record.
    pub(super) async fn put(&self, table: &str, key: &str, value: &str) -> Result<Answer, Failure> {
        let path = format!("/{table}/records/{key}");
        let body = format!(r#"{{"value":{value}}}"#);
        self.ask(reqwest::Method::PUT, &path, body).await
    }

    /// Puts some records, given as JSON objects, in one transaction.
    pub(super) async fn txn(&self, table: &str, puts: &[String]) -> Result<Answer, Failure> {
        let ops: Vec<String> = puts
            .iter()
            .map(|put| format!(r#"{{"put":{put}}}"#))
            .collect();
        let body = format!(r#"{{"ops":[{}]}}"#, ops.join(","));
        let path = format!("/{table}/txn");
        self.ask(reqwest::Method::POST, &path, body).await
    }

    /// Makes a table.
    pub(super) async fn create(&self, table: &str) -> Result<(), Failure> {
        let path = format!("/{table}");
        self.ask(reqwest::Method::PUT, &path, "{}").await?.body()?;
        Ok(())
    }

    /// Gets the state of a table.
    pub(super) async fn table(&self, table: &str) -> Result<Table, Failure> {
        let answer = self.get(&format!("/{table}")).await?;
        Ok(serde_json::from_slice(&answer.body()?)?)
    }
}
