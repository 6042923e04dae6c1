//! Thread-local values, accessed by name.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

thread_local! {
    static VALUES: RefCell<HashMap<String, Rc<dyn Any>>> = RefCell::new(HashMap::new());
}

/// Returns access to the named values of the current thread. Other threads have other values.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::compat::g;
/// if !g().has("connection") {
///     g().set("connection", String::from("to the database"));
/// }
/// assert_eq!(g().get::<String>("connection").unwrap(), "to the database");
/// assert!(std::thread::spawn(|| !g().has("connection")).join().unwrap());
/// ```
///
/// A pool thread keeps its values from one task to the next. This suits connections, but not values
/// that belong to one task. The values are dropped when the thread ends. All tasks on a thread of
/// an aloop share the values of that thread.
pub fn g() -> Locals {
    Locals(())
}

/// The named values of the current thread. Returned by [`g`].
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::compat::{Locals, g};
/// let locals: Locals = g();
/// locals.set("user", 7_u32);
/// assert_eq!(g().get::<u32>("user"), Some(7));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Locals(());

// User code (destructors, `Clone`) never runs while the map is borrowed, so that it may access the
// values. When the thread ends, the map is destroyed first, and destructors of values find no
// values.
impl Locals {
    /// Sets a value, and drops the previous one with that name. Has no effect while the thread
    /// ends.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::compat::g;
    /// g().set("attempts", 1_u32);
    /// g().set("attempts", 2_u32);
    /// assert_eq!(g().get::<u32>("attempts"), Some(2));
    /// ```
    pub fn set<T: 'static>(self, name: impl Into<String>, value: T) {
        let (name, value): (String, Rc<dyn Any>) = (name.into(), Rc::new(value));
        let old = VALUES.try_with(|values| values.borrow_mut().insert(name, value));
        drop(old);
    }

    /// Returns a clone of a value, or `None` if there is no value with that name and of type `T`.
    ///
    /// `T` must be the exact type of the value that was set: a string literal is a `&'static str`
    /// and not a `String`, and `5` is an `i32`.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::compat::g;
    /// g().set("name", "worker");
    /// assert_eq!(g().get::<&str>("name"), Some("worker"));
    /// assert_eq!(g().get::<String>("name"), None);
    /// ```
    pub fn get<T: Clone + 'static>(self, name: &str) -> Option<T> {
        let value = VALUES.try_with(|values| values.borrow().get(name).cloned()).ok()??;
        value.downcast_ref::<T>().cloned()
    }

    /// Returns whether there is a value with that name, of any type.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::compat::g;
    /// assert!(!g().has("name"));
    /// g().set("name", "worker");
    /// assert!(g().has("name"));
    /// ```
    pub fn has(self, name: &str) -> bool {
        VALUES.try_with(|values| values.borrow().contains_key(name)).unwrap_or(false)
    }

    /// Drops the value with that name. Returns false if there is none.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::compat::g;
    /// g().set("name", "worker");
    /// assert!(g().clear("name"));
    /// assert!(!g().clear("name"));
    /// ```
    pub fn clear(self, name: &str) -> bool {
        let old = VALUES.try_with(|values| values.borrow_mut().remove(name)).ok().flatten();
        old.is_some()
    }

    /// Drops all values of this thread.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::compat::g;
    /// g().set("name", "worker");
    /// g().clear_all();
    /// assert!(!g().has("name"));
    /// ```
    pub fn clear_all(self) {
        let old = VALUES.try_with(|values| std::mem::take(&mut *values.borrow_mut()));
        drop(old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destructors_and_clones_may_access_values() {
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
