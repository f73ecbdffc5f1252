//! Gives the shared library the soname under which CUDA programs look for the driver.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // dlopen("libcuda.so") answers with a library already loaded under this soname, wherever its file lies.
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libcuda.so");
    }
}
