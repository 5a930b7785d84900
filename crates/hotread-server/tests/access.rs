//! Who may do what, over all routes: those of the OpenAPI description, which are those of the route
//! table. What may not be done fails closed, and with the right code.

mod common;

use common::{Api, Ask, Reply};
use hotread_proto::Code;
use hotread_server::Server;
use hotread_store::Role;
use serde_json::Value;

const DESCRIPTION: &str = include_str!("../src/openapi.json");

/// A route, and a request for it that is right.
struct Route {
    method: String,
    path: String,
    /// `open`, `token`, or `any`, `table`, `server` with a role.
    access: String,
    body: Option<&'static str>,
}

fn routes() -> Vec<Route> {
    let doc: Value = serde_json::from_str(DESCRIPTION).unwrap();
    let mut routes = Vec::new();
    for (path, methods) in doc["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let body = match operation["operationId"].as_str().unwrap() {
                "createToken" => Some(r#"{"name":"n","role":"read"}"#),
                "putRecord" => Some(r#"{"value":1}"#),
                "commit" => Some(r#"{"ops":[{"put":{"key":"k","value":1}}]}"#),
                "replace" => Some(r#"{"records":[{"key":"k","value":1}]}"#),
                "createTable" => Some("{}"),
                _ => None,
            };
            let query = match operation["operationId"].as_str().unwrap() {
                "search" => "?q=a",
                "changes" => "?from=0000000000000000:0",
                _ => "",
            };
            let path = path
                .replace("{table}", "mine")
                .replace("{key}", "k")
                .replace("{id}", "00000000");
            routes.push(Route {
                method: method.to_uppercase(),
                path: path + query,
                access: operation["x-access"].as_str().unwrap().to_owned(),
                body,
            });
        }
    }
    assert!(routes.len() >= 22);
    routes
}

impl Route {
    fn ask(&self, api: &Api) -> Ask {
        let ask = api.ask(&self.method, &self.path);
        match self.body {
            Some(body) => ask.json(body),
            None => ask,
        }
    }

    fn role(&self) -> Option<Role> {
        let (_, role) = self.access.split_once(':')?;
        Some(role.parse().unwrap())
    }

    fn scope(&self) -> &str {
        self.access.split(':').next().unwrap()
    }

    fn what(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// A server with a table `other` and tokens: so that whether `mine` is there is told only to whom it
/// concerns, it is not there.
struct Tokens {
    admin: String,
    read: String,
    write: String,
    read_other: String,
    admin_other: String,
    admin_mine: String,
}

impl Tokens {
    async fn make(api: &Api) -> Self {
        Self {
            admin: api.token(Role::Admin, None).await.0,
            read: api.token(Role::Read, None).await.0,
            write: api.token(Role::Write, None).await.0,
            read_other: api.token(Role::Read, Some(&["other"])).await.0,
            admin_other: api.token(Role::Admin, Some(&["other"])).await.0,
            admin_mine: api.token(Role::Admin, Some(&["mine"])).await.0,
        }
    }
}

fn is(reply: &Reply, status: u16, code: Code, what: &str) {
    let got = (reply.status, reply.code());
    assert_eq!(
        got,
        (status, code.as_str().to_owned()),
        "{what}: {}",
        reply.text()
    );
}

/// The checks of access were passed, whatever came of it then.
fn passed(reply: &Reply, what: &str) {
    assert!(
        !matches!(reply.status, 401 | 403),
        "{what}: {}",
        reply.text()
    );
}

#[tokio::test]
async fn without_a_valid_token_every_route_fails_closed_and_tells_nothing() {
    let api = Api::start().await;
    let tokens = Tokens::make(&api).await;
    let wrong = format!("hr_{}", "0".repeat(64));
    let cut = &tokens.admin[..tokens.admin.len() - 1];
    let basic = format!("Basic {}", tokens.admin);
    let bare = tokens.admin.clone();
    for route in routes() {
        let asks = [
            ("no token", route.ask(&api)),
            ("an unknown token", route.ask(&api).token(&wrong)),
            ("a cut token", route.ask(&api).token(cut)),
            ("an empty token", route.ask(&api).token("")),
            (
                "another scheme",
                route.ask(&api).header("Authorization", &basic),
            ),
            ("no scheme", route.ask(&api).header("Authorization", &bare)),
            (
                "two tokens",
                route.ask(&api).token(&tokens.admin).token(&tokens.admin),
            ),
            (
                "a cookie",
                route.ask(&api).header("Cookie", &format!("token={bare}")),
            ),
        ];
        for (how, ask) in asks {
            let what = format!("{} with {how}", route.what());
            let reply = ask.send().await;
            if route.access == "open" {
                assert_eq!(reply.status, 200, "{what}");
                assert_eq!(reply.text(), r#"{"ok":true}"#, "{what}");
            } else {
                is(&reply, 401, Code::Unauthenticated, &what);
                assert_eq!(reply.header("www-authenticate"), Some("Bearer"), "{what}");
            }
        }
    }
    let unknown = api.get("/v1/nothing");
    unknown.clone().refused(401, Code::Unauthenticated).await;
    api.delete("/v1/status")
        .refused(401, Code::Unauthenticated)
        .await;
    unknown
        .token(&tokens.read)
        .refused(404, Code::UnknownRoute)
        .await;
    let in_url = format!("/v1/tables?token={}", tokens.admin);
    api.get(&in_url).refused(401, Code::Unauthenticated).await;
}

#[tokio::test]
async fn a_token_does_what_its_role_allows_and_where() {
    let api = Api::start().await;
    let tokens = Tokens::make(&api).await;
    let all = [
        ("read", &tokens.read, Role::Read, None),
        ("write", &tokens.write, Role::Write, None),
        ("read other", &tokens.read_other, Role::Read, Some("other")),
        (
            "admin other",
            &tokens.admin_other,
            Role::Admin,
            Some("other"),
        ),
        ("admin mine", &tokens.admin_mine, Role::Admin, Some("mine")),
        ("admin", &tokens.admin, Role::Admin, None),
    ];
    for route in routes() {
        for (name, token, role, only) in all {
            let what = format!("{} with {name}", route.what());
            let enough = route.role().is_none_or(|needed| role >= needed);
            let allowed = match route.scope() {
                "open" | "token" => true,
                "any" => enough,
                "table" => enough && only.is_none_or(|table| table == "mine"),
                "server" => enough && only.is_none(),
                scope => panic!("{scope}"),
            };
            // A table that is made here is gone with the last one, as it was.
            let reply = route.ask(&api).token(token).send().await;
            if allowed {
                passed(&reply, &what);
            } else {
                is(&reply, 403, Code::Forbidden, &what);
            }
            if route.method == "PUT" && reply.status == 201 {
                api.delete("/v1/tables/mine")
                    .token(&tokens.admin)
                    .expect(200)
                    .await;
            }
        }
    }
}

#[tokio::test]
async fn whether_a_table_exists_is_told_only_to_whom_it_concerns() {
    let api = Api::start().await;
    let tokens = Tokens::make(&api).await;
    for name in ["mine", "other"] {
        let path = format!("/v1/tables/{name}");
        api.put(&path).token(&tokens.admin).expect(201).await;
    }
    let there = api.get("/v1/tables/mine").token(&tokens.read_other);
    let not_there = api.get("/v1/tables/none").token(&tokens.read_other);
    let there = there.refused(403, Code::Forbidden).await;
    let not_there = not_there.refused(403, Code::Forbidden).await;
    assert_eq!(there.body, not_there.body);

    let names = |reply: Reply| -> Vec<String> {
        let json = reply.json();
        let tables = json["tables"].as_array().unwrap();
        tables
            .iter()
            .map(|t| t["name"].as_str().unwrap().to_owned())
            .collect()
    };
    for path in ["/v1/tables", "/v1/status"] {
        let seen = api.get(path).token(&tokens.read_other).expect(200).await;
        assert_eq!(names(seen), ["other"], "{path}");
        let seen = api.get(path).token(&tokens.read).expect(200).await;
        assert_eq!(names(seen), ["mine", "other"], "{path}");
    }
}

#[tokio::test]
async fn hosts_and_origins_are_checked_on_every_route_and_before_the_token() {
    let api = Api::with(|builder| {
        builder
            .allowed_hosts(["flags.internal"])
            .allowed_origins(["https://console.example"])
    })
    .await;
    let port = api.address.port();
    let not_there = |method: &str, path: &str| Route {
        method: method.to_owned(),
        path: path.to_owned(),
        access: "token".to_owned(),
        body: None,
    };
    for secured in [false, true] {
        if secured {
            api.token(Role::Admin, None).await;
        }
        let mut routes = routes();
        routes.push(not_there("GET", "/v1/nothing"));
        routes.push(not_there("PATCH", "/v1/tables"));
        for route in routes {
            let what = route.what();
            for host in ["evil.example", "localhost.evil.example", "", "10.0.0.1"] {
                let reply = route.ask(&api).host(host).send().await;
                is(
                    &reply,
                    403,
                    Code::HostNotAllowed,
                    &format!("{what} at {host:?}"),
                );
            }
            let reply = route.ask(&api).without("Host").send().await;
            is(
                &reply,
                403,
                Code::HostNotAllowed,
                &format!("{what} without a host"),
            );
            for (name, value) in [
                ("Origin", "https://evil.example".to_owned()),
                ("Origin", "null".to_owned()),
                ("Origin", format!("http://localhost:{port}")),
                ("Sec-Fetch-Site", "cross-site".to_owned()),
            ] {
                let reply = route.ask(&api).header(name, &value).send().await;
                let what = format!("{what} with {name}: {value}");
                is(&reply, 403, Code::OriginNotAllowed, &what);
            }
        }
    }
    let good = api.get("/healthz").host("FLAGS.internal:1");
    good.header("Origin", "https://console.example")
        .expect(200)
        .await;
}

#[tokio::test]
async fn bodies_are_json_where_there_are_any_and_refused_elsewhere() {
    let api = Api::with_table("mine").await;
    let (admin, _) = api.token(Role::Admin, None).await;
    for route in routes() {
        let what = route.what();
        let ask = || api.ask(&route.method, &route.path).token(&admin);
        let Some(body) = route.body else {
            for kind in ["application/json", "text/plain"] {
                let reply = ask().body(kind, "{}").send().await;
                is(
                    &reply,
                    400,
                    Code::BadRequest,
                    &format!("{what} with {kind}"),
                );
            }
            continue;
        };
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "",
        ] {
            let reply = ask().body(kind, body).send().await;
            let what = format!("{what} with {kind:?}");
            is(&reply, 415, Code::UnsupportedMediaType, &what);
        }
        let untyped = ask().json(body).without("Content-Type").send().await;
        is(&untyped, 415, Code::UnsupportedMediaType, &what);
        let typed = ask().json(body).send().await;
        assert!(
            matches!(typed.status, 200 | 201 | 409),
            "{what}: {}",
            typed.text()
        );
    }
}

#[tokio::test]
async fn unknown_methods_are_refused_with_those_that_there_are() {
    let api = Api::with_table("mine").await;
    for (path, allow) in [
        ("/healthz", "GET"),
        ("/v1/tables/mine", "GET, PUT, DELETE"),
        ("/v1/tables/mine/records/k", "GET, PUT, DELETE"),
        ("/v1/tables/mine/txn", "POST"),
    ] {
        for method in ["PATCH", "OPTIONS", "TRACE", "BREW"] {
            let reply = api.ask(method, path);
            let reply = reply.refused(405, Code::MethodNotAllowed).await;
            assert_eq!(reply.header("allow"), Some(allow), "{method} {path}");
        }
    }
    for path in [
        "/",
        "/v1",
        "/v1/tables/",
        "/v1/tables/mine/",
        "/v1/tables/mine/records/",
        "/v1/tables/mine/records/a/b",
        "//v1/tables",
        "/V1/tables",
        "/healthz/",
    ] {
        api.get(path).refused(404, Code::UnknownRoute).await;
    }
}

#[tokio::test]
async fn the_first_token_closes_the_door_to_the_anonymous_and_the_last_one_opens_it() {
    let api = Api::with_table("mine").await;
    api.get("/v1/tables").expect(200).await;
    let limited = r#"{"name":"ci","role":"read"}"#;
    api.post("/v1/tokens")
        .json(limited)
        .refused(400, Code::BadRequest)
        .await;
    let admin = api
        .post("/v1/tokens")
        .json(r#"{"name":"root","role":"admin"}"#);
    let admin = admin.expect(201).await;
    assert_eq!(admin.header("cache-control"), Some("no-store"));
    let admin = admin.json();
    let secret = admin["secret"].as_str().unwrap();
    api.get("/v1/tables")
        .refused(401, Code::Unauthenticated)
        .await;

    let other = api.post("/v1/tokens").token(secret);
    let other = other.json(r#"{"name":"ci","role":"read","tables":["mine"]}"#);
    let other = other.expect(201).await.json();
    let theirs = other["secret"].as_str().unwrap();
    api.get("/v1/tables/mine").token(theirs).expect(200).await;
    let list = api.get("/v1/tokens").token(secret).expect(200).await;
    assert_eq!(list.json()["tokens"].as_array().unwrap().len(), 2);
    assert!(!list.text().contains("hr_"), "secrets are told once");

    let path = |token: &Value| format!("/v1/tokens/{}", token["id"].as_str().unwrap());
    let last = api.delete(&path(&admin)).token(secret);
    last.refused(400, Code::BadRequest).await;
    api.delete("/v1/tokens/00000000")
        .token(secret)
        .refused(404, Code::UnknownToken)
        .await;
    api.delete(&path(&other)).token(secret).expect(200).await;
    api.get("/v1/tables/mine")
        .token(theirs)
        .refused(401, Code::Unauthenticated)
        .await;
    api.delete(&path(&admin)).token(secret).expect(200).await;
    api.get("/v1/tables").expect(200).await;
}

#[tokio::test]
async fn beyond_loopback_it_listens_only_with_tokens_and_plaintext_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let store = hotread_server::Store::open(dir.path().join("test.db")).unwrap();
    let listen = || tokio::net::TcpListener::bind("0.0.0.0:0");
    let serve = async |plaintext: bool| {
        let server = Server::builder(store.clone()).allow_plaintext(plaintext);
        let server = server.build().unwrap();
        server.serve(listen().await.unwrap(), async {}).await
    };
    let error = serve(true).await.unwrap_err();
    assert!(error.to_string().contains("no tokens"), "{error}");
    assert_eq!(error.code(), Code::BadConfig);
    let (named, name) = (store.clone(), "root");
    common::blocking(move || named.create_token(name, Role::Admin, None).unwrap()).await;
    let error = serve(false).await.unwrap_err();
    assert!(error.to_string().contains("encrypted"), "{error}");
    serve(true).await.unwrap();
}

#[tokio::test]
async fn a_store_that_does_not_know_its_tokens_is_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.db");
    drop(hotread_server::Store::open(&path).unwrap());
    let store = hotread_server::Store::builder(&path).read_only(true);
    let error = Server::builder(store.open().unwrap()).build().unwrap_err();
    assert_eq!(error.code(), Code::ReadOnly);
}

#[tokio::test]
async fn a_session_is_not_begun_by_anything_but_a_websocket() {
    let api = Api::with_table("mine").await;
    let upgrade = || {
        let ask = api.get("/v1/tables/mine/sync");
        ask.header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
    };
    api.get("/v1/tables/mine/sync")
        .refused(400, Code::BadRequest)
        .await;
    let old = upgrade().header("Sec-WebSocket-Version", "8");
    old.refused(400, Code::BadRequest).await;
    let keyless = upgrade().header("Sec-WebSocket-Version", "13");
    keyless.refused(400, Code::BadRequest).await;
    let right = || {
        let ask = upgrade().header("Sec-WebSocket-Version", "13");
        ask.header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
    };
    let other = right().header("Sec-WebSocket-Protocol", "soap");
    other.refused(400, Code::BadRequest).await;
    let page = right().header("Sec-WebSocket-Protocol", "hotread.v1+json");
    let page = page.header("Origin", "https://evil.example");
    page.refused(403, Code::OriginNotAllowed).await;
}
