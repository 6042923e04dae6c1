//! The attributes of atasker. Use the `atasker` crate, which re-exports and documents them.
//!
//! The way of one attribute: `args` parses its keys, `item` the function, `check` knows the rules
//! that need both, and `expand` writes the code. Where something is wrong, one error points at it,
//! and the launcher is written all the same, so that its callers cause no second one.

mod args;
mod background;
mod check;
mod collect;
mod errors;
mod expand;
mod item;
mod main_fn;
mod worker;

use proc_macro::TokenStream;

/// Turns a function into one that runs in the background: on a pool thread, on an aloop, or in a
/// worker process.
///
/// ```
/// use atasker::background_task;
///
/// /// Runs on a pool thread.
/// #[background_task(priority = "high", timeout = "5s")]
/// fn greet(name: String) -> String {
///     format!("hello {name}")
/// }
///
/// /// Runs on an aloop.
/// #[background_task]
/// async fn fetch(id: u32) -> Result<String, std::io::Error> {
///     Ok(format!("page {id}"))
/// }
///
/// let task = greet("world".into()); // Task<String>
/// assert_eq!(task.join().unwrap(), "hello world");
///
/// let task = greet::builder("you".into()).name("a greeting").start();
/// assert_eq!(task.join().unwrap(), "hello you");
///
/// assert_eq!(greet::call("me".into()), "hello me"); // here and now
/// assert_eq!(fetch(7).join().unwrap().unwrap(), "page 7");
/// ```
///
/// The function `f(args) -> R` becomes a launcher `f(args) -> Task<R>` with the same visibility,
/// docs, generics and parameters. Beside it stands a companion type of the same name: `f::builder(args)`
/// is a `TaskBuilder<R>` that is not started yet, and `f::call(args)` runs the body here and now.
/// Inside the body, too, `f(..)` is the launcher; `f::call(..)` recurses plainly.
///
/// # Keys
///
/// | key | value | default |
/// |---|---|---|
/// | `priority` | `"low"`, `"normal"`, `"high"`, `"critical"`, or an expression of type `Priority` | normal |
/// | `tt` | `"thread"`, `"mp"` (a worker process), `"async"` | async for an `async fn`, else thread |
/// | `name` | a string | the function's path |
/// | `delay` | `"250ms"`, `"5s"`, `"2m"` (also `us`, `h`), or an expression of type `Duration` | none |
/// | `timeout` | likewise: how long the task may run | none |
/// | `retries` | how many more times it runs after a panic, a timeout, a worker's death, or an `Err` where the return type is written as a `Result` | 0 |
/// | `retry_delay` | a duration | 0 |
/// | `callback` | the path of a `fn(&Result<R, TaskError>)`, or a closure | none |
/// | `supervisor` | an expression of type `&Supervisor` | `supervisor()` |
/// | `aloop` | the name of an aloop, for an `async fn` | the default aloop |
/// | `companion` | another name for the companion type, or `false` | the function's name |
/// | `codec` | `"bincode"`, `"msgpack"`, for `tt = "mp"` | bincode |
///
/// # Parameters
///
/// A task outlives its caller: what a thread or an aloop is given must be owned, `Send` and
/// `'static`, with `retries` also `Clone`. Functions may be generic and take `impl Trait`.
///
/// With `tt = "mp"`, parameters and result must be types of serde, and nothing may be generic. As
/// the arguments are encoded at once, a parameter may be a reference: `&str`, `&[u8]`, `&[T]`, `&T`.
/// `Vec<u8>` and `&[u8]` travel as one block. Types that ask the input what it holds
/// (`#[serde(flatten)]`, untagged enums, `serde_json::Value`) need `codec = "msgpack"`.
///
/// A first parameter of type `&TaskContext<I, O>` or `TaskContext<I, O>` is given by the supervisor.
/// It is recognised by that name, by whatever path.
///
/// ```
/// use atasker::{TaskContext, background_task};
///
/// #[background_task]
/// fn add_up(ctx: &TaskContext<u64>, mut sum: u64) -> u64 {
///     while sum < 42 {
///         sum += ctx.recv().unwrap();
///     }
///     sum
/// }
///
/// let task = add_up(20);
/// task.send(20).unwrap();
/// task.send(2).unwrap();
/// assert_eq!(task.join().unwrap(), 42);
/// ```
///
/// # Methods
///
/// A method with an owned receiver (`self: Arc<Self>`, `self`) gets a launcher and no companion. It
/// must stand in an inherent `impl` block, for its body goes into a hidden method beside it; it
/// can't run in a worker process. Associated functions without `self` can't be tasks.
#[proc_macro_attribute]
pub fn background_task(args: TokenStream, item: TokenStream) -> TokenStream {
    expand::background_task(args.into(), item.into()).into()
}

