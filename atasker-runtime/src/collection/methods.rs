//! What both kinds of collections have in common.

/// Implements the methods and traits that a collection passes on to its list of functions. The
/// arguments are the type and the bounds of its results.
macro_rules! collection {
    ($name:ident, $($bounds:tt)+) => {
        impl<T: 'static> $name<T> {
            /// Adds a function. Replaces the function with this name if there is one, and takes the
            /// position of a newly added one.
            pub fn add(
                &self,
                name: impl AsRef<str>,
                priority: impl Into<CollectionPriority>,
                f: impl FnMut() -> T + Send + 'static,
            ) {
                self.functions.add(Entry::new(name.as_ref(), priority.into(), f));
            }

            /// Removes a function. Returns `false` if there is none with this name.
            pub fn remove(&self, name: &str) -> bool {
                self.functions.remove(name)
            }

            /// Sets a function that is called for each function without a result, with its name and
            /// the reason. A function that runs as a task also has no result if the task was
            /// canceled or its supervisor is stopped.
            ///
            /// It is called in the order of execution, by the thread that calls `execute` or polls
            /// the future of `execute_async`. Without it, errors are logged at ERROR. Setting it
            /// again replaces it. A panic in it is logged and has no other effect.
            pub fn on_error(&self, f: impl Fn(&str, &TaskError) + Send + Sync + 'static) {
                self.functions.set_on_error(f);
            }

            /// Returns the names of the functions, in the order of execution.
            pub fn names(&self) -> Vec<String> {
                self.functions.names()
            }
        }

        impl<T> Default for $name<T> {
            fn default() -> Self {
                Self::new()
            }
        }

        impl<T: 'static> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.functions).finish()
            }
        }

        impl<T: $($bounds)+> Collection for $name<T> {
            type Output = T;
            #[allow(clippy::declare_interior_mutable_const)]
            const NEW: Self = Self::new();

            fn functions(&self) -> &Functions<T> {
                &self.functions
            }
        }
    };
}

pub(super) use collection;
