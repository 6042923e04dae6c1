//! The token, the cookie that stands for it, and the limit of wrong tokens.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::hint::black_box;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use crate::sync::lock::Mutex;
use crate::time::clock::{self, Stamp};

/// The number of wrong tokens after which an address is refused.
const WRONG: usize = 10;
/// The time within which these count, and for which the address is refused.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// The number of addresses that are remembered.
const ADDRESSES: usize = 1_000;

/// See the module documentation.
pub(super) struct Auth {
    token: String,
    /// Valid for this start of the dashboard.
    cookie_name: String,
    cookie: String,
    attempts: Mutex<Attempts>,
}

/// The result of a check of a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Right,
    Wrong,
    /// Tokens from this address are refused for this long.
    TooMany(Duration),
}

impl Auth {
    pub(super) fn new(token: String) -> io::Result<Self> {
        Ok(Auth {
            token,
            // Cookies of one host are shared by all its ports.
            cookie_name: format!("atasker_dashboard_{}", random(8)?),
            cookie: random(32)?,
            attempts: Mutex::new(Attempts::default()),
        })
    }

    /// Returns the name and the value of the cookie of a browser that has signed in.
    pub(super) fn cookie(&self) -> (&str, &str) {
        (&self.cookie_name, &self.cookie)
    }

    /// Returns whether this is the value of the cookie.
    pub(super) fn is_cookie(&self, presented: &str) -> bool {
        is_same(presented, &self.cookie)
    }

    /// Checks a token that was presented from an address.
    pub(super) fn check(&self, presented: &str, from: Option<IpAddr>) -> Verdict {
        // Compared first, so that the lock is held for a moment only.
        let right = is_same(presented, &self.token);
        let from = from.map(|address| address.to_canonical());
        let mut attempts = self.attempts.lock();
        let now = clock::now();
        if let Some(wait) = attempts.refused_for(from, now) {
            return Verdict::TooMany(wait);
        }
        if right {
            return Verdict::Right;
        }
        attempts.wrong(from, now);
        Verdict::Wrong
    }
}

/// Returns this many random bytes in hexadecimal digits.
pub(super) fn random(bytes: usize) -> io::Result<String> {
    let mut buffer = [0; 32];
    let buffer = &mut buffer[..bytes];
    getrandom::fill(buffer).map_err(io::Error::other)?;
    Ok(buffer.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Compares in a time that depends on the length of `presented` only. An empty secret is never the
/// same.
fn is_same(presented: &str, secret: &str) -> bool {
    let (presented, secret) = (presented.as_bytes(), secret.as_bytes());
    if secret.is_empty() {
        return false;
    }
    let mut difference = u8::from(presented.len() != secret.len());
    let mut expected = secret.iter().cycle();
    for byte in presented {
        difference |= black_box(byte ^ expected.next().copied().unwrap_or(0));
    }
    black_box(difference) == 0
}

/// The wrong tokens of the last minute, by address. `None` stands for all whose address is unknown.
#[derive(Default)]
struct Attempts {
    by_address: HashMap<Option<IpAddr>, Attempt>,
}

#[derive(Default)]
struct Attempt {
    /// When the wrong tokens were presented, at most [`WRONG`].
    wrong: VecDeque<Stamp>,
    /// Tokens are refused until then.
    refused_until: Stamp,
}

impl Attempt {
    fn last(&self) -> Stamp {
        self.wrong.back().copied().unwrap_or(0)
    }

    /// Returns whether this affects what happens from now on.
    fn counts(&self, now: Stamp) -> bool {
        self.refused_until > now || clock::add(self.last(), WINDOW) > now
    }
}

impl Attempts {
    fn refused_for(&self, from: Option<IpAddr>, now: Stamp) -> Option<Duration> {
        let until = self.by_address.get(&from)?.refused_until;
        (until > now).then(|| Duration::from_nanos(until - now))
    }

    fn wrong(&mut self, from: Option<IpAddr>, now: Stamp) {
        if !self.by_address.contains_key(&from) && self.by_address.len() >= ADDRESSES {
            self.make_room(now);
        }
        let attempt = self.by_address.entry(from).or_default();
        attempt.wrong.push_back(now);
        while attempt.wrong.front().is_some_and(|first| clock::add(*first, WINDOW) <= now) {
            attempt.wrong.pop_front();
        }
        if attempt.wrong.len() >= WRONG {
            attempt.refused_until = clock::add(now, WINDOW);
            // Afterwards, the address begins anew.
            attempt.wrong.clear();
        }
    }

    /// Forgets addresses that don't count any more, or else the one that matters least.
    fn make_room(&mut self, now: Stamp) {
        self.by_address.retain(|_, attempt| attempt.counts(now));
        if self.by_address.len() < ADDRESSES {
            return;
        }
        // An address that is refused stays as long as possible.
        let least = self.by_address.iter().min_by_key(|(_, of)| (of.refused_until, of.last()));
        if let Some(address) = least.map(|(address, _)| *address) {
            self.by_address.remove(&address);
        }
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const SECOND: u64 = 1_000_000_000;

    fn address(n: u32) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n)))
    }

    #[test]
    fn only_the_whole_secret_is_the_same() {
        assert!(is_same("secret", "secret"));
        for wrong in ["", "secre", "secretsecret", "secreT", "secret ", "\0secret"] {
            assert!(!is_same(wrong, "secret"), "{wrong:?}");
        }
        assert!(!is_same("", ""));
        assert!(!is_same("a", ""));
    }

    #[test]
    fn ten_wrong_tokens_within_a_minute_refuse_for_a_minute() {
        let mut attempts = Attempts::default();
        // One every seven seconds: never ten within a minute.
        for n in 0..30 {
            attempts.wrong(address(0), n * 7 * SECOND);
            assert_eq!(attempts.refused_for(address(0), n * 7 * SECOND), None);
        }
        for n in 0..10 {
            assert_eq!(attempts.refused_for(address(1), 1000 * SECOND + n), None);
            attempts.wrong(address(1), 1000 * SECOND + n);
        }
        let last = 1000 * SECOND + 9;
        assert_eq!(attempts.refused_for(address(1), last), Some(WINDOW));
        assert_eq!(attempts.refused_for(address(2), last), None);
        assert_eq!(attempts.refused_for(address(1), last + 60 * SECOND), None);
        // It begins anew.
        attempts.wrong(address(1), last + 60 * SECOND);
        assert_eq!(attempts.refused_for(address(1), last + 60 * SECOND), None);
    }

    #[test]
    fn a_thousand_addresses_are_remembered_and_refused_ones_longest() {
        let mut attempts = Attempts::default();
        for _ in 0..10 {
            attempts.wrong(address(0), SECOND);
        }
        for n in 1..5_000 {
            attempts.wrong(address(n), 2 * SECOND + u64::from(n));
            assert!(attempts.by_address.len() <= ADDRESSES);
        }
        assert!(attempts.refused_for(address(0), 3 * SECOND).is_some());
        attempts.wrong(address(9_999), 1_000 * SECOND);
        assert_eq!(attempts.by_address.len(), 1);
    }
}
