//! Reading whole maps.

use libbpf_rs::{MapCore, MapFlags, MapImpl};

use crate::{Error, Pod, Result, from_bytes};

/// Every entry of a hash map.
///
/// Not in batches: a batch of a hash map may come back short before the end, which
/// libbpf-rs takes for the end.
pub(crate) fn entries<K: Pod, V: Pod>(map: &MapImpl<'_>) -> Result<Vec<(K, V)>> {
    let mut value = vec![0; map.value_size() as usize];
    let mut out = Vec::new();
    for key in map.keys() {
        let found = map
            .lookup_into(&key, &mut value, MapFlags::ANY)
            .map_err(Error::bpf(format!("reading {}", map.name().to_string_lossy())))?;
        if let (true, Some(key), Some(value)) = (found, from_bytes(&key), from_bytes(&value)) {
            out.push((key, value));
        }
    }
    Ok(out)
}
