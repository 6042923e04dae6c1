//! An error that can be sent to another process: the texts of any error and of its sources.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::unwind::Guarded;

/// The most texts of a chain. An error may return itself as its source, and received bytes may
/// contain any number.
const MAX_CHAIN: usize = 64;

/// The result of a function whose error may be of any type: `?` converts it to a [`RemoteError`].
///
/// A task in a worker process sends its result to the program, so its error must be serializable.
/// `io::Error`, `Box<dyn Error>` and `anyhow::Error` are not:
///
/// ```
/// # extern crate atasker_runtime as atasker;
/// use atasker::RemoteResult;
///
/// // With `#[background_task(tt = "mp")]`, this runs in a worker process.
/// fn first_line(path: &str) -> RemoteResult<String> {
///     let text = std::fs::read_to_string(path)?;
///     Ok(text.lines().next().ok_or("the file is empty")?.to_owned())
/// }
///
/// let error = first_line("/nonexistent").unwrap_err();
/// assert_eq!(error.type_name(), "std::io::error::Error");
/// assert!(error.message().contains("No such file"));
/// ```
pub type RemoteResult<T> = Result<T, RemoteError>;

/// Any error, as the texts of it and of its sources, which can be sent to another process.
///
/// Everything that converts to a `Box<dyn Error + Send + Sync>` converts to a `RemoteError`, so `?`
/// works with `io::Error`, `anyhow::Error`, [`TaskError`](crate::TaskError), `String`, `&str` and
/// all other errors. For this reason `RemoteError` does not itself implement `Error`, as
/// `anyhow::Error` does not. [`into_error`](Self::into_error) returns an error with the same texts
/// and sources.
///
/// `Display` prints the message of the error. With `{:#}`, and with `Debug`, the messages of its
/// sources follow, separated by `: `.
///
/// ```
/// # extern crate atasker_runtime as atasker;
/// use std::num::ParseIntError;
///
/// use atasker::{RemoteError, RemoteResult};
///
/// #[derive(Debug)]
/// struct BadPort(ParseIntError);
///
/// impl std::fmt::Display for BadPort {
///     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
///         f.write_str("the port is invalid")
///     }
/// }
///
/// impl std::error::Error for BadPort {
///     fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
///         Some(&self.0)
///     }
/// }
///
/// fn port(text: &str) -> RemoteResult<u16> {
///     Ok(text.parse().map_err(BadPort)?)
/// }
///
/// let error: RemoteError = port("http").unwrap_err();
/// assert_eq!(error.to_string(), "the port is invalid");
/// assert_eq!(format!("{error:#}"), "the port is invalid: invalid digit found in string");
/// assert_eq!(error.chain().count(), 2);
/// assert!(error.type_name().ends_with("BadPort"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RemoteError(Arc<Texts>);

#[derive(PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Texts {
    /// The message of the error, and those of its sources. Never empty.
    chain: Vec<String>,
    type_name: String,
}

impl RemoteError {
    fn new(error: &(dyn Error + 'static), type_name: &str) -> Self {
        let chain = std::iter::successors(Some(error), |&error| error.source());
        RemoteError(Arc::new(Texts {
            chain: chain.take(MAX_CHAIN).map(text).collect(),
            type_name: type_name.to_owned(),
        }))
    }

    /// Returns the message of the error: what its `Display` implementation printed.
    pub fn message(&self) -> &str {
        &self.0.chain[0]
    }

    /// Returns the message of the error, and then the messages of its sources.
    ///
    /// The chain has at most 64 messages. Sources beyond them are not kept.
    ///
    /// ```
    /// # extern crate atasker_runtime as atasker;
    /// use atasker::RemoteError;
    /// let error = RemoteError::from("out of paper");
    /// for message in error.chain() {
    ///     println!("caused by: {message}");
    /// }
    /// assert_eq!(error.chain(), ["out of paper"]);
    /// assert_eq!(error.chain().join(": "), format!("{error:#}"));
    /// ```
    pub fn chain(&self) -> ErrorChain<'_> {
        ErrorChain(&self.0.chain)
    }

    /// Returns the name of the type that was converted, as [`std::any::type_name`] returns it.
    ///
    /// ```
    /// # extern crate atasker_runtime as atasker;
    /// use atasker::RemoteError;
    /// let error = RemoteError::from(std::fmt::Error);
    /// assert_eq!(error.type_name(), "core::fmt::Error");
    /// ```
    pub fn type_name(&self) -> &str {
        &self.0.type_name
    }

