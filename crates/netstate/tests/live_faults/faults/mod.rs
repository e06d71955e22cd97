//! The faults, each with its truth.

mod devices;
mod filters;
mod sockets;
mod ways;

use crate::fault::Fault;

/// Makes a test of each fault, and a list of them.
macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident => $fault:expr;)+) => {
        $(
        $(#[$doc])*
        #[test]
        fn $name() {
            taproot_testkit::need!(
                taproot_testkit::guest_kernel().is_none(),
                "an emulated CPU makes each fault once, in nineteen_of_twenty_points_are_right"
            );
            let fault: $crate::fault::Fault = $fault;
            if let Some(why) = fault.obstacle() {
                taproot_testkit::skip!("{why}");
            }
            fault.run();
        }
        )+

        /// All faults of this file, by name.
        pub(super) const ALL: &[(&str, $crate::fault::Fault)] =
            &[$((stringify!($name), $fault)),+];
    };
}
pub(crate) use faults;

/// All faults, by name.
pub(crate) fn all() -> impl Iterator<Item = &'static (&'static str, Fault)> {
    [ways::ALL, filters::ALL, sockets::ALL, devices::ALL].into_iter().flatten()
}