/// Makes a background worker of a function: something that makes tasks again and again.
///
/// ```
/// use atasker::{WorkerContext, background_worker};
/// use std::time::Duration;
///
/// /// Again and again, until it is stopped.
/// #[background_worker]
/// fn sample(ctx: &WorkerContext) {
///     println!("sample {}", ctx.runs());
///     ctx.wait_stop(Duration::from_millis(10));
/// }
///
/// /// Every second, measured start to start.
/// #[background_worker(interval = "1s")]
/// fn tick() {}
///
/// /// On an aloop, with a pause before the first run and between the runs.
/// #[background_worker(delay = "1s", delay_before = "1s")]
/// async fn poll() {}
///
/// /// For every item that is put.
/// #[background_worker(queue)]
/// fn store(item: String) {
///     println!("{item}");
/// }
///
/// /// When it is triggered.
/// #[background_worker(event, priority = "high")]
/// fn flush() {}
///
/// let worker = store(); // a QueueWorker<String>, not started
/// worker.start();
/// worker.put("todo".into()).unwrap();
/// # while worker.runs() == 0 { std::thread::yield_now() }
/// worker.stop();
///
/// let worker = flush(); // an EventWorker
/// worker.start();
/// worker.trigger();
/// # for worker in [sample()] { worker.start(); while worker.runs() == 0 { std::thread::yield_now() } worker.stop() }
/// # let _: [atasker::IntervalWorker; 2] = [tick(), poll()];
/// ```
///
/// The function becomes a constructor of the same name, with the same visibility, docs and generics.
/// It gives a [`LoopWorker`], an [`IntervalWorker`], a [`QueueWorker`] or an [`EventWorker`], not
/// started; the documentation of [`BackgroundWorker`] says what all of them can do, that of
/// [`WorkerBuilder`] how to make them of closures. It must be a free function.
///
/// [`LoopWorker`]: ../atasker/struct.LoopWorker.html
/// [`IntervalWorker`]: ../atasker/struct.IntervalWorker.html
/// [`QueueWorker`]: ../atasker/struct.QueueWorker.html
/// [`EventWorker`]: ../atasker/struct.EventWorker.html
/// [`BackgroundWorker`]: ../atasker/struct.BackgroundWorker.html
/// [`WorkerBuilder`]: ../atasker/struct.WorkerBuilder.html
///
/// # Keys
///
/// The first few say which kind of worker it is. Without any of them, it is a loop worker.
///
/// | key | value | default |
/// |---|---|---|
/// | `interval` | `"250ms"`, `"5s"`, `"2m"` (also `us`, `h`), or an expression of type `Duration`: from start to start | |
/// | `delay` | a duration: from the end of a run to the next start | |
/// | `delay_before` | a duration: before every run; with `interval`, before the first one only | none |
/// | `queue` | alone, or `"fifo"`: the first item first; `"priority"`: the smallest first (`Ord`) | |
/// | `event` | alone | |
/// | `overrun` | what is done about turns that were missed, with `interval`: `"skip"`, `"burst"` | skip |
/// | `queue_limit` | how many items may wait, with `queue` | no limit |
/// | `priority` | `"low"`, `"normal"`, `"high"`, `"critical"`, or an expression of type `Priority` | normal |
/// | `tt` | `"thread"`, `"mp"` (worker processes), `"async"` | async for an `async fn`, else thread |
/// | `name` | a string | the function's path |
/// | `supervisor` | an expression of type `&Supervisor` | `supervisor()` |
/// | `aloop` | the name of an aloop, for an `async fn` | the default aloop |
/// | `process_result` | the path of a `fn(&R)`, or a closure: given the result of each run | none |
/// | `on_error` | the path of a `fn(&WorkerError) -> ControlFlow<()>`, or a closure | errors are logged |
/// | `codec` | `"bincode"`, `"msgpack"`, for `tt = "mp"` | bincode |
///
/// Their expressions are evaluated by the constructor, and may use what it is given.
///
/// # Parameters
///
/// A first parameter of type `&WorkerContext` or `WorkerContext` is the worker's view of itself. It
/// is recognised by that name, by whatever path. With `queue`, the next one is the item. All others
/// are the worker's own: they are given to the constructor, and each run has its share of them.
///
/// | written | the constructor takes | each run has |
/// |---|---|---|
/// | `T` | a `T: Clone` | a clone |
/// | `&T` | a `T` | what the worker owns, lent |
/// | `&mut T` | a `T` | likewise, as the run before has left it |
///
/// Where `T` has no size, its owner is taken: a `String` for `&str`, a `Vec<T>` for `&[T]`, a
/// `PathBuf` for `&Path`.
///
/// ```
/// use atasker::background_worker;
/// use std::sync::mpsc::Sender;
/// use std::time::Duration;
///
/// /// Tells of the length of a file whenever it is another one. Ends when nobody listens any more.
/// #[background_worker(interval = every, name = format!("watch {file}"))]
/// fn watch(file: &str, every: Duration, last: &mut u64, news: Sender<u64>) -> bool {
///     let length = std::fs::metadata(file).map_or(0, |data| data.len());
///     let changed = std::mem::replace(last, length) != length;
///     !changed || news.send(length).is_ok()
/// }
///
/// # let file = std::env::temp_dir().join(format!("atasker-doc-{}", std::process::id()));
/// # std::fs::write(&file, "four").unwrap();
/// # let file = file.display().to_string();
/// let (news, received) = std::sync::mpsc::channel();
/// let worker = watch(file.clone(), Duration::from_millis(1), 0, news);
/// assert_eq!(worker.name(), format!("watch {file}"));
/// worker.start();
/// assert_eq!(received.recv(), Ok(4));
/// # std::fs::remove_file(&file).unwrap();
/// worker.stop();
/// ```
///
/// # Results
///
/// A run returns `()`, `bool`, `ControlFlow<()>`, or a `Result` of these whose error implements
/// `Display`. `false` and `Break` stop the worker. An `Err`, a panic, and the death of a worker
/// process go to `on_error`, which stops the worker by `Break`; otherwise it goes on.
///
/// With `process_result`, a run returns anything, which means nothing to the worker.
///
/// # Worker processes
///
/// With `tt = "mp"`, every run is a call to a worker process, with the item and the worker's own
/// values encoded anew, so they are types of serde, and nothing is generic. The next run may be in
/// another process: there is no `&mut T`. `process_result` and `on_error` are called in the process
/// that has made the worker. `ctx.trigger()` takes effect at the end of the run.
///
/// ```
/// use atasker::background_worker;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// static SUM: AtomicU64 = AtomicU64::new(0);
///
/// fn add(n: &u64) {
///     SUM.fetch_add(*n, Ordering::Relaxed);
/// }
///
/// #[background_worker(queue, tt = "mp", process_result = add)]
/// fn square(n: u64) -> u64 {
///     n * n
/// }
///
/// let worker = square();
/// worker.start();
/// for n in 1..=3 {
///     worker.put(n).unwrap();
/// }
/// while worker.runs() < 3 {
///     std::thread::yield_now();
/// }
/// worker.stop();
/// assert_eq!(SUM.load(Ordering::Relaxed), 14);
/// ```
#[proc_macro_attribute]
pub fn background_worker(args: TokenStream, item: TokenStream) -> TokenStream {
    worker::background_worker(args.into(), item.into()).into()
}

