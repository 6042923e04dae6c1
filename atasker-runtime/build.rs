//! Decides by the target which parts `sys` has, and whether this build has worker processes. `links` in
//! `Cargo.toml` also requires a build script.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for name in ["sys_linux", "sys_portable", "sys_processes", "has_processes"] {
        println!("cargo::rustc-check-cfg=cfg({name})");
    }
    let is_set = |name| env::var_os(name).is_some();
    let set = |name| println!("cargo::rustc-cfg={name}");
    // `--cfg atasker_portable` builds the parts of other Unix systems on Linux, and
    // `--cfg atasker_no_mp` those of systems without worker processes.
    let system = match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("linux") if is_set("CARGO_CFG_ATASKER_PORTABLE") => Some("sys_portable"),
        Ok("linux") => Some("sys_linux"),
        Ok("macos" | "freebsd") => Some("sys_portable"),
        _ => None,
    };
    if let Some(system) = system.filter(|_| !is_set("CARGO_CFG_ATASKER_NO_MP")) {
        set(system);
        set("sys_processes");
        if is_set("CARGO_FEATURE_MP") {
            set("has_processes");
        }
    }
}
