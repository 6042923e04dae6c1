//! Decides by the target whether `sys` has its parts for Linux, and whether this build has worker
//! processes. `links` in `Cargo.toml` also requires a build script.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(sys_linux)");
    println!("cargo::rustc-check-cfg=cfg(has_processes)");
    let is_set = |name| std::env::var_os(name).is_some();
    let linux = std::env::var_os("CARGO_CFG_TARGET_OS").is_some_and(|os| os == "linux");
    // `--cfg atasker_no_mp` builds the variant of other platforms on Linux.
    if linux && !is_set("CARGO_CFG_ATASKER_NO_MP") {
        println!("cargo::rustc-cfg=sys_linux");
        if is_set("CARGO_FEATURE_MP") {
            println!("cargo::rustc-cfg=has_processes");
        }
    }
}
