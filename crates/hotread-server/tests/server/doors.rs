//! Checks that hold on every route before anything else of a request is examined: hosts, origins and pages,
//! proxies, probes, HEAD.

use crate::common::routes::{Route, is, routes};
use crate::common::{Api, Reply};
use hotread_proto::Code;
use hotread_store::Role;

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
            // With tokens, `Host` is no protection, and a request with any `Host` is answered.
            let (status, code) = match (route.access.as_str(), secured) {
                ("open", _) => (200, ""),
                (_, false) => (403, Code::HostNotAllowed.as_str()),
                (_, true) => (401, Code::Unauthenticated.as_str()),
            };
            for host in ["evil.example", "localhost.evil.example", "", "10.0.0.1"] {
                let reply = route.ask(&api).host(host).send().await;
                let got = (reply.status, reply.code());
                assert_eq!(got, (status, code.to_owned()), "{what} at {host:?}");
            }
            if route.access != "open" {
                for ask in [
                    route.ask(&api).without("Host"),
                    route.ask(&api).header("Host", "localhost"),
                ] {
                    let what = format!("{what} without one host");
                    is(&ask.send().await, 403, Code::HostNotAllowed, &what);
                }
            }
            for (name, value) in [
                ("Origin", "https://evil.example".to_owned()),
                ("Origin", "null".to_owned()),
                ("Origin", format!("http://localhost:{port}")),
                ("Sec-Fetch-Site", "cross-site".to_owned()),
            ] {
                let reply = route.ask(&api).header(name, &value).send().await;
                let what = format!("{what} with {name}: {value}");
                is(&reply, 403, Code::OriginNotAllowed, &what);
                assert_eq!(reply.header("access-control-allow-origin"), None, "{what}");
            }
        }
    }
    let good = api.get("/healthz").host("FLAGS.internal:1");
    good.header("Origin", "https://console.example")
        .expect(200)
        .await;
}

