//! Rights on all routes: those of the OpenAPI description, which are those of the route table. Forbidden
//! requests fail closed, with the right code.

use crate::common::routes::{is, routes};
use crate::common::{self, Api, Reply};
use hotread_proto::{Code, Timestamp};
use hotread_server::Server;
use hotread_store::Role;
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// A server with a table `other` and tokens. The table `mine` does not exist, so that only permitted
/// callers may learn so.
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

/// Checks that the request passed the checks of access, regardless of its result.
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
            // A table created here is deleted again, so that it is absent for the next route.
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
async fn only_permitted_callers_learn_whether_a_table_exists() {
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
async fn unknown_methods_are_refused_with_those_that_there_are() {
    let api = Api::with_table("mine").await;
    for (path, allow) in [
        ("/healthz", "GET, HEAD"),
        ("/v1/tables/mine", "GET, HEAD, PUT, PATCH, DELETE"),
        ("/v1/tables/mine/records/k", "GET, HEAD, PUT, DELETE"),
        ("/v1/tables/mine/txn", "POST"),
    ] {
        for method in ["POST", "PATCH", "OPTIONS", "TRACE", "BREW"] {
            if allow.split(", ").any(|allowed| allowed == method) {
                continue;
            }
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
async fn the_first_token_closes_the_door_and_the_last_one_does_not_open_it() {
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
    assert!(!list.text().contains("hr_"), "secrets are shown once");

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
    let last = api.delete(&path(&admin)).token(secret);
    let last = last.refused(400, Code::BadRequest).await;
    assert!(
        last.text().contains("create another one"),
        "{}",
        last.text()
    );

    // A program with the store open can revoke it; then no request is accepted until there is another
    // token.
    let (store, id) = (api.store.clone(), admin["id"].as_str().unwrap().to_owned());
    common::blocking(move || store.revoke_token(&id).unwrap()).await;
    api.get("/v1/tables")
        .refused(401, Code::Unauthenticated)
        .await;
    let revoked = api.get("/v1/tables").token(secret);
    revoked.refused(401, Code::Unauthenticated).await;
    let (again, _) = api.token(Role::Admin, None).await;
    api.get("/v1/tables").token(&again).expect(200).await;
}

#[tokio::test]
async fn two_admins_that_revoke_each_other_at_once_leave_one() {
    let api = Api::start().await;
    for _ in 0..20 {
        let (one, one_id) = api.token(Role::Admin, None).await;
        let (other, other_id) = api.token(Role::Admin, None).await;
        let revoke = |secret: &str, id: &str| {
            let path = format!("/v1/tokens/{id}");
            api.delete(&path).token(secret).send()
        };
        let (first, second) = tokio::join!(revoke(&one, &other_id), revoke(&other, &one_id));
        let revoked = [&first, &second].map(|reply| reply.status == 200);
        assert_eq!(revoked.iter().filter(|done| **done).count(), 1);
        let left = if revoked[0] { one } else { other };
        let tokens = api.get("/v1/tokens").token(&left).expect(200).await.json();
        assert!(!tokens["tokens"].as_array().unwrap().is_empty());
        // Tokens of earlier rounds are revoked, so that each round has two.
        let store = api.store.clone();
        common::blocking(move || {
            let tokens = store.tokens().unwrap();
            for token in tokens {
                store.revoke_token(&token.id).unwrap();
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_token_that_expires_lets_nothing_in_any_more() {
    let api = Api::with_table("mine").await;
    let (admin, _) = api.token(Role::Admin, None).await;
    let now = Timestamp::from(SystemTime::now());
    let soon = now.saturating_add(Duration::from_secs(2));
    let create = |body: String| api.post("/v1/tokens").token(&admin).json(body);
    for (body, code) in [
        (
            r#"{"name":"n","role":"read","expires_at":1}"#,
            Code::BadRequest,
        ),
        (
            r#"{"name":"n","role":"read","expires_at":"soon"}"#,
            Code::InvalidTime,
        ),
    ] {
        create(body.to_owned()).refused(400, code).await;
    }
    let body = format!(r#"{{"name":"n","role":"read","expires_at":"{soon}"}}"#);
    let made = create(body).expect(201).await.json();
    assert_eq!(made["expires_at"], soon.to_string());
    let secret = made["secret"].as_str().unwrap();
    let refused = async {
        loop {
            let reply = api.get("/v1/tables/mine").token(secret).send().await;
            match reply.status {
                200 => {}
                401 => break,
                status => panic!("{status}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    common::hang(refused).await;
    assert!(Timestamp::from(SystemTime::now()) >= soon);
    let listed = async {
        loop {
            let list = api.get("/v1/tokens").token(&admin).expect(200).await;
            if list.json()["tokens"].as_array().unwrap().len() == 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    common::hang(listed).await;
}

#[tokio::test]
async fn what_the_store_does_is_shown_to_tokens_of_all_tables() {
    let api = Api::start().await;
    let tokens = Tokens::make(&api).await;
    for (token, shown) in [
        (&tokens.read, true),
        (&tokens.admin, true),
        (&tokens.read_other, false),
        (&tokens.admin_other, false),
    ] {
        let status = api.get("/v1/status").token(token).expect(200).await;
        assert_eq!(status.json().get("store").is_some(), shown);
    }
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
    let error = serve(false).await.unwrap_err().to_string();
    assert!(error.contains("an admin token and encryption"), "{error}");
    let error = serve(true).await.unwrap_err();
    assert!(
        error.to_string().contains("an admin token is missing"),
        "{error}"
    );
    assert!(!error.to_string().contains("encryption"), "{error}");
    assert_eq!(error.code(), Code::BadConfig);
    let (named, name) = (store.clone(), "root");
    common::blocking(move || named.create_token(name, Role::Admin, None).unwrap()).await;
    let error = serve(false).await.unwrap_err();
    assert!(
        error.to_string().contains("encryption is missing"),
        "{error}"
    );
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
