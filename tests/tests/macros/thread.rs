//! What does the attribute generate for functions that run on pool threads?

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use atasker::{
    Outcome, Priority, Supervisor, TaskBuilder, TaskContext, TaskType, background_task, supervisor,
};

#[background_task]
fn greet(name: String) -> String {
    format!("hello {name}")
}

#[test]
fn launcher_builder_and_plain_call_work() {
    let task = greet("world".into());
    assert_eq!(task.tt(), TaskType::Thread);
    assert_eq!(task.name(), "macros::thread::greet");
    assert_eq!(task.priority(), Priority::Normal);
    assert_eq!(task.join().unwrap(), "hello world");

    let builder: TaskBuilder<String> = greet::builder("you".into());
    let task = builder.priority(Priority::High).name("mine").start();
    assert_eq!((task.name(), task.priority()), ("mine", Priority::High));
    assert_eq!(task.join().unwrap(), "hello you");
    assert_eq!(greet::call("me".into()), "hello me");
}

#[background_task]
fn nothing() {}

#[test]
fn fn_without_parameters_or_result() {
    nothing().join().unwrap();
    nothing::call();
}

mod jobs {
    use atasker::background_task;

    pub mod deep {
        use super::*;
        #[background_task(name = "renamed", priority = "critical")]
        pub(in crate::thread::jobs) fn named() -> &'static str {
            "static"
        }
    }

    #[background_task]
    pub(super) fn visible(n: u8) -> u8 {
        deep::named().join().unwrap().len() as u8 + n
    }

    pub(crate) fn launch() -> atasker::Task<&'static str> {
        deep::named()
    }
}

#[test]
fn visibility_name_and_priority_are_kept() {
    assert_eq!(jobs::visible(1).join().unwrap(), 7);
    assert_eq!(jobs::visible::builder(1).start().join().unwrap(), 7);
    assert_eq!(jobs::visible(0).name(), "macros::thread::jobs::visible");
    let task = jobs::launch();
    assert_eq!((task.name(), task.priority()), ("renamed", Priority::Critical));
}

const QUICK: Duration = Duration::from_millis(5);
const URGENT: Priority = Priority::High;
static CALLS: AtomicU32 = AtomicU32::new(0);

fn count_call(result: &Result<u32, atasker::TaskError>) {
    CALLS.fetch_add(*result.as_ref().unwrap(), Ordering::SeqCst);
}

#[background_task(priority = URGENT, delay = QUICK, timeout = "1.5s", callback = count_call)]
fn with_expressions() -> u32 {
    3
}

#[background_task(callback = |result| { CALLS.fetch_add(result.as_ref().unwrap() * 100, Ordering::SeqCst); })]
fn with_closure() -> u32 {
    3
}

#[test]
fn keys_accept_expressions_paths_and_closures() {
    let task = with_expressions();
    assert_eq!(task.priority(), Priority::High);
    assert_eq!(task.info().delay, Some(QUICK));
    assert_eq!(task.join().unwrap(), 3);
    assert_eq!(CALLS.load(Ordering::SeqCst) % 100, 3);
    with_closure().join().unwrap();
    assert_eq!(CALLS.load(Ordering::SeqCst), 303);
}

#[background_task]
#[allow(clippy::multiple_bound_locations)]
fn generic<T: Send + 'static, const N: usize>(value: T) -> [T; N]
where
    T: Clone,
{
    std::array::from_fn(|_| value.clone())
}

#[background_task]
fn from_nothing<T: Default + Send + 'static>() -> T {
    T::default()
}

#[background_task]
fn anonymous(
    numbers: impl Iterator<Item = u32> + Send + 'static,
) -> impl Iterator<Item = u32> + Send {
    numbers.map(|n| n * 2)
}

