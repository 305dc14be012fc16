//! What each byte sold for: how the money that was paid for a purse's bytes leaves it with them.

/// Money that leaves a purse of `balance_bytes` with the deferred value `value_micros` when `bytes` of it are used.
///
/// In proportion, rounded down; with the last byte, and beyond it, all that is left. So nothing is lost and nothing moves
/// twice: over any series of uses that ends at zero bytes, exactly `value_micros` has moved.
pub fn sold_micros(value_micros: i64, balance_bytes: i64, bytes: i64) -> i64 {
    if bytes <= 0 || value_micros <= 0 {
        0
    } else if bytes >= balance_bytes {
        value_micros
    } else {
        share(value_micros, bytes, balance_bytes)
    }
}

/// Money that goes back when `bytes` of a request's `cost_bytes`, sold for `sold_micros`, turn out not to be paid.
pub fn returned_micros(sold_micros: i64, cost_bytes: i64, bytes: i64) -> i64 {
    if bytes >= cost_bytes {
        sold_micros
    } else {
        share(sold_micros, bytes, cost_bytes)
    }
}

/// A partner's part of what its devices' bytes sold for, rounded down.
pub fn partner_micros(sold_micros: i64, revenue_share_bp: u32) -> i64 {
    share(sold_micros, i64::from(revenue_share_bp.min(10_000)), 10_000)
}

/// `amount · part / whole`, rounded down; nothing of it where there is no part. `0 <= part <= whole`, so it fits.
fn share(amount: i64, part: i64, whole: i64) -> i64 {
    if part <= 0 || whole <= 0 {
        return 0;
    }
    i64::try_from(i128::from(amount) * i128::from(part) / i128::from(whole)).unwrap_or(amount)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_leaves_and_what_stays_is_the_value_and_at_zero_bytes_all_has_left(
            value in 0_i64..=i64::MAX,
            uses in prop::collection::vec(1_i64..=1 << 60, 1..40),
        ) {
            let mut balance: i64 = uses.iter().fold(0_i64, |sum, bytes| sum.saturating_add(*bytes));
            let (mut left, mut moved) = (value, 0_i64);
            for bytes in uses {
                let sold = sold_micros(left, balance, bytes);
                prop_assert!(sold >= 0 && sold <= left);
                left -= sold;
                moved += sold;
                balance = balance.saturating_sub(bytes);
                prop_assert_eq!(left + moved, value);
                prop_assert!(balance > 0 || left == 0);
            }
        }

        #[test]
        fn a_share_is_never_more_than_the_whole(sold in 0_i64..=i64::MAX, bp in 0_u32..20_000) {
            let partner = partner_micros(sold, bp);
            prop_assert!(partner >= 0 && partner <= sold);
        }
    }

    #[test]
    fn bytes_that_nobody_paid_for_sell_for_nothing_and_an_empty_purse_gives_up_what_it_has() {
        assert_eq!(sold_micros(0, 1_000, 10), 0);
        assert_eq!(sold_micros(500, 1_000, 10), 5);
        assert_eq!(sold_micros(500, -20, 10), 500);
        assert_eq!(sold_micros(500, 1_000, 0), 0);
        assert_eq!(partner_micros(99, 7_000), 69);
        assert_eq!(returned_micros(99, 10, 10), 99);
        assert_eq!(returned_micros(99, 10, 5), 49);
    }
}
