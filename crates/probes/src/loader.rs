//! Loads an object as far as the running kernel accepts it.

use std::mem::MaybeUninit;
use std::sync::Mutex;

use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{Link, OpenObject, PrintLevel, set_print};

use crate::{Error, Result};

/// A program that does not run here, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Off {
    /// Name of the program.
    pub program: String,
    /// The kernel's or libbpf's reason, one line.
    pub why: String,
}

/// The programs of a loaded object that were attached.
pub struct Attached {
    /// Keep these: dropping a link detaches its program.
    pub links: Vec<Link>,
    /// What could not be attached.
    pub off: Vec<Off>,
}

/// What libbpf said during the load in progress.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// One load at a time: libbpf's print hook is global.
static LOADING: Mutex<()> = Mutex::new(());

#[allow(clippy::needless_pass_by_value, reason = "the type that set_print asks for")]
fn listen(level: PrintLevel, message: String) {
    let message = message.trim_end();
    tracing::debug!(target: "libbpf", ?level, "{message}");
    if let Ok(mut said) = SAID.lock() {
        said.extend(message.lines().map(str::to_owned));
    }
}

/// Sends libbpf's own output to the debug log instead of stderr.
pub fn silence_libbpf() {
    set_print(Some((PrintLevel::Info, listen)));
}

/// Opens and loads an object, leaving out every program the kernel refuses.
///
/// `configure` runs on every attempt, before loading: it sets read-only data, map
/// sizes and which programs to leave out from the start. libbpf fails a whole
/// object for one program, so the refused one is found in its messages, turned
/// off, and the load is tried again. `required` programs are not given up.
pub fn load_tolerant<B>(
    collector: &'static str,
    required: &[&str],
    builder: impl Fn() -> B,
    configure: impl Fn(&mut B::Output) -> Result<()>,
) -> Result<(<B::Output as OpenSkel<'static>>::Output, Vec<Off>)>
where
    B: SkelBuilder<'static>,
{
    let _one_at_a_time = LOADING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    silence_libbpf();
    let mut off: Vec<Off> = Vec::new();
    loop {
        // The skeleton borrows its object for its whole life; a few leaked words
        // per attempt buy a `'static` one that collectors can own.
        let storage = Box::leak(Box::new(MaybeUninit::<OpenObject>::uninit()));
        clear_messages();
        let mut open =
            builder().open(storage).map_err(Error::bpf(format!("opening {collector}")))?;
        configure(&mut open)?;
        for mut program in open.open_object_mut().progs_mut() {
            if off.iter().any(|o| program.name() == o.program.as_str()) {
                program.set_autoload(false);
            }
        }
        if open.open_object().progs().all(|p| !p.autoload()) {
            let why = off.first().map_or_else(String::new, |o| format!("{}: {}", o.program, o.why));
            return Err(Error::NothingLoads { collector, why });
        }
        match open.load() {
            Ok(loaded) => return Ok((loaded, off)),
            Err(error) => match refused(&take_messages()) {
                Some(bad)
                    if !required.contains(&bad.program.as_str())
                        && off.iter().all(|o| o.program != bad.program) =>
                {
                    tracing::debug!(collector, program = bad.program, why = bad.why, "left out");
                    off.push(bad);
                }
                Some(bad) => {
                    return Err(Error::Bpf {
                        what: format!("loading {collector}/{}: {}", bad.program, bad.why),
                        source: error,
                    });
                }
                None => {
                    return Err(Error::Bpf { what: format!("loading {collector}"), source: error });
                }
            },
        }
    }
}

/// Attaches every loaded program that libbpf can attach from its section name.
///
/// `skip` names programs that the collector attaches itself (cgroup, iterator).
pub fn attach_all<'obj>(skel: &impl Skel<'obj>, skip: &[&str]) -> Attached {
    let mut done = Attached { links: Vec::new(), off: Vec::new() };
    for program in skel.object().progs_mut() {
        let name = program.name().to_string_lossy().into_owned();
        if !program.autoload() || skip.contains(&name.as_str()) {
            continue;
        }
        match program.attach() {
            Ok(link) => done.links.push(link),
            Err(error) => done.off.push(Off { program: name, why: error.to_string() }),
        }
    }
    done
}

fn clear_messages() {
    if let Ok(mut said) = SAID.lock() {
        said.clear();
    }
}

fn take_messages() -> Vec<String> {
    SAID.lock().map(|mut said| std::mem::take(&mut *said)).unwrap_or_default()
}

/// Finds in libbpf's messages the program that made a load fail, and why.
///
/// Messages read `libbpf: prog 'name': BPF program load failed: -EACCES`, with
/// the verifier's log between BEGIN and END markers.
fn refused(said: &[String]) -> Option<Off> {
    let program = said.iter().rev().find_map(|line| program_of(line))?;
    let verdict = verifier_verdict(said)
        .or_else(|| said.iter().find(|l| program_of(l).as_deref() == Some(&program)).cloned())
        .unwrap_or_default();
    let why =
        verdict.trim_start_matches("libbpf: ").trim_start_matches(&format!("prog '{program}': "));
    Some(Off { why: why.to_owned(), program })
}

fn program_of(line: &str) -> Option<String> {
    let rest = line.split("prog '").nth(1)?;
    rest.split('\'').next().map(str::to_owned)
}

/// The last words of the verifier before its statistics.
fn verifier_verdict(said: &[String]) -> Option<String> {
    let end = said.iter().rposition(|l| l.contains("END PROG LOAD LOG"))?;
    said[..end]
        .iter()
        .rev()
        .find(|l| {
            !l.starts_with("processed ") && !l.starts_with("verification time") && !l.is_empty()
        })
        .filter(|l| !l.contains("BEGIN PROG LOAD LOG"))
        .cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn finds_the_program_the_verifier_refused() {
        let said = lines(
            "libbpf: prog 'on_drop': BPF program load failed: -EACCES\n\
             libbpf: prog 'on_drop': -- BEGIN PROG LOAD LOG --\n\
             0: R1=ctx() R10=fp0\n\
             R1 invalid mem access 'scalar'\n\
             processed 12 insns (limit 1000000)\n\
             -- END PROG LOAD LOG --\n\
             libbpf: prog 'on_drop': failed to load: -EACCES\n\
             libbpf: failed to load object 'flow_bpf'",
        );
        let off = refused(&said).unwrap();
        assert_eq!(off.program, "on_drop");
        assert_eq!(off.why, "R1 invalid mem access 'scalar'");
    }

    #[test]
    fn finds_a_missing_tracepoint() {
        let said = lines(
            "libbpf: prog 'on_ready': failed to find kernel BTF type ID of 'sk_data_ready': -ESRCH\n\
             libbpf: prog 'on_ready': failed to prepare load attributes: -ESRCH",
        );
        let off = refused(&said).unwrap();
        assert_eq!(off.program, "on_ready");
        assert!(off.why.contains("sk_data_ready"), "{}", off.why);
    }

    #[test]
    fn other_failures_name_no_program() {
        assert_eq!(refused(&lines("libbpf: Error in bpf_create_map_xattr(ring): -EPERM")), None);
    }
}
