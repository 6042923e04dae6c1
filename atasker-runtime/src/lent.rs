//! A user value that is used by one caller at a time.

use crate::sync::lock::Mutex;
use crate::unwind::discard;

/// A user value, for example a function, whose exclusive use is ensured elsewhere. It is taken out
/// during use, so that no lock is held meanwhile.
pub(crate) struct Lent<T>(Mutex<Option<T>>);

impl<T> Lent<T> {
    pub(crate) fn new(value: T) -> Self {
        Lent(Mutex::new(Some(value)))
    }

    /// Calls `f` with the value. Returns `None` if the value is in use, against the rule, or was
    /// dropped.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        /// Puts the value back even if its use panics.
        struct Out<'a, T>(&'a Lent<T>, Option<T>);
        impl<T> Drop for Out<'_, T> {
            fn drop(&mut self) {
                *self.0.0.lock() = self.1.take();
            }
        }
        let value = self.0.lock().take()?;
        let mut out = Out(self, Some(value));
        out.1.as_mut().map(f)
    }

    /// Drops the value.
    pub(crate) fn release(&self) {
        let value = self.0.lock().take();
        discard(value);
    }
}

impl<T> Drop for Lent<T> {
    fn drop(&mut self) {
        discard(self.0.get_mut().take());
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;
    use crate::unwind;

    #[test]
    fn a_value_comes_back_after_a_panic_and_is_not_lent_twice() {
        let lent = Lent::new(1);
        assert!(unwind::catch(|| lent.with(|n| *n += panics())).is_err());
        assert_eq!(lent.with(|n| (lent.with(|_| ()), *n)), Some((None, 1)));
        lent.release();
        assert_eq!(lent.with(|n| *n), None);
    }

    fn panics() -> u32 {
        panic!("while it is lent")
    }
}
