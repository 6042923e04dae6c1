//! The names of tasks, or of background workers, that have series.

use std::collections::HashMap;
use std::sync::Arc;

use super::catalog::OTHER;
use crate::sync::lock::Mutex;

/// The number of names that have series of their own.
const MOST: usize = 1_000;

/// The index of a name; 0 stands for all names that have no series of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NameId(u16);

impl NameId {
    /// All names beyond the limit.
    pub(super) const OTHER: NameId = NameId(0);

    pub(super) fn index(self) -> usize {
        self.0.into()
    }
}

/// Whether a name is the first one beyond the limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Limit {
    JustReached,
    Known,
}

/// See the module documentation.
pub(super) struct Names(Mutex<Table>);

struct Table {
    ids: HashMap<Arc<str>, NameId>,
    /// By index.
    names: Vec<Arc<str>>,
    is_full: bool,
}

impl Names {
    pub(super) fn new() -> Self {
        let other: Arc<str> = OTHER.into();
        // A name that is equal to the word for the others is recorded there.
        let ids = HashMap::from([(Arc::clone(&other), NameId::OTHER)]);
        Names(Mutex::new(Table { ids, names: vec![other], is_full: false }))
    }

    /// Returns the index of a name, which is added if there is room.
    pub(super) fn id(&self, name: &str) -> (NameId, Limit) {
        let mut table = self.0.lock();
        if let Some(id) = table.ids.get(name) {
            return (*id, Limit::Known);
        }
        if table.names.len() > MOST {
            let known = std::mem::replace(&mut table.is_full, true);
            return (NameId::OTHER, if known { Limit::Known } else { Limit::JustReached });
        }
        let (id, name) = (NameId(table.names.len() as u16), Arc::<str>::from(name));
        table.names.push(Arc::clone(&name));
        table.ids.insert(name, id);
        (id, Limit::Known)
    }

    /// Returns the name with this index.
    pub(super) fn name(&self, index: usize) -> Arc<str> {
        Arc::clone(&self.0.lock().names[index])
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_limit_are_other() {
        let names = Names::new();
        assert_eq!(names.id("other"), (NameId::OTHER, Limit::Known));
        for number in 0..MOST {
            let name = number.to_string();
            let (id, limit) = names.id(&name);
            assert_eq!((&*names.name(id.index()), limit), (&*name, Limit::Known));
            assert_eq!(names.id(&name), (id, Limit::Known));
        }
        assert_eq!(names.id("late"), (NameId::OTHER, Limit::JustReached));
        assert_eq!(names.id("later"), (NameId::OTHER, Limit::Known));
        assert_eq!(names.id("0").0.index(), 1);
    }
}
