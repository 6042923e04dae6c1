//! The attributes and macros of atasker. Use the `atasker` crate, which re-exports and documents
//! them.
//!
//! An attribute is expanded in four steps: `args` parses its keys, `item` parses the function,
//! `check` applies the rules that need both, and `expand` generates the code. An invalid use
//! reports one error, at the tokens to change. The launcher is generated even then, so that its
//! callers cause no further errors.

mod args;
mod background;
mod check;
mod collect;
mod crate_path;
mod duration_syntax;
mod errors;
mod expand;
mod hygiene;
mod item;
mod main_fn;
mod map;
mod policies;
mod remote_keys;
mod shim;
mod signature;
mod surroundings;
mod worker;

use proc_macro::TokenStream;

/// Runs a function in the background: on a pool thread, on an aloop, in a worker process, or on
/// another machine.
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
/// assert_eq!(greet::call("me".into()), "hello me"); // runs on this thread
/// assert_eq!(fetch(7).join().unwrap().unwrap(), "page 7");
/// ```
///
/// The function `f(args) -> R` becomes a launcher, `f(args) -> Task<R>`, with the same visibility,
/// docs, generics and parameters. The attribute also generates a companion type with the name of
/// the function: `f::builder(args)` returns a `TaskBuilder<R>` that has not been started, and
/// `f::call(args)` runs the body on the calling thread. Inside the body, `f(..)` is the launcher as
/// well. Use `f::call(..)` for plain recursion.
///
/// # Keys
///
/// | key | value | default |
/// |---|---|---|
/// | `priority` | `"low"`, `"normal"`, `"high"`, `"critical"`, or an expression of type `Priority` | normal |
/// | `tt` | the task type: `"thread"`, `"mp"` (a worker process), `"async"`, or `"remote"` (a node of a cluster, with the feature `nats`) | async for an `async fn`, otherwise thread |
/// | `name` | a string | the path of the function |
/// | `delay` | how long to wait before the task is queued: `"250ms"`, `"5s"`, `"2m"` (also `us`, `h`), or an expression of type `Duration` | none |
/// | `timeout` | the time limit of a run, as a duration | none |
/// | `retries` | how many times the task is run again after a panic, a timeout, the death of its worker process, or an `Err` if the return type is written as a `Result` | 0 |
/// | `retry_delay` | the pause before each retry, as a duration | 0 |
/// | `backoff` | a growing pause before each retry instead, from the first to the longest one: `"100ms..30s"`, or an expression of type `Backoff` | none |
/// | `retry_if` | the path of a `fn(&R) -> bool`, or a closure: selects the results that are run again, instead of every `Err` | none |
/// | `expires` | how long after its launch the task must have begun, as a duration; see `TaskBuilder::expires` | none |
/// | `limit` | an expression of type `&Limit`, or another one that `TaskBuilder::limit` accepts, over the parameters | none |
/// | `unique` | what makes the task unique: `(user_id)`, `(a, &b.c)`, or `()` for at most one task of the function; see below | none |
/// | `unique_for` | how long the `unique` key stays taken after the task has ended, as a duration, for `tt = "remote"` | 0 |
/// | `queue` | the name of a queue, for `tt = "remote"`: only nodes that serve it run the task | `"default"` |
/// | `redeliver` | how many times the task is given to another node after its node was lost, for `tt = "remote"` | 2 |
/// | `version` | a constant of type `u32`, for `tt = "remote"`: a part of the signature, see below | 0 |
/// | `cluster` | an expression of type `&Cluster`, for `tt = "remote"` | the cluster that the supervisor has joined |
/// | `callback` | the path of a `fn(&Result<R, TaskError>)`, or a closure | none |
/// | `supervisor` | an expression of type `&Supervisor` | `supervisor()` |
/// | `aloop` | the name of an aloop, for an `async fn` | the default aloop |
/// | `span` | `false`: the task runs inside no tracing span | `true`: as the supervisor's `spans` say |
/// | `companion` | another name for the companion type, or `false` for none | the name of the function |
/// | `codec` | `"bincode"` or `"msgpack"`, for `tt = "mp"` and `tt = "remote"`; see the limits below | bincode for `"mp"`, msgpack for `"remote"` |
/// | `crate` | the path of the atasker crate, if it is renamed or re-exported | `::atasker` |
///
/// # Renamed and re-exported crates
///
/// Generated code refers to atasker as `::atasker`. If a package depends on it by another name
/// (`at = { package = "atasker", .. }` in `Cargo.toml`), or uses the re-export of another crate, every
/// attribute and macro needs the key `crate`:
///
/// ```
/// # extern crate atasker as at;
/// #[at::background_task(crate = at)]
/// fn double(n: u32) -> u32 {
///     2 * n
/// }
///
/// # fn main() {
/// assert_eq!(double(2).join().unwrap(), 4);
/// assert_eq!(at::background!(double::call(3), crate = at).join().unwrap(), 6);
/// # }
/// ```
///
/// A `macro_rules!` macro of a crate that re-exports atasker uses `crate = $crate::atasker`.
///
/// # Parameters
///
/// A task may outlive its caller, so the parameters of tasks on threads and aloops must be owned,
/// `Send` and `'static`. With `retries`, they must also be `Clone`. Such functions may be generic
/// and may take `impl Trait`.
///
/// With `tt = "mp"` or `tt = "remote"`, the parameters and the result must implement serde's traits,
/// and the function must not be generic. Errors that don't implement them, such as `io::Error`, `Box<dyn Error>` and
/// `anyhow::Error`, are sent as the error of a `RemoteResult<T>`. The arguments are encoded when the task is launched, so a parameter may be
/// a reference: `&str`, `&[u8]`, `&[T]`, `&T`. `Vec<u8>` and `&[u8]` are encoded as one block of
/// bytes. Types that inspect their input while they are deserialized (`#[serde(flatten)]`, untagged
/// enums, `serde_json::Value`) need MessagePack, `codec = "msgpack"`.
///
/// The codecs have three limits:
///
/// * A value with too many levels of nesting, such as a long linked list of boxes, causes
///   `TaskError::Codec`. bincode may use 1 MiB of stack to decode a value (1.5 MiB in a debug
///   build), which is enough for several thousand levels in a release build and for some hundred in
///   a debug build. MessagePack supports 1,024 levels. If a worker process overflows its stack while
///   it encodes or decodes such a value, it dies, and its task fails with `TaskError::WorkerDied`.
/// * bincode writes nothing for `()` and for structs without fields. The lists of a value may have
///   at most 1,048,576 elements of such types; more cause `TaskError::Codec`.
/// * MessagePack does not distinguish `Some(None)` and `Some(())` from `None`. Both are decoded as
///   `None`.
///
/// If the first parameter has the type `&TaskContext<I, O>` or `TaskContext<I, O>`, the supervisor
/// passes it. The macro recognizes the type by the last segment of its path, so a renamed import is
/// not recognized.
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
/// # Retries
///
/// With `retries`, an `Err` is run again if the return type is written as a `Result`: if its last
/// name ends in `Result` and it is one, as in `io::Result<T>` or a type alias `QueryResult<T>`.
/// `retry_if` replaces that rule. For other return types, it selects the results to run again.
/// Panics, exceeded time limits and deaths of worker processes are run again in any case. `backoff`
/// and `retry_if` need `retries`, and `backoff` replaces `retry_delay`.
///
/// ```
/// use std::io;
///
/// use atasker::background_task;
///
/// fn is_busy(result: &io::Result<u32>) -> bool {
///     result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy)
/// }
///
/// #[background_task(retries = 5, backoff = "1ms..30s", retry_if = is_busy)]
/// fn read_sensor(id: u32) -> io::Result<u32> {
///     if id == 0 { Err(io::ErrorKind::NotFound.into()) } else { Ok(20) }
/// }
///
/// assert_eq!(read_sensor(1).join().unwrap().unwrap(), 20);
/// let task = read_sensor(0);
/// assert!(task.wait().unwrap().is_err());
/// assert_eq!(task.info().attempt, 1);
/// ```
///
/// # Unique tasks
///
/// While a task with the same name and `unique` key has not ended, another one is not started: it
/// ends with `TaskError::Duplicate`, and `f::builder(..).start_unique()` returns a reference to the
/// task that holds the key.
///
/// The parts of the key are expressions over the parameters, except the context. They are
/// evaluated at the launch, before the parameters are moved. Each part is borrowed and cloned: `&str`
/// and `&[T]` become a `String` and a `Vec<T>`. Parts must be `Hash + Eq + Clone + Send + Sync +
/// 'static`. In `background!`, they are expressions of the caller.
/// With `tt = "remote"`, the parts are encoded instead, because the key holds in the whole cluster.
/// They must be `Serialize`, and equal parts must have equal encodings, which those of a `HashMap`
/// don't have.
///
/// ```
/// use std::sync::mpsc::Receiver;
/// use std::sync::{Arc, Mutex};
///
/// use atasker::background_task;
///
/// #[background_task(unique = (user_id, folder))]
/// fn sync(user_id: u64, folder: String, until: Arc<Mutex<Receiver<()>>>) -> String {
///     let _ = until.lock().unwrap().recv();
///     format!("{folder} of {user_id}")
/// }
///
/// let (done, until) = std::sync::mpsc::channel();
/// let until = Arc::new(Mutex::new(until));
/// let first = sync(7, "mail".into(), until.clone());
/// assert!(sync(7, "mail".into(), until.clone()).join().unwrap_err().is_duplicate());
/// let found = sync::builder(7, "mail".into(), until.clone()).start_unique().unwrap_err();
/// assert_eq!(found.id(), first.id());
/// done.send(()).unwrap();
/// assert_eq!(first.join().unwrap(), "mail of 7");
/// ```
///
/// # Other machines
///
/// With `tt = "remote"`, the task runs on a node of the cluster that the supervisor has joined:
/// another process of this program, or of another one that has the function. Parameters, results and
/// messages follow the rules of worker processes. The companion type has a third function:
/// `f::attach(&cluster, id)` returns a handle of a call that any program of the cluster has launched.
///
/// ```
/// use atasker::{Cluster, NodeConfig, PoolConfig, background_task, supervisor};
///
/// #[background_task(tt = "remote", queue = "images", redeliver = 1)]
/// fn brightness(pixels: &[u8]) -> Result<u64, String> {
///     match pixels.len() {
///         0 => Err("no pixels".to_owned()),
///         count => Ok(pixels.iter().map(|&pixel| u64::from(pixel)).sum::<u64>() / count as u64),
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A cluster in one process. The node runs on threads, and takes calls from one queue.
/// let cluster = Cluster::in_memory();
/// let node = cluster.serve(NodeConfig::threads(PoolConfig::new(2)).queues(["images"]))?;
///
/// supervisor().join_cluster(&cluster);
/// let task = brightness(&[10, 30]);
/// assert_eq!(task.wait()?, &Ok(20));
///
/// let found = brightness::attach(&cluster, task.id())?; // Task<Result<u64, String>>
/// assert_eq!(found.join()?, Ok(20));
/// # drop(node);
/// # Ok(()) }
/// ```
///
/// A node finds the function by its name and its signature: the types of the parameters, of the
/// result and of the messages as they are written, the codec and the `version`. Names of
/// parameters, lifetimes and formatting are not a part of it, nor is the place in the source code, so
/// programs that were built at different times work together. Raise `version` if a type changes its
/// meaning under the same name. The name is the path, which begins with the crate: a function that
/// several programs share belongs in a library, or needs a `name`. Two functions of one name and
/// signature in a program are an error of a launch, and of a node of that program.
///
/// `retry_if` has no effect on such a task, because the nodes, which don't have the predicate, decide
/// about retries.
///
/// # Methods
///
/// A method with an owned receiver (`self: Arc<Self>` or `self`) becomes a launcher without a
/// companion type. Its body moves to a hidden method, `__atasker_NAME`, so the method must be part
/// of an inherent `impl` block, and it can't run in a worker process or on another machine.
/// Associated functions without `self` can't be tasks.
///
/// # Other attributes
///
/// Attributes below this one apply to the body, which remains a function of the same name: the
/// spans of `#[tracing::instrument]` have that name. The body of a method has another name, so the
/// macro adds `name = ".."` to an `#[instrument]` that has none.
#[proc_macro_attribute]
pub fn background_task(args: TokenStream, item: TokenStream) -> TokenStream {
    expand::background_task(args.into(), item.into()).into()
}

