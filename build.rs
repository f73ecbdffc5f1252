//! Puts the kernels' PTX where the crate embeds it from: what is checked in, or with `GLIMMER_NVCC` naming a compiler, what
//! that makes of the sources.

use std::path::Path;
use std::process::Command;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=kernels");
    println!("cargo:rerun-if-env-changed=GLIMMER_NVCC");
    let out = env::var_os("OUT_DIR").expect("cargo names the folder");
    let out = Path::new(&out);
    if let Some(nvcc) = env::var_os("GLIMMER_NVCC") {
        let status = Command::new("kernels/compile.sh").env("NVCC", nvcc).env("OUT", out).status()?;
        assert!(status.success(), "kernels/compile.sh failed; without GLIMMER_NVCC the checked-in PTX is used");
        return Ok(());
    }
    for entry in fs::read_dir("kernels/ptx")? {
        let path = entry?.path();
        fs::copy(&path, out.join(path.file_name().expect("a folder's entries have names")))?;
    }
    Ok(())
}
