//! What a process has used: rates by the clock say more about the neighbours than about the code.

use std::time::Duration;
use std::{fs, io};

use rustix::time::{ClockId, clock_gettime};

/// What this process has had of processors so far, in the kernel too.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Resident memory of a process, in bytes.
pub fn resident(pid: u32) -> io::Result<u64> {
    // What /proc says elsewhere may lag behind.
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kib =
        rollup.lines().find_map(|line| line.strip_prefix("Rss:")?.strip_suffix("kB")?.trim().parse().ok());
    kib.map(|kib: u64| kib << 10).ok_or_else(|| io::Error::other("no Rss in smaps_rollup"))
}
