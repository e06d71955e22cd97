use proptest::prelude::*;

use super::*;

fn text(statement: &str, dialect: Dialect) -> String {
    normalise(statement.as_bytes(), dialect).text.to_string()
}

#[test]
fn literals_are_taken_out() {
    for (statement, expected) in [
        ("select 1", "select ?"),
        ("SELECT  a,b\n FROM t -- note\n WHERE x=-1.5e-3 ;", "SELECT a, b FROM t WHERE x=-?"),
        ("select 'it''s', E'a\\'b', $$x'y$$, $t$z$t$, U&'d'", "select ?"),
        ("insert into t(a) values (1,'x'), (2,'y'),(3, 'z')", "insert into t(a) values (?)"),
        ("select \"Col\" from \"My Table\" where c = $1", "select Col from My Table where c = ?"),
        ("select a::text /* c */ from t1", "select a::text from t1"),
        (
            "select * from t where b = x'ff' and n in (1, 2, 3)",
            "select * from t where b = ? and n in (?)",
        ),
        ("select 'unfinished", "select ?"),
    ] {
        assert_eq!(text(statement, Dialect::Postgres), expected);
    }
}

#[test]
fn quotes_follow_the_dialect() {
    let tricky = r"select '\', 'secret'";
    assert_eq!(text(tricky, Dialect::Postgres), "select ?");
    assert_eq!(text(r"select 'a\'secret', `t`", Dialect::Mysql), "select ?, t");
    assert_eq!(text(r#"select "secret" # secret"#, Dialect::Mysql), "select ?");
    let uuid = "select * from t where id = ab123456-0000-1111-2222-333344445555 and n = :name";
    assert_eq!(text(uuid, Dialect::Cql), "select * from t where id = ? and n = ?");
}

#[test]
fn verbs_and_tables() {
    for (statement, verb, table) in [
        ("select extract(day from x), a from shop.orders o", "SELECT", Some("shop.orders")),
        ("SELECT * FROM (select 1 from inner_t) x", "SELECT", Some("inner_t")),
        ("insert ignore into t values (1)", "INSERT", Some("t")),
        ("UPDATE ONLY t SET a = 1", "UPDATE", Some("t")),
        ("delete from t where a = 1", "DELETE", Some("t")),
        ("create table if not exists `db`.`t` (a int)", "CREATE", Some("db.t")),
        ("drop table t", "DROP", Some("t")),
        ("with a as (select 1 from b) insert into c select * from a", "INSERT", Some("c")),
        ("(select 1 from a) union (select 2 from b)", "SELECT", Some("a")),
        ("begin", "BEGIN", None),
        ("commit", "COMMIT", None),
        ("set names 'utf8'", "SET", None),
        ("hunter2 is my password", "_OTHER", None),
        ("", "_OTHER", None),
    ] {
        let found = normalise(statement.as_bytes(), Dialect::Postgres);
        assert_eq!((&*found.verb, found.table.as_deref()), (verb, table), "{statement}");
    }
}

#[test]
fn long_statements_are_bounded() {
    let long = format!("select a from t where {}", "a = b and ".repeat(2000));
    let found = normalise(long.as_bytes(), Dialect::Mysql);
    assert!(found.text.len() < 2 * KEPT && found.text.ends_with("..."));
}

#[test]
fn begins_like_a_statement() {
    for good in ["select 1", "  (SELECT", "/* hint */ x", "BEGIN;", "commit", "begin\0"] {
        assert!(begins(good.as_bytes()), "{good}");
    }
    for bad in ["", "selection", "GET / HTTP/1.1", "\x01\x02", "user"] {
        assert!(!begins(bad.as_bytes()), "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_string_gets_through(
        before in "[a-z =,()]{0,20}",
        secret in "[0-9a-zA-Z \\\\'\"]{0,30}",
        after in "[a-z =,()'\"]{0,20}",
        dialect in prop::sample::select(vec![Dialect::Postgres, Dialect::Mysql, Dialect::Cql]),
    ) {
        let mut quoted = secret.replace('\'', "''");
        if dialect == Dialect::Mysql {
            quoted = quoted.replace('\\', "\\\\");
        }
        let marked = format!("select {before} 'SECRET{quoted}SECRET' {after}");
        prop_assert!(!text(&marked, dialect).contains("SECRET"), "{}", marked);
    }

    #[test]
    fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for dialect in [Dialect::Postgres, Dialect::Mysql, Dialect::Cql] {
            let found = normalise(&bytes, dialect);
            prop_assert!(!found.text.chars().any(char::is_control));
        }
    }

    #[test]
    fn a_cut_statement_shows_nothing_more(cut in 0_usize..60) {
        let whole = "insert into t (a, b) values ('SECRET1', $$SECRET2$$), (12345, E'\\'SECRET3')";
        let found = text(&whole[..cut.min(whole.len())], Dialect::Postgres);
        prop_assert!(!found.contains("SECRET") && !found.contains("123"), "{}", found);
    }
}