/// Launches a call, a closure or a future as a task, without an attribute at the function. It gives
/// the started `Task`.
///
/// ```
/// use atasker::background;
///
/// fn area(a: u32, b: u32) -> u32 {
///     a * b
/// }
///
/// // A call, on a pool thread. The arguments are evaluated here, before the launch.
/// let task = background!(area(1 + 2, 4), priority = "high", name = "mine");
/// assert_eq!(task.join().unwrap(), 12);
///
/// // A closure, on a pool thread. It owns what it captures, as if it said `move`.
/// let x = 20;
/// assert_eq!(background!(|| x + 1).join().unwrap(), 21);
///
/// // A future, on an aloop; also that of an async fn, with `tt = "async"`.
/// assert_eq!(background!(async move { x + 2 }).join().unwrap(), 22);
///
/// // With a callback, which knows its type.
/// let task = background!(area(3, 4), callback = |r| println!("{r:?}"));
/// # task.join().unwrap();
/// ```
///
/// The keys are those of [`macro@background_task`], without `companion`.
///
/// With `tt = "mp"`, the call runs in a worker process: `background!(area(3, 4), tt = "mp")`. The
/// function is named by a path that needs neither `Self` nor generic parameters of the function
/// around it, and has at most 12 parameters, which may borrow as those of an annotated function
/// may. A closure may run there if it captures nothing, for a worker process has none of this
/// process's variables.
///
/// An annotated function does not belong here, for its launcher would run inside a task: call it,
/// or use its builder.
#[proc_macro]
pub fn background(input: TokenStream) -> TokenStream {
    background::expand(input.into()).into()
}