/// Turns a function into a background worker, which runs it repeatedly.
///
/// ```
/// use atasker::{WorkerContext, background_worker};
/// use std::time::Duration;
///
/// /// Runs in a loop until it is stopped.
/// #[background_worker]
/// fn sample(ctx: &WorkerContext) {
///     println!("sample {}", ctx.runs());
///     ctx.wait_stop(Duration::from_millis(10));
/// }
///
/// /// Starts a run every second.
/// #[background_worker(interval = "1s")]
/// fn tick() {}
///
/// /// Runs on an aloop, with a pause before the first run and between runs.
/// #[background_worker(delay = "1s", delay_before = "1s")]
/// async fn poll() {}
///
/// /// Runs for every item that is put into its queue.
/// #[background_worker(queue)]
/// fn store(item: String) {
///     println!("{item}");
/// }
///
/// /// Runs when it is triggered.
/// #[background_worker(event, priority = "high")]
/// fn flush() {}
///
/// let worker = store(); // a QueueWorker<String> that is not started
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
/// The function becomes a constructor of the same name, with the same visibility, docs and
/// generics. It returns a [`LoopWorker`], an [`IntervalWorker`], a [`QueueWorker`] or an
/// [`EventWorker`] that is not started. [`BackgroundWorker`] documents the methods that all of them
/// have, and [`WorkerBuilder`] creates workers from closures. The attribute works on free functions
/// only.
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
/// The first five keys select the kind of worker. Without any of them, the worker is a loop worker.
///
/// | key | value | default |
/// |---|---|---|
/// | `interval` | the time from the start of a run to the start of the next: `"250ms"`, `"5s"`, `"2m"` (also `us`, `h`), or an expression of type `Duration` | |
/// | `delay` | the pause between the end of a run and the start of the next, as a duration | |
/// | `delay_before` | a pause before every run, as a duration; with `interval`, before the first run only | none |
/// | `queue` | no value or `"fifo"`: first in, first out; `"priority"`: the smallest item first (`Ord`) | |
/// | `event` | no value | |
/// | `overrun` | what to do about missed runs of an `interval`: `"skip"` or `"burst"` | skip |
/// | `queue_limit` | the maximum number of items in the `queue` | no limit |
/// | `priority` | `"low"`, `"normal"`, `"high"`, `"critical"`, or an expression of type `Priority` | normal |
/// | `tt` | the task type of the runs: `"thread"`, `"mp"` (worker processes), or `"async"` | async for an `async fn`, otherwise thread |
/// | `name` | a string | the path of the function |
/// | `supervisor` | an expression of type `&Supervisor` | `supervisor()` |
/// | `aloop` | the name of an aloop, for an `async fn` | the default aloop |
/// | `process_result` | the path of a `fn(&R)`, or a closure: called with the result of each run | none |
/// | `on_error` | the path of a `fn(&WorkerError) -> ControlFlow<()>`, or a closure | errors are logged |
/// | `codec` | `"bincode"` or `"msgpack"`, for `tt = "mp"` | bincode |
/// | `crate` | the path of the atasker crate, as for [`macro@background_task`] | `::atasker` |
///
/// The constructor evaluates the expressions of these keys. They may use its parameters.
///
/// # Parameters
///
/// A first parameter of type `&WorkerContext` or `WorkerContext` receives the context of the
/// worker. The macro recognizes the type by the last segment of its path. With `queue`, the next
/// parameter is the item. All other parameters are values that the worker owns. They are passed to
/// the constructor, and each run receives them as follows:
///
/// | parameter | the constructor takes | each run receives |
/// |---|---|---|
/// | `T` | a `T: Clone` | a clone |
/// | `&T` | a `T` | a reference to the value of the worker |
/// | `&mut T` | a `T` | a mutable reference to the value as the previous run left it |
///
/// If `T` is unsized, the constructor takes its owned form: a `String` for `&str`, a `Vec<T>` for
/// `&[T]`, a `PathBuf` for `&Path`.
///
/// ```
/// use atasker::background_worker;
/// use std::sync::mpsc::Sender;
/// use std::time::Duration;
///
/// /// Sends the length of a file when it changes. Stops when the receiver is dropped.
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
/// The function returns `()`, `bool`, `ControlFlow<()>`, or a `Result` of these whose error
/// implements `Display`. `false` and `Break` stop the worker. An `Err`, a panic and the death of a
/// worker process are passed to `on_error`, which returns `Break` to stop the worker. Without
/// `on_error`, the worker continues.
///
/// The keys `backoff`, `retry_if`, `expires`, `limit` and `unique` belong to tasks, and so does
/// `tt = "remote"`: launch a task from the worker to use them.
///
/// With `process_result`, the function may return any type. Its result does not stop the worker.
///
/// # Worker processes
///
/// With `tt = "mp"`, every run is a call to a worker process. The item and the values that the
/// worker owns are encoded for each run, so they must implement serde's traits, and the function
/// must not be generic. `&mut T` is not supported because the next run may use another process.
/// `process_result` and `on_error` are called in the process that created the worker.
/// `ctx.trigger()` takes effect at the end of the run.
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

