//! Pools that run closures on threads.

use std::sync::Arc;

use crate::pools::threads::{Pool, THREADS};

/// rayon's pool.
pub fn rayon_pool() -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(THREADS).build().unwrap()
}

/// rayon's `spawn`, with a oneshot channel for the result.
pub struct Rayon(rayon::ThreadPool);

impl Rayon {
    pub fn new() -> Self {
        Rayon(rayon_pool())
    }
}

impl Pool for Rayon {
    type Handle<R: Send + 'static> = oneshot::Receiver<R>;
    fn spawn<R: Send + 'static>(
        &self,
        f: impl FnOnce() -> R + Send + 'static,
    ) -> oneshot::Receiver<R> {
        let (tx, rx) = oneshot::channel();
        self.0.spawn(move || drop(tx.send(f())));
        rx
    }
    fn join<R: Send + 'static>(&self, handle: oneshot::Receiver<R>) -> R {
        handle.recv().unwrap()
    }
}

/// The crate `threadpool`, with a oneshot channel for the result.
pub struct Threadpool(threadpool::ThreadPool);

impl Threadpool {
    pub fn new() -> Self {
        Threadpool(threadpool::ThreadPool::new(THREADS))
    }
}

impl Pool for Threadpool {
    type Handle<R: Send + 'static> = oneshot::Receiver<R>;
    fn spawn<R: Send + 'static>(
        &self,
        f: impl FnOnce() -> R + Send + 'static,
    ) -> oneshot::Receiver<R> {
        let (tx, rx) = oneshot::channel();
        self.0.execute(move || drop(tx.send(f())));
        rx
    }
    fn join<R: Send + 'static>(&self, handle: oneshot::Receiver<R>) -> R {
        handle.recv().unwrap()
    }
}

type Boxed = Box<dyn FnOnce() + Send>;

/// Threads that take boxed closures from one channel, with a oneshot channel for the result: the
/// minimal pool.
pub struct Channel(crossbeam_channel::Sender<Boxed>);

impl Channel {
    pub fn new() -> Self {
        let (tx, rx) = crossbeam_channel::unbounded::<Boxed>();
        for _ in 0..THREADS {
            let rx = rx.clone();
            std::thread::spawn(move || rx.into_iter().for_each(|run| run()));
        }
        Channel(tx)
    }
}

impl Pool for Channel {
    type Handle<R: Send + 'static> = oneshot::Receiver<R>;
    fn spawn<R: Send + 'static>(
        &self,
        f: impl FnOnce() -> R + Send + 'static,
    ) -> oneshot::Receiver<R> {
        let (tx, rx) = oneshot::channel();
        self.0.send(Box::new(move || drop(tx.send(f())))).unwrap();
        rx
    }
    fn join<R: Send + 'static>(&self, handle: oneshot::Receiver<R>) -> R {
        handle.recv().unwrap()
    }
}

/// tokio's `spawn_blocking`.
pub struct SpawnBlocking(tokio::runtime::Runtime);

impl SpawnBlocking {
    pub fn new() -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        SpawnBlocking(builder.worker_threads(1).max_blocking_threads(THREADS).build().unwrap())
    }
}

impl Pool for SpawnBlocking {
    type Handle<R: Send + 'static> = tokio::task::JoinHandle<R>;
    fn spawn<R: Send + 'static>(
        &self,
        f: impl FnOnce() -> R + Send + 'static,
    ) -> tokio::task::JoinHandle<R> {
        self.0.spawn_blocking(f)
    }
    fn join<R: Send + 'static>(&self, handle: tokio::task::JoinHandle<R>) -> R {
        futures_lite::future::block_on(handle).unwrap()
    }
}

/// tokio's `spawn` on its multi-thread runtime.
pub struct Spawn(tokio::runtime::Runtime);

impl Spawn {
    pub fn new() -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        Spawn(builder.worker_threads(THREADS).build().unwrap())
    }
}

impl Pool for Spawn {
    type Handle<R: Send + 'static> = tokio::task::JoinHandle<R>;
    fn spawn<R: Send + 'static>(
        &self,
        f: impl FnOnce() -> R + Send + 'static,
    ) -> tokio::task::JoinHandle<R> {
        self.0.spawn(async move { f() })
    }
    fn join<R: Send + 'static>(&self, handle: tokio::task::JoinHandle<R>) -> R {
        futures_lite::future::block_on(handle).unwrap()
    }
}

/// The crate `blocking`.
pub struct Blocking;

impl Blocking {
    pub fn new() -> Self {
        blocking::set_max_blocking_threads(THREADS.try_into().unwrap());
        Blocking
    }
}

impl Pool for Blocking {
    type Handle<R: Send + 'static> = blocking::Task<R>;
    fn spawn<R: Send + 'static>(
        &self,
        f: impl FnOnce() -> R + Send + 'static,
    ) -> blocking::Task<R> {
        blocking::unblock(f)
    }
    fn join<R: Send + 'static>(&self, handle: blocking::Task<R>) -> R {
        futures_lite::future::block_on(handle)
    }
}

/// smol's executor, run by two threads.
pub struct Smol {
    executor: Arc<async_executor::Executor<'static>>,
}

impl Smol {
    pub fn new() -> Self {
        Self::on(THREADS)
    }

    /// Runs tasks on this number of threads.
    pub fn on(threads: usize) -> Self {
        let executor = Arc::new(async_executor::Executor::new());
        for _ in 0..threads {
            let executor = Arc::clone(&executor);
            std::thread::spawn(move || {
                futures_lite::future::block_on(executor.run(std::future::pending::<()>()));
            });
        }
        Smol { executor }
    }
}

impl Pool for Smol {
    type Handle<R: Send + 'static> = async_executor::Task<R>;
    fn spawn<R: Send + 'static>(
        &self,
        f: impl FnOnce() -> R + Send + 'static,
    ) -> async_executor::Task<R> {
        self.executor.spawn(async move { f() })
    }
    fn join<R: Send + 'static>(&self, handle: async_executor::Task<R>) -> R {
        futures_lite::future::block_on(handle)
    }
}
