//! The worker data: a value of the parent that every worker process can read.
//!
//! The value is sent with the name of its type, because a type has no other identity that both
//! processes know. A type that can only be borrowed (`str`, `[T]`), or that is usually kept as
//! another owned type (`[T; N]`), is found as the owned type, too.

use std::any::{Any, TypeId, type_name};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fork;
use crate::process::in_worker;
use crate::sync::lock::Mutex;
use crate::unwind::{discard, log};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::wire::codec::{Bincode, Format};
use crate::wire::nesting;

/// An encoded value and the name of its type.
#[derive(PartialEq, Eq)]
pub(crate) struct WorkerData {
    pub(crate) type_name: String,
    pub(crate) bytes: Vec<u8>,
}

/// Shows only the type, because the value may be a secret.
impl fmt::Debug for WorkerData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.type_name)
    }
}

impl WorkerData {
    pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, String> {
        let mut bytes = Vec::new();
        Bincode::write(value, &mut bytes)?;
        // A reference is encoded as its target.
        let name = type_name::<T>().trim_start_matches('&').trim_start_matches("mut ");
        Ok(WorkerData { type_name: name.to_owned(), bytes })
    }

    /// Returns the encoding as a value of the type with this name, if it can be read as one.
    fn as_type(&self, asked: &str) -> Option<Cow<'_, [u8]>> {
        let unchanged = Some(Cow::Borrowed(&*self.bytes));
        if self.type_name == asked {
            return unchanged;
        }
        // Strings that are borrowed somewhere within the value.
        let set = &*self.type_name.replace(type_name::<&str>(), type_name::<String>());
        let owned_forms = [
            (type_name::<str>(), type_name::<String>()),
            (type_name::<Path>(), type_name::<PathBuf>()),
        ];
        if set == asked || owned_forms.contains(&(set, asked)) {
            return unchanged;
        }
        let inner = set.strip_prefix('[')?.strip_suffix(']')?;
        if asked == vec_of(inner) {
            return unchanged;
        }
        let (item, count) = inner.rsplit_once("; ")?;
        if asked != vec_of(item) {
            return None;
        }
        // An array is encoded without its length, a vector with it.
        let mut bytes = Vec::new();
        Bincode::write(&count.parse::<usize>().ok()?, &mut bytes).ok()?;
        bytes.extend_from_slice(&self.bytes);
        Some(bytes.into())
    }
}

/// Returns the name of the type `Vec<item>`.
fn vec_of(item: &str) -> String {
    type_name::<Vec<()>>().replace("()", item)
}

struct Present {
    data: Option<Arc<WorkerData>>,
    /// Decoded values by type. They are leaked, because references to them are handed out.
    values: Option<HashMap<TypeId, &'static (dyn Any + Send + Sync)>>,
}

static PRESENT: Mutex<Present> = Mutex::new(Present { data: None, values: None });

thread_local! {
    /// The types that this thread is decoding.
    static DECODING: RefCell<Vec<TypeId>> = const { RefCell::new(Vec::new()) };
}

/// Sets what [`worker_data`] returns in this process.
pub(crate) fn set(data: Arc<WorkerData>) {
    if !fork::is_copy() {
        PRESENT.lock().set(Some(data));
    }
}

/// Sets what [`worker_data`] returns in the program, after a pool was given `data` and had `before`.
pub(crate) fn pool_changed(before: Option<&Arc<WorkerData>>, data: Option<&Arc<WorkerData>>) {
    // A worker process has the value of its own pool, whichever supervisors tasks create in it.
    if fork::is_copy() || in_worker() {
        return;
    }
    let mut present = PRESENT.lock();
    match (before, data) {
        // Taken over from the configuration before, so it is not what was set last.
        (Some(before), Some(data)) if Arc::ptr_eq(before, data) => {}
        (_, Some(data)) => present.set(Some(Arc::clone(data))),
        (Some(before), None) if present.data.as_ref() == Some(before) => present.set(None),
        (_, None) => {}
    }
}

impl Present {
    fn set(&mut self, data: Option<Arc<WorkerData>>) {
        // An equal value needs not be decoded again, which would leak one more copy of it.
        if self.data != data {
            self.values = None;
        }
        self.data = data;
    }
}