/// Launches a function call, a closure or a future as a task. Returns the `Task`.
///
/// The function needs no attribute.
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
/// // A closure, on a pool thread. It captures by value, as with `move`.
/// let x = 20;
/// assert_eq!(background!(|| x + 1).join().unwrap(), 21);
///
/// // A future, on an aloop. For the future of an async fn, add `tt = "async"`.
/// assert_eq!(background!(async move { x + 2 }).join().unwrap(), 22);
///
/// // A callback, whose parameter type is inferred.
/// let task = background!(area(3, 4), callback = |r| println!("{r:?}"));
/// # task.join().unwrap();
/// ```
///
/// The keys are those of [`macro@background_task`], except `companion` and those for
/// `tt = "remote"`, which needs the attribute on the function.
///
/// With `tt = "mp"`, the call runs in a worker process: `background!(area(3, 4), tt = "mp")`. The
/// path of the function must not use `Self` or the generic parameters of the surrounding function.
/// The function may have up to 12 parameters, and they may be references, as those of an annotated
/// function. A closure may run in a worker process if it captures nothing, because a worker process
/// has none of the variables of this process.
///
/// Don't pass a call of an annotated function: its launcher would run inside a task. Call the
/// function directly, or use its builder.
#[proc_macro]
pub fn background(input: TokenStream) -> TokenStream {
    background::expand(input.into()).into()
}

