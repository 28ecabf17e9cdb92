//! The disk as SQLite sees it: the only place that speaks C.
//!
//! Every function checks nothing that SQLite promises: pointers are what `open` put there, and a file is used by one
//! thread at a time. A [`Disk`] is behind a lock of its own.
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Weak};

use rusqlite::ffi;

use crate::disk::{Disk, Handle, Refused};
use crate::file::SECTOR_BYTES;
use crate::locks::Level;

/// A disk that is registered with SQLite under a name. Dropped, the name is gone; open connections go on.
pub struct Vfs {
    name: CString,
    registered: &'static Registered,
}

/// Never freed, a few hundred bytes: a connection keeps a pointer to it for as long as it lives, and nothing tells us
/// how long.
struct Registered {
    raw: *mut ffi::sqlite3_vfs,
    disk: Weak<Disk>,
}

// SAFETY: the pointer is only handed to SQLite, which has a lock of its own around the list of these; the rest is
// `Sync`.
unsafe impl Sync for Registered {}
// SAFETY: as above; nothing in it belongs to a thread.
unsafe impl Send for Registered {}

/// SQLite allocates these bytes and gives them back to every function below.
#[repr(C)]
struct Opened {
    base: ffi::sqlite3_file,
    /// Null after a failed opening.
    file: *mut OpenFile,
}

struct OpenFile {
    disk: Arc<Disk>,
    handle: Handle,
}

