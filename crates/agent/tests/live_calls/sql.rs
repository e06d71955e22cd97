//! `PostgreSQL` by `pg_stat_statements`, `MariaDB` by its status.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use taproot_model::{Protocol, Role};
use taproot_testkit::{command_path, need, need_commands, need_root};

use crate::bed::{Bed, Process, Unread};
use crate::many;

/// Debian keeps the server's programs where `PATH` does not reach.
fn postgres_bin() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut bins: Vec<_> = versions.flatten().map(|v| v.path().join("bin")).collect();
    bins.retain(|bin| bin.join("initdb").exists());
    bins.sort();
    bins.pop()
}

/// The server refuses to run as root.
const AS_POSTGRES: [&str; 3] = ["--reuid=postgres", "--regid=postgres", "--clear-groups"];

fn postgres(bed: &Bed, bin: &Path) -> Process {
    let (dir, bin) = (bed.dir.path().to_str().unwrap(), bin.to_str().unwrap());
    bed.run("chown", &["postgres", dir]);
    let (initdb, data) = (format!("{bin}/initdb"), format!("{dir}/data"));
    let make = ["-D", &data, "-A", "trust", "-U", "postgres", "--no-sync"];
    bed.run("setpriv", &[&AS_POSTGRES[..], &[&initdb], &make].concat());
    let program = format!("{bin}/postgres");
    let settings = ["shared_preload_libraries=pg_stat_statements", "fsync=off", "ssl=off"];
    let settings = settings.iter().flat_map(|s| ["-c", s]).collect::<Vec<_>>();
    let run = [&["-D", &data, "-k", dir, "-h", "127.0.0.1"][..], &settings].concat();
    let server = bed.start("setpriv", &[&AS_POSTGRES[..], &[&program], &run].concat());
    // It listens before it lets anybody in.
    bed.until("psql", &["-h", dir, "-U", "postgres", "-c", "SELECT 1"]);
    server
}

/// Asks through the socket file, which is not TCP.
fn ask(bed: &Bed, statement: &str) -> String {
    let dir = bed.dir.path().to_str().unwrap();
    bed.run("psql", &["-h", dir, "-U", "postgres", "-AtF", " ", "-c", statement])
}

/// Statements by their first word, as the server counts them.
fn truth(bed: &Bed) -> BTreeMap<String, u64> {
    let text = ask(
        bed,
        "SELECT upper(split_part(trim(query), ' ', 1)), sum(calls) FROM pg_stat_statements
         WHERE query NOT LIKE '%pg_stat_statements%' GROUP BY 1",
    );
    let rows = text.lines().map(|line| line.split_once(' ').unwrap());
    rows.map(|(verb, calls)| (verb.to_owned(), calls.parse().unwrap())).collect()
}

fn pgbench(mut bed: Bed, flags: &[&str], each: u64) -> Result<(), Unread> {
    let Some(bin) = postgres_bin() else { panic!("checked before") };
    let _server = postgres(&bed, &bin);
    ask(&bed, "CREATE EXTENSION pg_stat_statements");
    let to = ["-h", "127.0.0.1", "-U", "postgres"];
    bed.run("pgbench", &[&to[..], &["-i", "-q", "postgres"]].concat());
    bed.counted();
    ask(&bed, "SELECT pg_stat_statements_reset()");
    let count = each.to_string();
    let args = [&to[..], &["-n", "-c", "4", "-t", &count], flags, &["postgres"]].concat();
    let text = bed.run("pgbench", &args);
    assert!(text.contains(&format!("{}/{}", 4 * each, 4 * each)), "{text}");
    let counted = bed.read()?;
    let truth = truth(&bed);
    assert!(truth["SELECT"] >= 4 * each, "{truth:?}");
    for role in [Role::Server, Role::Client] {
        let mut ours = counted.by_method(Protocol::Postgres, role);
        ours.retain(|verb, _| truth.contains_key(verb));
        assert_eq!(ours, truth, "{role:?} {flags:?}; lost: {:?}", bed.losses());
    }
    let odd = counted.odd(Protocol::Postgres);
    assert!(odd.is_empty(), "{odd:?}");
    let table = |r: &&taproot_model::Requests| &*r.route == "pgbench_accounts";
    assert!(counted.of(Protocol::Postgres, Role::Server).any(|r| table(&r)));
    Ok(())
}

