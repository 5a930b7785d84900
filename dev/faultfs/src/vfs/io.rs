//! SQLite's calls on an open file, translated to the disk's.

use super::{Shared, code, guarded, locked};
use crate::disk::{Handle, Refusal};
use crate::file::SECTOR_BYTES;
use crate::locks::Level;
use crate::shm::ShmMode;
use rusqlite::ffi;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::slice;
use std::sync::atomic::{Ordering, fence};

/// Memory of an open file, allocated by SQLite.
#[repr(C)]
pub(crate) struct SimFile {
    /// First field, where SQLite expects it.
    base: ffi::sqlite3_file,
    /// From `Box::into_raw`; owned, and valid while `base` has methods.
    open: *mut OpenFile,
}

impl SimFile {
    /// A file without methods, on which SQLite makes no calls.
    pub(crate) const CLOSED: SimFile = SimFile {
        base: ffi::sqlite3_file {
            pMethods: ptr::null(),
        },
        open: ptr::null_mut(),
    };

    pub(crate) fn new(methods: &'static ffi::sqlite3_io_methods, open: *mut OpenFile) -> SimFile {
        SimFile {
            base: ffi::sqlite3_file { pMethods: methods },
            open,
        }
    }
}

/// An open file. It keeps the disk alive.
pub(crate) struct OpenFile {
    pub(crate) model: Shared,
    pub(crate) handle: Handle,
}

/// Version 2: shared memory, but no memory-mapped files.
pub(crate) static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// # Safety
///
/// SQLite makes this call: `file` was opened by this VFS's `xOpen` and is not closed before `'a`
/// ends.
unsafe fn opened<'a>(file: *mut ffi::sqlite3_file) -> &'a OpenFile {
    // SAFETY: A file that was opened begins with a `SimFile` whose `open` is valid until `xClose`.
    // Only shared references are made of it.
    unsafe { &*(*file.cast::<SimFile>()).open }
}

/// Converts an offset or a length, which SQLite never makes negative.
fn size(value: impl TryInto<usize>) -> Result<usize, c_int> {
    value.try_into().map_err(|_| ffi::SQLITE_MISUSE)
}

fn level(value: c_int) -> Level {
    match value {
        ..=ffi::SQLITE_LOCK_NONE => Level::None,
        ffi::SQLITE_LOCK_SHARED => Level::Shared,
        ffi::SQLITE_LOCK_RESERVED => Level::Reserved,
        ffi::SQLITE_LOCK_PENDING => Level::Pending,
        _ => Level::Exclusive,
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    guarded(|| {
        // SAFETY: SQLite passes a file that `xOpen` wrote, and closes it once.
        let SimFile { open, .. } = unsafe { file.cast::<SimFile>().replace(SimFile::CLOSED) };
        // SAFETY: It came from `Box::into_raw`, and is no longer in the file.
        let open = unsafe { Box::from_raw(open) };
        locked(&open.model).close(open.handle);
        Ok(())
    })
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    into: *mut c_void,
    bytes: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    guarded(|| {
        let (bytes, offset) = (size(bytes)?, size(offset)?);
        if into.is_null() {
            return Err(ffi::SQLITE_MISUSE);
        }
        let into = into.cast::<u8>();
        // SAFETY: SQLite passes a buffer of `bytes` bytes, which no other code uses during the
        // call; it may be uninitialized, so it is filled before a reference to it is made.
        let into = unsafe {
            into.write_bytes(0, bytes);
            slice::from_raw_parts_mut(into, bytes)
        };
        // SAFETY: The caller is SQLite.
        let open = unsafe { opened(file) };
        match locked(&open.model).read(open.handle, offset, into) {
            Ok(found) if found < bytes => Err(ffi::SQLITE_IOERR_SHORT_READ),
            Ok(_) => Ok(()),
            Err(refusal) => Err(code(refusal)),
        }
    })
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    data: *const c_void,
    bytes: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    guarded(|| {
        let (bytes, offset) = (size(bytes)?, size(offset)?);
        if data.is_null() {
            return Err(ffi::SQLITE_MISUSE);
        }
        // SAFETY: SQLite passes a buffer of this size, and does not change it during the call.
        let data = unsafe { slice::from_raw_parts(data.cast::<u8>(), bytes) };
        // SAFETY: The caller is SQLite.
        let open = unsafe { opened(file) };
        locked(&open.model)
            .write(open.handle, offset, data)
            .map_err(code)
    })
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, len: ffi::sqlite3_int64) -> c_int {
    guarded(|| {
        // SAFETY: The caller is SQLite.
        let open = unsafe { opened(file) };
        locked(&open.model)
            .truncate(open.handle, size(len)?)
            .map_err(code)
    })
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    guarded(|| {
        // SAFETY: The caller is SQLite.
        let open = unsafe { opened(file) };
        locked(&open.model).sync(open.handle).map_err(code)
    })
}

unsafe extern "C" fn file_size(
    file: *mut ffi::sqlite3_file,
    out: *mut ffi::sqlite3_int64,
) -> c_int {
    guarded(|| {
        // SAFETY: The caller is SQLite.
        let open = unsafe { opened(file) };
        let len = locked(&open.model).len(open.handle).map_err(code)?;
        let len = ffi::sqlite3_int64::try_from(len).map_err(|_| ffi::SQLITE_IOERR_FSTAT)?;
        // SAFETY: SQLite passes a place for the result.
        unsafe { out.write(len) };
        Ok(())
    })
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, wanted: c_int) -> c_int {
    guarded(|| {
        // SAFETY: The caller is SQLite.
        let open = unsafe { opened(file) };
        locked(&open.model)
            .lock(open.handle, level(wanted))
            .map_err(code)
    })
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, wanted: c_int) -> c_int {
    guarded(|| {
        // SAFETY: The caller is SQLite.
        let open = unsafe { opened(file) };
        locked(&open.model).unlock(open.handle, level(wanted));
        Ok(())
    })
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    guarded(|| {
        // SAFETY: The caller is SQLite.
        let open = unsafe { opened(file) };
        let is_reserved = locked(&open.model).is_reserved(open.handle).map_err(code)?;
        // SAFETY: SQLite passes a place for the result.
        unsafe { out.write(c_int::from(is_reserved)) };
        Ok(())
    })
}

/// Refuses: the disk has no controls, which SQLite does not need.
unsafe extern "C" fn file_control(
    _: *mut ffi::sqlite3_file,
    _op: c_int,
    _argument: *mut c_void,
) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    SECTOR_BYTES as c_int
}