impl Vfs {
    /// `as_default`: for all connections that name no other.
    pub fn register(disk: &Arc<Disk>, as_default: bool) -> Self {
        // The address is free for another name once all is dropped, and unique until then.
        let name = format!("powerloss-{:x}", Arc::as_ptr(disk) as usize);
        let name = CString::new(name).expect("no zero byte in it");
        let registered: &'static mut Registered =
            Box::leak(Box::new(Registered { raw: std::ptr::null_mut(), disk: Arc::downgrade(disk) }));
        let disk_data: *mut Registered = registered;
        let raw = Box::leak(Box::new(ffi::sqlite3_vfs {
            iVersion: 1,
            szOsFile: size_of::<Opened>() as c_int,
            mxPathname: 512,
            pNext: std::ptr::null_mut(),
            zName: name.clone().into_raw(),
            pAppData: disk_data.cast(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            xGetLastError: Some(last_error),
            xCurrentTimeInt64: None,
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        }));
        registered.raw = raw;
        // SAFETY: the structure, its name and its data are leaked, so they outlive every use. SQLite is threadsafe
        // here, and initialises itself.
        let code = unsafe { ffi::sqlite3_vfs_register(registered.raw, c_int::from(as_default)) };
        assert_eq!(code, ffi::SQLITE_OK, "SQLite takes another VFS");
        Self { name, registered }
    }

    pub fn name(&self) -> &str {
        self.name.to_str().expect("made of ASCII")
    }

    /// What to open to get the file of this name on this disk.
    pub fn uri(&self, file: &str) -> String {
        format!("file:{file}?vfs={}", self.name())
    }
}

impl Drop for Vfs {
    fn drop(&mut self) {
        // SAFETY: it was registered, and is not freed: connections that still use it can.
        unsafe { ffi::sqlite3_vfs_unregister(self.registered.raw) };
    }
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
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

fn code(result: Result<(), Refused>, io: c_int) -> c_int {
    match result {
        Ok(()) => ffi::SQLITE_OK,
        Err(Refused::Io) => io,
        Err(Refused::Full) => ffi::SQLITE_FULL,
        Err(Refused::Locked) => ffi::SQLITE_BUSY,
        Err(Refused::NotFound) => ffi::SQLITE_CANTOPEN,
    }
}

/// # Safety
/// `vfs` is one that [`Vfs::register`] made.
unsafe fn disk_of(vfs: *mut ffi::sqlite3_vfs) -> Option<Arc<Disk>> {
    // SAFETY: the structure and its data were leaked at registration.
    let registered = unsafe { &*(*vfs).pAppData.cast::<Registered>() };
    registered.disk.upgrade()
}

/// # Safety
/// `name` is null or ends with a zero byte, and lives as long as the result is used.
unsafe fn text<'a>(name: *const c_char) -> Option<&'a str> {
    if name.is_null() {
        return None;
    }
    // SAFETY: promised by the caller.
    unsafe { CStr::from_ptr(name) }.to_str().ok()
}

/// # Safety
/// `file` was opened by [`open`] and not closed; nobody else uses it now.
unsafe fn opened<'a>(file: *mut ffi::sqlite3_file) -> &'a mut OpenFile {
    // SAFETY: `open` stored a box there, and SQLite uses a file from one thread at a time.
    unsafe { &mut *(*file.cast::<Opened>()).file }
}

// === the file system ===

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite allocated `szOsFile` bytes for it. Null methods say that there is nothing to close.
    unsafe {
        file.cast::<Opened>()
            .write(Opened { base: ffi::sqlite3_file { pMethods: std::ptr::null() }, file: std::ptr::null_mut() })
    };
    // SAFETY: the arguments are SQLite's.
    let (disk, name) = unsafe { (disk_of(vfs), text(name)) };
    let Some(disk) = disk else { return ffi::SQLITE_CANTOPEN };
    let (create, delete) = (flags & ffi::SQLITE_OPEN_CREATE != 0, flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0);
    let handle = match disk.open(name, create, delete) {
        Ok(handle) => handle,
        Err(refused) => return code(Err(refused), ffi::SQLITE_CANTOPEN),
    };
    let open = Box::into_raw(Box::new(OpenFile { disk, handle }));
    // SAFETY: as above; `out_flags` may be null.
    unsafe {
        file.cast::<Opened>().write(Opened { base: ffi::sqlite3_file { pMethods: &METHODS }, file: open });
        if !out_flags.is_null() {
            *out_flags = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync_directory: c_int) -> c_int {
    // SAFETY: the arguments are SQLite's.
    let (Some(disk), Some(name)) = (unsafe { (disk_of(vfs), text(name)) }) else { return ffi::SQLITE_IOERR_DELETE };
    match disk.delete(name, sync_directory != 0) {
        Err(Refused::NotFound) => ffi::SQLITE_IOERR_DELETE_NOENT,
        result => code(result, ffi::SQLITE_IOERR_DELETE),
    }
}

unsafe extern "C" fn access(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, _flags: c_int, out: *mut c_int) -> c_int {
    // SAFETY: the arguments are SQLite's.
    let (Some(disk), Some(name)) = (unsafe { (disk_of(vfs), text(name)) }) else { return ffi::SQLITE_IOERR_ACCESS };
    match disk.exists(name) {
        Ok(exists) => {
            // SAFETY: SQLite gives a place for the answer.
            unsafe { *out = c_int::from(exists) };
            ffi::SQLITE_OK
        }
        Err(_) => ffi::SQLITE_IOERR_ACCESS,
    }
}

/// Names are taken as they are.
unsafe extern "C" fn full_pathname(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    bytes: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: SQLite's name ends with a zero byte.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
    if name.len() > bytes as usize {
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: there is room for `bytes`, and the two do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(name.as_ptr().cast(), out, name.len()) };
    ffi::SQLITE_OK
}

/// Salts of write-ahead logs: another life must not draw the same again, or it would take an older one's frames for its
/// own.
unsafe extern "C" fn randomness(_vfs: *mut ffi::sqlite3_vfs, bytes: c_int, out: *mut c_char) -> c_int {
    let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), bytes);
    let mut rng = crate::rng::Rng::new(seed);
    for n in 0..bytes as usize {
        // SAFETY: there is room for `bytes`.
        unsafe { *out.add(n) = rng.below(256) as c_char };
    }
    bytes
}

unsafe extern "C" fn sleep(_vfs: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    std::thread::sleep(std::time::Duration::from_micros(microseconds.max(0) as u64));
    microseconds
}

/// In days since noon in Greenwich on November 24, 4714 B.C. Nothing depends on it here.
unsafe extern "C" fn current_time(_vfs: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: SQLite gives a place for the answer.
    unsafe { *out = 2_461_000.5 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn last_error(_vfs: *mut ffi::sqlite3_vfs, _bytes: c_int, _out: *mut c_char) -> c_int {
    0
}

// === a file ===

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: `open` made the box, and SQLite closes a file once.
    let mut open = unsafe { Box::from_raw((*file.cast::<Opened>()).file) };
    let OpenFile { disk, handle } = &mut *open;
    disk.close(handle);
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, into: *mut c_void, bytes: c_int, offset: i64) -> c_int {
    // SAFETY: the file is open, and there is room for `bytes`, which SQLite has initialised or does not mind being
    // zero.
    let (open, into) = unsafe {
        into.cast::<u8>().write_bytes(0, bytes as usize);
        (opened(file), std::slice::from_raw_parts_mut(into.cast::<u8>(), bytes as usize))
    };
    match open.disk.read(&open.handle, offset as usize, into) {
        Ok(read) if read == into.len() => ffi::SQLITE_OK,
        // The rest is zero, as it must be.
        Ok(_) => ffi::SQLITE_IOERR_SHORT_READ,
        Err(_) => ffi::SQLITE_IOERR_READ,
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, from: *const c_void, bytes: c_int, offset: i64) -> c_int {
    // SAFETY: the file is open, and `bytes` are there.
    let (open, from) = unsafe { (opened(file), std::slice::from_raw_parts(from.cast::<u8>(), bytes as usize)) };
    code(open.disk.write(&open.handle, offset as usize, from), ffi::SQLITE_IOERR_WRITE)
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: the file is open.
    let open = unsafe { opened(file) };
    code(open.disk.truncate(&open.handle, size as usize), ffi::SQLITE_IOERR_TRUNCATE)
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: the file is open.
    let open = unsafe { opened(file) };
    code(open.disk.sync(&open.handle), ffi::SQLITE_IOERR_FSYNC)
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, out: *mut i64) -> c_int {
    // SAFETY: the file is open, and SQLite gives a place for the answer.
    unsafe {
        let open = opened(file);
        *out = open.disk.size(&open.handle) as i64;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the file is open.
    let OpenFile { disk, handle } = unsafe { opened(file) };
    code(disk.raise(handle, Level::from_code(level)), ffi::SQLITE_IOERR_LOCK)
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the file is open.
    let OpenFile { disk, handle } = unsafe { opened(file) };
    disk.unlock(handle, Level::from_code(level));
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: the file is open, and SQLite gives a place for the answer.
    unsafe {
        let open = opened(file);
        *out = c_int::from(open.disk.is_reserved(&open.handle));
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(_file: *mut ffi::sqlite3_file, _operation: c_int, _argument: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_file: *mut ffi::sqlite3_file) -> c_int {
    SECTOR_BYTES as c_int
}

/// Nothing is claimed: no atomic write, no safe overwrite beside a torn sector, no order.
unsafe extern "C" fn device_characteristics(_file: *mut ffi::sqlite3_file) -> c_int {
    0
}

// === memory between connections ===

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    bytes: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: the file is open, and SQLite gives a place for the answer. The address is valid until `shm_unmap` of the
    // last connection: regions are boxed and only ever added.
    unsafe {
        let OpenFile { disk, handle } = opened(file);
        *out = disk.map(handle, region as usize, bytes as usize, extend != 0).cast();
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, offset: c_int, count: c_int, flags: c_int) -> c_int {
    // SAFETY: the file is open.
    let OpenFile { disk, handle } = unsafe { opened(file) };
    let slots = offset as usize..(offset + count) as usize;
    if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        disk.unlock_shared(handle, slots);
        return ffi::SQLITE_OK;
    }
    code(disk.lock_shared(handle, slots, flags & ffi::SQLITE_SHM_EXCLUSIVE != 0), ffi::SQLITE_IOERR_SHMLOCK)
}

unsafe extern "C" fn shm_barrier(_file: *mut ffi::sqlite3_file) {
    fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _delete: c_int) -> c_int {
    // SAFETY: the file is open.
    let OpenFile { disk, handle } = unsafe { opened(file) };
    disk.unmap(handle);
    ffi::SQLITE_OK
}
