//! Sets of the values of a field.

/// The values from `first` to `last` in steps. Both ends are included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) step: u16,
}

impl Span {
    pub(super) fn one(value: u16) -> Span {
        Span { first: value, last: value, step: 1 }
    }

    pub(super) fn contains(self, value: u16) -> bool {
        (self.first..=self.last).contains(&value) && (value - self.first).is_multiple_of(self.step)
    }
}

/// A set of values up to 63.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Values(u64);

impl Values {
    pub(super) fn add(&mut self, span: Span) {
        let values = (span.first..=span.last).step_by(span.step.into());
        self.0 |= values.fold(0, |all, value| all | 1 << value);
    }

    /// Of the days of the week, replaces 7 with 0.
    pub(super) fn fold_sunday(&mut self) {
        self.0 = self.0 & 0x7f | self.0 >> 7;
    }

    /// Returns the smallest value that is at least `min`.
    pub(super) fn first(self, min: u32) -> Option<u32> {
        let rest = self.0 >> min;
        (rest != 0).then(|| min + rest.trailing_zeros())
    }

    pub(super) fn has(self, value: u32) -> bool {
        self.0 >> value & 1 == 1
    }

    pub(super) fn count(self) -> u32 {
        self.0.count_ones()
    }
}