#[tokio::test]
async fn probes_are_answered_whatever_they_name() {
    let api = Api::start().await;
    for secured in [false, true] {
        if secured {
            api.token(Role::Admin, None).await;
        }
        for path in ["/healthz", "/readyz"] {
            api.get(path).host("10.1.2.3:7400").expect(200).await;
            let two = api.get(path).header("Host", "localhost");
            two.expect(200).await;
            let forwarded = api.get(path).header("X-Forwarded-For", "203.0.113.9");
            forwarded.expect(200).await;
            for host in ["", "Host: 10.1.2.3\r\n"] {
                let old = format!("GET {path} HTTP/1.0\r\n{host}\r\n");
                let reply = api.send(old.as_bytes()).await;
                assert_eq!((reply.status, reply.text()), (200, r#"{"ok":true}"#.into()));
            }
        }
    }
}

#[tokio::test]
async fn head_is_get_without_a_body_on_every_route() {
    let api = Api::with_table("mine").await;
    api.put("/v1/tables/mine/records/k")
        .json(r#"{"value":1}"#)
        .expect(201)
        .await;
    let mut checked = 0;
    for route in routes().into_iter().filter(|route| route.method == "GET") {
        let what = route.what();
        let head = api.ask("HEAD", &route.path).send().await;
        if route.path.ends_with("/events") {
            assert_eq!(head.status, 200, "{what}");
            continue;
        }
        let get = route.ask(&api).send().await;
        assert_eq!(head.status, get.status, "{what}");
        for name in ["content-type", "etag", "content-length", "cache-control"] {
            // Figures change between the two requests, and so does the message about a session without an
            // upgrade.
            let differs = ["/metrics", "/v1/status", "/v1/tables/mine/sync"];
            if name != "content-length" || !differs.contains(&&*route.path) {
                assert_eq!(head.header(name), get.header(name), "{what}: {name}");
            }
        }
        checked += 1;
    }
    assert!(checked >= 11);
    let none = api.ask("HEAD", "/v1/tables/mine/records/none").send().await;
    assert_eq!(none.status, 404);
    let gone = api.ask("HEAD", "/v1/tables/mine/txn").send().await;
    assert_eq!(gone.status, 405);
}

#[tokio::test]
async fn without_tokens_forwarded_requests_are_refused_on_every_route() {
    let api = Api::start().await;
    let signs = [
        ("Forwarded", "for=203.0.113.9"),
        ("X-Forwarded-For", "203.0.113.9"),
        ("x-forwarded-host", "flags.example"),
        ("X-Forwarded-Proto", "https"),
        ("X-Real-IP", "127.0.0.1"),
        ("Via", "1.1 proxy"),
    ];
    for route in routes().iter().filter(|route| route.access != "open") {
        for (name, value) in signs {
            let what = format!("{} with {name}", route.what());
            let reply = route.ask(&api).header(name, value).send().await;
            is(&reply, 401, Code::Unauthenticated, &what);
        }
    }
    // Like nginx in its default configuration.
    let old = b"GET /v1/tables HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    let old = api.send(old).await;
    is(&old, 401, Code::Unauthenticated, "HTTP/1.0");
    api.get("/v1/tables").expect(200).await;

    let (admin, _) = api.token(Role::Admin, None).await;
    for (name, value) in signs {
        let reply = api.get("/v1/tables").header(name, value);
        reply.token(&admin).expect(200).await;
    }
    let host = api.get("/v1/tables").host("flags.example");
    host.token(&admin).expect(200).await;
}

#[tokio::test]
async fn pages_of_allowed_origins_may_use_every_route_and_read_answers() {
    const PAGE: &str = "https://console.example";
    let api = Api::with(|builder| builder.allowed_origins([PAGE])).await;
    let (admin, _) = api.token(Role::Admin, None).await;
    let preflight = |path: &str, origin: &str| {
        let ask = api.ask("OPTIONS", path).header("Origin", origin);
        ask.header("Access-Control-Request-Method", "PUT")
            .header("Access-Control-Request-Headers", "authorization,if-match")
    };
    let names = |reply: &Reply, header: &str| -> Vec<String> {
        let names = reply.header(header).unwrap_or_default().split(',');
        names.map(|name| name.trim().to_owned()).collect()
    };
    for route in routes() {
        let what = route.what();
        let reply = preflight(&route.path, PAGE).expect(204).await;
        let allowed = names(&reply, "access-control-allow-methods");
        assert!(allowed.contains(&route.method), "{what}: {allowed:?}");
        let headers = names(&reply, "access-control-allow-headers");
        for needed in [
            "authorization",
            "content-type",
            "if-match",
            "idempotency-key",
        ] {
            assert!(
                headers.iter().any(|name| name == needed),
                "{what}: {needed}"
            );
        }
        let shared = |reply: &Reply, what: &str| {
            let origin = reply.header("access-control-allow-origin");
            assert_eq!(origin, Some(PAGE), "{what}");
            assert_eq!(reply.header("vary"), Some("origin"), "{what}");
        };
        shared(&reply, &what);
        if !route.path.ends_with("/events") {
            // A page can read an error as well.
            let asked = route.ask(&api).header("Origin", PAGE);
            let refused = asked.clone().send().await;
            shared(&refused, &what);
            let reply = asked.token(&admin).send().await;
            shared(&reply, &what);
            let read = names(&reply, "access-control-expose-headers");
            assert!(read.iter().any(|name| name == "etag"), "{what}: {read:?}");
        }
        let other = preflight(&route.path, "https://evil.example");
        let other = other.refused(403, Code::OriginNotAllowed).await;
        assert_eq!(other.header("access-control-allow-origin"), None, "{what}");
        assert_eq!(other.header("access-control-allow-methods"), None, "{what}");
    }
    // Answers that depend on the origin tell caches so, also in requests without a page.
    let reply = api.get("/healthz").expect(200).await;
    assert_eq!(reply.header("vary"), Some("origin"));
    let strict = Api::start().await;
    let reply = strict.get("/healthz").expect(200).await;
    assert_eq!(reply.header("vary"), None);
    // Not a preflight.
    let options = api.ask("OPTIONS", "/v1/tables").token(&admin);
    options.refused(405, Code::MethodNotAllowed).await;
}
