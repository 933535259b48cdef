//! What a definition may hold, and how a faulty one is told.

use super::*;

fn parse(text: &str) -> Result<Workload, String> {
    Workload::parse(text, Path::new("w.json")).map_err(|error| error.to_string())
}

fn with(from: &str, to: &str) -> String {
    assert!(WHOLE.contains(from), "{from:?} is not there to be replaced");
    parse(&WHOLE.replace(from, to)).unwrap_err()
}

#[test]
fn whole_definition_is_read() {
    let workload = parse(WHOLE).unwrap();
    assert_eq!(workload.name(), "hello-world");
    assert_eq!(workload.rootfs(), "https://example.org/rootfs.ext4");
    let [port] = workload.exposures() else {
        panic!("{:?}", workload.exposures());
    };
    assert_eq!((port.port(), port.target_port()), (8080, 80));
    assert_eq!(port.protocol(), Protocol::Tcp);
}

#[test]
fn exposure_may_be_absent_or_several() {
    let bare = r#"{"apiVersion":"v0","kind":"Function","name":"a","spec":{"function":
        {"execution":{"rootfs":"x"}}}}"#;
    assert_eq!(parse(bare).unwrap().exposures(), []);
    let null = bare.replace("}}}", r#"},"exposure":null}}"#);
    assert_eq!(parse(&null).unwrap().exposures(), []);
    let several = bare.replace(
        "}}}",
        r#"},"exposure":[
          {"port":1,"targetPort":65535,"type":"NodePort","protocol":"UDP"},
          {"port":1,"targetPort":2,"type":"NodePort","protocol":"TCP"}]}}"#,
    );
    let workload = parse(&several).unwrap();
    let protocols: Vec<_> = workload
        .exposures()
        .iter()
        .map(|port| port.protocol())
        .collect();
    assert_eq!(protocols, [Protocol::Udp, Protocol::Tcp]);
    let bad = parse(&several.replace("\"targetPort\":2,", "")).unwrap_err();
    assert_eq!(
        bad,
        "w.json: spec.function.exposure[1].targetPort: is missing"
    );
}

#[test]
fn errors_name_the_file_the_field_and_the_rule() {
    for (from, to, error) in [
        ("\"kind\":\"Function\",", "", "kind: is missing"),
        (
            "Function",
            "Pod",
            "kind: is \"Pod\", but can only be Function",
        ),
        ("v0", "v1", "apiVersion: is \"v1\", but can only be v0"),
        (
            "8080",
            "0",
            "spec.function.exposure.port: is 0, not a port from 1 to 65535",
        ),
        (
            "80,\"type",
            "65536,\"type",
            "spec.function.exposure.targetPort: is 65536, not a port from 1 to 65535",
        ),
        (
            "8080",
            "\"8080\"",
            "spec.function.exposure.port: is \"8080\", not a port from 1 to 65535",
        ),
        (
            "NodePort",
            "ClusterIP",
            "spec.function.exposure.type: is \"ClusterIP\", but can only be NodePort",
        ),
        (
            "\"https://example.org/rootfs.ext4\"",
            "7",
            "spec.function.execution.rootfs: is 7, not text",
        ),
        (
            "{\"rootfs\":\"https://example.org/rootfs.ext4\"}",
            "[]",
            "spec.function.execution: is [], not an object",
        ),
    ] {
        assert_eq!(with(from, to), format!("w.json: {error}"));
    }
    assert_eq!(
        parse("[]"),
        Err("w.json: the whole file: is [], not an object".to_owned())
    );
    assert_eq!(parse("{"), Err("w.json: not JSON".to_owned()));
}

#[test]
fn names_that_would_need_quotes_are_refused() {
    let long = "a".repeat(64);
    for bad in ["", "-a", ".a", "a b", "a\\\"b", "ä", "a/b", "a;b", &long] {
        let error = with("hello-world", bad);
        assert!(
            error.starts_with("w.json: name: must be"),
            "{bad:?}: {error}"
        );
    }
    for good in ["a", "0", "A.b_c-d", &long[1..]] {
        let text = WHOLE.replace("hello-world", good);
        assert_eq!(parse(&text).unwrap().name(), good);
    }
}

#[test]
fn missing_file_is_named() {
    let error = Workload::load("/nonexistent/w.json").unwrap_err();
    assert_eq!(error.to_string(), "/nonexistent/w.json");
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn workloads_of_the_example_are_whole() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/riklet/workloads");
    let mut ports = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let workload = Workload::load(entry.unwrap().path()).unwrap();
        ports.extend(workload.exposures().iter().map(|port| port.port()));
    }
    ports.sort_unstable();
    ports.dedup();
    assert!(ports.len() >= 3, "each function has ports of its own");
}

const WHOLE: &str = r#"{"apiVersion":"v0","kind":"Function","name":"hello-world",
    "spec":{"function":{"execution":{"rootfs":"https://example.org/rootfs.ext4"},
    "exposure":{"port":8080,"targetPort":80,"type":"NodePort"}}}}"#;
