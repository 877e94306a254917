//! The price of a picture, in the operator's currency.

use serde::{Serialize, Serializer};

/// An amount in millionths, so that sums are exact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Price {
    /// Millionths of the currency.
    pub millionths: u64,
}

impl Price {
    /// The largest price of one picture.
    pub const MAX: f64 = 1_000_000.0;

    /// An amount from 0 to [`Self::MAX`], rounded to millionths.
    pub fn new(amount: f64) -> Option<Self> {
        let is_allowed = (0.0..=Self::MAX).contains(&amount);
        is_allowed.then(|| Self { millionths: (amount * 1e6).round() as u64 })
    }

    /// The price of this number of pictures.
    #[must_use]
    pub fn times(self, pictures: usize) -> Self {
        Self { millionths: self.millionths.saturating_mul(pictures as u64) }
    }

    /// The sum of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { millionths: self.millionths.saturating_add(other.millionths) }
    }

    /// The amount as a number.
    pub fn amount(self) -> f64 {
        self.millionths as f64 / 1e6
    }
}

/// As a JSON number.
impl Serialize for Price {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.amount())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_exact() {
        let price = Price::new(0.039).unwrap();
        let sum = (0..3).fold(Price::default(), |sum, _| sum.plus(price));
        assert_eq!(serde_json::to_string(&[sum, price.times(4)]).unwrap(), "[0.117,0.156]");
        assert_eq!(Price::new(-0.1).or(Price::new(f64::NAN)).or(Price::new(1e6 + 1.0)), None);
    }
}
