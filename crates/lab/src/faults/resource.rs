//! Faults of CPU time.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::cgroup::Cgroup;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::faults::inject::Injection;
use crate::faults::{Fault, PRODUCT, Undo};
use crate::process::ProcessId;
use crate::state::{self, Lab};

/// How long the use of CPU time is watched before a quota is set.
const LOOK: Duration = Duration::from_secs(3);
/// The kernel's least quota at its usual period, thousandths of a CPU.
const LEAST: f64 = 10.0;

/// Injects a fault of CPU time.
pub(crate) fn inject(injection: &mut Injection<'_>) -> Result<()> {
    if injection.fault == Fault::NoisyNeighbour {
        let control = Control {
            burn_threads: injection.get("threads") as u32,
            burn_on_ms: injection.get("on_ms") as u64,
            burn_off_ms: injection.get("off_ms") as u64,
            ..Control::default()
        };
        return injection.misbehave("batch", &control);
    }
    let before = injection.lab.pod(PRODUCT).and_then(|p| p.limits.cpu_milli);
    injection.undo_by(Undo::CpuLimit { pod: PRODUCT.into(), milli: before })?;
    let milli = used(injection.lab)? * injection.get("quota_percent") / 100.0;
    set_cpu_limit(
        injection.state_dir,
        injection.lab,
        PRODUCT,
        Some(milli.max(LEAST).round() as u32),
    )
}

/// Thousandths of a CPU that the product service uses under the load there is: a
/// quota in proportion to it bites on a machine of any speed.
fn used(lab: &Lab) -> Result<f64> {
    let process = lab.pod(PRODUCT).and_then(|p| p.container.process);
    let read = || process.and_then(ProcessId::cpu_time);
    let (begin, before) = (Instant::now(), read());
    std::thread::sleep(LOOK);
    let (Some(before), Some(after)) = (before, read()) else {
        return Err(Error::NoProcess { pod: PRODUCT.into() });
    };
    Ok(after.saturating_sub(before).as_secs_f64() / begin.elapsed().as_secs_f64() * 1e3)
}

/// Sets a pod's CPU quota at pod and at container level, now and for containers
/// to come.
pub(crate) fn set_cpu_limit(
    state_dir: &Path,
    lab: &Lab,
    pod: &str,
    milli: Option<u32>,
) -> Result<()> {
    let found = state::update(state_dir, |lab| {
        let pod = lab.pod_mut(pod)?;
        let before = std::mem::replace(&mut pod.limits.cpu_milli, milli);
        Some((before, pod.clone()))
    })?;
    let Some((before, pod)) = found else { return Ok(()) };
    let outer = Cgroup::new(&lab.hierarchies, &pod.cgroup);
    let inner = Cgroup::new(&lab.hierarchies, &pod.container.cgroup);
    // v1 refuses a child's quota above its parent's: the outer one goes up
    // first and down last.
    let grows = milli.unwrap_or(u32::MAX) >= before.unwrap_or(u32::MAX);
    let order = if grows { [outer, inner] } else { [inner, outer] };
    for group in order.iter().filter(|g| g.exists()) {
        group.limit_cpu(milli)?;
    }
    Ok(())
}
