//! What only the kernel does: a network of one's own, TUN devices in other namespaces, signals.
#![allow(unsafe_code)]
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// Takes the calling thread, and the threads it begins later, into a fresh network namespace. Nothing that is done to
/// the network after this reaches the machine's own, and everything goes when the process ends.
pub fn leave_network() -> io::Result<()> {
    // SAFETY: no memory is passed.
    match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Opens a TUN device `name` in a namespace, for packets without a header. Works in a thread of its own, which stays in
/// the namespace and ends.
pub fn open_tun(namespace: &Path, name: &str) -> io::Result<File> {
    std::thread::scope(|scope| scope.spawn(|| open_tun_here(namespace, name)).join())
        .unwrap_or_else(|_| Err(io::Error::other("the thread that opens the device panicked")))
}

fn open_tun_here(namespace: &Path, name: &str) -> io::Result<File> {
    let namespace = File::open(namespace)?;
    // SAFETY: a valid descriptor of a namespace; only this thread moves.
    if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let device = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    // `struct ifreq`: the name, then the flags IFF_TUN (1) and IFF_NO_PI (0x1000).
    let mut request = [0_u8; 40];
    let bytes = name.as_bytes();
    request[..bytes.len().min(15)].copy_from_slice(&bytes[..bytes.len().min(15)]);
    request[16..18].copy_from_slice(&0x1001_u16.to_ne_bytes());
    const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
    // SAFETY: `request` has the size of `struct ifreq` and outlives the call.
    match unsafe { libc::ioctl(device.as_raw_fd(), TUNSETIFF, request.as_ptr()) } {
        0 => Ok(device),
        _ => Err(io::Error::last_os_error()),
    }
}

/// To one process, never to a group.
pub fn signal(process: u32, signal: i32) -> io::Result<()> {
    let process = i32::try_from(process).ok().filter(|id| *id > 1).ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: no memory is passed.
    match unsafe { libc::kill(process, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

pub fn is_root() -> bool {
    // SAFETY: it only reads.
    unsafe { libc::geteuid() == 0 }
}
