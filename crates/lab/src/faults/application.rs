//! Faults a program commits itself, because it is told to.

use crate::control::{Control, Dns, Run};
use crate::error::Result;
use crate::faults::inject::Injection;
use crate::faults::{Fault, INVENTORY, PRODUCT};
use crate::layout;

/// Injects one of the application's faults.
pub(crate) fn inject(injection: &mut Injection<'_>) -> Result<()> {
    let (pod, control) = misbehaviour(injection);
    injection.misbehave(pod, &control)
}

fn misbehaviour(injection: &Injection<'_>) -> (&'static str, Control) {
    let get = |name: &str| injection.get(name);
    let good = Control::default;
    match injection.fault {
        Fault::FdExhaustion => {
            (PRODUCT, Control { leak_files_per_second: get("per_second"), ..good() })
        }
        Fault::SlowDownstream => {
            (INVENTORY, Control { answer_delay_ms: get("ms") as u64, ..good() })
        }
        Fault::ConnectionRefused => (INVENTORY, Control { run: Run::Stopped, ..good() }),
        Fault::OomKill => {
            (PRODUCT, Control { grow_mib_per_second: get("mib_per_second"), ..good() })
        }
        Fault::ListenOverflow => (
            INVENTORY,
            Control {
                accept_pause_ms: get("pause_ms") as u64,
                accept_run_ms: get("run_ms") as u64,
                ..good()
            },
        ),
        Fault::DnsFailure => {
            let silent = get("silent") >= 0.5;
            ("dns", Control { dns: if silent { Dns::Silent } else { Dns::Servfail }, ..good() })
        }
        Fault::LogOnly => (
            PRODUCT,
            Control {
                log_errors_per_second: get("per_second"),
                error_share: get("error_share"),
                ..good()
            },
        ),
        Fault::Rollout => (
            INVENTORY,
            Control {
                image: Some(layout::own_image(INVENTORY, 2)),
                error_share: get("error_share"),
                ..good()
            },
        ),
        // The other faults are not the application's.
        _ => (PRODUCT, good()),
    }
}
