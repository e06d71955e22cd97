//! Faults of CPU time.

use std::path::Path;

use crate::cgroup::Cgroup;
use crate::control::Control;
use crate::error::Result;
use crate::faults::inject::Injection;
use crate::faults::{Fault, PRODUCT, Undo};
use crate::state::{self, Lab};

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
    let milli = injection.get("milli") as u32;
    set_cpu_limit(injection.state_dir, injection.lab, PRODUCT, Some(milli))
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
