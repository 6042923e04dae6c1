//! Connecting the processes of a run to its broker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use atasker::__broker::Broker;
use atasker::{Cluster, Nats};

use crate::faulty::Faulty;
use crate::options::Role;

/// The setting `lost_after` of all members.
pub const LOST_AFTER: Duration = Duration::from_secs(2);

/// How long a process tries to connect while the broker is away.
const PATIENCE: Duration = Duration::from_secs(60);

fn nats(url: &str) -> Nats {
    // Payloads of the run are to be above this limit as well as below.
    Nats::new(url).namespace("stress").lost_after(LOST_AFTER).large_after(64 << 10)
}

/// Connects without failures of its own.
pub fn plainly(url: &str) -> Cluster {
    again_and_again(|| nats(url).connect())
}

/// Connects by the door that loses requests. `number` tells the members of one process apart.
pub fn connect(role: &Role, number: u64) -> Cluster {
    again_and_again(|| {
        let (nats, lies) = (nats(&role.url), role.lies);
        let (doom, seed) = (role.doom.clone(), role.seed.wrapping_mul(31).wrapping_add(number));
        Cluster::connect_with("stress", move || {
            Box::pin(async move {
                let broker = nats.__broker().await?;
                Ok(Arc::new(Faulty::new(broker, &doom, lies, seed)) as Arc<dyn Broker>)
            })
        })
    })
}

/// # Panics
/// If the broker can't be reached for a long time.
fn again_and_again(connect: impl Fn() -> Result<Cluster, atasker::ClusterError>) -> Cluster {
    let until = Instant::now() + PATIENCE;
    loop {
        match connect() {
            Ok(cluster) => return cluster,
            Err(error) if Instant::now() > until => panic!("can't connect: {error}"),
            Err(error) => eprintln!("not connected yet: {error}"),
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
