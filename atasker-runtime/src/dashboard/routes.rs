//! The requests and their answers.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Form, FromRequest, OriginalUri, State};
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY,
    SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Request, StatusCode};
use axum::response::Response;
use axum::routing::any;
use serde::Deserialize;

use super::auth::Auth;
use super::history::LEN;
use super::page::{self, Page};
use super::refusal::Refusal;
use super::shared::Shared;
use super::{clusters, events, guard, state};
use crate::id::TaskId;
use crate::supervisor::Operation;
use crate::task::control;
use crate::unwind::discard;

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

/// The length of the form to sign in, in bytes.
const FORM_LEN: usize = 16 * 1024;

/// Returns the router of a dashboard.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    // One function for all paths, because it refuses in a certain order, unknown paths included. As
    // a route and not only as the fallback, which a router that is nested twice loses. The fallback
    // answers what is no path, such as `OPTIONS *`.
    Router::new()
        .route("/", any(answer))
        .route("/{*path}", any(answer))
        .fallback(answer)
        .with_state(shared)
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let answer = match guard::check(&shared, &parts, &path) {
        Ok(()) => respond(&shared, &parts, &path, body).await,
        // The page asks for the token.
        Err(refusal) if is_page(&path) && refusal.status == StatusCode::UNAUTHORIZED => {
            sign_in(&shared, &parts, "", refusal)
        }
        Err(refusal) => Err(refusal),
    };
    let mut response = answer.unwrap_or_else(Refusal::into_response);
    let headers = response.headers_mut();
    if !headers.contains_key(CONTENT_SECURITY_POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::NOTHING));
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn is_page(path: &str) -> bool {
    matches!(path, "" | "/")
}

async fn respond(
    shared: &Arc<Shared>,
    request: &Parts,
    path: &str,
    body: Body,
) -> Result<Response, Refusal> {
    let segments: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    match segments.as_slice() {
        [""] => {
            reads(request)?;
            let page = page::page(&shared.title, shared.read_only, shared.auth.is_some());
            page.map(|page| html(StatusCode::OK, page)).map_err(|_| gone())
        }
        ["login"] => {
            let auth = shared.auth.as_ref().ok_or_else(unknown_path)?;
            writes(request)?;
            login(shared, auth, request, body).await
        }
        ["api", "state"] => {
            reads(request)?;
            clusters::first_heard(shared).await;
            Ok(json(events::fresh_state(shared).await.ok_or_else(gone)?))
        }
        ["api", "history"] => {
            reads(request)?;
            let (shared, len) = (Arc::clone(shared), history_len(request.uri.query()));
            Ok(json(off_loop(move || state::history(&shared, len)).await?))
        }
        ["api", "events"] => {
            reads(request)?;
            if request.method == Method::HEAD {
                return Ok(events::stream(Body::empty()));
            }
            events::listen(shared).ok_or_else(|| Refusal::unavailable("too many listeners"))
        }
        ["api", "tasks", id] => {
            reads(request)?;
            let id = id.parse().map_err(|_| unknown_task())?;
            let shared = Arc::clone(shared);
            let task = off_loop(move || state::task(&shared, id)).await?;
            Ok(json(task.ok_or_else(unknown_task)?))
        }
        ["api", "tasks", id, verb @ ("stop" | "cancel" | "kill")] => {
            writes(request)?;
            let id = id.parse().map_err(|_| unknown_task())?;
            let (shared, verb) = (Arc::clone(shared), (*verb).to_owned());
            off_loop(move || control_task(&shared, id, &verb)).await?
        }
        ["api", "background", key, verb @ ("start" | "stop" | "trigger")] => {
            writes(request)?;
            let key = key.parse().map_err(|_| unknown_worker())?;
            let operation = match *verb {
                "start" => Operation::Start,
                "stop" => Operation::Stop,
                _ => Operation::Trigger,
            };
            let shared = Arc::clone(shared);
            off_loop(move || control_worker(&shared, key, operation)).await?
        }
        ["api", "clusters", key, "dead", id, verb @ ("retry" | "drop")] => {
            writes(request)?;
            let verb = match *verb {
                "retry" => clusters::Verb::Retry,
                _ => clusters::Verb::Drop,
            };
            clusters::control(shared, key, id, verb).await
        }
        _ => Err(unknown_path()),
    }
}

