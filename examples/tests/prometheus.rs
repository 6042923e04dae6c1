//! Does the example `prometheus` serve metrics that Prometheus reads, and does the dashboard for
//! Grafana query nothing else?

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use openmetrics_parser::prometheus::parse_prometheus;
use openmetrics_parser::{PrometheusType, PrometheusValue};
use serde_json::Value;

/// The time limit for everything in this test.
const FAR: Duration = Duration::from_secs(60);

/// The labels of each metric, and its type.
type Metrics = BTreeMap<String, (PrometheusType, BTreeSet<String>)>;

const DASHBOARD: &str = include_str!("../../docs/grafana.json");

/// Ends the example when it is dropped.
struct Example(Child);

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the example. Returns it, and its address.
fn start() -> (Example, String) {
    // Next to the directory of the tests. `cargo test` builds the examples before it runs tests;
    // with `--test prometheus` it does not.
    let path = std::env::current_exe().unwrap();
    let path = path.parent().unwrap().parent().unwrap().join("examples/prometheus");
    // Another program may take the free port before the example does.
    for _ in 0..10 {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let child = Command::new(&path)
            .arg(&address)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("run `cargo build --examples` first");
        let mut child = Example(child);
        let mut says = BufReader::new(child.0.stderr.take().unwrap());
        let mut line = String::new();
        while says.read_line(&mut line).unwrap() > 0 && !line.contains("serving") {
            line.clear();
        }
        if line.contains("serving") {
            std::thread::spawn(move || says.lines().for_each(drop));
            return (child, address);
        }
    }
    panic!("the example does not start");
}

/// Requests the metrics, as Prometheus does.
fn scrape(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(FAR)).unwrap();
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200"), "{head}");
    body.to_owned()
}

fn parsed(text: &str) -> Metrics {
    let exposition = parse_prometheus(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let metrics = exposition.families.into_iter().map(|(name, family)| {
        for sample in family.iter_samples() {
            if let PrometheusValue::Histogram(histogram) = &sample.value {
                let counts: Vec<_> =
                    histogram.buckets.iter().map(|bucket| bucket.count.as_f64()).collect();
                assert!(counts.is_sorted(), "buckets of {name} are cumulative");
            }
        }
        assert!(!family.help.is_empty(), "{name}");
        let labels = family.get_label_names().iter().cloned().collect();
        (name, (family.family_type, labels))
    });
    metrics.collect()
}

/// A query's metrics, and the labels that it uses.
fn used(expr: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let metrics = expr.split(|c| !is_word(c)).filter(|word| word.starts_with("atasker_"));
    let mut labels = BTreeSet::new();
    // `by (a, b)` and `{a="..", b=~".."}`.
    for part in expr.split("by (").skip(1) {
        let list = part.split(')').next().unwrap();
        labels.extend(list.split(',').map(|label| label.trim().to_owned()));
    }
    for part in expr.split('{').skip(1) {
        let list = part.split('}').next().unwrap();
        for matcher in list.split(", ") {
            labels.insert(matcher.chars().take_while(|c| is_word(*c)).collect());
        }
    }
    (metrics.map(str::to_owned).collect(), labels)
}

/// Whether the exporter adds this label to the metric.
fn is_of_exporter(metric: &str, label: &str) -> bool {
    match label {
        "le" => metric.ends_with("_bucket"),
        // Of the same metrics, if the exporter has no buckets.
        "quantile" => metric.ends_with("_seconds"),
        _ => false,
    }
}

#[test]
fn dashboard_queries_what_the_example_serves() {
    let (mut example, address) = start();
    let began = Instant::now();
    let metrics = loop {
        let metrics = parsed(&scrape(&address));
        // All of them, but only once a worker process has died, an attempt was repeated, and the
        // cluster has answered.
        if metrics.len() >= 17 {
            break metrics;
        }
        assert!(began.elapsed() < FAR, "{metrics:#?}");
        std::thread::sleep(Duration::from_millis(100));
    };
    for (name, (kind, labels)) in &metrics {
        let wanted = match &**name {
            name if name.ends_with("_total") => PrometheusType::Counter,
            name if name.ends_with("_seconds") => PrometheusType::Histogram,
            _ => PrometheusType::Gauge,
        };
        assert_eq!(*kind, wanted, "{name}");
        assert!(labels.contains("supervisor"), "{name}");
    }

    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut queried = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expr = target["expr"].as_str().unwrap();
            let (names, mut labels) = used(expr);
            assert!(!names.is_empty(), "{expr}");
            let legend = target["legendFormat"].as_str().unwrap();
            labels.extend(
                legend
                    .split("{{")
                    .skip(1)
                    .map(|part| part.split("}}").next().unwrap().trim().to_owned()),
            );
            assert!(expr.contains("supervisor=~\"$supervisor\""), "{expr}");
            for name in names {
                let suffix = ["_bucket", "_sum", "_count"]
                    .into_iter()
                    .find_map(|suffix| name.strip_suffix(suffix));
                let base = suffix.unwrap_or(&name);
                let Some((_, exported)) = metrics.get(base) else {
                    panic!("{name} is not exported: {expr}");
                };
                for label in &labels {
                    let known = exported.contains(label) || is_of_exporter(&name, label);
                    assert!(known, "{name} has no label {label}: {expr}");
                }
                queried.insert(base.to_owned());
            }
        }
    }
    assert_eq!(queried, metrics.into_keys().collect(), "each metric is shown");

    let pid = example.0.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
    assert!(example.0.wait().unwrap().success());
}

#[test]
fn dashboard_can_be_imported() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    // Grafana asks for the data source, and gives the dashboard an id.
    assert_eq!(dashboard["__inputs"][0]["name"], "DS_PROMETHEUS");
    assert_eq!(dashboard["__inputs"][0]["pluginId"], "prometheus");
    assert!(dashboard["id"].is_null() && dashboard.get("uid").is_none());
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<_> =
        variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["datasource", "supervisor"]);
    assert_eq!(variables[0]["current"]["value"], "${DS_PROMETHEUS}");

    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "ids are unique");
    let area = |panel: &Value, key: &str| panel["gridPos"][key].as_u64().unwrap();
    for (at, panel) in panels.iter().enumerate() {
        assert!(area(panel, "x") + area(panel, "w") <= 24);
        if panel["type"] != "row" {
            assert_eq!(panel["datasource"]["uid"], "${datasource}");
            assert!(panel["targets"].as_array().is_some_and(|targets| !targets.is_empty()));
        }
        for other in &panels[at + 1..] {
            let overlaps = |a: &str, size: &str| {
                area(panel, a) < area(other, a) + area(other, size)
                    && area(other, a) < area(panel, a) + area(panel, size)
            };
            assert!(!(overlaps("x", "w") && overlaps("y", "h")), "{panel} {other}");
        }
    }
}
