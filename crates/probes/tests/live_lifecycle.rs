//! The lifecycle collector against processes that really begin, end and are killed.

mod groups;

use std::time::{Duration, Instant};

use groups::{Group, unified};
use taproot_probes::lifecycle::{Event, Exit, Kind, Lifecycle};
use taproot_testkit::{need_root, skip};

macro_rules! or_skip {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(why) => skip!("{why}"),
        }
    };
}

fn start() -> Result<Lifecycle, String> {
    let lifecycle = Lifecycle::start(unified().as_deref()).map_err(|e| e.to_string())?;
    assert_eq!(lifecycle.off(), [], "every program runs on every kernel we know");
    Ok(lifecycle)
}

/// Collects events of one cgroup until `done`, for five seconds at most.
fn collect(lifecycle: &mut Lifecycle, group: u64, done: impl Fn(&[Event]) -> bool) -> Vec<Event> {
    let until = Instant::now() + Duration::from_secs(5);
    let mut events = Vec::new();
    while !done(&events) {
        let news = lifecycle.poll(Duration::from_millis(50)).expect("readable");
        events.extend(news.into_iter().filter(|e| e.cgroup == group));
        assert!(Instant::now() < until, "still waiting after 5 s: {events:#?}");
    }
    events
}

fn end_of(events: &[Event], pid: u32) -> Option<Exit> {
    events.iter().find_map(|e| match e.kind {
        Kind::Exit(exit) if e.process.as_ref().is_some_and(|p| p.pid == pid) => Some(exit),
        _ => None,
    })
}

#[test]
fn a_short_life_is_told_from_beginning_to_end() {
    need_root!();
    let mut lifecycle = or_skip!(start());
    let group = or_skip!(Group::new("life"));
    let mut shell = group.run("exec sh -c 'exit 3'", None);
    let pid = shell.pid();
    shell.0.wait().expect("ends");
    let id = group.id;
    let path = group.paths.unified.clone().expect("made");
    drop(group);
    let removed = |e: &Event| matches!(e.kind, Kind::CgroupRemoved { .. });
    let events = collect(&mut lifecycle, id, |events| events.iter().any(removed));

    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    let named = |p: &String| *p == format!("/{name}");
    assert!(matches!(&events[0].kind, Kind::CgroupMade { path } if named(path)), "{events:#?}");
    assert!(
        events.iter().any(|e| matches!(&e.kind, Kind::CgroupJoined { first: true, .. })),
        "{events:#?}"
    );
    let exec = events.iter().find_map(|e| match &e.kind {
        Kind::Exec { path, parent } => Some((path.clone(), *parent, e.process.clone())),
        _ => None,
    });
    let (program, parent, process) = exec.expect("an exec");
    assert!(program.ends_with("/sh"), "{program}");
    assert_eq!(parent, std::process::id());
    let process = process.expect("a process");
    assert_eq!((process.pid, process.comm.as_str()), (pid, "sh"));
    let end = Exit { code: 3, signal: 0, core: false, main: true };
    assert_eq!(end_of(&events, pid), Some(end), "{events:#?}");
    assert!(events.windows(2).all(|pair| pair[0].at <= pair[1].at), "in order");
    assert_eq!(lifecycle.lost().expect("readable"), []);
}

#[test]
fn children_and_threads_do_not_end_a_container() {
    need_root!();
    let mut lifecycle = or_skip!(start());
    let group = or_skip!(Group::new("children"));
    let shell = group.run("exec sh -c 'sh -c \"exit 7\"; exit 0'", None);
    let pid = shell.pid();
    let events = collect(&mut lifecycle, group.id, |events| end_of(events, pid).is_some());
    let ends: Vec<(u8, bool)> = events
        .iter()
        .filter_map(|e| match e.kind {
            Kind::Exit(exit) => Some((exit.code, exit.main)),
            _ => None,
        })
        .collect();
    assert_eq!(ends, [(7, false), (0, true)], "{events:#?}");
}

#[test]
fn a_killed_process_names_its_killer() {
    need_root!();
    let mut lifecycle = or_skip!(start());
    let group = or_skip!(Group::new("killed"));
    let mut victim = group.run("exec sleep 60", None);
    let pid = victim.pid();
    std::thread::sleep(Duration::from_millis(200));
    victim.0.kill().expect("it runs");
    let events = collect(&mut lifecycle, group.id, |events| end_of(events, pid).is_some());
    assert_eq!(end_of(&events, pid).map(|e| (e.code, e.signal, e.main)), Some((0, 9, true)));
    let sender = events.iter().find_map(|e| match &e.kind {
        Kind::Signal { number: 9, sender, .. } => sender.clone(),
        _ => None,
    });
    assert_eq!(sender.map(|s| s.pid), Some(std::process::id()), "{events:#?}");
}

#[test]
fn a_crash_is_told_with_its_signal() {
    need_root!();
    let mut lifecycle = or_skip!(start());
    let group = or_skip!(Group::new("crash"));
    let shell = group.run("ulimit -c 0; kill -SEGV $$; sleep 5", None);
    let pid = shell.pid();
    let events = collect(&mut lifecycle, group.id, |events| end_of(events, pid).is_some());
    let end = end_of(&events, pid).expect("waited for");
    assert_eq!((end.signal, end.code, end.main), (11, 0, true), "{events:#?}");
}

#[test]
fn an_ignored_signal_is_no_kill() {
    need_root!();
    let mut lifecycle = or_skip!(start());
    let group = or_skip!(Group::new("ignored"));
    let shell = group.run("trap '' TERM; kill -TERM $$; exit 4", None);
    let pid = shell.pid();
    let events = collect(&mut lifecycle, group.id, |events| end_of(events, pid).is_some());
    assert_eq!(end_of(&events, pid).map(|e| (e.code, e.signal)), Some((4, 0)));
    assert!(!events.iter().any(|e| matches!(e.kind, Kind::Signal { .. })), "{events:#?}");
}

#[test]
fn an_oom_kill_is_told_apart_from_a_kill() {
    need_root!();
    let mut lifecycle = or_skip!(start());
    let group = or_skip!(Group::new("oom"));
    or_skip!(group.limit_memory(16 << 20));
    // dd fills one block of 64 MiB before it writes anything.
    let hog = group.run("exec dd if=/dev/zero of=/dev/null bs=64M count=1", None);
    let pid = hog.pid();
    let events = collect(&mut lifecycle, group.id, |events| end_of(events, pid).is_some());
    let kill = events.iter().find(|e| e.kind == Kind::OomKill).unwrap_or_else(|| {
        panic!("no OOM kill: {events:#?}");
    });
    assert_eq!(kill.process.as_ref().map(|p| (p.pid, p.comm.as_str())), Some((pid, "dd")));
    assert_eq!(end_of(&events, pid).map(|e| (e.signal, e.main)), Some((9, true)));
    let by_kernel = |e: &Event| matches!(e.kind, Kind::Signal { number: 9, sender: None, .. });
    assert!(events.iter().any(by_kernel), "{events:#?}");
}
