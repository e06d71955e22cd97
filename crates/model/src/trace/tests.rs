use super::*;
use crate::{Edge, Endpoint, Protocol, Timestamp};

const HEADER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn record(request: u64, role: Role, cause: Option<u64>, header: Option<&str>) -> Exemplar {
    let end = || Endpoint {
        entity: "container:a".into(),
        service: "a".into(),
        instance: "a".into(),
        addr: ([10, 0, 0, 1], 80).into(),
    };
    let context = header.map(|header| Context::parse(header).unwrap());
    Exemplar {
        at: Timestamp::default(),
        edge: Edge { client: end(), server: end(), via: None, role },
        protocol: Protocol::Http,
        method: "GET".into(),
        path: "/".into(),
        route: "/".into(),
        status: 200,
        code: "".into(),
        error: false,
        first_byte: 1,
        duration: 2,
        stages: None,
        origin: Some(Origin { request, cause, context }),
        request_bytes: 1,
        response_bytes: 1,
    }
}

fn client(request: u64, cause: Option<u64>) -> Exemplar {
    record(request, Role::Client, cause, None)
}

fn server(request: u64) -> Exemplar {
    record(request, Role::Server, None, None)
}

fn places<const N: usize>(records: &[Exemplar; N]) -> [Place; N] {
    let places = Places::among(records);
    std::array::from_fn(|at| places.of(&records[at]).unwrap())
}

#[test]
fn a_traceparent_is_read_by_its_rules() {
    let read = Context::parse(HEADER).unwrap();
    assert_eq!(hex(&read.trace), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(hex(&read.span), "b7ad6b7169203331");
    assert_eq!(Context::parse(&format!(" {HEADER}\t")), Some(read));
    let later = format!("cc{}-what-comes-later", &HEADER[2..]);
    assert_eq!(Context::parse(&later), Some(read), "a later version may say more");
    for wrong in [
        "",
        "00",
        &HEADER[..HEADER.len() - 1],
        &HEADER[3..],
        &format!("{HEADER}-more"),
        &HEADER.to_uppercase(),
        &HEADER.replace("00-", "ff-"),
        &HEADER.replace("b7ad6b7169203331", "0000000000000000"),
        &HEADER.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
        &HEADER.replace("0af7", "0ag7"),
        &HEADER.replace("0af7", "0aé"),
    ] {
        assert_eq!(Context::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn a_chain_over_three_hosts_is_one_trace() {
    // a asks b (1), whose thread asks c (2); each end has its own record.
    let chain = [client(1, None), server(1), client(2, Some(1)), server(2)];
    let told = places(&chain);
    assert!(told.iter().all(|place| place.trace == told[0].trace), "{told:?}");
    assert_eq!(told[0].parent, None);
    for (parent, child) in told.iter().zip(&told[1..]) {
        assert_eq!(child.parent, Some(parent.span));
        assert_ne!(child.span, parent.span);
    }
}

#[test]
fn what_is_not_proved_has_no_parent_and_a_trace_of_its_own() {
    let told = places(&[server(1), client(2, None), server(3)]);
    assert!(told.iter().all(|place| place.parent.is_none()), "{told:?}");
    assert!(told[0].trace != told[1].trace && told[1].trace != told[2].trace);
}

#[test]
fn a_cause_that_was_not_kept_is_still_the_parent() {
    let [kept, _] = places(&[server(1), client(2, Some(1))]);
    let [alone] = places(&[client(2, Some(1))]);
    assert_eq!((alone.parent, alone.trace), (Some(kept.span), kept.trace));
}

#[test]
fn a_header_names_trace_and_parent() {
    let context = Context::parse(HEADER).unwrap();
    let asked = |cause| record(1, Role::Client, cause, Some(HEADER));
    let [only] = places(&[record(1, Role::Server, None, Some(HEADER))]);
    assert_eq!((only.trace, only.parent), (context.trace, Some(context.span)));
    // Beside the client's own record, which stands between.
    let [from, to] = places(&[asked(None), record(1, Role::Server, None, Some(HEADER))]);
    assert_eq!((from.trace, from.parent), (context.trace, Some(context.span)));
    assert_eq!((to.trace, to.parent), (context.trace, Some(from.span)));
    // It says more than its thread's order does: the library's span is in between.
    let [_, from] = places(&[server(7), asked(Some(7))]);
    assert_eq!((from.trace, from.parent), (context.trace, Some(context.span)));
}

#[test]
fn a_header_that_was_only_passed_on_is_of_nobody_between() {
    let through = record(1, Role::Server, None, Some(HEADER));
    let on = record(2, Role::Client, Some(1), Some(HEADER));
    let [by, on] = places(&[through, on]);
    assert_eq!(on.parent, Some(by.span));
    assert_eq!(on.trace, by.trace);
}

#[test]
fn records_that_cause_each_other_end() {
    let told = places(&[client(1, Some(1)), server(1)]);
    assert!(told.iter().all(|place| place.parent.is_some()));
}
