//! The disk as a SQLite VFS: registration, and the calls that name a file. The calls on an open
//! file are in `io`.

mod io;

use self::io::{METHODS, OpenFile, SimFile};
use crate::disk::{Model, Opening, Refusal};
use crate::fault::{Error, Op};
use rusqlite::ffi;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest name of a file, in bytes, including the zero at its end; as in SQLite's unix VFS.
const MAX_PATH_BYTES: c_int = 512;

/// 1970-01-01T00:00Z, in milliseconds since the beginning of the Julian calendar, SQLite's origin
/// of time.
const UNIX_EPOCH_JULIAN_MS: i64 = 210_866_760_000_000;

const DAY_MS: f64 = 86_400_000.0;

/// A disk shared by several connections.
pub(crate) type Shared = Arc<Mutex<Model>>;

/// Locks the model, even after a panic. The model is consistent after each operation; a panic
/// inside one would be a bug of this crate, which its test should report rather than the lock.
pub(crate) fn locked(model: &Mutex<Model>) -> MutexGuard<'_, Model> {
    model.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A VFS registered with SQLite.
///
/// SQLite distributes pointers to it without reporting when they are no longer used: a connection
/// keeps one even if it has no file open. So the record itself is never freed, and it refers to the
/// disk weakly: some 500 bytes remain for each disk, but not its files.
struct Record(NonNull<ffi::sqlite3_vfs>);

// SAFETY: The record is only dereferenced by SQLite, which guards `pNext` with a mutex of its own;
// all other fields are written before it is registered, and what `pAppData` points to is `Sync`.
unsafe impl Send for Record {}
// SAFETY: As above.
unsafe impl Sync for Record {}

/// All records, so that leak checkers find them.
static RECORDS: Mutex<Vec<Record>> = Mutex::new(Vec::new());

/// Keeps a disk registered with SQLite under a name of its own.
pub(crate) struct Registration {
    pub(crate) name: String,
    pub(crate) model: Shared,
    record: Record,
}

impl Registration {
    /// # Panics
    ///
    /// If SQLite cannot be initialized.
    pub(crate) fn new(model: Model) -> Registration {
        // ORDERING: only uniqueness matters.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("hotread-faultfs-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let model: Shared = Arc::new(Mutex::new(model));
        let disk: Box<Weak<Mutex<Model>>> = Box::new(Arc::downgrade(&model));
        let c_name = CString::new(name.as_str()).expect("the name contains no zero");
        let vfs = Box::leak(Box::new(ffi::sqlite3_vfs {
            iVersion: 2,
            szOsFile: size_of::<SimFile>() as c_int,
            mxPathname: MAX_PATH_BYTES,
            pNext: ptr::null_mut(),
            zName: c_name.into_raw(),
            pAppData: Box::into_raw(disk).cast(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_pathname),
            xDlOpen: Some(dl_open),
            xDlError: Some(dl_error),
            xDlSym: Some(dl_sym),
            xDlClose: Some(dl_close),
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            xGetLastError: Some(last_error),
            xCurrentTimeInt64: Some(current_time_ms),
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        }));
        let vfs = NonNull::from(vfs);
        RECORDS
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Record(vfs));
        // SAFETY: The record is complete, its name is unique, and neither is ever freed.
        let code = unsafe { ffi::sqlite3_vfs_register(vfs.as_ptr(), 0) };
        assert_eq!(
            code,
            ffi::SQLITE_OK,
            "SQLite takes no VFS; it could not be initialised"
        );
        Registration {
            name,
            model,
            record: Record(vfs),
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: The record was registered by `new`, and is not freed: connections that are open
        // still use it. This runs outside of SQLite's calls to us, since open files keep the model
        // alive, but not the registration.
        unsafe { ffi::sqlite3_vfs_unregister(self.record.0.as_ptr()) };
    }
}

/// Catches panics, which would be bugs of this crate, before they reach SQLite, which could not
/// survive them.
pub(crate) fn guarded(call: impl FnOnce() -> Result<(), c_int>) -> c_int {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => ffi::SQLITE_OK,
        Ok(Err(code)) => code,
        Err(_) => ffi::SQLITE_INTERNAL,
    }
}