macro_rules! need_postgres {
    () => {
        need_root!();
        need_commands!("pgbench", "psql", "setpriv", "ip");
        need!(postgres_bin().is_some(), "no PostgreSQL server in /usr/lib/postgresql");
    };
}

#[test]
fn postgres_simple_queries() {
    need_postgres!();
    read_whole!(|bed| pgbench(bed, &["-M", "simple"], many(1_000)));
}

#[test]
fn postgres_extended_queries() {
    need_postgres!();
    read_whole!(|bed| pgbench(bed, &["-M", "extended"], many(1_000)));
}

#[test]
fn postgres_prepared_reads_at_full_speed() {
    need_postgres!();
    read_whole!(|bed| pgbench(bed, &["-M", "prepared", "-S"], many(20_000)));
}

fn mariadb(bed: &Bed) -> Process {
    let dir = bed.dir.path().to_str().unwrap();
    let (data, socket) = (format!("--datadir={dir}/data"), format!("--socket={dir}/socket"));
    // A server that starts removes what it takes for its own in the place for such files.
    let (user, temporary) = ("--user=root", format!("--tmpdir={dir}"));
    let make = [
        "--no-defaults",
        &data,
        &temporary,
        user,
        "--skip-test-db",
        "--auth-root-authentication-method=normal",
    ];
    bed.run("mariadb-install-db", &make);
    let run = [
        "--no-defaults",
        &data,
        &temporary,
        &socket,
        user,
        "--bind-address=127.0.0.1",
        "--skip-name-resolve",
    ];
    let server = bed.start(command_path("mariadbd").unwrap().to_str().unwrap(), &run);
    bed.ready(3306);
    server
}

/// What the server says through its socket file, which is not TCP.
fn through_socket(bed: &Bed, statement: &str) -> String {
    let socket = format!("--socket={}/socket", bed.dir.path().display());
    bed.run("mariadb", &["--no-defaults", &socket, "-u", "root", "-BNe", statement])
}

/// A counter of the server.
fn status(bed: &Bed, name: &str) -> u64 {
    let text = through_socket(bed, &format!("SHOW GLOBAL STATUS LIKE '{name}'"));
    text.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn mysqlslap(mut bed: Bed, flags: &[&str], queries: u64, least: u64) -> Result<(), Unread> {
    let _server = mariadb(&bed);
    through_socket(&bed, "CREATE DATABASE mysqlslap");
    let before = (status(&bed, "Questions"), status(&bed, "Com_select"));
    let count = format!("--number-of-queries={queries}");
    let to = ["--no-defaults", "-h", "127.0.0.1", "-u", "root", "--concurrency=4", &count];
    bed.run("mariadb-slap", &[&to[..], flags].concat());
    let after = (status(&bed, "Questions"), status(&bed, "Com_select"));
    // Asking is a question too, and so is the farewell after it.
    let (questions, selects) = (after.0 - before.0 - 4, after.1 - before.1);
    assert!(selects >= least, "{selects}");
    let counted = bed.read()?;
    for role in [Role::Server, Role::Client] {
        let ours = counted.by_method(Protocol::Mysql, role);
        assert_eq!(ours["SELECT"], selects, "{role:?}; {ours:?}; lost: {:?}", bed.losses());
        let asked: u64 = ours.iter().filter(|(m, _)| is_question(m)).map(|(_, n)| n).sum();
        assert_eq!(asked, questions, "{role:?}; {ours:?}; lost: {:?}", bed.losses());
    }
    let odd = counted.odd(Protocol::Mysql);
    assert!(odd.is_empty(), "{odd:?}");
    Ok(())
}

/// What the server counts among its `Questions`.
fn is_question(method: &str) -> bool {
    !matches!(method, "CONNECT" | "PING" | "STATISTICS" | "PREPARE" | "CLOSE" | "RESET")
}

#[test]
fn mariadb_reads() {
    need_root!();
    need_commands!("mariadbd", "mariadb-install-db", "mariadb", "mariadb-slap", "ip");
    let n = many(20_000);
    read_whole!(|bed| mysqlslap(bed, &["--query=SELECT 1"], n, n));
}

#[test]
fn mariadb_reads_and_writes() {
    need_root!();
    need_commands!("mariadbd", "mariadb-install-db", "mariadb", "mariadb-slap", "ip");
    // Of what it makes up by itself about half are reads.
    let n = many(5_000);
    read_whole!(|bed| mysqlslap(bed, &["--auto-generate-sql"], n, n / 4));
}
