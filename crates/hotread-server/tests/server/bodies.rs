//! Bodies of all routes that take one: parsed strictly, by the rules of `docs/wire.md`.

use crate::common::Api;
use crate::common::routes::{is, routes};
use hotread_proto::Code;
use hotread_store::Role;

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
            "application/json; charset=latin1",
            "",
        ] {
            let reply = ask().body(kind, body).send().await;
            let what = format!("{what} with {kind:?}");
            is(&reply, 415, Code::UnsupportedMediaType, &what);
        }
        let packed = ask().json(body).header("Content-Encoding", "gzip");
        is(&packed.send().await, 415, Code::UnsupportedMediaType, &what);
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
async fn null_is_not_left_out_in_any_body() {
    let api = Api::with_table("mine").await;
    for (method, path, bodies) in [
        (
            "POST",
            "/v1/tokens",
            &[
                r#"{"role":"admin","name":"n","tables":null}"#,
                r#"{"role":"admin","name":null}"#,
                r#"{"role":null,"name":"n"}"#,
                r#"{"role":"admin","name":"n","tables":[null]}"#,
            ][..],
        ),
        (
            "PUT",
            "/v1/tables/other",
            &[
                r#"{"search":null}"#,
                r#"{"sealed":null}"#,
                r#"{"history":null}"#,
                r#"{"history":{"max_changes":null}}"#,
            ],
        ),
        (
            "PATCH",
            "/v1/tables/mine",
            &[
                r#"{"history":null}"#,
                r#"{"history":{"max_changes":null}}"#,
                r#"{"history":{"max_age_s":null}}"#,
                r#"{"history":{"max_bytes":null}}"#,
            ],
        ),
        (
            "PUT",
            "/v1/tables/mine/records/k",
            &[
                r#"{"value":1,"category":null}"#,
                r#"{"value":1,"expires_at":null}"#,
            ],
        ),
        (
            "POST",
            "/v1/tables/mine/txn",
            &[
                r#"{"id":null,"ops":[{"put":{"key":"k","value":1}}]}"#,
                r#"{"ops":null}"#,
                r#"{"ops":[null]}"#,
                r#"{"ops":[{"put":null}]}"#,
                r#"{"ops":[{"put":{"key":"k","value":1,"expires_at":null}}]}"#,
                r#"{"ops":[{"put":{"key":"k","value":1}}],"if":null}"#,
                r#"{"ops":[{"put":{"key":"k","value":1}}],"if":[{"key":"k","if_absent":true,"if_seq":null}]}"#,
            ],
        ),
        (
            "POST",
            "/v1/tables/mine/replace",
            &[
                r#"{"id":null,"records":[{"key":"k","value":1}]}"#,
                r#"{"records":null}"#,
                r#"{"records":[{"key":"k","value":1,"category":null}]}"#,
                r#"{"records":[{"key":"k","value":1,"expires_at":null}]}"#,
            ],
        ),
    ] {
        for body in bodies {
            let ask = api.ask(method, path).json(body);
            ask.refused(400, Code::BadRequest).await;
        }
    }
    let schema = api.put("/v1/tables/other").json(r#"{"schema":null}"#);
    schema.refused(400, Code::InvalidOptions).await;
    assert!(!api.store.has_tokens());
    let at = api.get("/v1/tables/mine").expect(200).await.json()["seq"].clone();
    assert_eq!(at, 0, "nothing was committed");
    let null = api
        .put("/v1/tables/mine/records/k")
        .json(r#"{"value":null}"#);
    null.expect(201).await;
}

#[tokio::test]
async fn a_member_that_is_there_twice_is_refused_in_every_body() {
    let api = Api::with_table("mine").await;
    let schema = r#"{"schema":{"maximum":100,"maximum":1000}}"#;
    for (method, path, body, code) in [
        (
            "POST",
            "/v1/tokens",
            r#"{"name":"n","role":"read","role":"admin"}"#,
            Code::BadRequest,
        ),
        (
            "PUT",
            "/v1/tables/other",
            r#"{"search":true,"search":false}"#,
            Code::BadRequest,
        ),
        ("PUT", "/v1/tables/other", schema, Code::InvalidValue),
        (
            "PUT",
            "/v1/tables/mine/records/k",
            r#"{"value":{"percent":1000,"percent":5}}"#,
            Code::InvalidValue,
        ),
        (
            "PUT",
            "/v1/tables/mine/records/k",
            r#"{"value":1,"v\u0061lue":2}"#,
            Code::BadRequest,
        ),
        (
            "POST",
            "/v1/tables/mine/txn",
            r#"{"ops":[{"put":{"key":"a","value":1}}],"ops":[]}"#,
            Code::BadRequest,
        ),
        (
            "POST",
            "/v1/tables/mine/txn",
            r#"{"ops":[{"put":{"key":"a","value":1,"key":"b"}}]}"#,
            Code::BadRequest,
        ),
        (
            "POST",
            "/v1/tables/mine/txn",
            r#"{"ops":[{"put":{"key":"a","value":[{"x":1,"x":1}]}}]}"#,
            Code::InvalidValue,
        ),
        (
            "POST",
            "/v1/tables/mine/txn",
            r#"{"ops":[{"put":{"key":"a","value":1},"delete":{"key":"b"}}]}"#,
            Code::BadRequest,
        ),
        (
            "POST",
            "/v1/tables/mine/txn",
            r#"{"ops":[{"delete":{"key":"a"}}],"if":[{"key":"a","if_seq":1,"if_seq":2}]}"#,
            Code::BadRequest,
        ),
        (
            "POST",
            "/v1/tables/mine/replace",
            r#"{"records":[{"key":"a","value":{"x":1,"x":2}}]}"#,
            Code::InvalidValue,
        ),
        (
            "POST",
            "/v1/tables/mine/replace",
            r#"{"records":[],"records":[]}"#,
            Code::BadRequest,
        ),
    ] {
        api.ask(method, path).json(body).refused(400, code).await;
    }
    let two = r#"{"ops":[{"put":{"key":"a","value":1},"delete":{"key":"b"}}]}"#;
    let two = api.post("/v1/tables/mine/txn").json(two).send().await;
    assert!(two.text().contains("one member"), "{}", two.text());
}
