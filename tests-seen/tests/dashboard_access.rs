//! Which requests does a dashboard refuse, in which order, and with which headers?

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use atasker::{Dashboard, DashboardHandle, Supervisor};
use atasker_tests_seen::http::{Answer, get, login, post, request};

/// A dashboard of an own supervisor.
fn serve(with: impl FnOnce(Dashboard) -> Dashboard) -> (Supervisor, DashboardHandle) {
    let sup = Supervisor::builder().id("access").build();
    let handle = with(Dashboard::new().supervisor(&sup)).serve("127.0.0.1:0").unwrap();
    (sup, handle)
}

/// The name and value of the cookie of a sign-in.
#[track_caller]
fn cookie(answer: &Answer) -> String {
    assert_eq!(answer.status, 303, "{answer:?}");
    let cookie = answer.header("set-cookie").unwrap();
    let parts: Vec<&str> = cookie.split("; ").collect();
    assert!(parts.contains(&"HttpOnly") && parts.contains(&"SameSite=Strict"), "{cookie}");
    parts[0].to_owned()
}

#[test]
fn open_address_without_token_is_invalid() {
    for addr in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let error = Dashboard::new().serve(addr).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{addr}");
    }
    for addr in ["127.0.0.1:0", "0.0.0.0:0"] {
        let error = Dashboard::new().token("").serve(addr).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{addr}");
    }
    let open = Dashboard::new().token("secret").serve("0.0.0.0:0").unwrap();
    let here = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), open.addr().port());
    assert_eq!(open.url(), format!("http://{here}/"));
    assert_eq!(
        get(here, "/api/state").bearer("secret").host(Some("any.example")).send().status,
        200
    );
    open.stop();
}

#[test]
fn foreign_host_is_refused_first() {
    let (_sup, dashboard) = serve(|dashboard| dashboard.read_only());
    let addr = dashboard.addr();
    for host in
        [None, Some("evil.example"), Some("127.0.0.1.evil.example"), Some(""), Some("10.0.0.1")]
    {
        for path in ["/", "/api/state", "/unknown"] {
            // Also before the read-only refusal.
            for answer in [get(addr, path), request(addr, "POST", path)] {
                answer.host(host).send().refused(403);
            }
        }
    }
    get(addr, "/api/state").header("Host", "evil.example").send().refused(403);
    get(addr, "http://evil.example/api/state").send().refused(403);
    for host in ["localhost", "localhost:1", "127.8.8.8", "[::1]:80"] {
        assert_eq!(get(addr, "/api/state").host(Some(host)).send().status, 200, "{host}");
    }
    dashboard.stop();
}

#[test]
fn token_or_cookie_is_needed() {
    let (_sup, dashboard) = serve(|dashboard| dashboard.token("s3cret"));
    let addr = dashboard.addr();
    for path in ["/api/state", "/api/history", "/api/events", "/unknown", "/api/tasks/1"] {
        let answer = get(addr, path).send();
        answer.refused(401);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    // Before the check for writes.
    request(addr, "POST", "/api/tasks/1/stop").send().refused(401);
    for value in ["Bearer", "Bearer s3cre", "Bearer s3crets", "Basic s3cret", "s3cret"] {
        get(addr, "/api/state").header("authorization", value).send().refused(401);
    }
    get(addr, "/api/state").header("cookie", "atasker=s3cret").send().refused(401);
    assert_eq!(get(addr, "/api/state").bearer("s3cret").send().status, 200);
    assert_eq!(get(addr, "/unknown").bearer("s3cret").send().status, 404);

    let form = get(addr, "/").send();
    assert_eq!((form.status, form.header("www-authenticate")), (401, Some("Bearer")));
    assert_eq!(form.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(form.text().contains("Sign in") && !form.text().contains("api/state"));

    let answer = login(addr, "/login", "s3cret").send();
    let cookie = cookie(&answer);
    assert!(!cookie.contains("s3cret"), "{cookie}");
    assert_eq!(answer.header("location"), Some("./"));
    assert!(answer.header("set-cookie").unwrap().contains("; Path=/;"));
    assert_eq!(get(addr, "/").header("cookie", &cookie).send().status, 200);
    let many = format!("a=b; {cookie}; c=d");
    assert_eq!(get(addr, "/api/state").header("cookie", &many).send().status, 200);
    get(addr, "/api/state").header("cookie", &format!("{cookie}0")).send().refused(401);

    login(addr, "/login", "wrong").send().refused(401);
    let again = login(addr, "/login", "wrong").header("accept", "text/html,*/*").send();
    assert_eq!(again.status, 401);
    assert!(again.text().contains("Sign in") && again.text().contains("the token is wrong"));
    request(addr, "POST", "/login").body("nothing").send().refused(401);
    dashboard.stop();
}

#[test]
fn each_start_has_its_own_cookie() {
    let cookies: Vec<String> = (0..2)
        .map(|_| {
            let (_sup, dashboard) = serve(|dashboard| dashboard.token("same"));
            let cookie = cookie(&login(dashboard.addr(), "/login", "same").send());
            dashboard.stop();
            cookie
        })
        .collect();
    let [(name, value), (other_name, other_value)] =
        [0, 1].map(|n: usize| cookies[n].split_once('=').unwrap());
    assert!(name != other_name && value != other_value);
    assert!(value.len() >= 32);
}

#[test]
fn sign_in_from_another_site_is_refused() {
    let (_sup, dashboard) = serve(|dashboard| dashboard.token("s3cret"));
    let addr = dashboard.addr();
    for origin in ["null", "http://evil.example", "http://127.0.0.1:1"] {
        login(addr, "/login", "s3cret").header("origin", origin).send().refused(403);
    }
    cookie(&login(addr, "/login", "s3cret").header("origin", &format!("http://{addr}")).send());
    dashboard.stop();
}

#[test]
fn ten_wrong_tokens_refuse_tokens_from_that_address() {
    let (_sup, dashboard) = serve(|dashboard| dashboard.token("s3cret"));
    let addr = dashboard.addr();
    let cookie = cookie(&login(addr, "/login", "s3cret").send());
    for n in 0..10 {
        match n % 2 {
            0 => login(addr, "/login", "wrong").send().refused(401),
            _ => get(addr, "/api/state").bearer("wrong").send().refused(401),
        };
    }
    for token in ["wrong", "s3cret"] {
        for answer in [login(addr, "/login", token), get(addr, "/api/state").bearer(token)] {
            let answer = answer.send();
            answer.refused(429);
            let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=60).contains(&wait));
        }
    }
    // No token is no wrong token.
    get(addr, "/api/state").send().refused(401);
    assert_eq!(get(addr, "/api/state").header("cookie", &cookie).send().status, 200);
    let other: IpAddr = Ipv4Addr::new(127, 0, 0, 2).into();
    assert_eq!(get(addr, "/api/state").bearer("s3cret").from(other).send().status, 200);
    dashboard.stop();
}