/// Returns the code that SQLite's unix VFS would have returned.
pub(crate) fn code(refusal: Refusal) -> c_int {
    match refusal {
        Refusal::Off => ffi::SQLITE_IOERR,
        Refusal::Injected(op, error) => match (op, error) {
            (Op::Any, _) => ffi::SQLITE_IOERR,
            (Op::Open, _) => ffi::SQLITE_CANTOPEN,
            (Op::Read, _) => ffi::SQLITE_IOERR_READ,
            (Op::Write, Error::Io) => ffi::SQLITE_IOERR_WRITE,
            (Op::Write, Error::Full) => ffi::SQLITE_FULL,
            (Op::Truncate, _) => ffi::SQLITE_IOERR_TRUNCATE,
            (Op::Sync, _) => ffi::SQLITE_IOERR_FSYNC,
            (Op::Delete, _) => ffi::SQLITE_IOERR_DELETE,
            (Op::Map, _) => ffi::SQLITE_IOERR_SHMMAP,
        },
        Refusal::Absent => ffi::SQLITE_CANTOPEN,
        Refusal::Forbidden => ffi::SQLITE_READONLY,
        Refusal::Full => ffi::SQLITE_FULL,
        Refusal::Busy => ffi::SQLITE_BUSY,
        Refusal::Misuse => ffi::SQLITE_MISUSE,
    }
}

/// Returns the disk behind a VFS, unless all its owners are gone.
///
/// # Safety
///
/// `vfs` is the record of a [`Registration`].
unsafe fn disk(vfs: *mut ffi::sqlite3_vfs) -> Result<Shared, c_int> {
    // SAFETY: By the contract; records are never freed, nor is the target of `pAppData`, and no
    // thread writes to either field.
    let weak = unsafe { &*(*vfs).pAppData.cast::<Weak<Mutex<Model>>>() };
    weak.upgrade().ok_or(ffi::SQLITE_IOERR)
}

/// Returns a name that SQLite passes; names that are not UTF-8 are refused.
///
/// # Safety
///
/// `name` is null or a string that ends with zero and does not change during `'a`.
unsafe fn file_name<'a>(name: *const c_char) -> Result<Option<&'a str>, c_int> {
    if name.is_null() {
        return Ok(None);
    }
    // SAFETY: By the contract.
    let name = unsafe { CStr::from_ptr(name) };
    name.to_str().map(Some).map_err(|_| ffi::SQLITE_CANTOPEN)
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let file = file.cast::<SimFile>();
    // SAFETY: SQLite provides `szOsFile` bytes, suitably aligned. Without methods it will not
    // call `xClose`.
    unsafe { file.write(SimFile::CLOSED) };
    guarded(|| {
        // SAFETY: SQLite passes the record that it got the function from.
        let model = unsafe { disk(vfs) }?;
        // SAFETY: SQLite passes null or a string that lives as long as the file is open.
        let name = unsafe { file_name(name) }?;
        let is_read_only = flags & ffi::SQLITE_OPEN_READONLY != 0;
        let how = Opening {
            creates: flags & ffi::SQLITE_OPEN_CREATE != 0,
            is_exclusive: flags & ffi::SQLITE_OPEN_EXCLUSIVE != 0,
            is_read_only,
        };
        // A file that is removed with its handle needs no name.
        let name = name.filter(|_| flags & ffi::SQLITE_OPEN_DELETEONCLOSE == 0);
        let handle = locked(&model)
            .open(name, how)
            .map_err(|refusal| match refusal {
                Refusal::Forbidden => ffi::SQLITE_CANTOPEN,
                other => code(other),
            })?;
        let open = Box::into_raw(Box::new(OpenFile { model, handle }));
        // SAFETY: As above.
        unsafe { file.write(SimFile::new(&METHODS, open)) };
        if !out_flags.is_null() {
            // SAFETY: SQLite passes null or a place for the flags.
            unsafe { out_flags.write(flags) };
        }
        Ok(())
    })
}

