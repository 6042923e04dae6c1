//! The order of the functions of a collection.

use crate::priority::Priority;

/// The position of a function in the order of its collection: lower values run earlier.
///
/// Created from a [`Priority`], with its [`value`](Priority::value) (critical 0, high 50, normal
/// 100, low 200), or from any integer.
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{CollectionPriority, Priority};
/// assert_eq!(CollectionPriority::from(Priority::High), CollectionPriority::from(50_u8));
/// assert!(CollectionPriority::from(-1) < Priority::Critical.into());
/// assert_eq!(CollectionPriority::from(60).class(), Priority::High);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CollectionPriority(i128);

impl CollectionPriority {
    /// Returns the number.
    pub const fn value(self) -> i128 {
        self.0
    }

    /// Returns the priority with the nearest value: critical up to 24, high up to 74, normal up to
    /// 149, low above. Ties resolve to the less urgent one.
    pub fn class(self) -> Priority {
        let mut nearest = Priority::Low;
        // The less urgent first, so that it wins a tie.
        for priority in Priority::ALL.into_iter().rev() {
            if self.distance(priority) < self.distance(nearest) {
                nearest = priority;
            }
        }
        nearest
    }

    fn distance(self, priority: Priority) -> u128 {
        self.0.abs_diff(i128::from(priority.value()))
    }
}

/// The position of [`Priority::Normal`].
impl Default for CollectionPriority {
    fn default() -> Self {
        Priority::Normal.into()
    }
}

impl From<Priority> for CollectionPriority {
    fn from(priority: Priority) -> Self {
        CollectionPriority(priority.value().into())
    }
}

/// Saturates at the greatest `i128`.
impl From<u128> for CollectionPriority {
    fn from(number: u128) -> Self {
        CollectionPriority(i128::try_from(number).unwrap_or(i128::MAX))
    }
}

macro_rules! from_integers {
    ($($integer:ty)*) => {$(
        impl From<$integer> for CollectionPriority {
            fn from(number: $integer) -> Self {
                CollectionPriority(number as i128)
            }
        }
    )*};
}

// None of these is wider than `i128`, so `as` preserves the value.
from_integers!(i8 i16 i32 i64 i128 isize u8 u16 u32 u64 usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_is_the_nearest() {
        let classes = [
            (i128::MIN, Priority::Critical),
            (0, Priority::Critical),
            (24, Priority::Critical),
            (25, Priority::High),
            (74, Priority::High),
            (75, Priority::Normal),
            (149, Priority::Normal),
            (150, Priority::Low),
            (i128::MAX, Priority::Low),
        ];
        for (number, class) in classes {
            assert_eq!(CollectionPriority(number).class(), class, "{number}");
        }
        for priority in Priority::ALL {
            assert_eq!(CollectionPriority::from(priority).class(), priority);
        }
    }

    #[test]
    fn integers_keep_their_order() {
        assert!(CollectionPriority::from(u64::MAX) < CollectionPriority::from(u128::MAX));
        assert!(CollectionPriority::from(i64::MIN) < CollectionPriority::from(-1_i8));
        assert_eq!(CollectionPriority::from(7_usize).value(), 7);
        assert_eq!(CollectionPriority::default().value(), 100);
    }
}