    /// Returns an error with the same message and sources.
    ///
    /// `?` converts a `RemoteError` to a `Box<dyn Error>`, but not to a
    /// `Box<dyn Error + Send + Sync>` or to another error type: there, use
    /// `.map_err(RemoteError::into_error)?`.
    ///
    /// ```
    /// # extern crate atasker_runtime as atasker;
    /// use std::error::Error;
    ///
    /// use atasker::{RemoteError, RemoteResult};
    ///
    /// fn print() -> RemoteResult<()> {
    ///     Err("out of paper")?
    /// }
    ///
    /// fn office() -> Result<(), Box<dyn Error + Send + Sync>> {
    ///     print().map_err(RemoteError::into_error)?;
    ///     Ok(())
    /// }
    /// assert_eq!(office().unwrap_err().to_string(), "out of paper");
    /// ```
    pub fn into_error(self) -> Box<dyn Error + Send + Sync> {
        let chain = match Arc::try_unwrap(self.0) {
            Ok(texts) => texts.chain,
            Err(shared) => shared.chain.clone(),
        };
        let link = chain.into_iter().rev().fold(None, |source, message| {
            Some(Box::new(Link { message, source })) // the last source first
        });
        link.expect("a chain is never empty")
    }
}

/// Returns what an error prints, up to the point where its `Display` implementation fails.
fn text(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let _ = write!(text, "{error}");
    text
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for RemoteError {
    fn from(error: E) -> Self {
        // Guarded, because the destructor of an error may panic, also while a panic of its `Display`
        // implementation unwinds.
        let error = Guarded::new(error.into());
        RemoteError::new(&**error, std::any::type_name::<E>())
    }
}

// Not into `Box<dyn Error + Send + Sync>`: with that, `From<E>` above would apply to `RemoteError`
// itself, and conflict with `From<T> for T`.
impl From<RemoteError> for Box<dyn Error> {
    fn from(error: RemoteError) -> Self {
        error.into_error()
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match f.alternate() {
            true => fmt::Debug::fmt(self, f),
            false => f.write_str(self.message()),
        }
    }
}

impl fmt::Debug for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_chain(self.chain(), f)
    }
}

fn write_chain<'a>(
    chain: impl IntoIterator<Item = &'a str>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let mut separator = "";
    for message in chain {
        write!(f, "{separator}{message}")?;
        separator = ": ";
    }
    Ok(())
}

impl Serialize for RemoteError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RemoteError {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut texts = Texts::deserialize(deserializer)?;
        if texts.chain.is_empty() {
            return Err(serde::de::Error::invalid_length(0, &"the messages of an error"));
        }
        texts.chain.truncate(MAX_CHAIN);
        Ok(RemoteError(Arc::new(texts)))
    }
}

/// One error of a chain: what [`RemoteError::into_error`] returns.
struct Link {
    message: String,
    source: Option<Box<Link>>,
}

impl Error for Link {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Prints the chain, because a `main` that returns the error prints it so.
impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let links = std::iter::successors(Some(self), |&link| link.source.as_deref());
        write_chain(links.map(|link| &*link.message), f)
    }
}

/// The messages of an error and of its sources, returned by [`RemoteError::chain`].
///
/// An iterator, and a slice of those messages that it has not returned yet.
#[derive(Clone)]
pub struct ErrorChain<'a>(&'a [String]);

impl<'a> Iterator for ErrorChain<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let (message, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(message)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.len(), Some(self.0.len()))
    }
}

impl DoubleEndedIterator for ErrorChain<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let (message, rest) = self.0.split_last()?;
        self.0 = rest;
        Some(message)
    }
}

impl ExactSizeIterator for ErrorChain<'_> {}
impl std::iter::FusedIterator for ErrorChain<'_> {}

impl Deref for ErrorChain<'_> {
    type Target = [String];
    fn deref(&self) -> &[String] {
        self.0
    }
}

impl PartialEq for ErrorChain<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for ErrorChain<'_> {}

macro_rules! compare_with {
    ($([$($generics:tt)*] $list:ty;)*) => {$(
        impl<T, $($generics)*> PartialEq<$list> for ErrorChain<'_>
        where
            String: PartialEq<T>,
        {
            fn eq(&self, other: &$list) -> bool {
                self.0 == &other[..]
            }
        }
    )*};
}

compare_with! {
    [const N: usize] [T; N];
    [const N: usize] &[T; N];
    [] &[T];
    [] Vec<T>;
}

