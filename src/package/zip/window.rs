//! Reads a file at any offset, through windows that survive a seek: reading a ZIP jumps between its directory and its
//! members, and a jump back should cost no system call. The position of the file is neither used nor moved.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// A buffered piece of a file.
#[derive(Debug)]
pub(in crate::package) struct ReadWindow {
    start: u64,
    filled: usize,
    bytes: Box<[u8]>,
}

impl ReadWindow {
    /// A window of `size` bytes.
    pub(in crate::package) fn new(size: usize) -> Self {
        Self { start: 0, filled: 0, bytes: vec![0; size].into_boxed_slice() }
    }

    /// The buffered bytes from `at` on.
    fn held(&self, at: u64) -> Option<&[u8]> {
        let skip = usize::try_from(at.checked_sub(self.start)?).ok()?;
        self.bytes[..self.filled].get(skip..).filter(|held| !held.is_empty())
    }

    /// Returns at least one byte from `at` on, unless the file ends there.
    pub(in crate::package) fn at(&mut self, file: &File, at: u64) -> io::Result<&[u8]> {
        if self.held(at).is_none() {
            self.filled = 0;
            self.filled = loop {
                match file.read_at(&mut self.bytes, at) {
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    read => break read?,
                }
            };
            self.start = at;
        }
        Ok(self.held(at).unwrap_or(&[]))
    }
}

/// A reader for the structure of an archive: one window stays on the directory, the other moves over the members.
#[derive(Debug)]
pub(super) struct BufferedAt<'a> {
    file: &'a File,
    size: u64,
    position: u64,
    windows: [ReadWindow; 2],
    last: usize,
}

impl<'a> BufferedAt<'a> {
    /// Headers are small: a larger window would mostly read unused bytes.
    const WINDOW: usize = 4096;

    /// A reader over `file`, at its beginning.
    pub(super) fn new(file: &'a File) -> io::Result<Self> {
        let windows = [ReadWindow::new(Self::WINDOW), ReadWindow::new(Self::WINDOW)];
        Ok(Self { file, size: file.metadata()?.len(), position: 0, windows, last: 0 })
    }

    /// Fills `bytes` from offset `at`.
    pub(super) fn exact(&mut self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.position = at;
        self.read_exact(bytes)
    }
}

impl Read for BufferedAt<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Some(holder) = self.windows.iter().position(|w| w.held(self.position).is_some()) {
            self.last = holder;
        } else {
            self.last = 1 - self.last;
        }
        let bytes = self.windows[self.last].at(self.file, self.position)?;
        let count = bytes.len().min(into.len());
        into[..count].copy_from_slice(&bytes[..count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for BufferedAt<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = place.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn glass_reads_the_same_as_the_file_itself() {
        let path = std::env::temp_dir().join(format!("repo-deploy-glass-{}", std::process::id()));
        let content: Vec<u8> = (0..20_000_u16).flat_map(u16::to_le_bytes).collect();
        File::create(&path).unwrap().write_all(&content).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut glass = BufferedAt::new(&file).unwrap();
        let mut place = 7_usize;
        for step in 0..2_000 {
            place = (place * 31 + step) % content.len();
            let count = (place % 700).min(content.len() - place);
            let mut read = vec![0; count];
            glass.seek(SeekFrom::Start(place as u64)).unwrap();
            glass.read_exact(&mut read).unwrap();
            assert_eq!(read, content[place..place + count]);
        }
        assert_eq!(glass.seek(SeekFrom::End(-3)).unwrap(), content.len() as u64 - 3);
        let mut rest = Vec::new();
        glass.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, content[content.len() - 3..]);
        assert!(glass.seek(SeekFrom::Current(-50_000)).is_err());
        assert_eq!(glass.seek(SeekFrom::Start(u64::MAX)).unwrap(), u64::MAX);
        assert!(glass.read(&mut [0; 4]).is_err() || glass.read(&mut [0; 4]).unwrap() == 0);
    }
}
