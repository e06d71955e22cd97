//! Finds a set in a folder: unpacked, or in its archive.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use lzma_rust2::XzReader;
use tempfile::TempDir;

use crate::error::EvalError;

/// Where a set lies. What was unpacked is removed when this is dropped.
#[derive(Debug)]
pub struct Found {
    path: PathBuf,
    _unpacked: Option<TempDir>,
}

impl Found {
    /// The folder of the set.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Where sets for the analysis lie in a folder of data for more than that.
const SHELF: &str = "diagnosis";

/// Finds the set `name` in `data`: `data/name/name`, `data/name`, `data` itself if
/// it bears that name, or unpacked from `data/name.tar.xz` or `data/name.tar`; else
/// the same in `data/diagnosis`.
pub fn find(name: &str, data: &Path) -> Result<Found, EvalError> {
    match find_in(name, data) {
        Err(EvalError::NotFound { name, path }) => {
            find_in(&name, &data.join(SHELF)).map_err(|error| match error {
                EvalError::NotFound { name, .. } => EvalError::NotFound { name, path },
                other => other,
            })
        }
        found => found,
    }
}

fn find_in(name: &str, data: &Path) -> Result<Found, EvalError> {
    let named = data.file_name().is_some_and(|found| found == name);
    let places = [data.join(name).join(name), data.join(name)];
    let own = named.then(|| data.to_owned());
    if let Some(path) = places.into_iter().chain(own).find(|path| path.is_dir()) {
        return Ok(Found { path, _unpacked: None });
    }
    let packed = data.join(format!("{name}.tar.xz"));
    let plain = data.join(format!("{name}.tar"));
    if packed.is_file() {
        unpack(name, &packed, |file| Box::new(XzReader::new(file, true)))
    } else if plain.is_file() {
        unpack(name, &plain, |file| Box::new(file))
    } else {
        Err(EvalError::NotFound { name: name.to_owned(), path: data.to_owned() })
    }
}

type Decode = fn(BufReader<File>) -> Box<dyn Read>;

fn unpack(name: &str, archive: &Path, decode: Decode) -> Result<Found, EvalError> {
    let file = File::open(archive).map_err(EvalError::read(archive))?;
    let into = tempfile::Builder::new()
        .prefix("taproot-eval-")
        .tempdir()
        .map_err(EvalError::read(archive))?;
    // `unpack` leaves out entries that would land outside the folder.
    tar::Archive::new(decode(BufReader::new(file)))
        .unpack(into.path())
        .map_err(EvalError::read(archive))?;
    let inner = into.path().join(name);
    let path = if inner.is_dir() { inner } else { into.path().to_owned() };
    Ok(Found { path, _unpacked: Some(into) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_found_unpacked_or_packed() {
        let data = tempfile::tempdir().unwrap();
        let missing = find("made-up", data.path()).unwrap_err();
        assert!(missing.to_string().contains("made-up.tar.xz"), "{missing}");

        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        header.set_mode(0o644);
        archive.append_data(&mut header, "made-up/one.csv", &b"a\n"[..]).unwrap();
        std::fs::write(data.path().join("made-up.tar"), archive.into_inner().unwrap()).unwrap();
        let found = find("made-up", data.path()).unwrap();
        assert!(found.path().join("one.csv").is_file());
        let place = found.path().to_owned();
        drop(found);
        assert!(!place.exists(), "what was unpacked is left behind");

        let inner = data.path().join("made-up");
        std::fs::create_dir(&inner).unwrap();
        assert_eq!(find("made-up", data.path()).unwrap().path(), inner);
        assert_eq!(find("made-up", &inner).unwrap().path(), inner);

        let shelf = data.path().join("diagnosis/other");
        std::fs::create_dir_all(&shelf).unwrap();
        assert_eq!(find("other", data.path()).unwrap().path(), shelf);
    }

    #[test]
    fn a_broken_archive_is_an_error() {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join("made-up.tar.xz"), b"no archive").unwrap();
        assert!(matches!(find("made-up", data.path()), Err(EvalError::Read { .. })));
    }
}
