//! Values by name, for each thread its own.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

thread_local! {
    static VALUES: RefCell<HashMap<String, Rc<dyn Any>>> = RefCell::new(HashMap::new());
}

/// The values of the thread that calls: what is set in one thread is not there in another.
///
/// ```
/// use atasker_runtime::compat::g;
/// if !g().has("connection") {
///     g().set("connection", String::from("to the database"));
/// }
/// assert_eq!(g().get::<String>("connection").unwrap(), "to the database");
/// assert!(std::thread::spawn(|| !g().has("connection")).join().unwrap());
/// ```
///
/// A pool thread keeps its values from one task to the next, which is good for connections, and a
/// trap for anything that belongs to one task. They are dropped with the thread. A task on an aloop
/// shares those of the loop's thread with all others there.
pub fn g() -> Locals {
    Locals(())
}

/// See [`g`].
#[derive(Clone, Copy, Debug)]
pub struct Locals(());

// Nothing of the user's (destructors, `Clone`) runs while the map is borrowed. When the thread ends,
// its values go first: a destructor that asks then finds none.
impl Locals {
    /// Sets the value of that name; an earlier one is dropped. Nothing is kept when the thread is
    /// about to end.
    pub fn set<T: 'static>(self, name: impl Into<String>, value: T) {
        let (name, value): (String, Rc<dyn Any>) = (name.into(), Rc::new(value));
        let old = VALUES.try_with(|values| values.borrow_mut().insert(name, value));
        drop(old);
    }

    /// A clone of the value of that name; `None` if there is none, or one of another type than `T`.
    /// The type is that of the value that was set: a `&str` literal is a `&'static str`, no `String`,
    /// and `5` is an `i32`.
    pub fn get<T: Clone + 'static>(self, name: &str) -> Option<T> {
        let value = VALUES.try_with(|values| values.borrow().get(name).cloned()).ok()??;
        value.downcast_ref::<T>().cloned()
    }

    /// Whether there is a value of that name, of whatever type.
    pub fn has(self, name: &str) -> bool {
        VALUES.try_with(|values| values.borrow().contains_key(name)).unwrap_or(false)
    }

    /// Drops the value of that name; false if there is none.
    pub fn clear(self, name: &str) -> bool {
        let old = VALUES.try_with(|values| values.borrow_mut().remove(name)).ok().flatten();
        old.is_some()
    }

    /// Drops all values of this thread.
    pub fn clear_all(self) {
        let old = VALUES.try_with(|values| std::mem::take(&mut *values.borrow_mut()));
        drop(old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destructors_and_clones_may_ask_for_values() {
        struct Asks;
        impl Drop for Asks {
            fn drop(&mut self) {
                let n = g().get::<u32>("dropped").unwrap_or(0);
                g().set("dropped", n + 1);
            }
        }
        #[derive(Debug, PartialEq)]
        struct Counts(u32);
        impl Clone for Counts {
            fn clone(&self) -> Self {
                g().set("counts", Counts(self.0 + 1));
                Counts(self.0)
            }
        }
        g().set("asks", Asks);
        g().set("asks", Asks);
        assert_eq!(g().get::<u32>("dropped"), Some(1));
        assert!(g().clear("asks"));
        assert_eq!(g().get::<u32>("dropped"), Some(2));
        g().set("counts", Counts(7));
        assert_eq!(g().get::<Counts>("counts"), Some(Counts(7)));
        assert_eq!(g().get::<Counts>("counts"), Some(Counts(8)));
        // As the thread ends.
        std::thread::spawn(|| g().set("asks", Asks)).join().unwrap();
    }
}
