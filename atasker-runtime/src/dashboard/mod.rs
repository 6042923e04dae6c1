//! The dashboard: a page that shows supervisors, and steers them.
//!
//! | concern | file |
//! |---|---|
//! | the options, and what they lead to | here |
//! | the thread that serves a dashboard, and its handle | `serve` |
//! | what the other parts share: options, supervisors | `shared` |
//! | requests and their answers | `routes`, `refusal` |
//! | which requests are refused, and in which order | `guard` |
//! | the token, the cookie, the limit of wrong tokens | `auth` |
//! | the page, and the form to sign in | `page` |
//! | the present state, as JSON | `state` |
//! | the clusters | `clusters` |
//! | server-sent events | `events` |
//! | the observer of a supervisor, and its failures | `watch` |
//! | what is counted; the points per second (pure) | `counts`, `history` |
//!
//! A dashboard refers to supervisors by weak references. It has an observer in each of them, and
//! counts there: see `watch`. Everything else is computed when it is asked for. Requests that take
//! locks, or may run code of the user, are answered on the blocking threads of the runtime, so that
//! a nested router does not delay its service.

mod auth;
#[cfg(feature = "remote")]
mod clusters;
#[cfg(not(feature = "remote"))]
#[path = "clusters_disabled.rs"]
mod clusters;
mod counts;
mod events;
mod guard;
mod history;
mod page;
mod refusal;
mod routes;
mod serve;
mod shared;
mod state;
mod watch;

use std::fmt;
use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use std::sync::Arc;

use axum::Router;

use crate::fork;
use crate::supervisor::Supervisor;
use auth::Auth;
pub use serve::DashboardHandle;
use shared::{Shared, Shown};

/// A web page that shows supervisors: pools, queues, tasks, failures, worker processes and
/// background workers, with plots of the last 15 minutes, and the clusters that they have joined. Its
/// buttons stop, cancel and kill tasks, start, stop and trigger background workers, and retry and
/// drop dead letters.
///
/// [`serve`](Self::serve) serves it on a dedicated thread, [`into_router`](Self::into_router) nests
/// it into a service.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{Dashboard, Supervisor};
///
/// # fn main() -> std::io::Result<()> {
/// let sup = Supervisor::builder().id("batch").build();
/// let dashboard = Dashboard::new().supervisor(&sup).title("Nightly batch").serve("127.0.0.1:0")?;
/// println!("open {}", dashboard.url());
/// # assert!(dashboard.url().starts_with("http://127.0.0.1:"));
/// # dashboard.stop();
/// # Ok(()) }
/// ```
///
/// # Security
///
/// A client that is admitted can end tasks, unless the dashboard is [`read_only`](Self::read_only).
///
/// * **Without a token**, `serve` listens on loopback addresses only, and answers only requests for
///   a host of this machine, so that a web site whose name resolves to this machine does not reach
///   it. All users of the machine do. A router without a token leaves the decision to its service.
/// * **With a [`token`](Self::token)**, requests need the header `Authorization: Bearer <token>` or
///   the cookie that the page's form sets. After ten wrong tokens from one address within a minute,
///   tokens from there are refused for a minute. The connection is not encrypted: use a proxy with
///   TLS, or a tunnel. The proxy must keep the header `Host`.
/// * Requests that change something need the header `x-atasker: 1` and, if they have an `Origin`,
///   one that is the host of the request.
///
/// # Requests
///
/// Paths are relative to the page. Times are RFC 3339 texts, durations are seconds. Refused requests
/// are answered by `{"error": ".."}`.
///
/// | request | answer |
/// |---|---|
/// | `GET api/state` | the present state: supervisors with their info, tasks, failures, processes, background workers; clusters with their nodes, queues, dead letters |
/// | `GET api/history` | a point per second, 900 at most; `?last=10` for the last ten. The last point is the current second, which is not over |
/// | `GET api/events` | server-sent events: `state`, `failure` |
/// | `GET api/tasks/{id}` | one task |
/// | `POST api/tasks/{id}/stop`, `/cancel`, `/kill` | 204, 404, or 409 with the reason |
/// | `POST api/background/{key}/start`, `/stop`, `/trigger` | 204, 404, or 409 |
/// | `POST api/clusters/{key}/dead/{id}/retry`, `/drop` | 204, 404, or 409, at the latest after 5 seconds |
///
/// # Cost
///
/// A dashboard keeps 900 points and 200 failures per supervisor, in memory that is allocated once.
/// It counts the launches and ends of tasks, which takes 0.2 to 0.4 us per task. The state is computed
/// only while a page is open, once per second, and so are brokers asked for the state of clusters. It
/// holds no supervisor alive.
#[cfg(feature = "dashboard")]
#[derive(Clone)]
#[must_use = "a dashboard does nothing until it is served or nested"]
pub struct Dashboard {
    title: String,
    token: Option<String>,
    read_only: bool,
    shown: Shown,
}

