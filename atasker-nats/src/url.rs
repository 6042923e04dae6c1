//! The addresses of servers, with the credentials that may stand in them.

/// Addresses without credentials, and the credentials of the first address that has some.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) struct Urls {
    pub(crate) addresses: Vec<String>,
    pub(crate) credentials: Option<Credentials>,
}

#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) enum Credentials {
    User {
        name: String,
        password: String,
    },
    /// A name without a password is a token.
    Token(String),
}

/// Parses addresses that are separated by commas.
pub(crate) fn parse(text: &str) -> Result<Urls, String> {
    let mut urls = Urls { addresses: Vec::new(), credentials: None };
    for one in text.split(',').map(str::trim).filter(|one| !one.is_empty()) {
        let (scheme, rest) = one.split_once("://").unwrap_or(("nats", one));
        if scheme != "nats" && scheme != "tls" {
            return Err(format!(
                "the url of a NATS server begins with nats:// or tls://, not {scheme}://"
            ));
        }
        // A password may contain `@`, though it should be written `%40`.
        let (credentials, host) = match rest.rsplit_once('@') {
            Some((credentials, host)) => (Some(credentials), host),
            None => (None, rest),
        };
        let host = host.trim_end_matches('/');
        let bad = |c: char| c.is_whitespace() || c == '/' || c == '@';
        if host.is_empty() || host.contains(bad) {
            return Err("the url of a NATS server has no valid host: nats://HOST:4222".to_owned());
        }
        urls.addresses.push(format!("{scheme}://{host}"));
        if let (Some(credentials), None) = (credentials, &urls.credentials) {
            urls.credentials = Some(match credentials.split_once(':') {
                Some((name, password)) => {
                    Credentials::User { name: decode(name)?, password: decode(password)? }
                }
                None => Credentials::Token(decode(credentials)?),
            });
        }
    }
    if urls.addresses.is_empty() {
        return Err("no url of a NATS server: nats://HOST:4222".to_owned());
    }
    Ok(urls)
}

/// Decodes `%` and two hexadecimal digits.
fn decode(text: &str) -> Result<String, String> {
    let wrong = || {
        "the user or password in the url of a NATS server is not valid: write special \
                    characters as % and two hexadecimal digits"
            .to_owned()
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2).ok_or_else(wrong)?;
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed() {
        let user = |name: &str, password: &str| {
            Some(Credentials::User { name: name.into(), password: password.into() })
        };
        let urls = parse("nats://10.0.0.5:4222").unwrap();
        assert_eq!(urls.addresses, ["nats://10.0.0.5:4222"]);
        assert_eq!(urls.credentials, None);
        let urls = parse("a, tls://me:p%40s%3A@b:1/ ,nats://c").unwrap();
        assert_eq!(urls.addresses, ["nats://a", "tls://b:1", "nats://c"]);
        assert_eq!(urls.credentials, user("me", "p@s:"));
        assert_eq!(parse("nats://me:a@b@host").unwrap().credentials, user("me", "a@b"));
        let urls = parse("nats://t0k@[::1]:4222").unwrap();
        assert_eq!(urls.addresses, ["nats://[::1]:4222"]);
        assert_eq!(urls.credentials, Some(Credentials::Token("t0k".into())));
    }

    #[test]
    fn errors_do_not_show_passwords() {
        for text in ["", " , ", "http://me:secret@b", "nats://me:secret@", "nats://me:secret%4@b"] {
            let error = parse(text).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
