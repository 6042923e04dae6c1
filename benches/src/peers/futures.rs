//! Loops that run futures on one dedicated thread.

use crate::pools::threads::Pool;

/// tokio's current-thread runtime, driven by a dedicated thread.
pub struct CurrentThread {
    handle: tokio::runtime::Handle,
    _end: tokio::sync::oneshot::Sender<()>,
}

impl CurrentThread {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let handle = runtime.handle().clone();
        let (tx, rx) = tokio::sync::oneshot::channel::<()>();
        std::thread::spawn(move || runtime.block_on(rx));
        CurrentThread { handle, _end: tx }
    }
}

impl Pool for CurrentThread {
    type Handle<R: Send + 'static> = tokio::task::JoinHandle<R>;
    fn spawn<R: Send + 'static>(
        &self,
        f: impl FnOnce() -> R + Send + 'static,
    ) -> tokio::task::JoinHandle<R> {
        self.handle.spawn(async move { f() })
    }
    fn join<R: Send + 'static>(&self, handle: tokio::task::JoinHandle<R>) -> R {
        futures_lite::future::block_on(handle).unwrap()
    }
}

/// tokio's multi-thread runtime with one thread.
pub struct OneThread(tokio::runtime::Runtime);

impl OneThread {
    pub fn new() -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        OneThread(builder.worker_threads(1).build().unwrap())
    }
}

impl Pool for OneThread {
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
