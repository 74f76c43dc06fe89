//! Memory that the daemon does not need while it sleeps.

use std::ffi::{c_int, c_void};

/// Releases the pages of the program's code: they come back from the page cache when needed. A sleeping daemon then
/// keeps only its data.
pub fn release_code() {
    // SAFETY: the callback has the type that is asked for, and uses no data.
    unsafe { libc::dl_iterate_phdr(Some(release), std::ptr::null_mut()) };
}

/// Releases the segments that are not writable.
unsafe extern "C" fn release(info: *mut libc::dl_phdr_info, _size: usize, _data: *mut c_void) -> c_int {
    const PAGE: usize = 4096;
    // SAFETY: libc gives a whole record, and the headers that it counts.
    let (base, headers) = unsafe {
        let info = &*info;
        (info.dlpi_addr, std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)))
    };
    for header in headers.iter().filter(|h| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_W == 0) {
        let Ok(start) = usize::try_from(base + header.p_vaddr) else { continue };
        let Ok(length) = usize::try_from(header.p_memsz) else { continue };
        let aligned = start / PAGE * PAGE;
        // SAFETY: a private mapping of a file without changes: released pages are read again. Where pages are larger,
        // the call is refused, and nothing happens.
        unsafe { libc::madvise(aligned as *mut c_void, length + (start - aligned), libc::MADV_DONTNEED) };
    }
    0
}
