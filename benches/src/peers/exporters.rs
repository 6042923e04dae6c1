//! Exporters of metrics.

use atasker::Supervisor;
use metrics_exporter_prometheus::PrometheusBuilder;

const UNRECORDED: &str = "metrics, no recorder";
const PROMETHEUS: &str = "metrics, prometheus";

/// The ways to export metrics.
pub const NAMES: [&str; 2] = [UNRECORDED, PROMETHEUS];

/// Exports the metrics of a supervisor in this way.
pub fn export(way: &str, sup: &Supervisor) {
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