#[test]
fn generics_and_impl_trait_compile() {
    assert_eq!(generic::<_, 3>('x').join().unwrap(), ['x'; 3]);
    assert_eq!(generic::builder::<u8, 2>(7).start().join().unwrap(), [7; 2]);
    assert_eq!(from_nothing::<u64>().join().unwrap(), 0);
    assert_eq!(anonymous(1..4).join().unwrap().collect::<Vec<_>>(), [2, 4, 6]);
}

#[background_task]
fn patterns(mut a: u32, (b, c): (u32, u32), _: String, [d, ..]: [u32; 3]) -> u32 {
    a += 1;
    a + b + c + d
}

#[test]
fn parameter_patterns_stay_in_body() {
    assert_eq!(patterns(1, (2, 3), "ignored".into(), [4, 5, 6]).join().unwrap(), 11);
    assert_eq!(patterns::call(1, (2, 3), String::new(), [4, 5, 6]), 11);
}

#[test]
fn fn_in_body_uses_local_types() {
    #[derive(Clone, Copy, PartialEq, Debug)]
    struct Local(u32);
    #[background_task]
    fn twice(local: Local) -> Local {
        Local(local.0 * 2)
    }
    assert_eq!(twice(Local(4)).join().unwrap(), Local(8));
    assert_eq!(twice::call(Local(1)), Local(2));
    {
        #[background_task]
        fn twice(local: Local) -> Local {
            Local(local.0 * 3)
        }
        assert_eq!(twice(Local(4)).join().unwrap(), Local(12));
    }
}

#[background_task]
fn fibonacci(n: u64) -> u64 {
    match n {
        0 | 1 => n,
        // The launcher for the first call, the plain function below it.
        5.. => fibonacci(n - 1).join().unwrap() + fibonacci(n - 2).join().unwrap(),
        _ => fibonacci::call(n - 1) + fibonacci::call(n - 2),
    }
}

#[test]
fn recursive_name_is_launcher() {
    assert_eq!(fibonacci(10).join().unwrap(), 55);
}

#[background_task(companion = Resize)]
fn resize(n: u32) -> u32 {
    n + 1
}

/// Would clash with a companion type of that name.
#[derive(Debug, PartialEq)]
#[allow(non_camel_case_types)]
struct lonely {
    n: u32,
}

#[background_task(companion = false)]
fn lonely(n: u32) -> u32 {
    if n == 0 { 7 } else { lonely(n - 1).join().unwrap() }
}

#[test]
fn companion_types_are_generated() {
    assert_eq!(Resize::call(1), 2);
    assert_eq!(Resize::builder(2).start().join().unwrap(), 3);
    assert_eq!(resize(3).join().unwrap(), 4);
    assert_eq!(lonely(2).join().unwrap(), 7);
    assert_eq!(lonely { n: 1 }.n, 1);
}

struct Service {
    base: u32,
}

impl Service {
    /// Documented.
    #[background_task(priority = "low")]
    fn add(self: Arc<Self>, n: u32) -> u32 {
        self.base + n
    }

    #[background_task]
    fn echo(self: Arc<Self>, ctx: &TaskContext<u32, u32>, plus: u32) {
        while let Ok(n) = ctx.recv() {
            ctx.send(n + self.base + plus).unwrap();
        }
    }

    #[background_task]
    fn consume(mut self) -> u32 {
        self.base += 1;
        self.base
    }

    #[background_task]
    async fn later<T: Send + 'static>(self: Arc<Self>, value: T) -> (u32, T) {
        (self.base, value)
    }

    #[background_task(retries = 2)]
    fn flaky(self: Arc<Self>, tries: Arc<AtomicU32>) -> Result<u32, String> {
        match tries.fetch_add(1, Ordering::SeqCst) {
            2 => Ok(self.base),
            _ => Err("not yet".into()),
        }
    }
}