impl Default for Dashboard {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Dashboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token is a secret.
        f.debug_struct("Dashboard")
            .field("title", &self.title)
            .field("token", &self.token.as_ref().map(|_| ".."))
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}

impl Dashboard {
    /// Returns a dashboard of all live supervisors, including those that are created later.
    pub fn new() -> Self {
        Dashboard { title: "atasker".to_owned(), token: None, read_only: false, shown: Shown::All }
    }

    /// Shows only this supervisor, and those of further calls.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::{Dashboard, Supervisor};
    /// let sup = Supervisor::builder().id("batch").build();
    /// let dashboard = Dashboard::new().supervisor(&sup);
    /// # drop(dashboard);
    /// ```
    pub fn supervisor(mut self, supervisor: &Supervisor) -> Self {
        let core = Arc::downgrade(supervisor.core());
        match &mut self.shown {
            Shown::All => self.shown = Shown::Only(vec![core]),
            Shown::Only(cores) => cores.push(core),
        }
        self
    }

    /// Sets the title of the page (default: `atasker`).
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Requires this token. An empty token is an error of [`serve`](Self::serve), and admits no
    /// request to a router.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Dashboard;
    /// let dashboard = Dashboard::new().token("secret").serve("127.0.0.1:0").unwrap();
    /// # dashboard.stop();
    /// ```
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Refuses requests that change something. The page has no buttons then.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Dashboard;
    /// let dashboard = Dashboard::new().read_only().serve("127.0.0.1:0").unwrap();
    /// # dashboard.stop();
    /// ```
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Serves the dashboard on a dedicated thread, until it is stopped through the handle or the
    /// program ends. With port 0, the system selects a port.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Dashboard;
    /// let dashboard = Dashboard::new().serve("127.0.0.1:0").unwrap();
    /// println!("{}", dashboard.url());
    /// dashboard.stop();
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`InvalidInput`](io::ErrorKind::InvalidInput) if the token is empty, or if `addr` is
    /// not a loopback address and there is no token; and the error of the system if the address
    /// can't be resolved or used, or no thread can be started.
    pub fn serve(self, addr: impl ToSocketAddrs) -> io::Result<DashboardHandle> {
        if fork::is_copy() {
            return Err(io::Error::other(fork::REFUSED));
        }
        let invalid = |text: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        if self.token.as_ref().is_some_and(String::is_empty) {
            return invalid("the token of a dashboard is empty");
        }
        let addrs: Vec<_> = addr.to_socket_addrs()?.collect();
        let is_loopback = |addr: &std::net::SocketAddr| addr.ip().to_canonical().is_loopback();
        if self.token.is_none() && !addrs.iter().all(is_loopback) {
            return invalid(
                "a dashboard without a token listens on loopback addresses only: set a token, or \
                 use 127.0.0.1",
            );
        }
        let listener = TcpListener::bind(addrs.as_slice())?;
        let has_token = self.token.is_some();
        let shared = self.share()?;
        if !has_token {
            let _ = shared.host.set(listener.local_addr()?.ip());
        }
        serve::serve(listener, routes::router(shared))
    }

    /// Returns a router to be nested into a service.
    ///
    /// With `.nest("/tasks", ..)`, the page is at `/tasks`; with `.nest_service("/tasks", ..)`, at
    /// `/tasks/` as well. All links are relative.
    ///
    /// The router must be served by a tokio runtime with time enabled. The limit of wrong tokens is
    /// per address of the peer if the service is made by
    /// `into_make_service_with_connect_info::<SocketAddr>()`, and common to all peers otherwise.
    ///
    /// ```
    /// # use atasker_runtime as atasker;
    /// use atasker::Dashboard;
    /// use axum::Router;
    ///
    /// let app: Router = Router::new()
    ///     .nest("/tasks", Dashboard::new().token("secret").into_router());
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the system provides no random numbers for the cookie.
    pub fn into_router(self) -> Router {
        routes::router(self.share().expect("the system provides random numbers"))
    }

    fn share(self) -> io::Result<Arc<Shared>> {
        let auth = self.token.map(Auth::new).transpose()?;
        Ok(Shared::new(self.title, self.read_only, auth, &self.shown))
    }
}
