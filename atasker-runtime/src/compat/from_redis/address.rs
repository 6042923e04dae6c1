//! The address of a server, for logs.

/// Returns the URL without user and password. The URL may be malformed.
pub(super) fn without_password(url: &str) -> String {
    let of_socket = url.starts_with("unix:") || url.starts_with("redis+unix:");
    let shown = match (of_socket, url.rfind('@')) {
        // The password is one of the parameters, which are removed below.
        (true, _) | (false, None) => url.to_owned(),
        (false, Some(at)) => {
            // A password with an `@` or a `/` is not encoded correctly, but must not be logged
            // either.
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
    fn passwords_are_removed() {
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
