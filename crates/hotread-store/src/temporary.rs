//! Folders that are deleted together with the store in them.

use crate::error::StorageError;
use crate::files;
use std::path::{Path, PathBuf};

/// A folder of this process, which only its user may enter; deleted on drop.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Creates a folder within another one.
    pub(crate) fn create(parent: &Path) -> Result<Self, StorageError> {
        // As random as an epoch, so that no other process has this folder, or could create it first.
        let path = parent.join(format!("hotread-{:016x}", getrandom::u64()?));
        files::private_folder(&path)?;
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
