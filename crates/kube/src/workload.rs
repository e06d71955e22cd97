//! From a pod to the workload that people know it by.

use crate::facts::Workload;
use std::collections::BTreeMap;
use taproot_model::Name;

/// The workload of a pod whose owner is known: `owner` is the controlling owner
/// reference of the pod.
///
/// A `ReplicaSet` stands for its `Deployment`, a `Job` of a `CronJob` for that.
/// `controllers` answers who owns a `ReplicaSet`, where the API server was asked;
/// otherwise the names tell: a `Deployment` names its `ReplicaSet`
/// `<deployment>-<pod-template-hash>`, a `CronJob` its `Job`
/// `<cron job>-<minutes since 1970>`.
pub(crate) fn of_owner(
    owner: &Workload,
    labels: &BTreeMap<Name, Name>,
    controllers: impl Fn(&Workload) -> Option<Workload>,
) -> Workload {
    if let Some(above) = controllers(owner) {
        return above;
    }
    match owner.kind.as_str() {
        "ReplicaSet" => labels
            .get("pod-template-hash")
            .and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'))
            .map_or_else(|| owner.clone(), |name| Workload::new("Deployment", name)),
        "Job" => cron_job(&owner.name)
            .map_or_else(|| owner.clone(), |name| Workload::new("CronJob", name)),
        _ => owner.clone(),
    }
}

/// The workload of a pod of which only name and labels are known, as the CRI
/// has it: told from the labels that Kubernetes' own controllers set.
pub(crate) fn of_labels(pod: &str, labels: &BTreeMap<Name, Name>) -> Option<Workload> {
    if let Some(hash) = labels.get("pod-template-hash") {
        let (set, _random) = pod.rsplit_once('-')?;
        let name = set.strip_suffix(hash.as_str())?.strip_suffix('-')?;
        return Some(Workload::new("Deployment", name));
    }
    if labels.contains_key("statefulset.kubernetes.io/pod-name") {
        let (name, _ordinal) = pod.rsplit_once('-')?;
        return Some(Workload::new("StatefulSet", name));
    }
    let job = labels.get("batch.kubernetes.io/job-name").or_else(|| labels.get("job-name"));
    if let Some(job) = job {
        return Some(of_owner(&Workload::new("Job", job.as_str()), labels, |_| None));
    }
    if labels.contains_key("controller-revision-hash")
        && labels.contains_key("pod-template-generation")
    {
        let (name, _random) = pod.rsplit_once('-')?;
        return Some(Workload::new("DaemonSet", name));
    }
    None
}

/// `<cron job>-<minutes since 1970>`: eight digits from 1989 to 2160.
fn cron_job(job: &str) -> Option<&str> {
    let (name, minutes) = job.rsplit_once('-')?;
    (minutes.len() == 8 && minutes.bytes().all(|b| b.is_ascii_digit())).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<Name, Name> {
        pairs.iter().map(|(key, value)| (Name::from(key), Name::from(value))).collect()
    }

    fn owned(kind: &str, name: &str, pairs: &[(&str, &str)]) -> Workload {
        of_owner(&Workload::new(kind, name), &labels(pairs), |_| None)
    }

    #[test]
    fn a_replica_set_stands_for_its_deployment() {
        let hash = [("pod-template-hash", "6979f55865")];
        assert_eq!(
            owned("ReplicaSet", "web-6979f55865", &hash),
            Workload::new("Deployment", "web")
        );
        let bare = Workload::new("ReplicaSet", "lonely");
        assert_eq!(owned("ReplicaSet", "lonely", &[]), bare, "no Deployment made it");
        assert_eq!(owned("ReplicaSet", "lonely", &hash), bare);
    }

    #[test]
    fn the_api_server_knows_better_than_names() {
        let rollout = |_: &Workload| Some(Workload::new("Rollout", "canary"));
        let owner = Workload::new("ReplicaSet", "canary-1");
        assert_eq!(of_owner(&owner, &labels(&[]), rollout), Workload::new("Rollout", "canary"));
    }

    #[test]
    fn jobs_and_cron_jobs() {
        assert_eq!(owned("Job", "backup-29353680", &[]), Workload::new("CronJob", "backup"));
        assert_eq!(owned("Job", "migrate-2", &[]), Workload::new("Job", "migrate-2"));
        assert_eq!(owned("StatefulSet", "db", &[]), Workload::new("StatefulSet", "db"));
    }

    #[test]
    fn labels_alone_tell_the_controller() {
        let told = |pod: &str, pairs: &[(&str, &str)]| of_labels(pod, &labels(pairs));
        let hash = ("pod-template-hash", "6979f55865");
        assert_eq!(told("web-6979f55865-v84hl", &[hash]), Some(Workload::new("Deployment", "web")));
        assert_eq!(told("other-1-v84hl", &[hash]), None, "the hash is not in the name");
        let ordinal = ("statefulset.kubernetes.io/pod-name", "db-0");
        assert_eq!(told("db-0", &[ordinal]), Some(Workload::new("StatefulSet", "db")));
        let job = ("job-name", "backup-29353680");
        assert_eq!(told("backup-29353680-abcde", &[job]), Some(Workload::new("CronJob", "backup")));
        let daemon = [("controller-revision-hash", "x"), ("pod-template-generation", "1")];
        assert_eq!(told("agent-l68f5", &daemon), Some(Workload::new("DaemonSet", "agent")));
        assert_eq!(told("bare", &[]), None);
    }
}