/// Returns only the properties that SQLite's unix VFS promises, too.
unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    index: c_int,
    bytes: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    guarded(|| {
        // SAFETY: SQLite passes a place for the result.
        unsafe { out.write(ptr::null_mut()) };
        // SAFETY: The caller is SQLite.
        let open = unsafe { opened(file) };
        let (index, bytes) = (size(index)?, size(bytes)?);
        let region = locked(&open.model)
            .shm_map(open.handle, index, bytes, extend != 0)
            .map_err(|refusal| shm_code(refusal, ffi::SQLITE_IOERR_SHMMAP))?;
        // SAFETY: As above. The region keeps its address until this file unmaps it or is closed.
        unsafe { out.write(region) };
        Ok(())
    })
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    first: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    guarded(|| {
        // SAFETY: The caller is SQLite.
        let open = unsafe { opened(file) };
        let slot = |value: c_int| u32::try_from(value).map_err(|_| ffi::SQLITE_IOERR_SHMLOCK);
        let (first, count) = (slot(first)?, slot(count)?);
        let mode = match flags & ffi::SQLITE_SHM_SHARED {
            0 => ShmMode::Exclusive,
            _ => ShmMode::Shared,
        };
        let mut model = locked(&open.model);
        let outcome = match flags & ffi::SQLITE_SHM_UNLOCK {
            0 => model.shm_lock(open.handle, first, count, mode),
            _ => model.shm_unlock(open.handle, first, count),
        };
        outcome.map_err(|refusal| shm_code(refusal, ffi::SQLITE_IOERR_SHMLOCK))
    })
}

unsafe extern "C" fn shm_barrier(_: *mut ffi::sqlite3_file) {
    // ORDERING: SQLite asks for a full barrier between its own accesses to the shared memory.
    fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _deletes: c_int) -> c_int {
    guarded(|| {
        // SAFETY: The caller is SQLite, which uses none of the file's regions from now on.
        let open = unsafe { opened(file) };
        locked(&open.model).shm_unmap(open.handle);
        Ok(())
    })
}

fn shm_code(refusal: Refusal, misuse: c_int) -> c_int {
    match refusal {
        Refusal::Misuse => misuse,
        other => code(other),
    }
}
