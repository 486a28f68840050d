//! A socket that programs tell of themselves on (sd_notify(3)).

use super::notify_directory::{NotifyDirectory, Place};
use super::raw::call;
use super::{Pid, clock, fds, raw};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};

const PREFIX: &str = "exeunt/";

/// A datagram socket: in a private directory, or else in the abstract namespace, which needs no directory and is gone with
/// its descriptor (unix(7)). CLOEXEC, non-blocking, numbered 10 or higher.
#[derive(Debug)]
pub struct Inbox {
    socket: OwnedFd,
    address: String,
    /// Where it is in a directory.
    _place: Option<Place>,
}

/// What was received besides the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    pub length: usize,
    /// It had room in the buffer.
    pub whole: bool,
    /// `None` where the kernel did not tell.
    pub sender: Option<Sender>,
}

/// Who sent it, by the kernel's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// As our pid namespace counts; 0 for a process that it does not see.
    pub pid: Pid,
    pub uid: u32,
}

impl Inbox {
    /// In a directory that only root and `user` can reach. Where there is none (`directory` is `None`, or a step fails),
    /// under an abstract name, which cannot be guessed but can be read in /proc/net/unix: then anybody can send, and fill
    /// the socket. In both cases the sender is what counts.
    #[cfg_attr(feature = "faults", track_caller)]
    pub fn open(directory: Option<&NotifyDirectory>, user: u32) -> io::Result<Inbox> {
        match directory.map(|directory| Inbox::open_in(directory, user)) {
            Some(Ok(inbox)) => Ok(inbox),
            Some(Err(_)) | None => Inbox::open_abstract(),
        }
    }

    fn open_in(directory: &NotifyDirectory, user: u32) -> io::Result<Inbox> {
        let socket = socket()?;
        let place = directory.place()?;
        let path = place.socket();
        let address = path.to_str().ok_or(io::ErrorKind::InvalidFilename)?.to_owned();
        bind(socket.as_fd(), path.as_os_str().as_bytes())?;
        place.give((user != directory.user()).then_some(user))?;
        Ok(Inbox { socket, address, _place: Some(place) })
    }

    fn open_abstract() -> io::Result<Inbox> {
        let socket = socket()?;
        let name = unpredictable(PREFIX);
        bind(socket.as_fd(), format!("\0{name}").as_bytes())?;
        Ok(Inbox { socket, address: format!("@{name}"), _place: None })
    }

    /// For `NOTIFY_SOCKET`: a path, or an `@` in the place of the NUL of an abstract name.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// One datagram; `WouldBlock` where there is none.
    ///
    /// Descriptors that come with it never become ours: there is no room for them beside the sender, so the kernel closes
    /// them. That is what a sender waits for who sent one as a barrier.
    #[cfg_attr(feature = "faults", track_caller)]
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Datagram> {
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let mut control = Control { bytes: [0; CONTROL] };
        // SAFETY: msghdr is integers and pointers, for which all zeros is a value.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = CONTROL as _;
        let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
        let length = loop {
            // SAFETY: the message describes one live buffer and a control buffer that is aligned for its headers; both are ours
            // for the time of the call.
            match call(|| unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, flags) }) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                told => break told?,
            }
        };
        let length = usize::try_from(length).unwrap_or(0);
        let whole = message.msg_flags & libc::MSG_TRUNC == 0;
        Ok(Datagram { length, whole, sender: sender(&message) })
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Inbox {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Room for one `ucred` with its header, and for nothing else: `CMSG_SPACE`, which no constant can be made of on all targets.
const CONTROL: usize = align(size_of::<libc::cmsghdr>()) + align(size_of::<libc::ucred>());

const fn align(length: usize) -> usize {
    length.next_multiple_of(size_of::<usize>())
}

#[repr(C)]
union Control {
    bytes: [u8; CONTROL],
    _aligned: libc::cmsghdr,
}

fn socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: three integers go in, a descriptor comes out.
    let socket = call(|| unsafe { libc::socket(libc::AF_UNIX, kind, 0) })?;
    // SAFETY: the kernel just made this descriptor for us; nobody else knows its number.
    let socket = fds::lift(unsafe { OwnedFd::from_raw_fd(socket) })?;
    want_senders(socket.as_fd())?;
    Ok(socket)
}

/// `SO_PASSCRED`: the kernel tells with each datagram who sent it (unix(7)).
fn want_senders(socket: BorrowedFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let size = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or(4);
    let option = (&raw const on).cast();
    // SAFETY: the option is a live int of the told size.
    call(|| unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PASSCRED, option, size) })
        .map(drop)
}

/// `name`: a path, or a NUL and an abstract name. At most 107 bytes fit (unix(7)).
fn bind(socket: BorrowedFd, name: &[u8]) -> io::Result<()> {
    // SAFETY: sockaddr_un is integers, for which all zeros is a value.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    if name.len() >= address.sun_path.len() {
        return Err(io::ErrorKind::InvalidFilename.into());
    }
    address.sun_path.iter_mut().zip(name).for_each(|(place, &byte)| *place = byte as libc::c_char);
    let length = std::mem::offset_of!(libc::sockaddr_un, sun_path) + name.len();
    let length = libc::socklen_t::try_from(length).unwrap_or(0);
    // SAFETY: the address is live, and the told length is that of its family and a name that was just seen to fit.
    call(|| unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) }).map(drop)
}

