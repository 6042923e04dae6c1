//! The address of a server, fit to be logged.

/// The URL without user and password. It may be one that nobody understands.
pub(super) fn without_password(url: &str) -> String {
    let of_socket = url.starts_with("unix:") || url.starts_with("redis+unix:");
    let shown = match (of_socket, url.rfind('@')) {
        // The password stands among the parameters.
        (true, _) | (false, None) => url.to_owned(),
        (false, Some(at)) => {
            // One with an `@` or a `/` in it is not encoded as it should be, and still a password.
            let scheme = url.find("://").map_or(0, |end| end + 3).min(at);
            format!("{}***@{}", &url[..scheme], &url[at + 1..])
        }
    };
    shown.split('?').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn no_password_is_shown() {
        for (url, shown) in [
            ("redis://127.0.0.1:6379/2", "redis://127.0.0.1:6379/2"),
            ("redis://:secret@host", "redis://***@host"),
            ("redis://user:secret@host/1?protocol=resp3", "redis://***@host/1"),
            ("redis://user:se@cret/secret?secret@host", "redis://***@host"),
            ("secret@host", "***@host"),
            ("@", "***@"),
            ("", ""),
            ("redis+unix:///run/redis.sock?pass=se@cret", "redis+unix:///run/redis.sock"),
            ("unix:///run/redis.sock?user=u&pass=secret", "unix:///run/redis.sock"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
