//! Things that can be at fault, one file a family. Each function looks for one
//! kind of culprit in the state and names it, or finds none.

pub(crate) mod device;
pub(crate) mod firewall;
pub(crate) mod neighbour;
pub(crate) mod program;
pub(crate) mod routing;
pub(crate) mod socket;
pub(crate) mod tunnel;
