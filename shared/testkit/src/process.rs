//! Finding and killing processes: that at the other end of a connection, and the stack's functions
//! (Linux).

use std::{fs, net::SocketAddr, path::Path, process::Command, sync::OnceLock};

use serde::{Deserialize, Serialize};

use crate::wait::millis_now;

/// The variable by which a function's process knows its deployed name.
const FUNCTION_NAME: &str = "AWS_LAMBDA_FUNCTION_NAME=";

/// The file that a function's process runs.
const FUNCTION_FILE: &str = "bootstrap";

/// The other end of a connection. Who it is takes milliseconds to find out, so that is asked once.
#[derive(Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Our end. A port of theirs can have connections to several of ours.
    ours: SocketAddr,
    process: OnceLock<Option<(u32, Option<String>)>>,
}

impl Peer {
    /// The process that holds `address` in a connection to `ours`.
    pub fn new(address: SocketAddr, ours: SocketAddr) -> Self {
        Self { address, ours, process: OnceLock::new() }
    }

    fn process(&self) -> Option<&(u32, Option<String>)> {
        self.process.get_or_init(|| of_peer(self.address, self.ours).map(|pid| (pid, function(pid)))).as_ref()
    }

    /// Its process.
    pub fn pid(&self) -> Option<u32> {
        self.process().map(|(pid, _)| *pid)
    }

    /// The deployed name of the function that it is, if it is one.
    pub fn function(&self) -> Option<&str> {
        self.process()?.1.as_deref()
    }
}

/// The deployed name of the function that a process runs.
fn function(pid: u32) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut variables =
        environment.split(|byte| *byte == 0).filter_map(|line| std::str::from_utf8(line).ok());
    variables.find_map(|line| line.strip_prefix(FUNCTION_NAME)).map(str::to_owned)
}

/// The functions that run from code below `directory`: process and deployed name.
pub fn functions_below(directory: &Path) -> Vec<(u32, String)> {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let function = |process: fs::DirEntry| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let code = fs::read_link(process.path().join("exe")).ok()?;
        if code.file_name()? == FUNCTION_FILE && code.starts_with(directory) {
            Some((pid, function(pid)?))
        } else {
            None
        }
    };
    processes.filter_map(function).collect()
}

/// The process that holds the end `peer` of a connection to `ours` on this machine.
pub fn of_peer(peer: SocketAddr, ours: SocketAddr) -> Option<u32> {
    let inode = socket_inode(peer.port(), ours.port())?;
    let socket = format!("socket:[{inode}]");
    let files = |pid: &u32| fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let leads_there =
        |link: fs::DirEntry| fs::read_link(link.path()).is_ok_and(|to| to.to_str() == Some(&socket));
    let pid = |process: fs::DirEntry| process.file_name().to_str()?.parse().ok();
    let is_function = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == FUNCTION_FILE)
    };
    let processes = fs::read_dir("/proc").ok()?.flatten().filter_map(pid);
    // It is nearly always a function, and others, such as the stand-in, have thousands of open files.
    let (functions, others): (Vec<u32>, Vec<u32>) = processes.partition(is_function);
    functions.into_iter().chain(others).find(|pid| files(pid).any(leads_there))
}

/// The inode of the socket with these ports, its own and the one that it is connected to. The own
/// one alone is not enough: the kernel gives it to several connections that lead elsewhere. Format:
/// `proc_net_tcp(5)`.
fn socket_inode(own: u16, other: u16) -> Option<u64> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let port = |index: usize| u16::from_str_radix(columns.get(index)?.split(':').nth(1)?, 16).ok();
        // State 01: established.
        (port(1)? == own && port(2)? == other && columns.get(3) == Some(&"01"))
            .then(|| columns.get(9)?.parse().ok())?
    })
}

/// Ends a process as a crash would: at once, without a signal that it can handle.
pub fn kill(pid: u32) {
    assert!(try_kill(pid), "process {pid} could not be killed");
}

/// The same for a process that may have ended on its own; returns whether it existed.
pub fn try_kill(pid: u32) -> bool {
    let mut command = Command::new("kill");
    command.args(["-9", &pid.to_string()]).stderr(std::process::Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The end of a process that was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kill {
    /// Which process.
    pub pid: u32,
    /// When, in milliseconds since 1970: just before the signal.
    pub at: u64,
}

impl Kill {
    /// Kills a process; nothing if it has ended on its own.
    pub fn now(pid: u32) -> Option<Self> {
        let at = millis_now();
        try_kill(pid).then_some(Self { pid, at })
    }
}