#[test]
fn read_only_dashboard_refuses_all_writes_but_the_sign_in() {
    let (sup, dashboard) = serve(|dashboard| dashboard.read_only().token("s3cret"));
    let addr = dashboard.addr();
    let task = sup.spawn(|| ());
    for path in ["/", "/unknown", "/api/state", &format!("/api/tasks/{}/stop", task.id())] {
        // Also before the check for the header.
        let answer = request(addr, "POST", path).bearer("s3cret").send();
        answer.refused(405);
        assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    }
    cookie(&login(addr, "/login", "s3cret").send());
    assert_eq!(get(addr, "/api/state").bearer("s3cret").send().status, 200);
    dashboard.stop();
}

#[test]
fn write_that_another_site_may_have_caused_is_refused() {
    let (_sup, dashboard) = serve(|dashboard| dashboard);
    let addr = dashboard.addr();
    // Before unknown paths and tasks.
    for path in ["/api/tasks/1/stop", "/unknown", "/"] {
        request(addr, "POST", path).send().refused(403);
        request(addr, "POST", path).header("x-atasker", "2").send().refused(403);
        for origin in ["null", "http://evil.example", "http://localhost", "http://127.0.0.1:1"] {
            post(addr, path).header("origin", origin).send().refused(403);
        }
        let own = format!("http://{addr}");
        let twice = post(addr, path).header("origin", &own).header("origin", "http://evil.example");
        twice.send().refused(403);
        assert!([404, 405].contains(&post(addr, path).header("origin", &own).send().status));
    }
    dashboard.stop();
}

#[test]
fn unknown_paths_tasks_and_keys_are_not_found() {
    let (_sup, dashboard) = serve(|dashboard| dashboard);
    let addr = dashboard.addr();
    let gone = Supervisor::builder().build().spawn(|| ());
    for path in [
        "/x",
        "/api",
        "/api/",
        "/api/state/",
        "/api/tasks/",
        "/api/tasks/x",
        "/login",
        "//",
        &format!("/api/tasks/{}", gone.id()),
    ] {
        get(addr, path).send().refused(404);
    }
    for path in [
        "/login",
        "/api/tasks/x/stop",
        &format!("/api/tasks/{}/stop", gone.id()),
        &format!("/api/tasks/{}/start", gone.id()),
        "/api/background/1234567890/stop",
        "/api/background/x/stop",
    ] {
        post(addr, path).send().refused(404);
    }
    for (method, path) in [
        ("PUT", "/api/state"),
        ("DELETE", "/api/tasks/1"),
        ("GET", "/api/tasks/1/stop"),
        ("OPTIONS", "/"),
    ] {
        let answer = request(addr, method, path).send();
        answer.refused(405);
        assert!(answer.header("allow").is_some());
    }
    dashboard.stop();
}

#[test]
fn every_answer_has_the_headers() {
    let (_sup, dashboard) = serve(|dashboard| dashboard.token("s3cret"));
    let addr = dashboard.addr();
    let requests = [
        get(addr, "/"),
        get(addr, "/").bearer("s3cret"),
        get(addr, "/api/state"),
        get(addr, "/api/state").bearer("s3cret"),
        get(addr, "/api/history").bearer("s3cret"),
        get(addr, "/unknown").bearer("s3cret"),
        post(addr, "/api/tasks/1/stop").bearer("s3cret"),
        request(addr, "POST", "/").bearer("s3cret"),
        request(addr, "PUT", "/").bearer("s3cret"),
        request(addr, "HEAD", "/api/events").bearer("s3cret"),
        login(addr, "/login", "s3cret"),
        login(addr, "/login", "wrong"),
    ];
    let (events, _reader) = get(addr, "/api/events").bearer("s3cret").open();
    for answer in requests.into_iter().map(|request| request.send()).chain([events]) {
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe-inline"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert!(!answer.headers.iter().any(|(name, _)| name.starts_with("access-control")));
    }
    dashboard.stop();
}
