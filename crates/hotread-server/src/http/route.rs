//! All routes, in one table. It makes the router, holds the rights and the body that each route needs, and
//! is a part of the description. No handler is reachable in another way.

use super::answer::Answer;
use super::call::Call;
use super::etag::Conditions;
use super::request::Takes;
use super::{changes, events, meta, metrics, records, sync, tables, tokens, txn};
use crate::limits::{MAX_RECORD_BODY, MAX_TOKEN_BODY, MAX_TXN_BODY};
use axum::http::Method;
use hotread_store::Role;
use std::pin::Pin;

/// Right that a route needs, once there are tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// No right: the route reveals nothing.
    Open,
    /// A valid token.
    Token,
    /// This role on any table. The answer has only what the caller may see.
    Any(Role),
    /// This role on the table in the path.
    Table(Role),
    /// This role on all tables: the route is about the server.
    Server(Role),
}

type Handler = fn(Call) -> Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A method and a path, with its requirements and its handler.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) method: Method,
    /// Path in the form of axum and OpenAPI: a name in braces is any one segment.
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    pub(crate) takes: Takes,
    /// Supported parameters of the query; others are an error.
    pub(crate) query: &'static [&'static str],
    pub(crate) conditions: Conditions,
    /// `true` if the route supports `Idempotency-Key`.
    pub(crate) once: bool,
    pub(crate) handler: Handler,
}

/// Defines constructors for routes of one method each.
macro_rules! methods {
    ($($name:ident $method:ident),*) => {
        $(const fn $name(path: &'static str, access: Access, handler: Handler) -> Self {
            Self::new(Method::$method, path, access, handler)
        })*
    };
}

impl Route {
    methods! { get GET, put PUT, post POST, patch PATCH, delete DELETE }

    const fn new(method: Method, path: &'static str, access: Access, handler: Handler) -> Self {
        Self {
            method,
            path,
            access,
            takes: Takes::Nothing,
            query: &[],
            conditions: Conditions::None,
            once: false,
            handler,
        }
    }

    const fn takes(mut self, takes: Takes) -> Self {
        self.takes = takes;
        self
    }

    const fn query(mut self, query: &'static [&'static str]) -> Self {
        self.query = query;
        self
    }

    const fn conditions(mut self, conditions: Conditions) -> Self {
        self.conditions = conditions;
        self
    }

    const fn once(mut self) -> Self {
        self.once = true;
        self
    }
}

/// Turns an async function into a [`Handler`].
macro_rules! to {
    ($handler:path) => {
        |call| Box::pin($handler(call))
    };
}

const READ: Access = Access::Table(Role::Read);
const WRITE: Access = Access::Table(Role::Write);
const ADMIN: Access = Access::Table(Role::Admin);
const ANY: Access = Access::Any(Role::Read);
const SERVER_READ: Access = Access::Server(Role::Read);
const SERVER_ADMIN: Access = Access::Server(Role::Admin);

const TABLE: &str = "/v1/tables/{table}";
const RECORD: &str = "/v1/tables/{table}/records/{key}";

/// All routes.
pub(crate) static ROUTES: [Route; 23] = [
    Route::get("/healthz", Access::Open, to!(meta::health)),
    Route::get("/readyz", Access::Open, to!(meta::ready)),
    Route::get("/metrics", SERVER_READ, to!(metrics::get)),
    Route::get("/v1/openapi.json", Access::Token, to!(meta::openapi)),
    Route::get("/v1/status", ANY, to!(meta::status)),
    Route::get("/v1/tokens", SERVER_ADMIN, to!(tokens::list)),
    Route::post("/v1/tokens", SERVER_ADMIN, to!(tokens::create)).takes(Takes::Json(MAX_TOKEN_BODY)),
    Route::delete("/v1/tokens/{id}", SERVER_ADMIN, to!(tokens::revoke)),
    Route::get("/v1/tables", ANY, to!(tables::list)),
    Route::get(TABLE, READ, to!(tables::get)).conditions(Conditions::Cached),
    Route::put(TABLE, ADMIN, to!(tables::create)).takes(Takes::Perhaps(MAX_RECORD_BODY)),
    Route::patch(TABLE, ADMIN, to!(tables::alter)).takes(Takes::Json(MAX_RECORD_BODY)),
    Route::delete(TABLE, ADMIN, to!(tables::drop)),
    Route::get("/v1/tables/{table}/records", READ, to!(records::list))
        .query(&["prefix", "after", "category", "limit", "epoch"]),
    Route::get(RECORD, READ, to!(records::get)).conditions(Conditions::Cached),
    Route::put(RECORD, WRITE, to!(records::put))
        .takes(Takes::Json(MAX_RECORD_BODY))
        .query(&["note"])
        .conditions(Conditions::Record)
        .once(),
    Route::delete(RECORD, WRITE, to!(records::delete))
        .query(&["note"])
        .conditions(Conditions::Existing)
        .once(),
    Route::post("/v1/tables/{table}/txn", WRITE, to!(txn::commit))
        .takes(Takes::Json(MAX_TXN_BODY))
        .once(),
    Route::post("/v1/tables/{table}/replace", WRITE, to!(txn::replace))
        .takes(Takes::Replacement)
        .query(&["note"])
        .once(),
    Route::get("/v1/tables/{table}/search", READ, to!(records::search))
        .query(&["q", "category", "limit"]),
    Route::get("/v1/tables/{table}/changes", READ, to!(changes::get)).query(&["from", "limit"]),
    Route::get("/v1/tables/{table}/events", READ, to!(events::get)).query(&["from"]),
    Route::get("/v1/tables/{table}/sync", READ, to!(sync::follow)),
];

/// Returns the methods of a path, in the form of `Allow`.
pub(super) fn methods(path: &str) -> String {
    let here = ROUTES.iter().filter(|route| route.path == path);
    let methods = here.map(|route| match &route.method {
        &Method::GET => "GET, HEAD",
        method => method.as_str(),
    });
    methods.collect::<Vec<_>>().join(", ")
}
