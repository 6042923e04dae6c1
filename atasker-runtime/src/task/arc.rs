//! Counted references to tasks.
//!
//! They work like `TaskArc` and `TypedArc<R>`, but are one pointer wide: the table
//! of the methods is kept in the cell, next to the counts. A queued task has three such references
//! (the job, the handle, and the entry in the task table), so this saves more than it costs.
//!
//! | type | counted as | for |
//! |---|---|---|
//! | [`TaskArc`] | strong | places, untyped handles, wakers |
//! | [`TypedArc`] | strong | typed handles, and the launch |
//! | [`TaskWeak`] | weak | what must not keep a result alive |
//!
//! A cell may be accessed by the owners of strong references. The thread that drops the last one of
//! them drops the contents of the cell, and removes its entry from the task table. All strong
//! references together count as one weak reference. The thread that drops the last weak one frees the
//! memory.

use std::any::TypeId;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;
#[cfg(feature = "async")]
use std::task::{RawWaker, RawWakerVTable, Waker};

use crate::sync::{AtomicU32, Ordering, back_off, fence};
use crate::task::AnyTask;
use crate::task::cell::{Body, Cell, Typed};
use crate::task::header::Header;

/// The beginning of every cell, which does not depend on its types.
#[repr(C)]
pub(crate) struct Base {
    methods: &'static Methods,
    counts: Counts,
    pub(super) header: Header,
}

/// How the type of a cell is found again.
struct Methods {
    any: unsafe fn(NonNull<Base>) -> NonNull<dyn AnyTask>,
    /// A [`ToTyped`] of the type of the results.
    typed: unsafe fn(),
    /// Drops the contents of the cell.
    drop: unsafe fn(NonNull<Base>),
    /// Frees the memory of the cell.
    free: unsafe fn(NonNull<Base>),
}

type ToTyped<R> = unsafe fn(NonNull<Base>) -> NonNull<dyn Typed<R>>;

/// The methods of a type of cell.
struct Of<R, B>(PhantomData<(R, B)>);

impl<R: Send + 'static, B: Body<R>> Of<R, B> {
    const METHODS: Methods = Methods {
        any: Self::any,
        // SAFETY: a function pointer may have any type while it is not called. It is called by
        // `TypedArc::deref` only, as the type that it has here.
        typed: unsafe { std::mem::transmute::<ToTyped<R>, unsafe fn()>(Self::typed) },
        drop: Self::drop,
        free: Self::free,
    };

    unsafe fn any(base: NonNull<Base>) -> NonNull<dyn AnyTask> {
        base.cast::<Cell<R, B>>()
    }

    unsafe fn typed(base: NonNull<Base>) -> NonNull<dyn Typed<R>> {
        base.cast::<Cell<R, B>>()
    }

    unsafe fn drop(base: NonNull<Base>) {
        // SAFETY: the caller has dropped the last strong reference, so no thread accesses the
        // contents of the cell any more. The type is that with which the cell was created.
        unsafe { Cell::drop_contents(base.cast::<Cell<R, B>>()) }
    }

    unsafe fn free(base: NonNull<Base>) {
        // SAFETY: the cell came from a box of this type, its contents were dropped, and the caller
        // has dropped the last reference of any kind.
        drop(unsafe { Box::from_raw(base.cast::<ManuallyDrop<Cell<R, B>>>().as_ptr()) });
    }
}

impl Base {
    /// Creates the base of a cell of this type, with one reference.
    #[inline]
    pub(super) fn new<R: Send + 'static, B: Body<R>>(header: Header) -> Base {
        Base { methods: &Of::<R, B>::METHODS, counts: Counts::new(), header }
    }
}

/// The numbers of references to one task. The orderings are those of std's `Arc`.
struct Counts {
    strong: AtomicU32,
    /// The number of weak references, and one more while there is a strong one. Or [`LOCKED`].
    weak: AtomicU32,
}

/// A weak count that does not change: see [`Counts::is_only_one`].
const LOCKED: u32 = u32::MAX;

/// A larger count, because references were leaked, ends the process.
const MAX_COUNT: u32 = i32::MAX as u32;

impl Counts {
    #[inline]
    fn new() -> Counts {
        Counts { strong: AtomicU32::new(1), weak: AtomicU32::new(1) }
    }

    /// Adds a strong reference to that of the caller.
    #[inline]
    fn add_strong(&self) {
        // Relaxed: the caller has a reference, so nothing ends meanwhile.
        if self.strong.fetch_add(1, Ordering::Relaxed) > MAX_COUNT {
            std::process::abort();
        }
    }

