//! Conversions between integer types that cannot fail.
//!
//! Sizes, counts and spans of time fit wherever they go, but their types do not say so.
//! A value at the end of its range is better than a panic or an error that never occurs.

/// An integer type's range.
pub trait Range {
    /// The smallest value.
    const MIN: Self;
    /// The largest value.
    const MAX: Self;
}

macro_rules! range {
    ($($integer:ident)*) => {
        $(impl Range for $integer {
            const MIN: Self = $integer::MIN;
            const MAX: Self = $integer::MAX;
        })*
    };
}

range!(u8 u16 u32 u64 usize i32 i64);

/// The same number in another type, or the nearest that this can hold.
#[must_use]
pub fn saturating<T: Range>(number: impl Copy + Default + PartialOrd + TryInto<T>) -> T {
    let nearest = if number < Default::default() { T::MIN } else { T::MAX };
    number.try_into().unwrap_or(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_becomes_the_nearest() {
        assert_eq!(saturating::<u32>(7_usize), 7);
        assert_eq!(saturating::<u32>(-7_i64), 0);
        assert_eq!(saturating::<u32>(u64::MAX), u32::MAX);
        assert_eq!(saturating::<i64>(u128::MAX), i64::MAX);
        assert_eq!(saturating::<i32>(i64::MIN), i32::MIN);
        assert_eq!(saturating::<usize>(7_usize), 7);
    }
}
