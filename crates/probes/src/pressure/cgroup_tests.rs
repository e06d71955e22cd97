//! The three layouts as they were read off real machines.

use std::fs;

use super::*;

const PSI: &str = "some avg10=1.53 avg60=0.87 avg300=0.25 total=2394124\n\
                   full avg10=0.00 avg60=0.00 avg300=0.00 total=41\n";

/// Writes files into a new directory below `root`.
fn dir(root: &Path, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let dir = root.join(name);
    fs::create_dir_all(&dir).expect("temporary directory");
    for (file, text) in files {
        fs::write(dir.join(file), text).expect("temporary file");
    }
    dir
}

fn v2(root: &Path) -> CgroupPaths {
    let files = [
        (
            "cpu.stat",
            "usage_usec 5000\nuser_usec 4000\nsystem_usec 1000\nnr_periods 64\nnr_throttled 60\nthrottled_usec 5500\n",
        ),
        ("cpu.max", "20000 100000\n"),
        ("memory.current", "41943040\n"),
        ("memory.max", "67108864\n"),
        ("memory.stat", "anon 30000000\ninactive_anon 9\ninactive_file 1943040\n"),
        ("memory.events", "low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 0\n"),
        ("pids.current", "3\n"),
        ("pids.max", "max\n"),
        ("cpu.pressure", PSI),
        ("memory.pressure", PSI),
    ];
    CgroupPaths { unified: Some(dir(root, "unified", &files)), ..CgroupPaths::default() }
}

fn v1(root: &Path) -> CgroupPaths {
    CgroupPaths {
        cpu: dir(
            root,
            "cpu",
            &[
                ("cpu.stat", "nr_periods 64\nnr_throttled 64\nthrottled_time 5500000000\n"),
                ("cpu.cfs_quota_us", "5000\n"),
                ("cpu.cfs_period_us", "100000\n"),
            ],
        )
        .into(),
        cpuacct: dir(root, "cpuacct", &[("cpuacct.usage", "123456789\n")]).into(),
        memory: dir(
            root,
            "memory",
            &[
                ("memory.usage_in_bytes", "1000000\n"),
                ("memory.limit_in_bytes", "9223372036854771712\n"),
                ("memory.failcnt", "7\n"),
                ("memory.stat", "cache 5\ninactive_file 1\ntotal_inactive_file 400000\n"),
                ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
            ],
        )
        .into(),
        pids: dir(root, "pids", &[("pids.current", "9\n"), ("pids.max", "64\n")]).into(),
        unified: None,
    }
}

fn read(paths: &CgroupPaths) -> CgroupReading {
    CgroupReading::read(paths).expect("readable").expect("there")
}

#[test]
fn reads_the_unified_layout() {
    let root = tempfile::tempdir().expect("temporary directory");
    let reading = read(&v2(root.path()));
    assert_eq!(
        reading.cpu,
        CpuReading {
            usage: Some(5_000_000),
            periods: Some(64),
            throttled_periods: Some(60),
            throttled: Some(5_500_000),
            limit: Some(0.2),
        }
    );
    let memory = reading.memory.expect("memory");
    assert_eq!((memory.usage, memory.working_set), (41_943_040, 40_000_000));
    assert_eq!((memory.limit, memory.limit_hits), (Some(67_108_864), Some(12)));
    assert_eq!(memory.oom_kills, Some(1));
    assert_eq!(reading.pids, Some(PidsReading { count: 3, limit: None }));
    let cpu = reading.stalls.cpu.expect("PSI");
    assert_eq!((cpu.some, cpu.full), (2_394_124_000, Some(41_000)));
    assert_eq!(reading.stalls.io, None);
}

#[test]
fn reads_the_old_layout() {
    let root = tempfile::tempdir().expect("temporary directory");
    let reading = read(&v1(root.path()));
    assert_eq!(reading.cpu.usage, Some(123_456_789));
    assert_eq!(reading.cpu.throttled, Some(5_500_000_000));
    assert_eq!(reading.cpu.limit, Some(0.05));
    let memory = reading.memory.expect("memory");
    assert_eq!((memory.usage, memory.working_set), (1_000_000, 600_000));
    assert_eq!((memory.limit, memory.limit_hits, memory.oom_kills), (None, Some(7), Some(3)));
    assert_eq!(reading.pids, Some(PidsReading { count: 9, limit: Some(64) }));
    assert_eq!(reading.stalls, Stalls::default());
}