    /// Adds a strong reference unless there is none any more.
    fn upgrade(&self) -> bool {
        let mut now = self.strong.load(Ordering::Relaxed);
        while now != 0 {
            if now > MAX_COUNT {
                std::process::abort();
            }
            let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
            match self.strong.compare_exchange_weak(now, now + 1, success, failure) {
                Ok(_) => return true,
                Err(seen) => now = seen,
            }
        }
        false
    }

    /// Drops a strong reference. Returns whether it was the last one.
    #[inline]
    fn drop_strong(&self) -> bool {
        // Release: what the owner of this reference has done precedes the end of the task. Acquire,
        // for the thread that ends it.
        if self.strong.fetch_sub(1, Ordering::Release) != 1 {
            return false;
        }
        fence(Ordering::Acquire);
        true
    }

    /// Adds a weak reference to the strong one of the caller.
    fn add_weak(&self) {
        let mut now = self.weak.load(Ordering::Relaxed);
        let mut attempts = 0;
        loop {
            if now == LOCKED {
                attempts += 1;
                back_off(attempts);
                now = self.weak.load(Ordering::Relaxed);
                continue;
            }
            if now > MAX_COUNT {
                std::process::abort();
            }
            // Acquire: pairs with the end of the lock in `is_only_one`.
            let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
            match self.weak.compare_exchange_weak(now, now + 1, success, failure) {
                Ok(_) => return,
                Err(seen) => now = seen,
            }
        }
    }

    /// Drops a weak reference. Returns whether it was the last one.
    #[inline]
    fn drop_weak(&self) -> bool {
        // With a load first: nearly always this is the only one, and then no thread can add one,
        // because that takes a reference. Otherwise as in `drop_strong`.
        self.weak.load(Ordering::Acquire) == 1 || self.weak.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Returns whether the strong reference of the caller is the only one of any kind.
    fn is_only_one(&self) -> bool {
        // Locked, so that no other thread makes a weak reference of its strong one, and drops that,
        // between the two checks. Acquire, here and below: what was done with the references that
        // are gone precedes what the caller does.
        let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
        if self.weak.compare_exchange(1, LOCKED, success, failure).is_err() {
            return false;
        }
        let is_only_one = self.strong.load(Ordering::Acquire) == 1;
        self.weak.store(1, Ordering::Release);
        is_only_one
    }
}

/// Drops a weak reference.
///
/// # Safety
///
/// The caller has one, and does not use it any more.
unsafe fn drop_weak(base: NonNull<Base>) {
    // SAFETY: as in `TaskArc::upgrade`; `methods` never changes.
    let (counts, methods) = unsafe { (&(*base.as_ptr()).counts, (*base.as_ptr()).methods) };
    if counts.drop_weak() {
        // SAFETY: this was the last reference of any kind. The contents were dropped by the thread
        // that dropped the last strong one.
        unsafe { (methods.free)(base) };
    }
}

/// A counted reference to a task, without its types.
pub(crate) struct TaskArc(NonNull<Base>);

// SAFETY: it is used like an `TaskArc`, and `AnyTask` requires `Send` and `Sync`.
unsafe impl Send for TaskArc {}
// SAFETY: as above.
unsafe impl Sync for TaskArc {}

impl TaskArc {
    #[inline]
    fn base(&self) -> &Base {
        // SAFETY: the cell exists as long as this reference. Only atomics change in it, and what
        // has rules of its own.
        unsafe { self.0.as_ref() }
    }

    /// Returns the part of the task that does not depend on its types.
    #[inline]
    pub(crate) fn header(&self) -> &Header {
        &self.base().header
    }

    /// Returns the beginning of the cell, for an entry of the task table, which is not counted.
    #[inline]
    pub(super) fn as_base(&self) -> NonNull<Base> {
        self.0
    }

    /// Returns a reference unless the last one was dropped.
    ///
    /// # Safety
    ///
    /// The pointer is that of a reference, and the memory of the cell was not freed.
    pub(super) unsafe fn upgrade(base: NonNull<Base>) -> Option<TaskArc> {
        // SAFETY: the counts are valid as long as the memory. Only they are borrowed, because
        // another thread may be dropping the rest.
        let counts = unsafe { &(*base.as_ptr()).counts };
        // Not `then_some`, which would drop the reference where there is none.
        counts.upgrade().then(|| TaskArc(base))
    }

    /// Returns whether both refer to the same task.
    #[cfg(test)]
    pub(crate) fn ptr_eq(one: &TaskArc, other: &TaskArc) -> bool {
        one.0 == other.0
    }

    /// Returns the address of the task, for prefetching.
    #[cfg(has_processes)]
    pub(crate) fn as_ptr(&self) -> *const Header {
        self.header()
    }

    pub(crate) fn downgrade(&self) -> TaskWeak {
        self.base().counts.add_weak();
        TaskWeak(self.0)
    }