fn unknown_path() -> Refusal {
    Refusal::not_found("there is nothing here")
}

fn unknown_task() -> Refusal {
    Refusal::not_found("there is no such task, or it has ended")
}

fn unknown_worker() -> Refusal {
    Refusal::not_found("there is no such background worker or job")
}

fn gone() -> Refusal {
    Refusal::unavailable("the program is shutting down")
}

/// Refuses other methods than those that read.
fn reads(request: &Parts) -> Result<(), Refusal> {
    match request.method {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Refusal::method_not_allowed("this can only be read", "GET, HEAD")),
    }
}

/// Refuses other methods than POST.
fn writes(request: &Parts) -> Result<(), Refusal> {
    match request.method {
        Method::POST => Ok(()),
        _ => Err(Refusal::method_not_allowed("this needs a POST", "POST")),
    }
}

/// Runs `f` on a thread that may block: it takes locks, and may run code of the user.
pub(super) async fn off_loop<T: Send + 'static>(
    f: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(f).await.map_err(|_| gone())
}

fn json(body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(body.into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}

pub(super) fn no_content() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn html(status: StatusCode, page: Page) -> Response {
    let mut response = Response::new(Body::from(page.html));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(HTML));
    headers.insert(CONTENT_SECURITY_POLICY, page.policy);
    response
}

/// Returns the number of points that the query `last` asks for.
fn history_len(query: Option<&str>) -> usize {
    let last =
        query.iter().flat_map(|query| query.split('&')).find_map(|one| one.strip_prefix("last="));
    last.and_then(|last| last.parse().ok()).unwrap_or(LEN).clamp(1, LEN)
}

fn control_task(shared: &Shared, id: TaskId, verb: &str) -> Result<Response, Refusal> {
    let task =
        shared.cores().iter().find_map(|core| core.find_live(id)).ok_or_else(unknown_task)?;
    match verb {
        "stop" => control::stop(&task),
        "cancel" => {
            // It may have ended meanwhile, because it was asked to stop.
            if !control::cancel(&task) {
                return Err(Refusal::conflict("the task has begun: it was asked to stop"));
            }
        }
        _ => control::kill(&task).map_err(|error| Refusal::conflict(error.to_string()))?,
    }
    Ok(no_content())
}

fn control_worker(shared: &Shared, key: u64, operation: Operation) -> Result<Response, Refusal> {
    let mut workers: Vec<_> = shared.cores().iter().flat_map(|core| core.known_workers()).collect();
    let found = workers.iter().position(|worker| worker.key() == key);
    let found = found.map(|at| workers.swap_remove(at));
    // The last reference to a function of the user may be among them.
    discard(workers);
    let worker = found.ok_or_else(unknown_worker)?;
    if !worker.operations().contains(&operation) {
        let word = state::word(operation);
        return Err(Refusal::conflict(format!("`{word}` is not possible now")));
    }
    // Not awaited: hooks of the worker may take any time.
    drop(tokio::task::spawn_blocking(move || {
        worker.perform(operation);
        discard(worker);
    }));
    Ok(no_content())
}

#[derive(Deserialize)]
struct SignIn {
    token: String,
    /// The path of the page in the browser, which a proxy may have changed.
    #[serde(default)]
    path: String,
}

