//! What this process keeps in memory, as the system counts it.

/// Bytes resident now, and the most there ever were; `None` where the system does not say (anywhere but on Linux).
pub fn resident() -> Option<(u64, u64)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
    };
    Some((field("VmRSS:")?, field("VmHWM:")?))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_resident() {
        let (before, _) = resident().expect("Linux says");
        let block = std::hint::black_box(vec![1u8; 64 << 20]);
        let (now, peak) = resident().expect("Linux says");
        assert!(now >= before + (60 << 20) && peak >= now, "{before} {now} {peak}");
        drop(block);
    }
}