/// Prepares `fn main`: a worker copy of the program is recognised here, where the feature `pre-main`
/// is off, and with `drain` the tasks of the default supervisor that are not finished when `main`
/// returns may go on for so long.
///
/// ```
/// #[atasker::main(drain = "10s")]
/// fn main() {
///     let task = atasker::background!(|| println!("still printed"));
///     drop(task);
/// }
/// ```
///
/// Above `#[tokio::main]` it comes before the runtime is made, and drains after that is gone:
///
/// ```text
/// #[atasker::main]
/// #[tokio::main]
/// async fn main() { .. }
/// ```
#[proc_macro_attribute]
pub fn main(args: TokenStream, item: TokenStream) -> TokenStream {
    main_fn::expand(args.into(), item.into()).into()
}

/// Puts a function into a collection, from wherever it stands: another module, another crate of the
/// program. The function stays as it is.
///
/// ```
/// use atasker::{FunctionCollection, Priority, collect, collection};
///
/// collection!(pub static STARTUP: FunctionCollection<i32>);
///
/// mod config {
///     #[atasker::collect(super::STARTUP, priority = "high")]
///     pub fn load() -> i32 {
///         1
///     }
/// }
///
/// #[collect(STARTUP, priority = Priority::Low, name = "caches")]
/// fn fill_caches() -> i32 {
///     3
/// }
///
/// #[collect(STARTUP, priority = 60)]
/// fn connect() -> i32 {
///     2
/// }
///
/// # fn main() {
/// let report = STARTUP.execute();
/// let values: Vec<i32> = report.results.iter().map(|(_, r)| *r.as_ref().unwrap()).collect();
/// assert_eq!(values, [1, 2, 3]);
/// assert_eq!(report.get("caches"), Some(&Ok(3)));
/// assert_eq!(config::load(), 1);
/// # }
/// ```
///
/// The collection is the path of a static, declared by [`collection!`] or with `new()`. The function
/// takes no parameters, is neither `async` nor generic, and returns what the collection is of.
///
/// | key | value | default |
/// |---|---|---|
/// | `priority` | `"low"`, `"normal"`, `"high"`, `"critical"`, an expression of type `Priority`, or an integer: the lower, the earlier | normal |
/// | `name` | a string | the function's path |
///
/// Of equal priority, collected functions run in the order of their names, before those that were
/// added by `add`. Two of one name both run. `remove` and `add` reach them by their names as they do
/// any other.
///
/// A library that the program depends on and never names is not linked, and its functions
/// are not there: write `use the_library as _;`.
#[proc_macro_attribute]
pub fn collect(args: TokenStream, item: TokenStream) -> TokenStream {
    collect::collect(args.into(), item.into()).into()
}

/// Declares collections: statics that [`macro@collect`] can fill.
///
/// ```
/// use atasker::{TaskCollection, collect, collection};
///
/// collection! {
///     /// What is done before anything else.
///     pub static STARTUP: TaskCollection<Result<(), String>>;
///     static SHUTDOWN: TaskCollection<()>;
/// }
///
/// #[collect(STARTUP)]
/// fn migrate() -> Result<(), String> {
///     Ok(())
/// }
///
/// # fn main() {
/// assert!(STARTUP.execute().none_failed());
/// assert!(SHUTDOWN.execute().results.is_empty());
/// # }
/// ```
///
/// `static STARTUP: TaskCollection<()> = TaskCollection::new();` is the same.
#[proc_macro]
pub fn collection(input: TokenStream) -> TokenStream {
    collect::collection(input.into()).into()
}
