use serde::Serialize;
use taproot_model::{EntityId, Name};
use taproot_world::EdgeKey;

/// Where a fault sits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Place {
    /// An instance of a service.
    Entity {
        /// Its key.
        id: EntityId,
        /// Its service.
        service: Name,
        /// What people call it.
        instance: Name,
        /// Where it runs; empty if unknown.
        node: Name,
    },
    /// The link between two services.
    Link {
        /// One of its connections.
        edge: EdgeKey,
        /// Calling service.
        client: Name,
        /// Called service.
        server: Name,
    },
    /// A service as a whole.
    Service {
        /// Its name.
        service: Name,
    },
}

impl Place {
    /// The services it touches: one, or the two ends of a link.
    pub fn services(&self) -> Vec<&Name> {
        match self {
            Self::Entity { service, .. } | Self::Service { service } => vec![service],
            Self::Link { client, server, .. } => vec![client, server],
        }
    }

    /// In words.
    pub fn words(&self) -> String {
        match self {
            Self::Entity { service, instance, .. } if service == instance => service.to_string(),
            Self::Entity { service, instance, .. } => format!("{service} (instance {instance})"),
            Self::Link { client, server, .. } => format!("the link {client} → {server}"),
            Self::Service { service } => service.to_string(),
        }
    }
}
