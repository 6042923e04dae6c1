//! Creates a thread task from a function and its arguments.
//!
//! Each argument is a separate parameter with its own bounds, and so is the type of the result. One
//! that is not `Send` or `Clone` is therefore reported by itself, at the user's tokens.

use crate::launch::TaskBuilder;
use crate::params::Arg;
use crate::task::context::TaskContext;

macro_rules! threads {
    ($($once:ident $again:ident $with:ident $with_again:ident $($v:ident $p:ident)*;)*) => {$(
        /// Creates a task that runs once.
        #[allow(clippy::too_many_arguments)]
        pub fn $once<R: Send + 'static, $($p: Send + 'static),*>(
            _: Arg<R>,
            $($v: $p,)*
            f: impl FnOnce($($p),*) -> R + Send + 'static,
        ) -> TaskBuilder<R> {
            TaskBuilder::new(move || f($($v),*))
        }

        /// Creates a task that may run again, with clones of the arguments.
        #[allow(clippy::too_many_arguments)]
        pub fn $again<R: Send + 'static, $($p: Clone + Send + 'static),*>(
            _: Arg<R>,
            $($v: $p,)*
            mut f: impl FnMut($($p),*) -> R + Send + 'static,
        ) -> TaskBuilder<R> {
            TaskBuilder::repeatable(move || f($($v.clone()),*))
        }

        /// Creates a task that runs once, with a context.
        #[allow(clippy::too_many_arguments)]
        pub fn $with<Msg: Send + 'static, Out: Send + 'static, R: Send + 'static, $($p: Send + 'static),*>(
            _: Arg<R>,
            $($v: $p,)*
            f: impl FnOnce(&TaskContext<Msg, Out>, $($p),*) -> R + Send + 'static,
        ) -> TaskBuilder<R, Msg, Out> {
            TaskBuilder::with_context(move |context| f(context, $($v),*))
        }

        /// Creates a task that may run again, with a context.
        #[allow(clippy::too_many_arguments)]
        pub fn $with_again<
            Msg: Send + 'static,
            Out: Send + 'static,
            R: Send + 'static,
            $($p: Clone + Send + 'static),*
        >(
            _: Arg<R>,
            $($v: $p,)*
            mut f: impl FnMut(&TaskContext<Msg, Out>, $($p),*) -> R + Send + 'static,
        ) -> TaskBuilder<R, Msg, Out> {
            TaskBuilder::__repeatable_with_context(move |context| f(context, $($v.clone()),*))
        }
    )*};
}

threads! {
    thread0 thread_again0 thread_with0 thread_with_again0;
    thread1 thread_again1 thread_with1 thread_with_again1 a A;
    thread2 thread_again2 thread_with2 thread_with_again2 a A b B;
    thread3 thread_again3 thread_with3 thread_with_again3 a A b B c C;
    thread4 thread_again4 thread_with4 thread_with_again4 a A b B c C d D;
    thread5 thread_again5 thread_with5 thread_with_again5 a A b B c C d D e E;
    thread6 thread_again6 thread_with6 thread_with_again6 a A b B c C d D e E g G;
    thread7 thread_again7 thread_with7 thread_with_again7 a A b B c C d D e E g G h H;
    thread8 thread_again8 thread_with8 thread_with_again8 a A b B c C d D e E g G h H i I;
}
