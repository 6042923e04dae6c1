//! The name of this machine.

/// Returns the name of this machine.
#[cfg(unix)]
pub(crate) fn name() -> String {
    let mut bytes = [0u8; 256];
    // SAFETY: the call writes at most as many bytes as it is told.
    let result = unsafe { libc::gethostname(bytes.as_mut_ptr().cast(), bytes.len() - 1) };
    let name = bytes.split(|byte| *byte == 0).next().filter(|name| result == 0 && !name.is_empty());
    String::from_utf8_lossy(name.unwrap_or(b"localhost")).into_owned()
}

/// Returns the name of this machine, as the environment has it.
#[cfg(not(unix))]
pub(crate) fn name() -> String {
    let name = std::env::var("COMPUTERNAME").or_else(|_| std::env::var("HOSTNAME"));
    name.unwrap_or_else(|_| "localhost".to_owned())
}