#[test]
fn methods_with_arc_receiver_run() {
    let service = Arc::new(Service { base: 10 });
    let task = service.clone().add(5);
    assert!(task.name().ends_with("Service::add"), "{}", task.name());
    assert_eq!(task.priority(), Priority::Low);
    assert_eq!(task.join().unwrap(), 15);

    let task = service.clone().echo(1);
    task.send(5).unwrap();
    assert_eq!(task.recv().unwrap(), 16);
    task.stop();
    task.join().unwrap();

    assert_eq!(service.clone().later("x").join().unwrap(), (10, "x"));
    assert_eq!(service.clone().flaky(Arc::default()).join().unwrap(), Ok(10));
    assert_eq!(Arc::into_inner(service).unwrap().consume().join().unwrap(), 11);
}

#[background_task]
fn with_context(ctx: &TaskContext<u64, String>, prefix: String) -> u64 {
    let mut sum = 0;
    while let Ok(n) = ctx.recv() {
        sum += n;
        ctx.send(format!("{prefix}{n}")).unwrap();
    }
    sum
}

#[background_task]
fn by_value(ctx: atasker::TaskContext) -> bool {
    ctx.wait_stop(Duration::from_secs(10))
}

#[test]
fn context_is_supplied_by_supervisor() {
    let task = with_context("got ".into());
    task.send(2).unwrap();
    assert_eq!(task.recv().unwrap(), "got 2");
    task.stop();
    assert_eq!(task.join().unwrap(), 2);

    let ctx = TaskContext::detached();
    assert_eq!(with_context::builder("a".into()).name("x").start().name(), "x");
    let task = by_value();
    // Before the task has started, `stop` would cancel it.
    while !task.is_started() {
        std::thread::yield_now();
    }
    task.stop();
    assert!(task.join().unwrap());
    let _: fn(&TaskContext<u64, String>, String) -> u64 = with_context::call;
    let _: fn(TaskContext) -> bool = by_value::call;
    assert!(
        !ctx.stopped() && {
            let _: &TaskContext = &ctx;
            true
        }
    );
}

type IoResult<T> = std::io::Result<T>;
type Read<T> = std::io::Result<T>;

#[background_task]
fn io(fail: bool) -> std::io::Result<u32> {
    if fail { Err(std::io::Error::other("no")) } else { Ok(1) }
}

#[background_task]
fn aliased(fail: bool) -> IoResult<u32> {
    io::call(fail)
}

#[background_task]
fn aliased_differently(fail: bool) -> Read<u32> {
    io::call(fail)
}

mod own {
    /// A `Result` other than std's.
    #[derive(Debug, PartialEq, Clone)]
    pub struct Result<T>(pub T);
    #[atasker::background_task(retries = 3)]
    pub fn run(n: u32) -> Result<u32> {
        Result(n)
    }
}

#[test]
fn returned_err_is_result_or_retry() {
    let outcome = |task: &atasker::Task<std::io::Result<u32>>| {
        task.wait().unwrap();
        task.info().outcome.unwrap()
    };
    assert_eq!(outcome(&io(true)), Outcome::ReturnedErr);
    assert_eq!(outcome(&io(false)), Outcome::Ok);
    // The return type is judged as written: by its last name.
    assert_eq!(outcome(&aliased(true)), Outcome::ReturnedErr);
    assert_eq!(outcome(&aliased_differently(true)), Outcome::Ok);
    let task = own::run(3);
    assert_eq!(task.wait().unwrap(), &own::Result(3));
    assert_eq!(task.info().outcome, Some(Outcome::Ok));
}

#[background_task(retries = 2, retry_delay = "1ms")]
fn flaky(tries: Arc<AtomicU32>, text: String) -> Result<String, String> {
    if tries.fetch_add(1, Ordering::SeqCst) < 2 { Err(text) } else { Ok(text) }
}

#[background_task(retries = 3)]
fn stubborn(ctx: &TaskContext, tries: Arc<AtomicU32>) -> u32 {
    if tries.fetch_add(1, Ordering::SeqCst) < 2 {
        panic!("again");
    }
    ctx.attempt()
}

