//! Which requests are refused, in this order: for a foreign host, without the token, as a write to
//! a dashboard that is read only, and as a write that another site may have caused.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method};

use super::auth::{Auth, Verdict};
use super::refusal::Refusal;
use super::serve::Peer;
use super::shared::Shared;

/// The header that writes need. A site can't send it to another one without asking.
const WRITE_HEADER: &str = "x-atasker";

/// Checks a request. `path` is its path within the dashboard.
pub(super) fn check(shared: &Shared, request: &Parts, path: &str) -> Result<(), Refusal> {
    if let Some(bound) = shared.host.get()
        && !is_local(request, *bound)
    {
        return Err(Refusal::forbidden("the host of the request is not this dashboard's"));
    }
    if path == "/login" && request.method == Method::POST {
        // The route checks the origin, and the token of the form.
        return Ok(());
    }
    if let Some(auth) = &shared.auth {
        check_token(auth, request)?;
    }
    if request.method != Method::POST {
        return Ok(());
    }
    if shared.read_only {
        return Err(Refusal::method_not_allowed("the dashboard is read only", "GET, HEAD"));
    }
    if single(&request.headers, WRITE_HEADER) != Some("1") {
        return Err(Refusal::forbidden("the header `x-atasker: 1` is missing"));
    }
    check_origin(&request.headers)
}

/// Returns the address of the peer, if the server has recorded it.
pub(super) fn peer(request: &Parts) -> Option<IpAddr> {
    let extensions = &request.extensions;
    if let Some(ConnectInfo(Peer(address))) = extensions.get() {
        return Some(address.ip());
    }
    extensions.get().map(|ConnectInfo(address): &ConnectInfo<SocketAddr>| address.ip())
}

fn check_token(auth: &Auth, request: &Parts) -> Result<(), Refusal> {
    if has_cookie(auth, &request.headers) {
        return Ok(());
    }
    let Some(token) = bearer(&request.headers) else {
        return Err(Refusal::unauthorized("a token is required"));
    };
    verdict(auth.check(token, peer(request)))
}

/// Converts the verdict on a token.
pub(super) fn verdict(verdict: Verdict) -> Result<(), Refusal> {
    match verdict {
        Verdict::Right => Ok(()),
        Verdict::Wrong => Err(Refusal::unauthorized("the token is wrong")),
        Verdict::TooMany(wait) => Err(Refusal::too_many(wait)),
    }
}

/// Checks that a request with an `Origin` comes from this page.
pub(super) fn check_origin(headers: &HeaderMap) -> Result<(), Refusal> {
    if !headers.contains_key(ORIGIN) {
        return Ok(());
    }
    let same = single(headers, ORIGIN)
        .zip(single(headers, HOST))
        .is_some_and(|(origin, host)| is_same_origin(origin, host));
    match same {
        true => Ok(()),
        false => Err(Refusal::forbidden("the origin of the request is another site")),
    }
}

/// Returns the value of a header that is there once.
fn single(headers: &HeaderMap, name: impl TryInto<HeaderName>) -> Option<&str> {
    let mut values = headers.get_all(name.try_into().ok()?).iter();
    let first = values.next()?;
    if values.next().is_some() {
        return None;
    }
    first.to_str().ok()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = single(headers, AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn has_cookie(auth: &Auth, headers: &HeaderMap) -> bool {
    let (name, _) = auth.cookie();
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut cookies = lines.flat_map(|line| line.split(';')).filter_map(|one| one.split_once('='));
    cookies.any(|(of, value)| of.trim() == name && auth.is_cookie(value.trim()))
}

/// Returns whether a request is for a host of this machine. Another host is a name that a foreign
/// site has made to resolve to this machine.
fn is_local(request: &Parts, bound: IpAddr) -> bool {
    let local = |host: &str| is_local_host(split_port(host).0, bound);
    // The URI has a host too if the request was meant for a proxy.
    single(&request.headers, HOST).is_some_and(local)
        && request.uri.host().is_none_or(|host| is_local_host(host, bound))
}

fn is_local_host(host: &str, bound: IpAddr) -> bool {
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let address = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse().map(IpAddr::V6).ok(),
        None => host.parse().map(IpAddr::V4).ok(),
    };
    address.is_some_and(|address| address.is_loopback() || address == bound)
}

/// Splits `host:port`. The port is empty if there is none.
fn split_port(host: &str) -> (&str, &str) {
    match host.rsplit_once(':') {
        // A colon within the brackets of an IPv6 address is part of the host.
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (host, ""),
    }
}

/// Returns whether an origin has this host and port.
fn is_same_origin(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let default = match scheme {
        "http" => "80",
        "https" => "443",
        _ => return false,
    };
    let with_port = |text: &str| {
        let (name, port) = split_port(text);
        let port = if port.is_empty() { default } else { port };
        (name.to_ascii_lowercase(), port.to_owned())
    };
    !authority.is_empty() && with_port(authority) == with_port(host)
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_this_machine_are_local() {
        let bound: IpAddr = "127.0.0.1".parse().unwrap();
        for host in
            ["localhost", "LocalHost:80", "127.0.0.1:1", "127.9.9.9", "[::1]", "[::1]:65535"]
        {
            assert!(is_local_host(split_port(host).0, bound), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "::1",
            "[::2]:1",
            "10.0.0.1",
            "0.0.0.0",
            "localhost.",
            "2130706433",
        ] {
            assert!(!is_local_host(split_port(host).0, bound), "{host}");
        }
        assert!(is_local_host("10.0.0.1", "10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn an_origin_is_compared_with_its_port() {
        for (origin, host) in [
            ("http://localhost:4050", "localhost:4050"),
            ("http://localhost:4050", "LOCALHOST:4050"),
            ("http://ops.example", "ops.example"),
            ("http://ops.example", "ops.example:80"),
            ("https://ops.example:443", "ops.example"),
            ("http://[::1]:80", "[::1]"),
        ] {
            assert!(is_same_origin(origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("null", "localhost"),
            ("", "localhost"),
            ("http://", ""),
            ("file://", "localhost"),
            ("http://localhost:4050", "localhost:4051"),
            ("http://localhost", "localhost:4050"),
            ("https://localhost", "localhost:80"),
            ("http://evil.example", "localhost"),
            ("http://localhost.evil.example", "localhost"),
            ("http://[::1]:80", "[::2]"),
        ] {
            assert!(!is_same_origin(origin, host), "{origin} {host}");
        }
    }
}
