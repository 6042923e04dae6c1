//! Does a dashboard work within a service, wherever it is nested?

use std::net::SocketAddr;

use atasker::{Dashboard, Supervisor};
use atasker_tests_seen::http::{get, login, post, request};
use axum::Router;
use axum::routing::get as on_get;

/// Serves an application until the program ends.
fn serve(app: Router, connect_info: bool) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            match connect_info {
                true => {
                    let app = app.into_make_service_with_connect_info::<SocketAddr>();
                    axum::serve(listener, app).await
                }
                false => axum::serve(listener, app).await,
            }
        })
    });
    addr
}

fn dashboard(sup: &Supervisor) -> Dashboard {
    Dashboard::new().supervisor(sup).title("Nested")
}

#[test]
fn page_and_requests_are_below_the_prefix() {
    let sup = Supervisor::builder().build();
    let task = sup.spawn_async(std::future::pending::<()>());
    let own = || Router::new().route("/", on_get(|| async { "own" }));
    let nested = serve(own().nest("/tasks", dashboard(&sup).into_router()), false);
    let service = serve(own().nest_service("/tasks", dashboard(&sup).into_router()), false);
    let deep =
        serve(own().nest("/a", Router::new().nest("/b", dashboard(&sup).into_router())), false);
    for (addr, page) in
        [(nested, "/tasks"), (service, "/tasks"), (service, "/tasks/"), (deep, "/a/b")]
    {
        let answer = get(addr, page).send();
        assert_eq!(answer.status, 200, "{page}");
        assert!(answer.text().contains("<h1>Nested</h1>"));
        let prefix = page.trim_end_matches('/');
        for path in ["api/state", "api/history"] {
            assert_eq!(get(addr, &format!("{prefix}/{path}")).send().status, 200);
        }
        let path = format!("{prefix}/api/tasks/{}", task.id());
        assert_eq!(get(addr, &path).send().status, 200);
        request(addr, "POST", &format!("{path}/cancel")).send().refused(403);
        post(addr, &format!("{path}/cancel")).send().refused(409);
        let unknown = get(addr, &format!("{prefix}/unknown")).send();
        unknown.refused(404);
        assert_eq!(unknown.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(get(addr, "/").send().text(), "own");
        // The service decides which hosts it has.
        assert_eq!(get(addr, page).host(Some("any.example")).send().status, 200);
    }
    task.kill().unwrap();
}

#[test]
fn sign_in_returns_to_the_page() {
    let sup = Supervisor::builder().build();
    let with_token = || dashboard(&sup).token("s3cret").into_router();
    let nested = serve(Router::new().nest("/tasks", with_token()), false);
    let service = serve(Router::new().nest_service("/tasks", with_token()), false);
    for addr in [nested, service] {
        let form = get(addr, "/tasks").send();
        assert_eq!(form.status, 401);
        // For a browser without scripts.
        assert!(form.text().contains("action=\"tasks/login\""), "{}", form.text());
        let answer = login(addr, "/tasks/login", "s3cret").send();
        assert_eq!((answer.status, answer.header("location")), (303, Some("../tasks")));
        let cookie = answer.header("set-cookie").unwrap();
        assert!(cookie.contains("; Path=/tasks;"), "{cookie}");
        let cookie = cookie.split(';').next().unwrap();
        assert_eq!(get(addr, "/tasks").header("cookie", cookie).send().status, 200);
        get(addr, "/tasks/api/state").send().refused(401);
        get(addr, "/tasks/unknown").send().refused(401);
    }
    assert!(get(service, "/tasks/").send().text().contains("action=\"login\""));
    // A proxy has taken a prefix away, which the form knows.
    let form = "token=s3cret&path=%2Fapp%2Ftasks";
    let proxied = login(nested, "/tasks/login", "").body(form).send();
    assert!(proxied.header("set-cookie").unwrap().contains("; Path=/app/tasks;"));
    assert_eq!(proxied.header("location"), Some("../tasks"));
}

#[test]
fn wrong_tokens_are_counted_by_address_where_it_is_known() {
    let sup = Supervisor::builder().build();
    let app = || Router::new().nest("/tasks", dashboard(&sup).token("s3cret").into_router());
    for (connect_info, status) in [(true, 200), (false, 429)] {
        let addr = serve(app(), connect_info);
        for _ in 0..10 {
            get(addr, "/tasks/api/state").bearer("wrong").send().refused(401);
        }
        get(addr, "/tasks/api/state").bearer("s3cret").send().refused(429);
        let other = get(addr, "/tasks/api/state").bearer("s3cret").from([127, 0, 0, 2].into());
        assert_eq!(other.send().status, status, "connect info: {connect_info}");
    }
}

#[test]
fn empty_token_admits_no_request() {
    let sup = Supervisor::builder().build();
    let addr = serve(dashboard(&sup).token("").into_router(), true);
    assert_eq!(get(addr, "/").send().status, 401);
    get(addr, "/api/state").send().refused(401);
    get(addr, "/api/state").bearer("").send().refused(401);
    login(addr, "/login", "").send().refused(401);
}