/// Calls a function for each item, in parallel, on threads or in worker processes. Returns the
/// results in the order of the items.
///
/// ```
/// use atasker::map;
///
/// fn primes(upto: u32) -> usize {
///     (2..upto).filter(|n| (2..*n).all(|d| n % d != 0)).count()
/// }
///
/// // In worker processes.
/// let counts = map!([10, 100, 1000], primes, tt = "mp");
/// let counts: Result<Vec<usize>, _> = counts.into_iter().collect();
/// assert_eq!(counts.unwrap(), [4, 25, 168]);
///
/// // On pool threads, with a priority. The function may be a closure, which captures by value.
/// let factor = 3;
/// let tripled = map!(0..4, |n| n * factor, priority = "low");
/// assert_eq!(tripled.into_iter().map(Result::unwrap).sum::<i32>(), 18);
/// ```
///
/// The value is a `Vec<Result<R, TaskError>>`, where `R` is what the function returns. `map!` blocks
/// until all items are done, as other waits do. On threads, it is the function `map` with options.
///
/// The items are anything that can be iterated over. The function has one parameter, and an item
/// fits it if it has its type, or if the parameter is a reference to what the item owns: `String`
/// items, for example, fit a `&str`.
///
/// # Keys
///
/// | key | value | default |
/// |---|---|---|
/// | `tt` | `"thread"` or `"mp"` | `"thread"` |
/// | `priority` | `"low"`, `"normal"`, `"high"`, `"critical"`, or an expression of type `Priority` | normal |
/// | `supervisor` | an expression of type `&Supervisor` | `supervisor()` |
/// | `name` | string: the name of the tasks | the function's path |
/// | `codec` | `"bincode"`, `"msgpack"` (`mp` only) | bincode |
/// | `crate` | the path of the atasker crate, as for [`macro@background_task`] | `::atasker` |
///
/// # Worker processes
///
/// With `tt = "mp"`, the function is named by a path that uses neither `Self` nor generic parameters
/// of the surrounding function. Items and results must implement serde's traits. The items are
/// encoded in this process while the map is in progress, so they may borrow from it. They are sent
/// in chunks that take about a millisecond, found by measurement.
///
/// Each item runs at most once. If a worker process dies, the item that it was running fails with
/// `TaskError::WorkerDied`. Items that it has finished keep their results, however many of them are
/// in the same chunk, and the items behind it run in another process.
///
/// An item that can't be encoded, or whose result can't be, fails with `TaskError::Codec`, and a
/// panic costs its item. If the iterator panics, the panic is passed on: items that have not begun
/// then never run.
///
/// # Panics
///
/// Panics on the thread of an aloop, which must not block, before it takes the first item.
#[proc_macro]
pub fn map(input: TokenStream) -> TokenStream {
    map::expand(input.into()).into()
}

