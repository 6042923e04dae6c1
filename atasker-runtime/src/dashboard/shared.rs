//! What the parts of one dashboard share: its options, and the supervisors that it shows.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};

use super::auth::Auth;
use super::events::Hub;
use super::state::Collector;
use super::watch::{Recorder, Seconds};
use crate::observe::registry::{ObserverGuard, Promptness};
use crate::supervisor::Core;
use crate::supervisor::live::{self, Follower};
use crate::sync::lock::Mutex;
use crate::task::scheduler::SchedulerKey;

/// Which supervisors a dashboard shows.
#[derive(Clone)]
pub(super) enum Shown {
    /// All that live, also later ones.
    All,
    Only(Vec<Weak<Core>>),
}

/// See the module documentation.
pub(super) struct Shared {
    pub(super) title: String,
    pub(super) read_only: bool,
    /// `None` without a token.
    pub(super) auth: Option<Auth>,
    /// The hosts that requests may be for. `None` if there is a token, or a service decides.
    pub(super) host: OnceLock<std::net::IpAddr>,
    pub(super) seconds: Seconds,
    /// Whether supervisors are shown that are created later.
    shows_all: bool,
    pub(super) hub: Arc<Hub>,
    pub(super) collector: Mutex<Collector>,
    watched: Mutex<BTreeMap<SchedulerKey, Watched>>,
}

/// A supervisor that is shown. Its observer is removed with this.
struct Watched {
    recorder: Arc<Recorder>,
    _guard: ObserverGuard,
}

impl Shared {
    pub(super) fn new(
        title: String,
        read_only: bool,
        auth: Option<Auth>,
        shown: &Shown,
    ) -> Arc<Self> {
        let shared = Arc::new(Shared {
            title,
            read_only,
            auth,
            host: OnceLock::new(),
            seconds: Seconds::new(),
            shows_all: matches!(shown, Shown::All),
            hub: Arc::new(Hub::new()),
            collector: Mutex::new(Collector::default()),
            watched: Mutex::new(BTreeMap::new()),
        });
        live::follow(&shared);
        if let Shown::Only(cores) = shown {
            cores.iter().filter_map(Weak::upgrade).for_each(|core| shared.watch(&core));
        }
        shared
    }

    /// Returns the recorders of the supervisors, in the order of their creation.
    pub(super) fn recorders(&self) -> Vec<Arc<Recorder>> {
        self.watched.lock().values().map(|watched| Arc::clone(&watched.recorder)).collect()
    }

    /// Returns the supervisors that are shown.
    pub(super) fn cores(&self) -> Vec<Arc<Core>> {
        self.recorders().iter().filter_map(|recorder| recorder.core()).collect()
    }

    /// Shows a supervisor.
    fn watch(&self, core: &Arc<Core>) {
        let key = core.key();
        if self.watched.lock().contains_key(&key) {
            return;
        }
        let recorder = Recorder::new(core, self.seconds, &self.hub);
        let observer = Box::new(Arc::clone(&recorder));
        let guard = core.observers().add(observer, Promptness::InTime);
        let watched = Watched { recorder, _guard: guard };
        let spare = {
            let mut all = self.watched.lock();
            match all.entry(key) {
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(watched);
                    None
                }
                // Another thread was faster.
                std::collections::btree_map::Entry::Occupied(_) => Some(watched),
            }
        };
        drop(spare);
    }
}

impl Follower for Shared {
    fn created(&self, core: &Arc<Core>) {
        if self.shows_all {
            self.watch(core);
        }
    }

    fn dropped(&self, key: SchedulerKey) {
        let gone = self.watched.lock().remove(&key);
        drop(gone);
    }
}