    /// Returns the task for writing if this is the only reference to it. Not for a task in the task
    /// table, whose reference is not counted.
    pub(crate) fn get_mut(&mut self) -> Option<&mut dyn AnyTask> {
        debug_assert!(!self.header().is_in_table());
        let methods = self.base().methods;
        self.base().counts.is_only_one().then(|| {
            // SAFETY: there is no other reference of any kind, and this one is borrowed mutably.
            unsafe { (methods.any)(self.0).as_mut() }
        })
    }

    /// Returns the typed reference, if the results of the task are of this type.
    pub(crate) fn typed<R: 'static>(self) -> Result<TypedArc<R>, TaskArc> {
        match self.returns(TypeId::of::<R>()) {
            true => Ok(TypedArc(self, PhantomData)),
            false => Err(self),
        }
    }

    /// Returns a waker that wakes the task, and is valid as long as this reference.
    #[cfg(feature = "async")]
    pub(super) fn borrowed_waker(&self) -> ManuallyDrop<Waker> {
        // SAFETY: `VTABLE` fulfills the contract of wakers: its functions use the pointer as the
        // reference that it came from, and may be called on any thread. This waker has no count of
        // its own, and is not dropped.
        ManuallyDrop::new(unsafe { Waker::new(self.0.as_ptr().cast(), &VTABLE) })
    }
}

#[cfg(feature = "async")]
static VTABLE: RawWakerVTable = {
    /// Returns the reference of a waker, which is not to be dropped.
    ///
    /// # Safety
    ///
    /// `data` is that of a waker with the vtable below.
    unsafe fn of(data: *const ()) -> ManuallyDrop<TaskArc> {
        // SAFETY: it came from a `TaskArc`, whose pointer is not null.
        ManuallyDrop::new(TaskArc(unsafe { NonNull::new_unchecked(data.cast_mut().cast()) }))
    }
    unsafe fn clone(data: *const ()) -> RawWaker {
        // SAFETY: the caller passes the data of a waker. The clone has a count of its own.
        let _ = ManuallyDrop::new(unsafe { of(data) }.clone());
        RawWaker::new(data, &VTABLE)
    }
    unsafe fn wake(data: *const ()) {
        // SAFETY: as above. The waker is used up, and its count is dropped.
        let task = ManuallyDrop::into_inner(unsafe { of(data) });
        task.wake(&task);
    }
    unsafe fn wake_by_ref(data: *const ()) {
        // SAFETY: as above; the waker keeps its count.
        let task = unsafe { of(data) };
        task.wake(&task);
    }
    unsafe fn drop(data: *const ()) {
        // SAFETY: as above. The waker is used up, and its count is dropped.
        std::mem::drop(ManuallyDrop::into_inner(unsafe { of(data) }));
    }
    RawWakerVTable::new(clone, wake, wake_by_ref, drop)
};

impl Clone for TaskArc {
    #[inline]
    fn clone(&self) -> Self {
        self.base().counts.add_strong();
        TaskArc(self.0)
    }
}

impl Deref for TaskArc {
    type Target = dyn AnyTask;

    #[inline]
    fn deref(&self) -> &(dyn AnyTask + 'static) {
        // SAFETY: the cell exists as long as this reference, and is shared with others.
        unsafe { (self.base().methods.any)(self.0).as_ref() }
    }
}

impl Drop for TaskArc {
    #[inline]
    fn drop(&mut self) {
        /// Drops the task.
        ///
        /// # Safety
        ///
        /// The last strong reference was dropped by the caller.
        unsafe fn drop_task(base: NonNull<Base>) {
            // SAFETY: the contents are dropped once. The weak reference that belonged to all strong
            // ones keeps the memory until then, and is dropped once.
            unsafe {
                ((*base.as_ptr()).methods.drop)(base);
                drop_weak(base);
            }
        }
        if self.base().counts.drop_strong() {
            // SAFETY: it was the last one.
            unsafe { drop_task(self.0) };
        }
    }
}

/// A counted reference to a task whose results are of type `R`.
pub(crate) struct TypedArc<R>(TaskArc, PhantomData<fn(R) -> R>);

impl<R> TypedArc<R> {
    /// Moves a cell to the heap.
    #[inline]
    pub(super) fn new<B: Body<R>>(cell: Cell<R, B>) -> Self
    where
        R: Send + 'static,
    {
        let cell = NonNull::from(Box::leak(Box::new(cell)));
        TypedArc(TaskArc(cell.cast()), PhantomData)
    }

    #[inline]
    pub(crate) fn header(&self) -> &Header {
        self.0.header()
    }

    /// Returns this reference without its type.
    #[inline]
    pub(crate) fn erase(self) -> TaskArc {
        self.0
    }