impl fmt::Debug for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;

    /// An error with this many sources, each with its number as its message.
    #[derive(Debug)]
    struct Numbered(u32, Option<Box<Numbered>>);

    impl Numbered {
        fn with_sources(count: u32) -> Numbered {
            (0..count).rev().fold(Numbered(count, None), |source, number| {
                Numbered(number, Some(Box::new(source)))
            })
        }
    }

    impl fmt::Display for Numbered {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}", self.0)
        }
    }

    impl Error for Numbered {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|source| source as _)
        }
    }

    fn sources(error: &(dyn Error + 'static)) -> Vec<String> {
        std::iter::successors(Some(error), |&error| error.source()).map(text).collect()
    }

    #[test]
    fn chain_begins_with_the_message() {
        let error = RemoteError::from(Numbered::with_sources(2));
        assert_eq!(error.message(), "0");
        assert_eq!(error.chain(), ["0", "1", "2"]);
        assert_eq!(error.chain().rev().collect::<Vec<_>>(), ["2", "1", "0"]);
        assert_eq!((error.chain().len(), &*error.chain()[1]), (3, "1"));
        assert_eq!(format!("{error} {error:#} {error:?}"), "0 0: 1: 2 0: 1: 2");
        assert!(error.type_name().ends_with("tests::Numbered"));
    }

    #[test]
    fn into_error_has_the_same_sources() {
        let error = RemoteError::from(Numbered::with_sources(2));
        let shared = error.clone();
        let boxed = error.into_error();
        assert_eq!(sources(&*boxed), ["0", "1", "2"]);
        assert_eq!(format!("{boxed} {boxed:?}"), "0 0: 1: 2");
        assert_eq!(RemoteError::from(boxed).chain(), shared.chain());
        let boxed: Box<dyn Error> = shared.into();
        assert_eq!(sources(&*boxed), ["0", "1", "2"]);
    }

    #[test]
    fn endless_chain_is_truncated() {
        #[derive(Debug)]
        struct Cyclic;
        impl fmt::Display for Cyclic {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("again")
            }
        }
        impl Error for Cyclic {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(self)
            }
        }
        let error = RemoteError::from(Cyclic);
        assert_eq!(error.chain().len(), MAX_CHAIN);
        assert_eq!(sources(&*error.into_error()).len(), MAX_CHAIN);

        let text =
            format!("{{\"chain\": [{}\"0\"], \"type_name\": \"\"}}", "\"1\",".repeat(100_000));
        let received: RemoteError = serde_json::from_str(&text).unwrap();
        assert_eq!(received.chain().len(), MAX_CHAIN);
        let boxed = received.into_error(); // its destructor is recursive
        assert_eq!(boxed.to_string(), "1");
    }

    #[test]
    fn text_up_to_a_failure_is_kept() {
        #[derive(Debug)]
        struct Fails;
        impl fmt::Display for Fails {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("half of")?;
                Err(fmt::Error)
            }
        }
        impl Error for Fails {}
        assert_eq!(RemoteError::from(Fails).message(), "half of");
    }

    #[test]
    fn panic_of_display_is_a_panic_even_if_the_destructor_panics_too() {
        #[derive(Debug)]
        struct Bomb;
        impl fmt::Display for Bomb {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("no text")
            }
        }
        impl Error for Bomb {}
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("a destructor")
            }
        }
        let error = crate::unwind::catch(|| RemoteError::from(Bomb)).unwrap_err();
        assert!(error.is_panic() && error.to_string().contains("no text"), "{error}");
    }

    #[test]
    fn json_round_trips() {
        let error = RemoteError::from(Numbered::with_sources(1));
        let json = serde_json::to_string(&error).unwrap();
        assert!(json.starts_with(r#"{"chain":["0","1"],"type_name":""#), "{json}");
        assert_eq!(serde_json::from_str::<RemoteError>(&json).unwrap(), error);
        let empty = serde_json::from_str::<RemoteError>(r#"{"chain":[],"type_name":"E"}"#);
        assert!(empty.unwrap_err().to_string().contains("the messages of an error"));
    }

    #[cfg(feature = "mp")]
    #[test]
    fn both_codecs_round_trip() {
        use crate::wire::args::{read_message, write_message};
        use crate::wire::codec::{Bincode, Format, Msgpack};
        fn round_trip<F: Format>(error: &RemoteError) -> RemoteError {
            read_message::<F, RemoteError>(&write_message::<F, _>(error).unwrap()).unwrap()
        }
        for error in [RemoteError::from(""), RemoteError::from(Numbered::with_sources(70))] {
            assert_eq!(round_trip::<Bincode>(&error), error);
            assert_eq!(round_trip::<Msgpack>(&error), error);
        }
    }
}
