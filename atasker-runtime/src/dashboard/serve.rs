//! The thread that serves a dashboard, and its handle.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::{JoinHandle, ThreadId};

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::sync::lock::Mutex;
use crate::unwind::log;

/// A dashboard that is being served. Returned by [`Dashboard::serve`](crate::Dashboard::serve).
///
/// Dropping the handle changes nothing: the dashboard is served until the program ends.
///
/// ```
/// # use atasker_runtime as atasker;
/// # fn main() -> std::io::Result<()> {
/// let dashboard = atasker::Dashboard::new().serve("127.0.0.1:0")?;
/// println!("dashboard: {}", dashboard.url());
/// dashboard.stop();
/// # Ok(()) }
/// ```
#[cfg(feature = "dashboard")]
pub struct DashboardHandle {
    addr: SocketAddr,
    thread: ThreadId,
    running: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

impl fmt::Debug for DashboardHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DashboardHandle").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl DashboardHandle {
    /// Returns the address that the dashboard listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the URL of the page, without the token. A dashboard that listens on all addresses is
    /// named by that of this machine.
    pub fn url(&self) -> String {
        let mut addr = self.addr;
        if addr.ip().is_unspecified() {
            addr.set_ip(match addr {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        format!("http://{addr}/")
    }

    /// Stops serving and closes all connections. When this returns, the port is free. Does nothing
    /// if the dashboard was stopped before.
    pub fn stop(&self) {
        if crate::fork::is_copy() {
            return;
        }
        let running = self.running.lock().take();
        if let Some((stop, thread)) = running {
            // The thread may have ended by itself.
            let _ = stop.send(());
            if std::thread::current().id() != self.thread {
                let _ = thread.join();
            }
        }
    }
}

/// The number of connections at a time, so that clients can't use up the descriptors of the program.
const CONNECTIONS: usize = 256;

/// A listener that accepts a limited number of connections at a time.
struct Limited {
    listener: tokio::net::TcpListener,
    permits: Arc<Semaphore>,
}

struct Connection {
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
}

/// The address of a client.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

impl Connected<IncomingStream<'_, Limited>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Limited>) -> Self {
        Peer(*stream.remote_addr())
    }
}

impl Listener for Limited {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let (stream, addr) = Listener::accept(&mut self.listener).await;
        (Connection { stream, _permit: permit }, addr)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Serves a router on a dedicated thread.
pub(super) fn serve(listener: TcpListener, router: Router) -> io::Result<DashboardHandle> {
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .thread_name("atasker dashboard")
        .build()?;
    let listener = {
        let _entered = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        Limited { listener, permits: Arc::new(Semaphore::new(CONNECTIONS)) }
    };
    let (stop, stopped) = oneshot::channel();
    let run = move || {
        let service = router.into_make_service_with_connect_info::<Peer>();
        runtime.block_on(async {
            tokio::select! {
                // Never returns an error: failures to accept a connection are retried.
                _ = axum::serve(listener, service) => {}
                // A handle that is dropped is not a stop.
                () = stop_of(stopped) => {}
            }
        });
        // Not waited for: an operation of a background worker may call `stop`.
        runtime.shutdown_background();
        log!(debug, %addr, "the dashboard has stopped");
    };
    let thread = std::thread::Builder::new().name("atasker dashboard".to_owned()).spawn(run)?;
    log!(debug, %addr, "the dashboard is served");
    Ok(DashboardHandle {
        addr,
        thread: thread.thread().id(),
        running: Mutex::new(Some((stop, thread))),
    })
}

async fn stop_of(stopped: oneshot::Receiver<()>) {
    if stopped.await.is_err() {
        std::future::pending::<()>().await;
    }
}