    /// Borrows this reference without its type.
    #[inline]
    pub(crate) fn as_erased(&self) -> &TaskArc {
        &self.0
    }

    #[inline]
    fn to_methods(&self) -> NonNull<dyn Typed<R>> {
        // SAFETY: `typed` is a `ToTyped` of the result type of the cell, which is `R`: this
        // reference was made of a cell of that type, or after a check of the type.
        unsafe {
            let typed: ToTyped<R> = std::mem::transmute(self.0.base().methods.typed);
            typed(self.0.0)
        }
    }

    /// # Safety
    ///
    /// This is the only reference to the task.
    #[inline]
    pub(super) unsafe fn get_mut_unchecked(&mut self) -> &mut dyn Typed<R> {
        // SAFETY: the cell exists as long as this reference, and the caller has no other one.
        unsafe { self.to_methods().as_mut() }
    }

    /// # Safety
    ///
    /// This is the only reference to the task.
    #[inline]
    pub(super) unsafe fn header_mut_unchecked(&mut self) -> &mut Header {
        // SAFETY: as above.
        unsafe { &mut (*self.0.0.as_ptr()).header }
    }
}

impl<R> Clone for TypedArc<R> {
    #[inline]
    fn clone(&self) -> Self {
        TypedArc(self.0.clone(), PhantomData)
    }
}

impl<R> Deref for TypedArc<R> {
    type Target = dyn Typed<R>;

    #[inline]
    fn deref(&self) -> &(dyn Typed<R> + 'static) {
        // SAFETY: the cell exists as long as this reference, and is shared with others.
        unsafe { self.to_methods().as_ref() }
    }
}

/// A reference that does not keep the contents of the task.
pub(crate) struct TaskWeak(NonNull<Base>);

// SAFETY: as for `TaskArc`.
unsafe impl Send for TaskWeak {}
// SAFETY: as above.
unsafe impl Sync for TaskWeak {}

impl TaskWeak {
    /// Returns the task unless its last strong reference was dropped.
    pub(crate) fn upgrade(&self) -> Option<TaskArc> {
        // SAFETY: the memory exists as long as this reference.
        unsafe { TaskArc::upgrade(self.0) }
    }
}

impl Drop for TaskWeak {
    fn drop(&mut self) {
        // SAFETY: this reference is counted, and is not used any more.
        unsafe { drop_weak(self.0) }
    }
}

#[cfg(all(test, atasker_loom))]
mod loom_tests {
    use std::sync::Arc;

    use loom::thread;

    use super::*;
    use crate::sync::UnsafeCell;

    /// What the references are to. Loom reports an access to it that races with a write.
    struct Owned {
        counts: Counts,
        value: UnsafeCell<u32>,
    }

    // SAFETY: the model checks that accesses are ordered.
    unsafe impl Sync for Owned {}

    impl Owned {
        fn new() -> Arc<Owned> {
            Arc::new(Owned { counts: Counts::new(), value: UnsafeCell::new(0) })
        }

        fn read(&self) -> u32 {
            // SAFETY: as above.
            self.value.with(|value| unsafe { *value })
        }

        fn write(&self, value: u32) {
            // SAFETY: as above.
            self.value.with_mut(|it| unsafe { *it = value });
        }

        fn drop_strong(&self) {
            if self.counts.drop_strong() {
                self.write(u32::MAX);
            }
        }
    }

    #[test]
    fn loom_nothing_is_read_after_the_last_strong_reference() {
        loom::model(|| {
            let owned = Owned::new();
            owned.counts.add_weak();
            let looker = {
                let owned = Arc::clone(&owned);
                thread::spawn(move || {
                    if owned.counts.upgrade() {
                        assert_eq!(owned.read(), 0);
                        owned.drop_strong();
                    }
                    owned.counts.drop_weak()
                })
            };
            owned.drop_strong();
            // The weak reference that all strong ones have together.
            let last = [owned.counts.drop_weak(), looker.join().unwrap()];
            assert!(last[0] != last[1] && owned.read() == u32::MAX && !owned.counts.upgrade());
        });
    }

    #[test]
    fn loom_the_only_owner_may_write() {
        loom::model(|| {
            let owned = Owned::new();
            owned.counts.add_strong();
            let other = {
                let owned = Arc::clone(&owned);
                thread::spawn(move || {
                    owned.read();
                    owned.counts.add_weak();
                    owned.drop_strong();
                    // As long as it has a weak reference, the other thread is not alone.
                    if owned.counts.upgrade() {
                        owned.read();
                        owned.drop_strong();
                    }
                    owned.counts.drop_weak();
                })
            };
            if owned.counts.is_only_one() {
                owned.write(1);
            }
            other.join().unwrap();
            assert!(owned.counts.is_only_one());
        });
    }
}