fn sender(message: &libc::msghdr) -> Option<Sender> {
    // SAFETY: the kernel filled the message: its control buffer is live, and its length says how much of it there is.
    let header = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: null, or at the beginning of that buffer, which holds at least a header then.
    let told = unsafe { header.as_ref() }?;
    if (told.cmsg_level, told.cmsg_type) != (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) {
        return None;
    }
    // SAFETY: the kernel says that a ucred follows the header; it may not be aligned for one.
    let from = unsafe { libc::CMSG_DATA(header).cast::<libc::ucred>().read_unaligned() };
    Some(Sender { pid: from.pid, uid: from.uid })
}

/// A name with this beginning that nobody can guess.
pub(super) fn unpredictable(prefix: &str) -> String {
    format!("{prefix}{:032x}", u128::from_ne_bytes(noise()))
}

/// Sixteen bytes that nobody can guess. Where the kernel has none (a sandbox, or so early that it would have to wait for them), they differ
/// at least from all others.
fn noise() -> [u8; 16] {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut bytes = [0; 16];
    // SAFETY: a live buffer of that length.
    let told = call(|| unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK) });
    if told.is_ok_and(|length| usize::try_from(length) == Ok(bytes.len())) {
        return bytes;
    }
    let count = u128::from(COUNT.fetch_add(1, Ordering::Relaxed));
    let us = u128::from(raw::own_pid().unsigned_abs());
    (u128::from(clock::now().as_nanos()) << 64 | us << 32 | count).to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::identity::own_user;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    fn sender_to(inbox: &Inbox) -> UnixDatagram {
        let socket = UnixDatagram::unbound().unwrap();
        let address = match inbox.address().strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name).unwrap(),
            None => SocketAddr::from_pathname(inbox.address()).unwrap(),
        };
        socket.connect_addr(&address).unwrap();
        socket
    }

    fn open() -> Inbox {
        Inbox::open(None, own_user()).unwrap()
    }

    #[test]
    fn a_socket_in_a_private_directory_is_heard_and_removed_with_it() {
        let directory = NotifyDirectory::make(false).unwrap();
        let inbox = Inbox::open(Some(&directory), own_user()).unwrap();
        let path = std::path::PathBuf::from(inbox.address());
        let private = std::fs::metadata(path.parent().unwrap()).unwrap();
        assert_eq!((private.mode() & 0o777, private.uid()), (0o700, own_user()));
        sender_to(&inbox).send(b"READY=1").unwrap();
        assert_eq!(inbox.receive(&mut [0; 8]).unwrap().length, 7);
        drop(inbox);
        assert!(!path.exists() && !path.parent().unwrap().exists());
    }

    #[test]
    fn a_datagram_comes_with_the_name_of_its_sender() {
        let (one, other) = (open(), open());
        assert_ne!(one.address(), other.address());
        assert_eq!(one.receive(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        sender_to(&one).send(b"READY=1").unwrap();
        let mut buffer = [0; 8];
        let told = one.receive(&mut buffer).unwrap();
        let us = Sender { pid: raw::own_pid(), uid: own_user() };
        assert_eq!(told, Datagram { length: 7, whole: true, sender: Some(us) });
        assert_eq!(&buffer[..7], b"READY=1");
        assert!(other.receive(&mut buffer).is_err());
    }

    #[test]
    fn what_does_not_fit_is_told_to_be_torn() {
        let inbox = open();
        sender_to(&inbox).send(&[b'x'; 9]).unwrap();
        let told = inbox.receive(&mut [0; 8]).unwrap();
        assert_eq!((told.length, told.whole), (8, false));
    }

    /// With many descriptors, with one, and with none that fits.
    #[test]
    fn descriptors_that_come_along_are_closed_at_once() {
        let inbox = open();
        let socket = sender_to(&inbox);
        for count in [1, 2, 250] {
            let pipe = fds::pipe().unwrap();
            send_with(&socket, &vec![pipe.write.as_raw_fd(); count]);
            drop(pipe.write);
            fds::set_nonblocking(pipe.read.as_fd()).unwrap();
            let held = fds::read(pipe.read.as_fd(), &mut [0; 1]);
            assert_eq!(held.unwrap_err().kind(), io::ErrorKind::WouldBlock, "the datagram holds it");
            let told = inbox.receive(&mut [0; 16]).unwrap();
            assert_eq!((told.length, told.whole, told.sender.is_some()), (9, true, true));
            assert_eq!(fds::read(pipe.read.as_fd(), &mut [0; 1]).unwrap(), 0, "{count} are closed");
        }
    }

    fn send_with(socket: &UnixDatagram, descriptors: &[RawFd]) {
        let mut bytes = *b"BARRIER=1";
        let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        let length = size_of_val(descriptors) as u32;
        // SAFETY: both only compute with their argument.
        let (space, filled) = unsafe { (libc::CMSG_SPACE(length), libc::CMSG_LEN(length)) };
        let mut control = vec![0u64; space as usize / 8 + 1];
        // SAFETY: all zeros is a value of msghdr; all it points to lives until sendmsg is done, the control buffer is aligned and
        // has room for one header and the descriptors.
        let sent = unsafe {
            let mut message: libc::msghdr = std::mem::zeroed();
            (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
            (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), space as _);
            let header = libc::CMSG_FIRSTHDR(&message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = filled as _;
            std::ptr::copy_nonoverlapping(descriptors.as_ptr().cast::<u8>(), libc::CMSG_DATA(header), length as usize);
            libc::sendmsg(socket.as_raw_fd(), &raw const message, 0)
        };
        assert_eq!(sent, 9);
    }
}
