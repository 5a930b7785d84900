//! Options of a server, and their errors.

use hotread_server::Options;

#[test]
fn the_defaults_are_fit_to_run_and_what_is_wrong_is_named() {
    Options::default().check().unwrap();
    let wrong = |change: &dyn Fn(&mut Options)| {
        let mut options = Options::default();
        change(&mut options);
        options.check().unwrap_err().to_string()
    };
    let heartbeat = wrong(&|o| o.heartbeat_ms = 0);
    assert_eq!(heartbeat, "heartbeat_ms is 0; give at least 10");
    assert!(wrong(&|o| o.max_replace_body_bytes = 2 << 30).starts_with("max_replace_body"));
    let host = wrong(&|o| o.allowed_hosts.push("http://a".into()));
    assert!(host.contains(r#""http://a" is not a host"#), "{host}");
    let origin = wrong(&|o| o.allowed_origins.push("https://a/".into()));
    assert!(
        origin.contains(r#""https://a/" is not an origin"#),
        "{origin}"
    );
}

#[test]
fn unknown_settings_are_not_passed_over() {
    let error = serde_json::from_str::<Options>(r#"{"hartbeat_ms": 5}"#).unwrap_err();
    assert!(error.to_string().contains("hartbeat_ms"), "{error}");
}