#[test]
fn hybrid_takes_limits_from_the_trees_and_stalls_from_unified() {
    let root = tempfile::tempdir().expect("temporary directory");
    let mut paths = v1(root.path());
    // Without the cpu controller, the unified cpu.stat tells only the use.
    let unified =
        [("cpu.stat", "usage_usec 7\nuser_usec 4\nsystem_usec 3\n"), ("cpu.pressure", PSI)];
    paths.unified = Some(dir(root.path(), "unified", &unified));
    let reading = read(&paths);
    assert_eq!(reading.cpu.throttled, Some(5_500_000_000));
    assert_eq!(reading.cpu.usage, Some(123_456_789));
    assert!(reading.stalls.cpu.is_some());
    paths.cpuacct = None;
    assert_eq!(read(&paths).cpu.usage, Some(7000));
}

#[test]
fn no_quota_is_no_limit() {
    let root = tempfile::tempdir().expect("temporary directory");
    let unified = Some(dir(root.path(), "u", &[("cpu.max", "max 100000\n")]));
    let paths = CgroupPaths { unified, ..CgroupPaths::default() };
    assert_eq!(read(&paths).cpu.limit, None);
    let cpu = Some(dir(root.path(), "c", &[("cpu.cfs_quota_us", "-1\n")]));
    assert_eq!(read(&CgroupPaths { cpu, ..CgroupPaths::default() }).cpu.limit, None);
}

#[test]
fn a_gone_cgroup_is_none_and_nonsense_is_an_error() {
    let root = tempfile::tempdir().expect("temporary directory");
    let gone = CgroupPaths { unified: Some(root.path().join("gone")), ..CgroupPaths::default() };
    assert_eq!(CgroupReading::read(&gone).expect("no error"), None);
    let unified = Some(dir(root.path(), "u", &[("memory.current", "many\n")]));
    let error = CgroupReading::read(&CgroupPaths { unified, ..CgroupPaths::default() })
        .expect_err("not a number");
    assert!(error.to_string().contains("memory.current"), "{error}");
}

#[test]
fn deltas_begin_at_the_first_reading_or_at_zero() {
    let root = tempfile::tempdir().expect("temporary directory");
    let paths = v2(root.path());
    let mut existing = CgroupReader::existing(paths.clone());
    let mut fresh = CgroupReader::fresh(paths.clone());
    let first = |reader: &mut CgroupReader| reader.read().expect("readable").expect("there");
    assert_eq!(first(&mut existing).cpu.throttled_periods, Some(0));
    assert_eq!(first(&mut fresh).cpu.throttled_periods, Some(60));

    let stat = paths.unified.as_deref().expect("set").join("cpu.stat");
    fs::write(stat, "usage_usec 5001\nnr_periods 66\nnr_throttled 61\nthrottled_usec 5600\n")
        .expect("temporary file");
    let delta = first(&mut existing);
    assert_eq!((delta.cpu.usage, delta.cpu.throttled), (Some(1000), Some(100_000)));
    assert_eq!(delta.cpu.limit, Some(0.2));
    assert_eq!(delta.memory.expect("memory").usage, 41_943_040);
    assert_eq!(delta.memory.expect("memory").oom_kills, Some(0));
    assert_eq!(delta.stalls.cpu.expect("PSI").some, 0);
}

#[test]
fn the_parent_is_one_up_in_every_tree() {
    let paths = CgroupPaths {
        cpu: Some("/sys/fs/cgroup/cpu/kubepods/podX/c".into()),
        unified: Some("/sys/fs/cgroup/unified/kubepods/podX/c".into()),
        ..CgroupPaths::default()
    };
    let parent = paths.parent();
    assert_eq!(parent.cpu.as_deref(), Some(Path::new("/sys/fs/cgroup/cpu/kubepods/podX")));
    assert_eq!(parent.unified.as_deref(), Some(Path::new("/sys/fs/cgroup/unified/kubepods/podX")));
    assert_eq!(parent.memory, None);
}
