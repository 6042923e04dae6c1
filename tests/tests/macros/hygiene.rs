//! Is generated code independent of its surroundings: names of parameters, traits in scope, items
//! that shadow the prelude, macros that shadow those of std?

#![forbid(unsafe_code)]
#![allow(dead_code, non_camel_case_types)]
// The test uses names that generated code uses, whatever their usual meaning.
#![allow(clippy::too_many_arguments, clippy::wrong_self_convention, clippy::new_ret_no_self)]

/// Parameters and variables with names that generated code might use.
mod names {
    use atasker::{Priority, collect, collection};
    use atasker::{TaskContext, WorkerContext, background, background_task, background_worker};

    #[background_task]
    fn pattern_beside_arg0((a, b): (u32, u32), arg0: u32, [arg1]: [u32; 1]) -> u32 {
        a + b + arg0 + arg1
    }

    #[background_task(tt = "mp")]
    fn in_process((a, b): (u32, u32), arg0: u32, __args: u32, __output: u32, __a0: u32) -> u32 {
        a + b + arg0 + __args + __output + __a0
    }

    #[background_task(tt = "mp")]
    fn all_of_them(
        ctx: &TaskContext,
        __call: u32,
        __input: u32,
        __context: u32,
        __result: u32,
        __builder: u32,
        __holder0: &str,
        __bytes: &[u8],
    ) -> u32 {
        let task = u32::from(ctx.stopped());
        task + __call
            + __input
            + __context
            + __result
            + __builder
            + __holder0.len() as u32
            + __bytes.len() as u32
    }

    #[background_task(retries = 1)]
    fn again(__context: &TaskContext, task: u32, call: u32, builder: u32, self_: u32) -> u32 {
        task + call + builder + self_ + __context.attempt() - 1
    }

    #[background_task]
    async fn on_aloop(__context: TaskContext, ctx: u32, __a0: u32, (__a1, x): (u32, u32)) -> u32 {
        ctx + __a0 + __a1 + x + __context.attempt() - 1
    }

    #[background_task]
    fn shadow(shadow: u32, start: u32) -> u32 {
        shadow + start
    }

    #[background_task(companion = false)]
    fn alone(__builder: u32, (x, _): (u32, u32), arg1: u32) -> u32 {
        __builder + x + arg1
    }

