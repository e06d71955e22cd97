//! What kind of fault the notices of an entity look like.
//!
//! Read from general evidence, not learned: what stops (requests and bytes fall), what
//! is used (processor, memory, disk), what is slow, what fails. A kind is named before
//! another when what it asks for is more particular.

use serde::Serialize;

use super::signs::Sign;
use super::words::Aspect;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It does not work at all: nothing comes in or goes out, and its memory changed.
    Stopped,
    /// It began anew: its memory changed and what it sends fell for a while.
    Restarted,
    /// Nothing passes on its link: requests both ways and bytes fell.
    Cut,
    /// Its link loses a part: requests or bytes fell.
    Lossy,
    /// Its memory.
    Memory,
    /// Its processors.
    Cpu,
    /// Its link is slow, or it is.
    Slow,
    /// Its own calls fail, or nothing else explains what was noticed.
    Failing,
    /// Its disk.
    Disk,
}

/// The kinds that the signs of one entity look like, the most likely first.
pub(super) fn kinds(signs: &[Sign<'_>]) -> Vec<Kind> {
    let moved = |aspect: Aspect, rose: bool| -> usize {
        let is = |sign: &&Sign<'_>| matches!(sign, Sign::Metric(name, up) if *up == rose && Aspect::of(name) == aspect);
        signs.iter().filter(is).count()
    };
    let rose = |aspect| moved(aspect, true) > 0;
    let (requests, bytes) = (moved(Aspect::Traffic, false), moved(Aspect::Network, false));
    let (memory, cpu) = (rose(Aspect::Memory), rose(Aspect::Cpu));
    let fails = signs.iter().any(|sign| matches!(sign, Sign::Out(_, _, true)));
    let quiet = requests + bytes > 0;
    let silent = requests >= 2 && bytes > 0;
    // Memory takes processors to fill, so it explains them where requests suffer from it.
    let suffers = moved(Aspect::Success, false) > 0 || rose(Aspect::Network);
    let found = [
        (memory && silent, Kind::Stopped),
        (memory && bytes > 0, Kind::Restarted),
        (!memory && silent, Kind::Cut),
        // Only what waits and sends as much as before waits for itself.
        (!memory && !cpu && bytes == 0 && rose(Aspect::Latency), Kind::Slow),
        // A busy processor answers less; a link that loses sends less as well.
        (!memory && quiet && (!cpu || bytes > 0), Kind::Lossy),
        (memory && (!cpu || suffers), Kind::Memory),
        (cpu, Kind::Cpu),
        (memory && cpu && !suffers, Kind::Memory),
        (rose(Aspect::Latency), Kind::Slow),
        (fails, Kind::Failing),
        (rose(Aspect::Disk), Kind::Disk),
        // No resource and no link explains what was noticed: its own code is left.
        (!signs.is_empty() && !fails, Kind::Failing),
    ];
    found.into_iter().filter(|(holds, _)| *holds).map(|(_, kind)| kind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Sign<'_> = Sign::Metric("mem_usage", true);
    const CPU: Sign<'_> = Sign::Metric("cpu_usage", true);
    const IN: Sign<'_> = Sign::Metric("dest_qps", false);
    const OUT: Sign<'_> = Sign::Metric("src_qps", false);
    const BYTES: Sign<'_> = Sign::Metric("net_transmit", false);

    #[test]
    fn the_most_particular_kind_comes_first() {
        let cases: [(&[Sign<'_>], Kind); 10] = [
            (&[MEMORY, IN, OUT, BYTES], Kind::Stopped),
            (&[MEMORY, BYTES], Kind::Restarted),
            (&[IN, OUT, BYTES], Kind::Cut),
            (&[IN], Kind::Lossy),
            (&[IN, CPU], Kind::Cpu),
            (&[IN, Sign::Metric("p95", true)], Kind::Slow),
            (&[MEMORY, CPU, Sign::Metric("success_rate", false)], Kind::Memory),
            (&[MEMORY, CPU], Kind::Cpu),
            (&[Sign::Metric("p95", true)], Kind::Slow),
            (&[Sign::Out("db", "get", true)], Kind::Failing),
        ];
        for (signs, kind) in cases {
            assert_eq!(kinds(signs).first(), Some(&kind));
        }
    }

    #[test]
    fn nothing_noticed_is_no_kind() {
        assert!(kinds(&[]).is_empty());
        let unexplained = [Sign::Log("a"), Sign::In("web", "get", false)];
        assert_eq!(kinds(&unexplained), [Kind::Failing]);
    }
}
