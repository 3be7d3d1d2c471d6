//! Finding and killing the process at the other end of a connection (Linux).

use std::{fs, net::SocketAddr, process::Command};

/// The process that holds the local end `peer` of a connection to this machine.
pub fn of_peer(peer: SocketAddr) -> Option<u32> {
    let inode = socket_inode(peer.port())?;
    let wanted = format!("socket:[{inode}]");
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        let holds =
            |file: fs::DirEntry| fs::read_link(file.path()).is_ok_and(|to| to.to_str() == Some(&wanted));
        if files.flatten().any(holds) {
            return Some(pid);
        }
    }
    None
}

/// The inode of the socket whose local port this is. Format: `proc_net_tcp(5)`.
fn socket_inode(port: u16) -> Option<u64> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let local = u16::from_str_radix(columns.get(1)?.split(':').nth(1)?, 16).ok()?;
        // State 01: established.
        (local == port && columns.get(3) == Some(&"01")).then(|| columns.get(9)?.parse().ok())?
    })
}

/// Ends a process as a crash would: at once, with nothing said.
pub fn kill(pid: u32) {
    let ended = Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(ended.is_ok_and(|status| status.success()), "process {pid} could not be killed");
}
