//! The worker data: a value of the parent's that every worker process finds.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value, encoded, and the name of its type.
#[derive(Debug)]
pub(crate) struct WorkerData {
    pub(crate) type_name: String,
    pub(crate) bytes: Vec<u8>,
}

impl WorkerData {
    pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, String> {
        let bytes = bincode::serde::encode_to_vec(value, bincode::config::standard());
        Ok(WorkerData {
            type_name: std::any::type_name::<T>().to_owned(),
            bytes: bytes.map_err(|error| error.to_string())?,
        })
    }
}

struct Present {
    data: Option<Arc<WorkerData>>,
    /// Decoded values by their type: they stay for good, for references to them are given out.
    values: Option<HashMap<TypeId, &'static (dyn Any + Send + Sync)>>,
}

static PRESENT: Mutex<Present> = Mutex::new(Present { data: None, values: None });

/// Notes what [`worker_data`] finds in this process.
pub(crate) fn set(data: Arc<WorkerData>) {
    let mut present = PRESENT.lock();
    present.data = Some(data);
    present.values = None;
}

/// The value that [`MpPoolConfig::worker_data`](crate::MpPoolConfig::worker_data) was given, in a
/// worker process of that pool; in the parent, the one that was set last. `None` if none was set, or
/// if it was of another type.
///
/// It is decoded once per process.
pub fn worker_data<T: DeserializeOwned + Send + Sync + 'static>() -> Option<&'static T> {
    let mut present = PRESENT.lock();
    let key = TypeId::of::<T>();
    if let Some(value) = present.values.as_ref().and_then(|values| values.get(&key)) {
        return value.downcast_ref();
    }
    let data = Arc::clone(present.data.as_ref()?);
    if data.type_name != std::any::type_name::<T>() {
        return None;
    }
    let decoded = bincode::serde::decode_from_slice(&data.bytes, bincode::config::standard());
    let value: &'static T = match decoded {
        Ok((value, _)) => Box::leak(Box::new(value)),
        Err(error) => {
            tracing::error!(target: "atasker", %error, "the worker data can't be decoded");
            return None;
        }
    };
    present.values.get_or_insert_default().insert(key, value);
    Some(value)
}