unsafe extern "C" fn delete(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    syncs_directory: c_int,
) -> c_int {
    guarded(|| {
        // SAFETY: SQLite passes the record that it got the function from.
        let model = unsafe { disk(vfs) }?;
        // SAFETY: SQLite passes a string that lives during the call.
        let name = unsafe { file_name(name) }?.ok_or(ffi::SQLITE_MISUSE)?;
        let outcome = locked(&model).delete(name, syncs_directory != 0);
        outcome.map_err(|refusal| match refusal {
            Refusal::Absent => ffi::SQLITE_IOERR_DELETE_NOENT,
            other => code(other),
        })
    })
}

unsafe extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    guarded(|| {
        // SAFETY: SQLite passes the record that it got the function from.
        let model = unsafe { disk(vfs) }?;
        // SAFETY: SQLite passes a string that lives during the call.
        let name = unsafe { file_name(name) }?.ok_or(ffi::SQLITE_MISUSE)?;
        let len = locked(&model).len_of(name).map_err(code)?;
        // As on unix, an empty file does not count: to SQLite it is an empty journal.
        let found = match flags {
            ffi::SQLITE_ACCESS_EXISTS => len.is_some_and(|len| len > 0),
            _ => len.is_some(),
        };
        // SAFETY: SQLite passes a place for the result.
        unsafe { out.write(c_int::from(found)) };
        Ok(())
    })
}

/// Returns the name unchanged: the disk has one directory.
unsafe extern "C" fn full_pathname(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    out_bytes: c_int,
    out: *mut c_char,
) -> c_int {
    guarded(|| {
        // SAFETY: SQLite passes a string that lives during the call.
        let name = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
        if usize::try_from(out_bytes).unwrap_or(0) < name.len() {
            return Err(ffi::SQLITE_CANTOPEN);
        }
        // SAFETY: SQLite passes a buffer of `out_bytes`, which is not the name's.
        unsafe { ptr::copy_nonoverlapping(name.as_ptr().cast(), out, name.len()) };
        Ok(())
    })
}

// The disk has no extensions.

unsafe extern "C" fn dl_open(_: *mut ffi::sqlite3_vfs, _: *const c_char) -> *mut c_void {
    ptr::null_mut()
}

unsafe extern "C" fn dl_error(_: *mut ffi::sqlite3_vfs, out_bytes: c_int, out: *mut c_char) {
    if out_bytes > 0 && !out.is_null() {
        // SAFETY: SQLite passes a buffer of `out_bytes`.
        unsafe { out.write(0) };
    }
}

unsafe extern "C" fn dl_sym(
    _: *mut ffi::sqlite3_vfs,
    _: *mut c_void,
    _: *const c_char,
) -> Option<unsafe extern "C" fn(*mut ffi::sqlite3_vfs, *mut c_void, *const c_char)> {
    None
}

unsafe extern "C" fn dl_close(_: *mut ffi::sqlite3_vfs, _: *mut c_void) {}

unsafe extern "C" fn randomness(
    _: *mut ffi::sqlite3_vfs,
    out_bytes: c_int,
    out: *mut c_char,
) -> c_int {
    let Ok(bytes) = usize::try_from(out_bytes) else {
        return 0;
    };
    for at in 0..bytes {
        // SAFETY: SQLite passes a buffer of `out_bytes`.
        unsafe { out.add(at).write(fastrand::u8(..) as c_char) };
    }
    out_bytes
}

unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, micros: c_int) -> c_int {
    std::thread::sleep(Duration::from_micros(u64::try_from(micros).unwrap_or(0)));
    micros
}

fn julian_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UNIX_EPOCH_JULIAN_MS.saturating_add(i64::try_from(since.as_millis()).unwrap_or(0))
}

unsafe extern "C" fn current_time(_: *mut ffi::sqlite3_vfs, out_days: *mut f64) -> c_int {
    // SAFETY: SQLite passes a place for the result.
    unsafe { out_days.write(julian_ms() as f64 / DAY_MS) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn current_time_ms(
    _: *mut ffi::sqlite3_vfs,
    out: *mut ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite passes a place for the result.
    unsafe { out.write(julian_ms()) };
    ffi::SQLITE_OK
}

/// Returns no further error: there is no operating system below.
unsafe extern "C" fn last_error(_: *mut ffi::sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    0
}
