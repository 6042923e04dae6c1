//! The supervisors of the process, which dashboards show as they come and go.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::core::Core;
use crate::fork;
use crate::sync::lock::Mutex;
use crate::task::scheduler::SchedulerKey;

/// Learns of supervisors. Called without any lock.
pub(crate) trait Follower: Send + Sync {
    /// A supervisor was created, or existed before. Called again for a supervisor that is known
    /// already.
    fn created(&self, core: &Arc<Core>);

    /// A supervisor is being dropped.
    fn dropped(&self, key: SchedulerKey);
}

struct Live {
    cores: BTreeMap<SchedulerKey, Weak<Core>>,
    followers: Vec<Weak<dyn Follower>>,
}

static LIVE: Mutex<Live> = Mutex::new(Live { cores: BTreeMap::new(), followers: Vec::new() });

/// Passes all supervisors to `follower`: those that exist, and later ones.
pub(crate) fn follow(follower: &Arc<impl Follower + 'static>) {
    let cores: Vec<Weak<Core>> = {
        let mut live = LIVE.lock();
        let weak = Arc::downgrade(follower);
        live.followers.retain(|follower| follower.strong_count() > 0);
        live.followers.push(weak);
        live.cores.values().cloned().collect()
    };
    for core in cores {
        if let Some(core) = core.upgrade() {
            follower.created(&core);
        }
    }
}

fn followers(live: &Live) -> Vec<Arc<dyn Follower>> {
    live.followers.iter().filter_map(Weak::upgrade).collect()
}

pub(super) fn created(core: &Arc<Core>) {
    if fork::is_copy() {
        return;
    }
    let followers = {
        let mut live = LIVE.lock();
        live.cores.insert(core.key, Arc::downgrade(core));
        followers(&live)
    };
    followers.iter().for_each(|follower| follower.created(core));
}

pub(super) fn dropped(key: SchedulerKey) {
    let (followers, gone) = {
        let mut live = LIVE.lock();
        let gone = live.cores.remove(&key);
        (followers(&live), gone)
    };
    drop(gone);
    followers.iter().for_each(|follower| follower.dropped(key));
}