/// Returns the value that was passed to
/// [`MpPoolConfig::worker_data`](crate::MpPoolConfig::worker_data). In a worker process, this is
/// the value of its pool. In the program itself, this is the value that the latest supervisor, or
/// the latest [`set_mp_pool`](crate::Supervisor::set_mp_pool), was given, and `None` once the pool
/// with this value is given a configuration without one.
///
/// `T` is the type that was set. A `str` is returned as `String` (also within another type), a
/// `[U]` or `[U; N]` as `Vec<U>`, a `Path` as `PathBuf`, and a reference as its target. The value
/// is decoded at the first call; later calls return the same reference.
///
/// Returns `None` if no value was set, or if the value has another type. The latter is logged at
/// WARN, once for each pair of types in each process. Also returns `None` if called for a `T` by the `Deserialize`
/// implementation of `T` itself.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{MpPoolConfig, Supervisor, worker_data};
///
/// let config = MpPoolConfig::new(1).worker_data("a dictionary");
/// let sup = Supervisor::builder().mp_pool(config).build();
/// assert_eq!(worker_data::<String>().unwrap(), "a dictionary");
/// assert!(worker_data::<u32>().is_none());
/// # drop(sup);
/// ```
#[cfg(feature = "mp")]
pub fn worker_data<T: DeserializeOwned + Send + Sync + 'static>() -> Option<&'static T> {
    if fork::is_copy() {
        return None;
    }
    let key = TypeId::of::<T>();
    let data = {
        let present = PRESENT.lock();
        if let Some(value) = present.values.as_ref().and_then(|values| values.get(&key)) {
            return value.downcast_ref();
        }
        Arc::clone(present.data.as_ref()?)
    };
    let Some(bytes) = data.as_type(type_name::<T>()) else {
        warn_of_mismatch(&data.type_name, type_name::<T>());
        return None;
    };
    // Decoded without a lock, because the code of the type may call this function, or panic.
    let value = decode::<T>(&bytes)?;
    let mut present = PRESENT.lock();
    let is_current = present.data.as_ref() == Some(&data);
    if !is_current {
        drop(present);
        // Other data was set meanwhile.
        return Some(Box::leak(value));
    }
    let values = present.values.get_or_insert_default();
    if let Some(earlier) = values.get(&key) {
        // Another thread was faster.
        let earlier = earlier.downcast_ref();
        drop(present);
        discard(value);
        return earlier;
    }
    let value: &'static T = Box::leak(value);
    values.insert(key, value);
    Some(value)
}

fn decode<T: DeserializeOwned + Send + 'static>(mut bytes: &[u8]) -> Option<Box<T>> {
    let _decoding = Decoding::begin(TypeId::of::<T>())?;
    let detail = match nesting::read::<Bincode, T>(&mut bytes) {
        Ok(Ok(value)) if bytes.is_empty() => return Some(Box::new(value)),
        Ok(Ok(_)) => format!("{} byte(s) are left over", bytes.len()),
        Ok(Err(detail)) => detail,
        Err(error) => error.to_string(),
    };
    let wanted = type_name::<T>();
    log!(error, wanted, error = detail, "the worker data can't be decoded");
    None
}

/// Marks a type as being decoded on this thread until dropped.
struct Decoding;

impl Decoding {
    /// Returns `None` if the type is being decoded already.
    fn begin(of: TypeId) -> Option<Decoding> {
        DECODING
            .try_with(|decoding| {
                let mut decoding = decoding.borrow_mut();
                let is_new = !decoding.contains(&of);
                is_new.then(|| decoding.push(of))
            })
            // While the thread exits, the list is not available.
            .unwrap_or(Some(()))?;
        Some(Decoding)
    }
}

impl Drop for Decoding {
    fn drop(&mut self) {
        let _ = DECODING.try_with(|decoding| decoding.borrow_mut().pop());
    }
}

fn warn_of_mismatch(set: &str, asked: &'static str) {
    static WARNED: Mutex<Option<HashSet<(String, &'static str)>>> = Mutex::new(None);
    let is_new = WARNED.lock().get_or_insert_default().insert((set.to_owned(), asked));
    if is_new {
        log!(warn, set, asked, "the worker data is a `{set}`, but was requested as a `{asked}`");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<S: Serialize + ?Sized, T: DeserializeOwned + Send + 'static>(set: &S) -> Option<T> {
        let data = WorkerData::encode(set).unwrap();
        decode(&data.as_type(type_name::<T>())?).map(|value| *value)
    }

    #[test]
    fn borrowed_types_are_read_as_owned_ones() {
        assert_eq!(found::<_, String>("hello").unwrap(), "hello");
        assert_eq!(found::<_, String>(&"hello").unwrap(), "hello");
        assert_eq!(found::<_, PathBuf>(Path::new("/a")).unwrap(), Path::new("/a"));
        assert_eq!(found::<_, Vec<u32>>(&[1u32, 2]).unwrap(), [1, 2]);
        assert_eq!(found::<_, Vec<u32>>(&[1u32, 2][..]).unwrap(), [1, 2]);
        assert_eq!(found::<_, [u32; 2]>(&[1u32, 2]).unwrap(), [1, 2]);
        assert_eq!(found::<_, Vec<[u8; 2]>>(&[[1u8, 2], [3, 4]]).unwrap(), [[1, 2], [3, 4]]);
        assert_eq!(found::<_, Vec<String>>(&["a", "b"]).unwrap(), ["a", "b"]);
        assert_eq!(found::<_, Vec<(u8, String)>>(&vec![(1u8, "a")]).unwrap(), [(1, "a".into())]);
        assert!(found::<_, Vec<u32>>(&[0u32; 0]).unwrap().is_empty());
        assert_eq!(found::<_, u8>(&7u8).unwrap(), 7);
    }

    #[test]
    fn other_types_are_rejected() {
        assert_eq!(found::<_, Vec<u8>>("hello"), None);
        assert_eq!(found::<_, Vec<u64>>(&[1u32, 2]), None);
        assert_eq!(found::<_, [u32; 3]>(&[1u32, 2]), None);
        assert_eq!(found::<_, u64>(&7u32), None);
        assert_eq!(found::<_, Vec<u32>>(&vec![[1u32]]), None);
    }
}
