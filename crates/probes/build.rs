//! Compiles every `src/*/*.bpf.c` into an object and a skeleton in `OUT_DIR`.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use libbpf_cargo::SkeletonBuilder;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo:rerun-if-changed=src/bpf");
    for source in sources(Path::new("src"))? {
        compile(&source, &out)?;
    }
    Ok(())
}

/// Every `src/<collector>/<name>.bpf.c`.
fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for dir in std::fs::read_dir(root)? {
        let dir = dir?.path();
        if !dir.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(&dir)? {
            let file = file?.path();
            if file.to_string_lossy().ends_with(".bpf.c") {
                found.push(file);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn compile(source: &Path, out: &Path) -> Result<()> {
    let name = source.file_name().and_then(|n| n.to_str()).ok_or("source name is not UTF-8")?;
    let name = name.trim_end_matches(".bpf.c");
    if let Some(folder) = source.parent() {
        // Headers shared with the C program lie beside it.
        println!("cargo:rerun-if-changed={}", folder.display());
    }
    let mut args: Vec<OsString> =
        vec!["-Isrc/bpf".into(), "-mcpu=v3".into(), "-Wall".into(), "-Werror".into()];
    // Under `-target bpf` clang does not look where Debian keeps asm/types.h.
    args.extend(["-idirafter".into(), format!("/usr/include/{}", multiarch()?).into()]);
    SkeletonBuilder::new()
        .source(source)
        .clang_args(args)
        .build_and_generate(out.join(format!("{name}.skel.rs")))
        .map_err(|error| format!("{}: {error:#}", source.display()))?;
    Ok(())
}

/// Debian's multiarch triple of the target, `x86_64-linux-gnu`.
fn multiarch() -> Result<String> {
    Ok(format!("{}-linux-gnu", env::var("CARGO_CFG_TARGET_ARCH")?))
}