/// Prepares `fn main` for worker processes, and waits for unfinished tasks when `main` returns.
///
/// Without the feature `pre-main`, this attribute is what recognizes a worker process before the
/// body of `main` runs. With the key `drain`, the tasks of the default supervisor that are
/// unfinished when `main` returns have that much time to complete.
///
/// ```
/// #[atasker::main(drain = "10s")]
/// fn main() {
///     let task = atasker::background!(|| println!("still printed"));
///     drop(task);
/// }
/// ```
///
/// The key `crate` is the path of the atasker crate, as for [`macro@background_task`]. There are no
/// other keys.
///
/// Put the attribute above `#[tokio::main]`. Worker processes are then recognized before the
/// runtime is built, and tasks are drained after it has been shut down:
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

/// Adds a function to a collection.
///
/// The function may be part of another module or of another crate of the program. The attribute
/// does not change it.
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
/// The first argument is the path of a static that was declared by [`collection!`] or with `new()`.
/// The function must have no parameters, must be neither `async` nor generic, and must return the
/// result type of the collection.
///
/// | key | value | default |
/// |---|---|---|
/// | `priority` | `"low"`, `"normal"`, `"high"`, `"critical"`, an expression of type `Priority`, or an integer: lower values run earlier | normal |
/// | `name` | a string | the path of the function |
/// | `crate` | the path of the atasker crate, as for [`macro@background_task`] | `::atasker` |
///
/// Functions of equal priority run in the order of their names, before functions that were added by
/// `add`. Two functions with the same name both run. `remove` and `add` find collected functions by
/// name, like any other.
///
/// A library that the program depends on but never refers to is not linked, so its functions are
/// missing. Write `use the_library as _;` to link it.
#[proc_macro_attribute]
pub fn collect(args: TokenStream, item: TokenStream) -> TokenStream {
    collect::collect(args.into(), item.into()).into()
}

/// Declares collections: statics to which [`macro@collect`] adds functions.
///
/// ```
/// use atasker::{TaskCollection, collect, collection};
///
/// collection! {
///     /// Runs before anything else.
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
/// `static STARTUP: TaskCollection<()> = TaskCollection::new();` is equivalent. The key `crate` of
/// [`macro@background_task`] comes before or after the declarations:
/// `collection!(crate = at; static STARTUP: at::TaskCollection<()>);`.
#[proc_macro]
pub fn collection(input: TokenStream) -> TokenStream {
    collect::collection(input.into()).into()
}
