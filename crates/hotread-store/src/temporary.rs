//! Folders that are deleted with the store whose file is in them.

use crate::error::StorageError;
use std::fs::DirBuilder;
use std::path::{Path, PathBuf};

/// A folder of this process's own, which only its user may enter; deleted when it is dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Creates a folder under the system's folder for temporary files.
    pub(crate) fn create() -> Result<Self, StorageError> {
        // As random as an epoch, so that no other process has it, nor could make it first.
        let name = format!("hotread-{:016x}", getrandom::u64()?);
        let path = std::env::temp_dir().join(name);
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a temporary store could not be deleted");
        }
    }
}
