use std::path::PathBuf;
use std::str::FromStr;

use taproot_model::Entity;

/// What is observed. Payload (HTTP) is read only inside the scope; metadata outside
/// of it is dropped before it leaves the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Everything on this node.
    #[default]
    All,
    /// A control group and all below, by its path in the hierarchy (`/kubepods`).
    Cgroup(PathBuf),
    /// All pods of a Kubernetes namespace.
    Namespace(String),
    /// One pod.
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

/// A scope that cannot be understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ScopeError {
    /// Unknown form.
    #[error(
        "`{0}` is no scope; write `all`, `namespace:NAME`, `pod:NAMESPACE/NAME` or `cgroup:/PATH`"
    )]
    Form(String),
    /// The control group does not exist.
    #[error(
        "control group {0} does not exist; `systemd-cgls` or `ls /sys/fs/cgroup` show those that do"
    )]
    NoGroup(PathBuf),
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let wrong = || ScopeError::Form(text.to_owned());
        match text.split_once(':') {
            None if text == "all" => Ok(Self::All),
            Some(("cgroup", path)) if path.starts_with('/') => Ok(Self::Cgroup(path.into())),
            Some(("namespace", name)) if !name.is_empty() => Ok(Self::Namespace(name.to_owned())),
            Some(("pod", name)) => {
                let (namespace, name) = name.split_once('/').ok_or_else(wrong)?;
                if namespace.is_empty() || name.is_empty() {
                    return Err(wrong());
                }
                Ok(Self::Pod { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(wrong()),
        }
    }
}

impl Scope {
    /// Whether an owner lies inside.
    pub fn admits(&self, entity: &Entity) -> bool {
        match self {
            Self::All => true,
            Self::Cgroup(path) => {
                !entity.cgroup_path.is_empty()
                    && std::path::Path::new(entity.cgroup_path.as_str()).starts_with(path)
            }
            Self::Namespace(name) => entity.namespace.as_str() == name,
            Self::Pod { namespace, name } => {
                entity.namespace.as_str() == namespace && entity.pod.as_str() == name
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form_and_refuses_others_with_a_hint() {
        assert_eq!("all".parse(), Ok(Scope::All));
        assert_eq!("namespace:shop".parse(), Ok(Scope::Namespace("shop".into())));
        assert_eq!("cgroup:/kubepods".parse(), Ok(Scope::Cgroup("/kubepods".into())));
        let pod = Scope::Pod { namespace: "shop".into(), name: "gateway".into() };
        assert_eq!("pod:shop/gateway".parse(), Ok(pod));
        for bad in ["", "shop", "pod:shop", "pod:/x", "cgroup:kubepods", "namespace:"] {
            let error = bad.parse::<Scope>().unwrap_err();
            assert!(error.to_string().contains("namespace:NAME"), "{error}");
        }
    }

    #[test]
    fn a_group_admits_what_lies_below_it_only() {
        let scope = Scope::Cgroup("/lab".into());
        let at = |path: &str| Entity { cgroup_path: path.into(), ..Entity::default() };
        assert!(scope.admits(&at("/lab/pod1/c1")));
        assert!(!scope.admits(&at("/laboratory/pod1")));
        assert!(!scope.admits(&at("")));
    }
}
