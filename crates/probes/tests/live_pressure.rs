//! The pressure collector against real processes in control groups of our own.

mod groups;

use std::thread::sleep;
use std::time::Duration;

use groups::{Group, schedstat};
use taproot_probes::pressure::{
    CgroupReader, Culprit, Failure, Failures, FdKind, NetnsCounters, Sched, Wait, closest_to_limit,
    fd_count, fd_kinds, fd_limit,
};
use taproot_testkit::{need_root, skip};

/// Burns CPU until it is killed.
const BURN: &str = "while :; do :; done";

/// How long the scheduler tests watch.
const WATCH: Duration = Duration::from_secs(3);

/// CPU time per 100 ms: so little that a group gets it on the busiest machine, and
/// is then stopped.
const QUOTA: Duration = Duration::from_millis(5);

fn sum(waits: &[Wait], victim: u64, wanted: impl Fn(Culprit) -> bool) -> u64 {
    waits.iter().filter(|w| w.victim == victim && wanted(w.culprit)).map(|w| w.ns).sum()
}

fn share(part: u64, of: u64) -> f64 {
    part as f64 / of.max(1) as f64
}

macro_rules! or_skip {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(why) => skip!("{why}"),
        }
    };
}

/// Two burners on one CPU. As the victim never sleeps, every nanosecond its
/// neighbour runs is a nanosecond it waits, whatever else the machine does.
#[test]
fn the_culprit_is_the_group_that_ran() {
    need_root!();
    let victim = or_skip!(Group::new("victim"));
    let culprit = or_skip!(Group::new("culprit"));
    let bystander = or_skip!(Group::new("bystander"));
    let mut sched = or_skip!(Sched::start(true));
    sched.watch(victim.id).expect("room for one");
    let waiting = victim.run(BURN, Some(0));
    let burning = culprit.run(BURN, Some(0));
    let _idle = bystander.run("sleep 60", Some(0));
    sleep(Duration::from_millis(300));

    sched.read().expect("readable");
    let (before, ran_before) = (schedstat(waiting.pid()), schedstat(burning.pid()));
    sleep(WATCH);
    let waits = sched.read().expect("readable");
    let (after, ran_after) = (schedstat(waiting.pid()), schedstat(burning.pid()));

    let by_culprit = sum(&waits, victim.id, |c| c == Culprit::Cgroup(culprit.id));
    println!("{waits:?}");
    let ran = share(by_culprit, ran_after.0 - ran_before.0);
    assert!((0.9..1.1).contains(&ran), "waited for {ran} of the culprit's time: {waits:?}");
    let all = sum(&waits, victim.id, |_| true);
    let exact = share(all, after.1 - before.1);
    assert!((0.95..1.05).contains(&exact), "{exact} of the kernel's run_delay: {waits:?}");
    assert_eq!(sum(&waits, victim.id, |c| c == Culprit::Cgroup(bystander.id)), 0);
    assert!(sum(&waits, victim.id, |c| c == Culprit::Throttled) == 0, "{waits:?}");
    assert!(waits.iter().all(|w| w.victim == victim.id), "only the watched: {waits:?}");
    assert_eq!(sched.lost().expect("readable"), []);
}

/// A group alone with its quota: stopped by itself, by nobody else.
#[test]
fn the_own_quota_is_no_neighbour() {
    need_root!();
    let group = or_skip!(Group::new("quota"));
    or_skip!(group.limit_cpu(QUOTA));
    let mut sched = or_skip!(Sched::start(true));
    sched.watch(group.id).expect("room for one");
    let _burning = group.run(BURN, Some(1));
    sleep(Duration::from_millis(300));

    let mut files = CgroupReader::existing(group.paths.clone());
    sched.read().expect("readable");
    files.read().expect("readable");
    sleep(WATCH);
    let waits = sched.read().expect("readable");
    let stopped = files.read().expect("readable").expect("there").cpu.throttled.expect("a quota");

    let ours = sum(&waits, group.id, |c| c == Culprit::Throttled);
    let agreed = share(ours, stopped);
    println!("throttled {agreed:.3} of what the files say: {waits:?}");
    assert!((0.8..1.2).contains(&agreed), "{ours} of {stopped} ns throttled: {waits:?}");
    let idle = sum(&waits, group.id, |c| c == Culprit::Idle);
    assert!(share(idle, ours) < 0.15, "{waits:?}");
}

/// The hard case: a quota and a neighbour on the same CPU. Each gets its own part.
#[test]
fn quota_and_neighbour_are_told_apart() {
    need_root!();
    let victim = or_skip!(Group::new("both"));
    let culprit = or_skip!(Group::new("neighbour"));
    or_skip!(victim.limit_cpu(QUOTA));
    let mut sched = or_skip!(Sched::start(true));
    sched.watch(victim.id).expect("room for one");
    let waiting = victim.run(BURN, Some(0));
    let _burning = culprit.run(BURN, Some(0));
    sleep(Duration::from_millis(300));

    let mut files = CgroupReader::existing(victim.paths.clone());
    // The kernel's figure before and after each look: a busy machine may hold us up between.
    let delay = || schedstat(waiting.pid()).1;
    let begin = (delay(), sched.read().expect("readable"), delay());
    files.read().expect("readable");
    sleep(WATCH);
    let end = (delay(), sched.read().expect("readable"), delay());
    let waits = end.1;
    let stopped = files.read().expect("readable").expect("there").cpu.throttled.expect("a quota");

    let ours = sum(&waits, victim.id, |c| c == Culprit::Throttled);
    let agreed = share(ours, stopped);
    println!("throttled {agreed:.3} of what the files say: {waits:?}");
    assert!((0.7..1.3).contains(&agreed), "{ours} of {stopped} ns throttled: {waits:?}");
    let by_culprit = sum(&waits, victim.id, |c| c == Culprit::Cgroup(culprit.id));
    assert!(by_culprit > 0, "{waits:?}");
    let all = sum(&waits, victim.id, |_| true);
    let (least, most) = (end.0 - begin.2, end.2 - begin.0);
    let exact = share(all, least) > 0.9 && share(all, most) < 1.1;
    assert!(exact, "{all} ns, the kernel's run_delay is {least} to {most}: {waits:?}");
}

