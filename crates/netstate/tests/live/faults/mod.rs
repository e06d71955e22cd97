//! The faults, each with its truth.

mod devices;
mod filters;
mod sockets;
mod ways;

/// Makes a test of each fault.
macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident => $fault:expr;)+) => {$(
        $(#[$doc])*
        #[test]
        fn $name() {
            let fault: $crate::fault::Fault = $fault;
            fault.run();
        }
    )+};
}
pub(crate) use faults;