/// Checks the form. A browser that is refused gets it again.
async fn login(
    shared: &Shared,
    auth: &Auth,
    request: &Parts,
    body: Body,
) -> Result<Response, Refusal> {
    guard::check_origin(&request.headers)?;
    let form = match sign_in_form(body).await {
        Some(form) => form,
        None => return Err(Refusal::unauthorized("the form has no token")),
    };
    if let Err(refusal) = guard::verdict(auth.check(&form.token, guard::peer(request))) {
        let accept = request.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
        return match accept.is_some_and(|accept| accept.contains("text/html")) {
            true => {
                let problem = refusal.reason.clone();
                sign_in(shared, request, &problem, refusal)
            }
            false => Err(refusal),
        };
    }
    let base = base(request);
    let (name, value) = auth.cookie();
    let path = cookie_path(&form.path, &base);
    let cookie = format!("{name}={value}; Path={path}; HttpOnly; SameSite=Strict");
    // Relative, so that it is right behind a proxy.
    let location = match base.rsplit_once('/') {
        Some((_, last)) => format!("../{last}"),
        None => "./".to_owned(),
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    for (name, value) in [(LOCATION, location), (SET_COOKIE, cookie)] {
        let value = HeaderValue::try_from(value);
        response.headers_mut().insert(name, value.map_err(|_| unknown_path())?);
    }
    Ok(response)
}

async fn sign_in_form(body: Body) -> Option<SignIn> {
    let bytes = axum::body::to_bytes(body, FORM_LEN).await.ok()?;
    let form = Request::post("/login").header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    let form = form.body(Body::from(bytes)).ok()?;
    Some(Form::<SignIn>::from_request(form, &()).await.ok()?.0)
}

/// Returns the form to sign in, with the status of a refusal.
fn sign_in(
    shared: &Shared,
    request: &Parts,
    problem: &str,
    refusal: Refusal,
) -> Result<Response, Refusal> {
    let original = original_path(request);
    let action = match original.rsplit_once('/') {
        // The form is the answer to the form.
        Some((_, "login")) => "login".to_owned(),
        Some((_, last)) if !last.is_empty() => format!("{last}/login"),
        _ => "login".to_owned(),
    };
    let Ok(page) = page::sign_in(&shared.title, &action, problem) else { return Err(gone()) };
    let mut response = refusal.into_response_with(HTML, page.html);
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, page.policy);
    Ok(response)
}

/// Returns the path of the request as the outermost router has got it.
fn original_path(request: &Parts) -> &str {
    match request.extensions.get::<OriginalUri>() {
        Some(OriginalUri(uri)) => uri.path(),
        None => request.uri.path(),
    }
}

/// Returns the path of the page as the outermost router knows it, without a slash at its end.
fn base(request: &Parts) -> String {
    let original = original_path(request);
    original.strip_suffix(request.uri.path()).unwrap_or(original).trim_end_matches('/').to_owned()
}

/// Returns the path of the cookie: that of the page in the browser, as the form says, if it ends as
/// this server knows it.
fn cookie_path(in_browser: &str, base: &str) -> String {
    let path = in_browser.trim_end_matches('/');
    let allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b';' | b',' | b'"' | b'\\');
    let path = match path.ends_with(base) && path.starts_with('/') && path.bytes().all(allowed) {
        true => path,
        false => base,
    };
    if path.is_empty() { "/".to_owned() } else { path.to_owned() }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_has_the_path_in_the_browser() {
        for (in_browser, base, path) in [
            ("", "", "/"),
            ("/", "", "/"),
            ("", "/tasks", "/tasks"),
            ("/tasks", "/tasks", "/tasks"),
            ("/tasks/", "/tasks", "/tasks"),
            ("/app/tasks/", "/tasks", "/app/tasks"),
            ("/app/", "", "/app"),
            ("/elsewhere", "/tasks", "/tasks"),
            ("/x; Domain=example/tasks", "/tasks", "/tasks"),
            ("/x\r\nSet-Cookie: a=b/tasks", "/tasks", "/tasks"),
            ("tasks", "", "/"),
        ] {
            assert_eq!(cookie_path(in_browser, base), path, "{in_browser:?} {base:?}");
        }
    }

    #[test]
    fn the_query_limits_the_points() {
        for (query, len) in [
            (None, LEN),
            (Some(""), LEN),
            (Some("last=5"), 5),
            (Some("a=b&last=7"), 7),
            (Some("last=x"), LEN),
            (Some("last=0"), 1),
            (Some("last=9999"), LEN),
        ] {
            assert_eq!(history_len(query), len);
        }
    }
}
