//! What SQLite has open, read through its own handles: a descriptor of our own on one of these files would drop the
//! locks of this process when it is closed (`files`).
use rusqlite::{Connection, ffi};

/// Of the index of the log (`-shm`), as SQLite maps it.
pub(super) const REGION_BYTES: u64 = 32 << 10;
/// Its header twice, and how far checkpoints have come.
pub(super) const INDEX_BYTES: usize = 136;

/// Reads a part of the write-ahead log; `false` where it is not so long.
#[allow(unsafe_code)]
pub(super) fn read_log(connection: &Connection, offset: u64, into: &mut [u8]) -> rusqlite::Result<bool> {
    let file = file(connection, ffi::SQLITE_FCNTL_JOURNAL_POINTER)?;
    let (Ok(offset), Ok(length)) = (i64::try_from(offset), i32::try_from(into.len())) else { return Ok(false) };
    // SAFETY: the file is open as long as the connection, which only this thread uses; SQLite writes at most `length`
    // bytes to where `into` is. A file that is not open yet has no methods.
    let code = unsafe {
        let Some(read) = (*file).pMethods.as_ref().and_then(|methods| methods.xRead) else { return Ok(false) };
        read(file, into.as_mut_ptr().cast(), length, offset)
    };
    match code {
        ffi::SQLITE_OK => Ok(true),
        ffi::SQLITE_IOERR_SHORT_READ => Ok(false),
        code => Err(error(code)),
    }
}

/// The head of the index that all connections share. Whoever asks has seen that the file is as long as a region:
/// touched
/// behind its end it would be a signal.
#[allow(unsafe_code)]
pub(super) fn index(connection: &Connection) -> rusqlite::Result<[u8; INDEX_BYTES]> {
    let file = file(connection, ffi::SQLITE_FCNTL_FILE_POINTER)?;
    let mut region: *mut std::ffi::c_void = std::ptr::null_mut();
    // SAFETY: as in `read_log`; a connection with a write-ahead log has this region mapped, and it stays so until the
    // last one is closed.
    let code = unsafe {
        let map = (*file).pMethods.as_ref().and_then(|methods| methods.xShmMap);
        let map = map.ok_or_else(|| error(ffi::SQLITE_MISUSE))?;
        map(file, 0, REGION_BYTES as i32, 0, (&raw mut region).cast())
    };
    if code != ffi::SQLITE_OK || region.is_null() {
        return Err(error(code));
    }
    let mut bytes = [0; INDEX_BYTES];
    for (n, word) in bytes.chunks_exact_mut(4).enumerate() {
        // SAFETY: within the region, which is aligned to a page. Others write there meanwhile: what was half written is
        // told by its checksum.
        let value = unsafe { region.cast::<u32>().add(n).read_volatile() };
        word.copy_from_slice(&value.to_ne_bytes());
    }
    Ok(bytes)
}

#[allow(unsafe_code)]
fn file(connection: &Connection, which: i32) -> rusqlite::Result<*mut ffi::sqlite3_file> {
    let mut file: *mut ffi::sqlite3_file = std::ptr::null_mut();
    // SAFETY: the handle is not kept beyond the call, and SQLite writes one pointer.
    let code = unsafe {
        let argument = (&raw mut file).cast();
        ffi::sqlite3_file_control(connection.handle(), rusqlite::MAIN_DB.as_ptr(), which, argument)
    };
    if code != ffi::SQLITE_OK || file.is_null() {
        return Err(error(code));
    }
    Ok(file)
}

fn error(code: i32) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some("cannot look at a file through its handle".to_owned()))
}