#[test]
fn retry_clones_arguments() {
    let tries = Arc::new(AtomicU32::new(0));
    assert_eq!(flaky(tries.clone(), "x".into()).join().unwrap(), Ok("x".to_owned()));
    assert_eq!(tries.load(Ordering::SeqCst), 3);
    assert_eq!(stubborn(Arc::default()).join().unwrap(), 3);
}

fn batch() -> &'static Supervisor {
    static BATCH: std::sync::OnceLock<Supervisor> = std::sync::OnceLock::new();
    BATCH.get_or_init(|| Supervisor::builder().id("macros").build())
}

#[background_task(supervisor = batch())]
fn elsewhere() -> bool {
    true
}

#[test]
fn supervisor_key_selects_supervisor() {
    assert!(elsewhere().join().unwrap());
    let mine = Supervisor::builder().id("never started").build();
    assert!(!mine.is_active());
    assert!(elsewhere::builder().supervisor(&mine).start().join().unwrap());
    assert!(mine.is_active());
    let _ = supervisor();
}

#[allow(non_snake_case)]
#[cfg(not(any()))]
#[background_task]
#[must_use]
#[inline(never)]
#[allow(unused_variables)]
fn Attributes(Ignored: u32) -> u32 {
    let unused = 1;
    4
}

#[cfg(any())]
#[background_task]
fn left_out() -> NoSuchType {}

#[background_task]
fn r#type(r#fn: u32) -> u32 {
    r#fn
}

#[test]
fn attributes_and_raw_names_are_kept() {
    assert_eq!(Attributes(1).join().unwrap(), 4);
    let task = r#type(3);
    assert_eq!(task.name(), "macros::thread::type");
    assert_eq!(task.join().unwrap(), 3);
    assert_eq!(r#type::call(4), 4);
}

#[background_task(retries = 1)]
#[allow(clippy::too_many_arguments)]
fn many(
    ctx: &TaskContext,
    (a, b, c): (u8, u8, u8),
    d: u8,
    mut e: u8,
    f: u8,
    g: u8,
    h: u8,
    i: u8,
    j: String,
    k: Vec<u8>,
    l: u8,
) -> usize {
    assert!(ctx.attempt() == 2, "once more");
    e += 1;
    [a, b, c, d, e, f, g, h, i, l].iter().map(|n| usize::from(*n)).sum::<usize>()
        + j.len()
        + k.len()
}

#[test]
fn many_parameters_compile() {
    let task = many((1, 1, 1), 1, 1, 1, 1, 1, 1, "x".into(), vec![1], 1);
    assert_eq!(task.join().unwrap(), 13);
}

struct Shelf<T>(T);

impl<T: Clone + Send + Sync + 'static> Shelf<T> {
    #[background_task(retries = 1)]
    fn copy<const N: usize>(self: Arc<Self>) -> [T; N] {
        std::array::from_fn(|_| self.0.clone())
    }
}

#[test]
fn methods_of_generic_types_run() {
    let task = Arc::new(Shelf('x')).copy::<2>();
    assert!(task.name().ends_with("Shelf<char>::copy"), "{}", task.name());
    assert_eq!(task.join().unwrap(), ['x'; 2]);
}

macro_rules! doubles {
    ($($name:ident($ty:ty, $ctx:ty);)*) => {$(
        #[background_task]
        fn $name(ctx: $ctx, value: $ty) -> Result<$ty, String> {
            let _ = ctx;
            value.checked_mul(2).ok_or_else(|| "too much".to_owned())
        }
    )*};
}

doubles! {
    double_u8(u8, &TaskContext);
    double_u64(u64, TaskContext<u8, u8>);
}

#[test]
fn fns_from_other_macros_compile() {
    assert_eq!(double_u8(200).join().unwrap(), Err("too much".to_owned()));
    assert_eq!(double_u64::builder(200).start().join().unwrap(), Ok(400));
}
