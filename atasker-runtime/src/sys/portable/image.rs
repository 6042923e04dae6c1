//! The program's executable, in memory and on disk.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::sys::once::Once;

#[cfg(not(target_vendor = "apple"))]
pub(crate) use crate::sys::elf::{Program, constructors_behind, main_program};
#[cfg(target_vendor = "apple")]
pub(crate) use mach_o::{Program, constructors_behind, main_program};

/// The file that worker processes are started from, for messages.
pub(crate) const FILE: &str = "its file";

/// The file that this process was started from. A file that is replaced later would be another
/// program, whose copies might not serve but run `main`.
struct File {
    path: PathBuf,
    identity: Identity,
}

/// Tells a file from the one that takes its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl File {
    fn of_this_process() -> io::Result<File> {
        // Absolute, because the program may change its working directory.
        let path = std::env::current_exe()?.canonicalize()?;
        Ok(File { identity: Identity::of(&path)?, path })
    }
}

impl Identity {
    fn of(path: &Path) -> io::Result<Identity> {
        let stat = path.metadata()?;
        Ok(Identity {
            device: stat.dev(),
            inode: stat.ino(),
            size: stat.size(),
            modified: (stat.mtime(), stat.mtime_nsec()),
        })
    }
}

static PROGRAM: Once<io::Result<File>> = Once::new();

/// Records the file of the program, at its start.
pub(crate) fn record_program() {
    PROGRAM.get_or_init(File::of_this_process);
}

/// Returns the path of the program's file, if it is still the same file.
pub(crate) fn program() -> io::Result<&'static Path> {
    let error = |kind, text: String| io::Error::new(kind, text);
    let file = PROGRAM.get_or_init(File::of_this_process).as_ref().map_err(|cause| {
        let text = "the path of the program, which worker processes are started from, is unknown";
        error(cause.kind(), format!("{text}: {cause}"))
    })?;
    match Identity::of(&file.path) {
        Ok(identity) if identity == file.identity => Ok(&file.path),
        Ok(_) => Err(error(
            io::ErrorKind::Other,
            format!(
                "{}, which worker processes are started from, was replaced since this program was \
                 started: restart the program",
                file.path.display()
            ),
        )),
        Err(cause) => Err(error(
            cause.kind(),
            format!(
                "can't find {}, which worker processes are started from: {cause}: put it back, and \
                 restart the program",
                file.path.display()
            ),
        )),
    }
}

/// Whether the first loaded object is the program, which is true except in namespaces of Linux.
#[cfg(not(target_vendor = "apple"))]
pub(crate) fn is_program(_headers: usize) -> bool {
    true
}

/// The reason why a copy of the program can't be started from its file, if there is one. The file is
/// checked before each start, because it may change.
pub(crate) fn not_executable(_: &Program) -> Option<String> {
    None
}

/// The executable as the loader of macOS describes it.
#[cfg(target_vendor = "apple")]
mod mach_o {
    use std::mem::MaybeUninit;
    use std::ops::Range;

    unsafe extern "C" {
        // In the C library, on all versions of macOS.
        fn _dyld_get_image_header(index: u32) -> *const libc::c_void;
    }

    pub(crate) struct Program {
        /// The base of its addresses.
        pub(crate) base: usize,
        /// Whether this code is part of it.
        pub(crate) contains_this_code: bool,
    }

    /// Describes the program's executable. `here` is an address in this code.
    pub(crate) fn main_program(here: usize) -> Program {
        // SAFETY: the image 0 is the executable, and is never unloaded.
        let base = unsafe { _dyld_get_image_header(0) } as usize;
        let mut found = MaybeUninit::<libc::Dl_info>::zeroed();
        // SAFETY: the call takes any address, and fills in the description if it succeeds; all zero
        // is a valid one.
        let found = unsafe {
            libc::dladdr(here as *const _, found.as_mut_ptr());
            found.assume_init()
        };
        Program { base, contains_this_code: base != 0 && found.dli_fbase as usize == base }
    }

    /// Empty: where the linker keeps the initializers after the hook depends on its version. In a
    /// worker process they do not run.
    pub(crate) fn constructors_behind(own: usize) -> Range<usize> {
        own..own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_file_has_another_identity() {
        let path = std::env::temp_dir().join(format!("atasker-image-{}", std::process::id()));
        std::fs::write(&path, "one").unwrap();
        let first = Identity::of(&path).unwrap();
        assert_eq!(Identity::of(&path).unwrap(), first);
        let other = path.with_extension("new");
        std::fs::write(&other, "two").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_ne!(Identity::of(&path).unwrap(), first);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn program_is_this_file() {
        assert_eq!(program().unwrap(), std::env::current_exe().unwrap().canonicalize().unwrap());
    }
}
