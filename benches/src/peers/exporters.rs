//! Exporters of metrics, and dashboards.

use std::io::{Read, Write};
use std::net::TcpStream;

use atasker::{Dashboard, Supervisor};
use metrics_exporter_prometheus::PrometheusBuilder;

const UNRECORDED: &str = "metrics, no recorder";
const PROMETHEUS: &str = "metrics, prometheus";
const DASHBOARD: &str = "dashboard";
const OPEN_DASHBOARD: &str = "dashboard, open";

/// The ways to export what is known of a supervisor.
pub const NAMES: [&str; 4] = [UNRECORDED, PROMETHEUS, DASHBOARD, OPEN_DASHBOARD];

/// Exports what is known of a supervisor in this way.
pub fn export(way: &str, sup: &Supervisor) {
    if way == DASHBOARD || way == OPEN_DASHBOARD {
        let dashboard = Dashboard::new().supervisor(sup).serve("127.0.0.1:0");
        let dashboard = dashboard.expect("loopback has a free port");
        if way == OPEN_DASHBOARD {
            listen(TcpStream::connect(dashboard.addr()).expect("it listens"));
        }
        return;
    }
    if way == PROMETHEUS {
        let handle = PrometheusBuilder::new().install_recorder().expect("there is no other");
        // Otherwise values of histograms accumulate.
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(std::time::Duration::from_millis(100));
                handle.run_upkeep();
            }
        });
    }
    sup.export_metrics().keep();
}

/// Reads the events of a dashboard, as a page does that is open.
fn listen(mut stream: TcpStream) {
    let request = "GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("it reads requests");
    std::thread::spawn(move || {
        let mut buffer = [0; 64 * 1024];
        while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
    });
}