    #[background_task]
    fn r#type(r#match: u32, r#fn: &'static str) -> u32 {
        r#match + r#fn.len() as u32
    }

    #[background_task(tt = "mp")]
    fn r#loop(r#match: u32) -> u32 {
        r#match
    }

    #[background_task]
    fn call(call: u32) -> u32 {
        call
    }

    #[background_task]
    fn builder(builder: u32) -> u32 {
        builder
    }

    #[background_task]
    fn generic<__R: Send + 'static, const N: usize, T>(value: [T; N], _: __R) -> usize
    where
        T: Send + 'static,
    {
        value.len()
    }

    #[background_task(tt = "mp")]
    fn lifetimes<'a, 'b: 'a>(a: &'a str, b: &'b [u64]) -> usize {
        a.len() + b.len()
    }

    #[background_worker(queue, tt = "mp", process_result = |n| assert!(*n > 0))]
    fn worker(
        ctx: &WorkerContext,
        (__item, x): (u32, u32),
        __name: String,
        __runs: u32,
        __task: u32,
        arg1: u32,
    ) -> u32 {
        u32::from(ctx.stopped()) + __item + x + __name.len() as u32 + __runs + __task + arg1
    }

    #[background_worker(event)]
    async fn worker_on_aloop(__context: &WorkerContext, __run: &mut u32, __p0: u32) -> bool {
        *__run += __p0;
        !__context.stopped()
    }

    collection!(static COLLECTION: atasker::FunctionCollection<u32>);

    #[collect(COLLECTION, priority = 5)]
    fn __ask() -> u32 {
        1
    }

    #[test]
    fn parameters_with_internal_names_compile() {
        assert_eq!(pattern_beside_arg0((1, 2), 3, [4]).join().unwrap(), 10);
        assert_eq!(pattern_beside_arg0::call((1, 2), 3, [4]), 10);
        assert_eq!(in_process((1, 2), 3, 4, 5, 6).join().unwrap(), 21);
        assert_eq!(all_of_them(1, 2, 3, 4, 5, "6", &[7]).join().unwrap(), 17);
        assert_eq!(again(1, 2, 3, 4).join().unwrap(), 10);
        assert_eq!(on_aloop(1, 2, (3, 4)).join().unwrap(), 10);
        assert_eq!(shadow(1, 2).join().unwrap(), 3);
        assert_eq!(alone(1, (2, 3), 4).join().unwrap(), 7);
        assert_eq!(r#type(1, "two").join().unwrap(), 4);
        assert_eq!(r#type::call(1, "two"), 4);
        assert_eq!(r#loop(5).join().unwrap(), 5);
        assert_eq!((call(1).join().unwrap(), call::call(2)), (1, 2));
        assert_eq!((builder(1).join().unwrap(), builder::call(2)), (1, 2));
        assert_eq!(builder::builder(3).start().join().unwrap(), 3);
        assert_eq!(generic([1, 2], "x").join().unwrap(), 2);
        assert_eq!(lifetimes("a", &[1]).join().unwrap(), 2);
        assert_eq!(COLLECTION.execute().results[0].1, Ok(1));
    }

    #[test]
    fn worker_parameters_with_internal_names_compile() {
        let queue = worker("name".to_owned(), 1, 2, 3);
        queue.start();
        queue.put((1, 2)).unwrap();
        let event = worker_on_aloop(1, 2);
        event.start();
        event.trigger();
        while queue.runs() == 0 || event.runs() == 0 {
            std::thread::yield_now();
        }
        queue.stop();
        event.stop();
    }

    fn sum(a: u32, b: u32) -> u32 {
        a + b
    }

    #[test]
    fn variables_with_internal_names_compile() {
        let (__function, __name, __builder, __result) = (1, "named", 3, 4);
        let (__p0, __a0, __future) = (5, 6, 7);
        assert_eq!(background!(sum(__function, __result), name = __name).join().unwrap(), 5);
        let task = background!(sum(__p0, __a0), name = __name, priority = Priority::High);
        assert_eq!((task.name(), task.wait().copied()), ("named", Ok(11)));
        assert_eq!(background!(sum(__p0, __a0), tt = "mp", name = __name).join().unwrap(), 11);
        assert_eq!(background!(move || __builder + __function).join().unwrap(), 4);
        let task = background!(async move { __future + __result }, name = __name);
        assert_eq!((task.name(), task.wait().copied()), ("named", Ok(11)));
    }
}

/// Traits that are implemented for all types, with methods whose names generated code might call.
mod traits {
    use atasker::{TaskContext, WorkerContext, background, background_task, background_worker};
    use atasker::{collect, collection};
    use std::sync::Arc;

    // One trait per kind of `self`, each in a module, because together they would be ambiguous for
    // the test's own calls.
    macro_rules! traits {
        ($($name:ident)*) => {
            pub mod by_value {
                pub trait Everywhere: Sized {
                    $(fn $name(self) -> ! { unreachable!() })*
                }
                impl<T> Everywhere for T {}
            }
            pub mod by_ref {
                pub trait Everywhere {
                    $(fn $name(&self) -> ! { unreachable!() })*
                }
                impl<T: ?Sized> Everywhere for T {}
            }
            pub mod by_mut {
                pub trait Everywhere {
                    $(fn $name(&mut self) -> ! { unreachable!() })*
                }
                impl<T: ?Sized> Everywhere for T {}
            }
        };
    }
    traits! {
        read write lend args start start_again finish finished finish_call finished_call reader
        write_result reply_mut value end into_encoded is_err clone_ lock get run run_async name
        priority retries timeout delay supervisor aloop on_complete repeatable future builder
        call arguments new with_context by_priority overrun on_error delay_before context
    }

    fn sum(a: u32, b: &u32) -> Result<u32, String> {
        Ok(a + b)
    }
    async fn later(a: u32) -> u32 {
        a
    }

    macro_rules! by {
        ($test:ident $module:ident) => {
            mod $test {
                use super::*;
                #[allow(unused_imports)] // The imports must stay unused.
                use super::$module::Everywhere as _;

                #[background_task(retries = 1, priority = "high", timeout = "60s")]
                fn thread(_: &TaskContext<u8>, a: u32) -> Result<u32, String> {
                    Ok(a)
                }

                #[background_task(tt = "mp", priority = "high", timeout = "60s")]
                fn process(
                    _: &TaskContext<u8>,
                    text: &str,
                    bytes: Vec<u8>,
                    list: &[u64],
                    one: &Option<u8>,
                ) -> Result<usize, String> {
                    Ok(text.len() + bytes.len() + list.len() + usize::from(one.is_some()))
                }

                #[background_task(tt = "mp")]
                async fn future_in_process(bytes: &[u8]) -> Vec<u8> {
                    bytes.to_vec()
                }

                #[background_task(retries = 1, aloop = "hygiene")]
                async fn on_aloop(_: &TaskContext, a: u32) -> Result<u32, String> {
                    Ok(a)
                }

                #[background_worker(queue = "priority", queue_limit = 9, on_error = stop)]
                fn queue(_: &WorkerContext, item: u8, kept: &mut u8, cloned: Arc<u8>, lent: &str) {
                    *kept += item + *cloned + lent.len() as u8;
                }

                #[background_worker(event, process_result = ignore)]
                async fn event(_: WorkerContext, kept: &mut u8, lent: &str) -> u8 {
                    *kept += lent.len() as u8;
                    *kept
                }

                #[background_worker(interval = "1h", delay_before = "1us", overrun = "burst", tt = "mp")]
                fn interval(_: &WorkerContext, value: u8, lent: &str) -> bool {
                    value as usize == lent.len()
                }

                collection!(static COLLECTION: atasker::FunctionCollection<u32>);

                #[collect(COLLECTION, priority = "high", name = "one")]
                fn one() -> u32 {
                    1
                }

                #[test]
                fn traits_in_scope_are_not_called() {
                    use atasker::Task;
                    assert_eq!(Task::join(thread(1)).unwrap(), Ok(1));
                    let task = process("1", vec![2, 3], &[4], &Some(5));
                    assert_eq!(Task::join(task).unwrap(), Ok(5));
                    assert_eq!(Task::join(future_in_process(&[1])).unwrap(), [1]);
                    assert_eq!(Task::join(on_aloop(2)).unwrap(), Ok(2));
                    assert_eq!(Task::join(background!(sum(1, &2), tt = "mp")).unwrap(), Ok(3));
                    assert_eq!(Task::join(background!(later(4), tt = "mp")).unwrap(), 4);
                    assert_eq!(Task::join(background!(later(4))).unwrap(), 4);
                    assert_eq!(Task::join(background!(later(4), retries = 1)).unwrap(), 4);
                    assert_eq!(Task::join(background!(|| 5, retries = 1)).unwrap(), 5);
                    assert_eq!(Task::join(background!(|| 5, tt = "mp")).unwrap(), 5);
                    assert_eq!(Task::join(background!(async { 6 })).unwrap(), 6);
                    assert_eq!(COLLECTION.execute().results[0].1, Ok(1));

                    let (queue, event) = (queue(1, Arc::new(2), "3".to_owned()), event(1, "2".to_owned()));
                    let interval = interval(3, "abc".to_owned());
                    for worker in [&*queue, &*event, &*interval] {
                        atasker::BackgroundWorker::start(worker);
                    }
                    queue.put(1).unwrap();
                    event.trigger();
                    while queue.runs() == 0 || event.runs() == 0 || interval.runs() == 0 {
                        std::thread::yield_now();
                    }
                    for worker in [&*queue, &*event, &*interval] {
                        worker.stop();
                    }
                }
            }
        };
    }
    fn stop(_: &atasker::WorkerError) -> std::ops::ControlFlow<()> {
        std::ops::ControlFlow::Break(())
    }
    fn ignore(_: &u8) {}

    by!(with_self_by_value by_value);
    by!(with_self_by_ref by_ref);
    by!(with_self_by_mut by_mut);
}

/// Items that shadow the prelude and std itself, in a module without any prelude.
mod shadows {
    #![no_implicit_prelude]

    use ::atasker::{TaskContext, WorkerContext, background, background_task, background_worker};
    use ::atasker::{collect, collection, wait_any, wait_completed, wait_settled};

    struct Result;
    struct Option;
    struct Some;
    struct None;
    struct Ok;
    struct Err;
    struct Vec;
    struct Box;
    struct String;
    struct Arc;
    struct Task;
    struct TaskBuilder;
    struct Duration;
    struct Priority;
    trait Send {}
    trait Sync {}
    trait Clone {}
    trait Fn {}
    trait FnMut {}
    trait Future {}
    trait Into {}
    mod std {}
    mod core {}
    mod alloc {}
    mod atasker {}
    mod linkme {}

    macro_rules! shadowed {
        ($($name:ident)*) => {$(
            #[allow(unused_macros)]
            macro_rules! $name {
                () => { ::std::compile_error!("a macro of the surrounding module was called") };
            }
        )*};
    }
    shadowed!(
        panic vec format compile_error concat stringify line file column module_path assert
        unreachable cfg env
    );

    #[background_task(retries = 1, delay = "1us", priority = "low", callback = |_| ())]
    fn thread(_: &TaskContext, a: u32) -> ::core::result::Result<u32, u8> {
        ::core::result::Result::Ok(a)
    }

    #[background_task(tt = "mp", timeout = "60s", retries = 1, retry_delay = "1us")]
    fn process(_: &TaskContext<u8>, a: u32, text: &str) -> ::core::result::Result<u32, u8> {
        ::core::result::Result::Ok(a + text.len() as u32)
    }

    #[background_task]
    async fn on_aloop(_: &TaskContext, a: u32) -> u32 {
        a
    }

    #[background_task(companion = false)]
    fn alone(a: u32) -> u32 {
        a
    }

    struct Service;

    impl Service {
        #[background_task]
        fn method(self: ::std::sync::Arc<Self>, a: u32) -> u32 {
            a
        }
    }

    #[background_worker(queue = "priority", queue_limit = 2)]
    fn queue(_: &WorkerContext, item: u8, kept: &mut u8, lent: &str, list: &[u8]) -> bool {
        *kept += item;
        lent.len() == list.len()
    }

    #[background_worker(event, tt = "mp", process_result = |_| ())]
    fn event(_: &WorkerContext, lent: &str) -> u8 {
        lent.len() as u8
    }

    #[background_worker(interval = "1h", overrun = "skip", on_error = on_error)]
    async fn interval(kept: &mut u8, lent: &str) {
        *kept += lent.len() as u8;
    }
    fn on_error(_: &::atasker::WorkerError) -> ::core::ops::ControlFlow<()> {
        ::core::ops::ControlFlow::Continue(())
    }

    collection!(static COLLECTION: ::atasker::FunctionCollection<u32>);

    #[collect(COLLECTION, priority = "high")]
    fn one() -> u32 {
        1
    }

    fn sum(a: u32, b: u32) -> u32 {
        a + b
    }

    #[test]
    fn shadowed_prelude_is_not_used() {
        ::std::assert!(::std::matches!(thread(1).join(), ::core::result::Result::Ok(_)));
        ::std::assert_eq!(process(1, "ab").join().unwrap().unwrap(), 3);
        ::std::assert_eq!(on_aloop(1).join().unwrap(), 1);
        ::std::assert_eq!(alone(1).join().unwrap(), 1);
        ::std::assert_eq!(::std::sync::Arc::new(Service).method(1).join().unwrap(), 1);
        ::std::assert_eq!(background!(sum(1, 2), retries = 1).join().unwrap(), 3);
        ::std::assert_eq!(background!(sum(1, 2), tt = "mp").join().unwrap(), 3);
        ::std::assert_eq!(background!(|| 1).join().unwrap(), 1);
        ::std::assert_eq!(background!(|| 1, tt = "mp").join().unwrap(), 1);
        ::std::assert_eq!(background!(async { 1 }).join().unwrap(), 1);
        ::std::assert_eq!(COLLECTION.execute().results.len(), 1);
        ::std::assert_eq!(wait_completed!(alone(1), on_aloop(2)).unwrap(), (1, 2));
        ::std::assert_eq!(wait_settled!(alone(1)).unwrap(), 1);
        ::std::assert_eq!(wait_any!([alone(1)]).unwrap(), (0, 1));
        let text = || ::std::convert::Into::<::std::string::String>::into("ab");
        let queue = queue(1, text(), ::std::vec![1, 2]);
        let (event, interval) = (event(text()), interval(1, text()));
        queue.start();
        event.start();
        interval.start();
        queue.put(1).unwrap();
        event.trigger();
        while queue.runs() == 0 || event.runs() == 0 || interval.runs() == 0 {
            ::std::thread::yield_now();
        }
        queue.stop();
        event.stop();
        interval.stop();
    }
}

/// `Self` in the body of a free function, where a macro or an item defines it.
mod own_self {
    use atasker::{background_task, background_worker};

    trait Make {
        fn make() -> Self;
        fn value(&self) -> u32;
    }
    macro_rules! make {
        ($name:ident, $this:ty, $value:expr) => {
            struct $name(u32);
            impl Make for $name {
                fn make() -> $this {
                    $name($value)
                }
                fn value(&self) -> u32 {
                    self.0
                }
            }
        };
    }

    #[background_task]
    fn by_macro() -> u32 {
        make!(One, Self, 1);
        One::make().value()
    }

    #[background_task(tt = "mp")]
    fn by_item() -> u32 {
        make!(One, Self, 1);
        struct Two(u32);
        impl Two {
            fn new() -> Self {
                Self(2)
            }
        }
        One::make().value() + Two::new().0 + stringify!(Self).len() as u32
    }

    #[background_worker(event)]
    fn by_worker() -> bool {
        make!(One, Self, 1);
        One::make().value() == 1
    }

    #[test]
    fn self_in_nested_item_is_unchanged() {
        assert_eq!(by_macro().join().unwrap(), 1);
        assert_eq!(by_item().join().unwrap(), 7);
        let worker = by_worker();
        worker.start();
        worker.trigger();
        while worker.runs() == 0 {
            std::thread::yield_now();
        }
        worker.stop();
    }
}
