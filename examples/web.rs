//! An HTTP service that works on uploads in worker processes, with a dashboard.
//!
//! ```text
//! DASHBOARD_TOKEN=secret cargo run --release --example web -- 127.0.0.1:4080
//! curl --data-binary @Cargo.toml http://127.0.0.1:4080/digest/100000
//! ```
//!
//! `POST /digest/ROUNDS` returns the BLAKE3 digest of the body, hashed this many times: a task in a
//! worker process (`digest`). After five seconds the worker process is killed, and the answer is
//! 504. If the client leaves, its task is killed at once. The dashboard is at `/tasks` and needs the
//! token.
//!
//! SIGTERM and SIGINT (Ctrl-C) shut the service down: no connections are accepted, waiting tasks are
//! canceled, running tasks are asked to stop and have ten seconds for it.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::time::Duration;

use atasker::{Dashboard, StopOptions, TaskContext, background_task, supervisor};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path};
use axum::http::StatusCode;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// How long tasks may take after a stop request.
const GRACE: Duration = Duration::from_secs(10);
/// How long the last answers may take to be sent.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// The size of an upload.
const UPLOAD: usize = 16 << 20;

#[tokio::main]
async fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:4080".into());
    let token = std::env::var("DASHBOARD_TOKEN").or_else(|_| random_token())?;
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;

    let app = Router::new()
        .route("/digest/{rounds}", post(upload))
        .layer(DefaultBodyLimit::max(UPLOAD))
        .nest("/tasks", Dashboard::new().title("web").token(&token).into_router());
    // With the address of each client, so that the dashboard counts wrong tokens by address.
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let (stop, stopped) = oneshot::channel::<()>();
    let serve = axum::serve(listener, app).with_graceful_shutdown(async { _ = stopped.await });
    let server = tokio::spawn(serve.into_future());
    eprintln!("web: listening on http://{address}, process {}", std::process::id());
    eprintln!("web: dashboard at http://{address}/tasks, token {token}");

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let _ = stop.send(());
    // Clients get their answers: a result, or that the service is unavailable.
    let options = StopOptions::new().wait(GRACE).cancel_tasks(true);
    let report = supervisor().stop_async(options).await;
    // A page of the dashboard would stay connected.
    let _ = tokio::time::timeout(LAST_ANSWERS, server).await;
    eprintln!("web: {} completed, {} abandoned", report.completed, report.abandoned);
    Ok(())
}

async fn upload(Path(rounds): Path<u64>, body: Bytes) -> Result<String, (StatusCode, String)> {
    // If the client leaves, this future is dropped, and the task with it.
    let task = digest(&body, rounds).kill_on_drop();
    let refuse = |status, text: &str| Err((status, format!("{text}\n")));
    match task.await {
        Ok(Some(digest)) => Ok(format!("{digest}\n")),
        Ok(None) => refuse(StatusCode::SERVICE_UNAVAILABLE, "the service is shutting down"),
        Err(error) if error.is_timeout() => refuse(StatusCode::GATEWAY_TIMEOUT, "too many rounds"),
        Err(error) => refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

/// Returns `None` if a stop was requested before the digest was complete.
#[background_task(tt = "mp", timeout = "5s")]
fn digest(ctx: &TaskContext, upload: &[u8], rounds: u64) -> Option<String> {
    let mut digest = blake3::hash(upload);
    for round in 1..rounds {
        if round % 1_000 == 0 {
            ctx.progress(round, rounds);
            if ctx.stopped() {
                return None;
            }
        }
        digest = blake3::hash(digest.as_bytes());
    }
    Some(digest.to_hex().to_string())
}

/// Returns a token for this run.
fn random_token() -> Result<String, io::Error> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
