//! Prints which hook kinds work on this kernel.

fn main() {
    let group = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .into_iter()
        .find(|p| std::path::Path::new(p).join("cgroup.procs").exists());
    for hook in taproot_probes::doctor::probe_hooks(group.map(AsRef::as_ref)) {
        println!("{:14} {}", hook.kind, hook.refused.as_deref().unwrap_or("ok"));
    }
}
