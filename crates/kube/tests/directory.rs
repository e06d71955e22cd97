//! What a node's directory answers, from facts as real sources write them.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its stage fails")]

use std::net::IpAddr;
use std::time::Duration;
use taproot_kube::{ContainerFact, Directory, End, FactSource, Objects, PodFact, Workload};
use taproot_model::{EntityKind, Name, Timestamp};

const PODS: &[u8] = include_bytes!("fixtures/kubelet-pods.json");
const CLUSTER: &[u8] = include_bytes!("fixtures/cluster-list.json");
const LEDGER: &str = "0b8c1f52-6f0e-4a6e-9c55-1f6f8f1b0a01";

/// Seconds after 2026-03-01 10:00:00 UTC.
fn at(seconds: u64) -> Timestamp {
    Timestamp(1_772_359_200_000_000_000) + Duration::from_secs(seconds)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn id(letter: char, last: u8) -> String {
    format!("{}{:060}", letter.to_string().repeat(4), last)
}

fn directory() -> Directory {
    let mut directory = Directory::new("n1");
    let pods = Objects::parse(PODS).unwrap();
    directory.merge_list(pods.pod_facts(at(600)), FactSource::Kubelet, at(600));
    let cluster = Objects::parse(CLUSTER).unwrap();
    directory.set_services(cluster.services());
    directory.set_nodes(cluster.node_addresses());
    directory
}

fn named(directory: &Directory, address: &str, port: u16, when: u64) -> Option<String> {
    let owner = directory.address(ip(address), port, at(when))?;
    Some(format!("{} {} {}", owner.service, owner.instance(), owner.container))
}

#[test]
fn a_container_has_all_its_names() {
    let directory = directory();
    let container = directory.entity(&format!("container:{}", id('a', 2))).unwrap();
    assert_eq!(container.kind, EntityKind::Container);
    assert_eq!(&*container.service, "bank/ledger");
    assert_eq!(&*container.namespace, "bank");
    assert_eq!((&*container.workload_kind, &*container.workload), ("Deployment", "ledger"));
    assert_eq!(&*container.pod, "ledger-7c9d8f6b54-x2x4z");
    assert_eq!(&*container.pod_uid, LEDGER);
    assert_eq!((&*container.container, &*container.image), ("ledger", "localhost/ledger:2.4"));
    assert_eq!(&*container.node, "n1");
    assert_eq!(container.labels.get("version").map(|v| &**v), Some("2.4"));
    assert_eq!(container.labels.get("team"), None, "not one people slice by");
}

#[test]
fn an_address_leads_to_the_container_that_serves_the_port_then() {
    let directory = directory();
    let ledger = Some("bank/ledger ledger-7c9d8f6b54-x2x4z ledger".to_owned());
    let proxy = Some("bank/ledger ledger-7c9d8f6b54-x2x4z proxy".to_owned());
    assert_eq!(named(&directory, "10.1.0.5", 8080, 400), ledger);
    assert_eq!(named(&directory, "fd00:1::5", 15001, 400), proxy);
    let before = directory.address(ip("10.1.0.5"), 8080, at(100)).unwrap();
    assert_eq!(before.container_id.as_str(), id('a', 1), "the container before the restart");
    assert_eq!(named(&directory, "10.1.0.5", 8080, 0), None, "before the pod");
}

#[test]
fn a_pod_that_is_over_leaves_its_address() {
    let directory = directory();
    let backup = Some("bank/backup backup-29353680-abcde dump".to_owned());
    assert_eq!(named(&directory, "10.1.0.6", 0, 30), backup);
    assert_eq!(named(&directory, "10.1.0.6", 0, 61), None);
}

#[test]
fn pods_in_the_nodes_network_do_not_own_its_address() {
    let directory = directory();
    assert_eq!(named(&directory, "192.0.2.11", 2379, 400), None);
    let uid = "0123456789abcdef0123456789abcdef";
    let etcd = directory.entity(&format!("container:{}", id('d', 1))).unwrap();
    assert_eq!(&*etcd.pod_uid, uid, "as control groups spell it");
    assert_eq!((&*etcd.workload, &*etcd.service), ("", "kube-system/etcd-n1"));
    let node = directory.address(ip("192.0.2.12"), 22, at(1)).unwrap();
    assert_eq!((node.kind, &*node.id), (EntityKind::Node, "node:n2"));
}

#[test]
fn services_lead_to_backends_and_name_pods_elsewhere() {
    let directory = directory();
    for address in ["10.96.3.7", "fd00:96::7"] {
        let service = directory.service(ip(address), 80).unwrap();
        assert_eq!((&*service.namespace, &*service.name), ("bank", "ledger"));
        assert_eq!(service.backends.len(), 2);
        assert_eq!(service.backends[0].addr, "10.1.0.5:8080".parse().unwrap());
        assert!(service.backends[0].ready && !service.backends[1].ready);
    }
    assert!(directory.service(ip("10.96.3.7"), 81).is_none());
    assert_eq!(&*directory.service(ip("198.51.100.4"), 5432).unwrap().name, "outside");
    let far = directory.address(ip("10.1.1.9"), 40_000, at(1)).unwrap();
    assert_eq!(
        (&*far.service, &*far.pod, &*far.node),
        ("bank/ledger", "ledger-7c9d8f6b54-qqqqq", "n2")
    );
}

#[test]
fn without_slices_the_selector_finds_the_backends() {
    let mut objects = Objects::parse(PODS).unwrap();
    let text = String::from_utf8(CLUSTER.to_vec()).unwrap().replace("EndpointSlice", "Ignored");
    objects.add(text.as_bytes()).unwrap();
    let services = objects.services();
    let service = services.at(ip("10.96.3.7"), 80).unwrap();
    let mut addresses: Vec<String> = service.backends.iter().map(|b| b.addr.to_string()).collect();
    addresses.sort();
    assert_eq!(addresses, ["10.1.0.5:8080", "[fd00:1::5]:8080"]);
    let facts = objects.pod_facts(at(0));
    assert_eq!(facts[0].workload, Some(Workload::new("Rollout", "ledger")), "owner of the set");
}

#[test]
fn a_reused_address_is_not_misnamed() {
    let mut directory = directory();
    let successor = |created| PodFact {
        uid: "successor".into(),
        name: "next".into(),
        namespace: "bank".into(),
        ips: vec![ip("10.1.0.5")],
        created,
        containers: vec![ContainerFact {
            id: "e".into(),
            name: "n".into(),
            ..ContainerFact::default()
        }],
        ..PodFact::default()
    };
    directory.pod_ended(LEDGER, End::At(at(700)));
    directory.merge(successor(Some(at(690))), FactSource::Cri);
    let owner = |when| directory.address(ip("10.1.0.5"), 8080, at(when)).map(|e| e.pod.to_string());
    assert_eq!(owner(695).unwrap(), "ledger-7c9d8f6b54-x2x4z", "had it until it ended");
    assert_eq!(owner(700).unwrap(), "next");
}

#[test]
fn a_group_names_its_container_before_anybody_else_does() {
    let mut directory = Directory::new("n1");
    let path = Name::from(format!("/kubepods/burstable/pod{LEDGER}/{}", id('a', 2)));
    directory.see_group(7, &path, Some(at(300)));
    let early = directory.group(7).unwrap().clone();
    assert_eq!((&*early.pod_uid, early.container_id.as_str()), (LEDGER, &*id('a', 2)));
    assert_eq!(&*early.service, "aaaa00000000", "never empty");
    assert_eq!(early.cgroup_path, path);
    assert_eq!(directory.nameless(), [Name::from(id('a', 2))]);
    directory.drain_changes();

    let pods = Objects::parse(PODS).unwrap();
    directory.merge_list(pods.pod_facts(at(301)), FactSource::Kubelet, at(301));
    let changed = directory.drain_changes();
    let late = changed.iter().find(|entity| entity.id == early.id).unwrap();
    assert_eq!((&*late.service, &*late.container), ("bank/ledger", "ledger"));
    assert_eq!(late.cgroup_path, path, "kept");
    assert!(directory.nameless().is_empty());
    assert!(directory.drain_changes().is_empty());
}

#[test]
fn groups_of_units_pods_and_the_inside_of_containers() {
    let mut directory = Directory::new("n1");
    let container = format!("/docker/{}", id('f', 1));
    let mut see = |group, path: &str| {
        directory.see_group(group, &Name::from(path), None);
        directory.group(group).cloned()
    };
    let inner = see(1, &format!("{container}/init")).unwrap();
    let outer = see(2, &container).unwrap();
    assert_eq!(inner.id, outer.id);
    assert_eq!(&*outer.cgroup_path, container, "the outermost group is its own");
    let unit = see(3, "/system.slice/nginx.service").unwrap();
    assert_eq!(
        (unit.kind, &*unit.id, &*unit.service),
        (EntityKind::Unit, "unit:nginx.service", "nginx")
    );
    let pod = see(4, &format!("/kubepods/pod{LEDGER}")).unwrap();
    assert_eq!((&*pod.id, &*pod.pod_uid), (&*format!("pod:{LEDGER}"), LEDGER));
    assert_eq!(see(5, "/some/where"), None);
}

#[test]
fn the_end_of_a_group_ends_its_owner_and_frees_the_address() {
    let mut directory = Directory::new("n1");
    let path = Name::from(format!("/docker/{}", id('f', 1)));
    directory.see_group(7, &path, Some(at(10)));
    directory.see_network(&id('f', 1), 99, &[ip("172.17.0.2")], Some(at(10)));
    assert!(directory.address(ip("172.17.0.2"), 80, at(20)).is_some());
    assert!(directory.netns(99, 80, at(20)).is_some());
    directory.lose_group(7, &path, End::At(at(30)));
    assert!(directory.address(ip("172.17.0.2"), 80, at(29)).is_some());
    assert!(directory.address(ip("172.17.0.2"), 80, at(30)).is_none());
    assert!(directory.group(7).is_some(), "late events still have a name");

    directory.see_group(8, &path, Some(at(40)));
    directory.see_network(&id('f', 1), 100, &[ip("172.17.0.2")], Some(at(40)));
    assert!(directory.address(ip("172.17.0.2"), 80, at(41)).is_some(), "docker start");
    directory.lose_group(8, &path, End::At(at(50)));
    directory.purge(at(49));
    assert!(directory.group(8).is_some());
    directory.purge(at(51));
    assert!(
        directory.group(8).is_none()
            && directory.entity(&format!("container:{}", id('f', 1))).is_none()
    );
}

#[test]
fn a_pod_that_a_list_no_longer_has_is_over() {
    let mut directory = directory();
    directory.merge_list(Vec::new(), FactSource::Cri, at(610));
    assert!(named(&directory, "10.1.0.5", 8080, 611).is_some(), "the CRI never had it");
    directory.merge_list(Vec::new(), FactSource::Kubelet, at(620));
    assert!(named(&directory, "10.1.0.5", 8080, 619).is_some());
    assert_eq!(named(&directory, "10.1.0.5", 8080, 620), None);
}

#[test]
fn a_better_source_puts_a_container_into_its_pod() {
    let mut directory = Directory::new("n1");
    directory.see_group(1, &Name::from(format!("/x/{}", id('c', 9))), None);
    let container =
        ContainerFact { id: id('c', 9).into(), name: "vm".into(), ..ContainerFact::default() };
    let fact = PodFact {
        uid: "u".into(),
        name: "kata".into(),
        containers: vec![container],
        ..PodFact::default()
    };
    directory.merge(fact, FactSource::Cri);
    assert_eq!(&*directory.group(1).unwrap().pod, "kata");
    assert_eq!(directory.counts(), (1, 1));
}

#[test]
fn bad_lists_say_what_is_wrong() {
    let error = |json: &str| Objects::parse(json.as_bytes()).unwrap_err().to_string();
    assert!(error("{\"kind\":\"SecretList\",\"items\":[]}").contains("\"SecretList\""));
    assert!(error("{\"kind\":\"PodList\",\"items\":[{\"metadata\":7}]}").contains("line 1"));
    assert!(error("").contains("EOF"));
    assert!(
        Objects::parse(b"{\"kind\":\"PodList\",\"items\":null}")
            .unwrap()
            .pod_facts(at(0))
            .is_empty()
    );
}