/// More threads than CPU: the group keeps itself waiting.
#[test]
fn own_threads_are_own() {
    need_root!();
    let group = or_skip!(Group::new("own"));
    let mut sched = or_skip!(Sched::start(true));
    sched.watch(group.id).expect("room for one");
    let one = group.run(BURN, Some(1));
    let other = group.run(BURN, Some(1));
    sleep(Duration::from_millis(300));
    sched.read().expect("readable");
    let before = schedstat(one.pid()).0 + schedstat(other.pid()).0;
    sleep(WATCH);
    let waits = sched.read().expect("readable");
    let ran = schedstat(one.pid()).0 + schedstat(other.pid()).0 - before;
    let own = share(sum(&waits, group.id, |c| c == Culprit::Own), ran);
    assert!((0.9..1.1).contains(&own), "while one ran the other waited, {own}: {waits:?}");
}

/// Tasks that are moved between CPUs while they wait: the sum is still the kernel's.
/// Nobody is watched, so that everybody is a victim, this group too.
#[test]
fn waits_before_a_move_count_too() {
    need_root!();
    let group = or_skip!(Group::new("moved"));
    let mut sched = or_skip!(Sched::start(false));
    // Short sleeps between bursts make the balancer move them about.
    let bursts = "while :; do i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done; sleep 0.01; done";
    let mut members: Vec<_> = (0..3).map(|_| group.run(BURN, None)).collect();
    members.push(group.run(bursts, None));
    sleep(Duration::from_millis(300));
    sched.read().expect("readable");
    let delays = || members[..3].iter().map(|m| schedstat(m.pid()).1).sum::<u64>();
    let before = delays();
    sleep(WATCH);
    let waits = sched.read().expect("readable");
    let delay = delays() - before;
    let ours = sum(&waits, group.id, |_| true);
    println!("{ours} of at least {delay}: {waits:?}");
    // The fourth member and its children wait as well, but not as much.
    assert!(share(ours, delay) > 0.95, "{ours} of {delay}: {waits:?}");
    assert!(share(ours, delay) < 1.6, "{ours} of {delay}: {waits:?}");
}

/// Every failing call of a loop is counted, and no other.
#[test]
fn failing_opens_are_counted_exactly() {
    need_root!();
    let group = or_skip!(Group::new("emfile"));
    let mut failures = or_skip!(Failures::start());
    // Three descriptors are open and no more are allowed: each redirection fails.
    let script = "ulimit -n 3; i=0; while [ $i -lt 500 ]; do true </dev/null; i=$((i+1)); done";
    let mut shell = group.run(script, None);
    let pid = shell.pid();
    shell.0.wait().expect("ends");

    let last = failures.last_of(group.id, 8).expect("readable");
    let found: Vec<Failure> = ours(failures.read().expect("readable"), group.id);
    let emfile: Vec<&Failure> = found.iter().filter(|f| f.errno == "EMFILE").collect();
    assert_eq!(emfile.iter().map(|f| f.count).sum::<u64>(), 500, "{found:?}");
    assert!(emfile.iter().all(|f| f.pid == pid && f.first <= f.last), "{found:?}");
    assert!(last.iter().any(|f| f.errno == "EMFILE" && f.count == 500), "{last:?}");
    assert_eq!(ours(failures.read().expect("readable"), group.id), []);
    assert_eq!(failures.lost().expect("readable"), []);
}

fn ours(mut found: Vec<Failure>, group: u64) -> Vec<Failure> {
    found.retain(|f| f.cgroup == group);
    found
}

/// Two processes outside this one, so that no parallel test opens files in them.
#[test]
fn open_files_are_counted_and_sorted() {
    need_root!();
    let group = or_skip!(Group::new("fds"));
    let plain = group.run("ulimit -n 1024; sleep 60", None);
    let script = "ulimit -n 64; exec 5</dev/null 6</dev/null 7</proc/self/status; sleep 60";
    let leaky = group.run(script, None);
    let open = |pid| fd_kinds(pid).is_ok_and(|(kinds, _)| kinds.contains_key(&FdKind::File));
    for _ in 0..500 {
        if open(leaky.pid()) && fd_limit(plain.pid()).is_ok_and(|l| l == Some(1024)) {
            break;
        }
        sleep(Duration::from_millis(10));
    }
    let reading = closest_to_limit([plain.pid(), leaky.pid()]).expect("two processes");
    assert_eq!((reading.pid, reading.limit), (leaky.pid(), Some(64)));
    // Whatever the shells inherited, both have.
    let (before, _) = fd_kinds(plain.pid()).expect("it runs");
    let more = |kind| reading.kinds[&kind] - before.get(&kind).copied().unwrap_or(0);
    assert_eq!((more(FdKind::Device), more(FdKind::File)), (2, 1), "{reading:?}");
    assert_eq!(reading.count, fd_count(plain.pid()).expect("it runs") + 3);
    assert_eq!(reading.looked_at, reading.count);
    NetnsCounters::read(leaky.pid()).expect("its namespace is readable");
}
