//! Puts the programs on the places that were found in a file.

use std::path::Path;

use libbpf_rs::{Link, ProgramMut, UprobeMultiOpts, UprobeOpts};
use rustix::time::{ClockId, clock_gettime};

use super::golang;
use super::skeleton::TlsProgs;
use super::targets::{Site, Targets};

type Result<T> = std::result::Result<T, libbpf_rs::Error>;

/// How long attaching may take before somebody is certainly observed.
const MARGIN: u64 = 500_000_000;
/// Lowest bits of a cookie, which say what a function does: `TLS_OPERATION_BITS`.
const OPERATION_BITS: u32 = 3;

/// A program in its two forms: for many places, and for one.
struct Pair<'a, 'p> {
    many: &'a ProgramMut<'p>,
    one: &'a ProgramMut<'p>,
    returning: bool,
}

/// The file and whose running of it is observed: a process, or -1 for everybody's.
struct Place<'a> {
    path: &'a Path,
    process: i32,
    /// From when on it is certainly observed, as the programs have it in their cookies.
    watched: u64,
}

/// Attaches to every place of `targets` in a file. What attaches is kept until the
/// links are dropped.
pub(super) fn attach(
    programs: &TlsProgs<'_>,
    path: &Path,
    process: i32,
    targets: &Targets,
) -> Result<Vec<Link>> {
    let now = clock_gettime(ClockId::Monotonic);
    let now = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
    let place = Place { path, process, watched: (now + MARGIN) << OPERATION_BITS };
    let mut links = Vec::new();
    if !targets.decrypted.is_empty() {
        let decrypted = Pair {
            many: &programs.tls_rust_decrypted_many,
            one: &programs.tls_rust_decrypted,
            returning: false,
        };
        let cookies = vec![place.watched; targets.decrypted.len()];
        links.extend(decrypted.attach(&place, &targets.decrypted, &cookies)?);
    }
    if !targets.library.is_empty() {
        library(programs, &place, &targets.library, &mut links)?;
    }
    if let Some(sites) = &targets.go {
        go(programs, &place, sites, &mut links)?;
    }
    Ok(links)
}

/// The ends first: a call whose beginning is seen is seen to end.
fn library(
    programs: &TlsProgs<'_>,
    place: &Place<'_>,
    sites: &[Site],
    links: &mut Vec<Link>,
) -> Result<()> {
    let leave = Pair { many: &programs.tls_leave_many, one: &programs.tls_leave, returning: true };
    let done = Pair { many: &programs.tls_done_many, one: &programs.tls_done, returning: false };
    let enter = Pair { many: &programs.tls_enter_many, one: &programs.tls_enter, returning: false };
    let within = || sites.iter().filter_map(|site| Some((site, site.within?)));
    let ends = within().map(|(site, at)| (site.offset + at.end, site));
    let calls = within().map(|(site, at)| (site.offset + at.call, site));
    let whole = || sites.iter().filter(|s| s.within.is_none()).map(|site| (site.offset, site));
    links.extend(done.attach_all(place, ends)?);
    links.extend(leave.attach_all(place, whole())?);
    links.extend(enter.attach_all(place, calls.chain(whole()))?);
    Ok(())
}

fn go(
    programs: &TlsProgs<'_>,
    place: &Place<'_>,
    sites: &golang::Sites,
    links: &mut Vec<Link>,
) -> Result<()> {
    let end =
        Pair { many: &programs.tls_go_return_many, one: &programs.tls_go_return, returning: false };
    let read =
        Pair { many: &programs.tls_go_read_many, one: &programs.tls_go_read, returning: false };
    let write =
        Pair { many: &programs.tls_go_write_many, one: &programs.tls_go_write, returning: false };
    let cookies = vec![place.watched; sites.returns.len().max(1)];
    links.extend(end.attach(place, &sites.returns, &cookies)?);
    links.extend(read.attach(place, &[sites.read], &cookies[..1])?);
    links.extend(write.attach(place, &[sites.write], &cookies[..1])?);
    Ok(())
}

impl Pair<'_, '_> {
    /// On places of functions, by their offsets in the file.
    fn attach_all<'a>(
        &self,
        place: &Place<'_>,
        sites: impl Iterator<Item = (usize, &'a Site)>,
    ) -> Result<Vec<Link>> {
        let (offsets, cookies): (Vec<_>, Vec<_>) =
            sites.map(|(offset, site)| (offset, place.watched | site.cookie)).unzip();
        if offsets.is_empty() { Ok(Vec::new()) } else { self.attach(place, &offsets, &cookies) }
    }

    fn attach(&self, place: &Place<'_>, offsets: &[usize], cookies: &[u64]) -> Result<Vec<Link>> {
        let options = UprobeMultiOpts {
            offsets: offsets.to_vec(),
            cookies: cookies.to_vec(),
            retprobe: self.returning,
            ..UprobeMultiOpts::default()
        };
        match self.many.attach_uprobe_multi_with_opts(place.process, place.path, "", options) {
            Ok(link) => Ok(vec![link]),
            Err(error) => {
                tracing::debug!(%error, path = %place.path.display(), "one by one");
                self.one_by_one(place, offsets, cookies)
            }
        }
    }

    fn one_by_one(
        &self,
        place: &Place<'_>,
        offsets: &[usize],
        cookies: &[u64],
    ) -> Result<Vec<Link>> {
        let one = |(offset, cookie): (&usize, &u64)| {
            let options =
                UprobeOpts { cookie: *cookie, retprobe: self.returning, ..UprobeOpts::default() };
            self.one.attach_uprobe_with_opts(place.process, place.path, *offset, options)
        };
        offsets.iter().zip(cookies).map(one).collect()
    }
}
