//! One run of a script of `dev/`: what it prints, its processes, and its end.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use testkit::{Client, eventually, process, stack::root};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    task::JoinHandle,
};

use crate::SOON;

/// The time in which a run is ready: it may have to wait for the build of another one.
const START: Duration = Duration::from_mins(3);

/// What cargo sets for a test. Build scripts that depend on it would run again, and all that follows.
const OF_CARGO: [&str; 8] = [
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "CARGO_PKG_NAME",
    "CARGO_PKG_VERSION",
    "CARGO_PKG_VERSION_MAJOR",
    "CARGO_PKG_VERSION_MINOR",
    "CARGO_PKG_VERSION_PATCH",
    "CARGO_PKG_VERSION_PRE",
];

/// A running script.
pub struct Run {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
    /// Lines before this one were awaited already.
    awaited: Mutex<usize>,
}

/// Sends a signal by its name.
pub fn signal(pid: u32, name: &str) {
    let status = std::process::Command::new("kill").args(["-s", name, &pid.to_string()]).status();
    assert!(status.unwrap().success(), "process {pid} cannot be signalled");
}

fn read(output: impl AsyncRead + Unpin + Send + 'static, lines: &Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    let lines = Arc::clone(lines);
    tokio::spawn(async move {
        let mut output = BufReader::new(output).lines();
        while let Ok(Some(line)) = output.next_line().await {
            lines.lock().unwrap().push(line);
        }
    })
}

fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

impl Run {
    /// `make run`, when its report is complete.
    pub async fn of_demo() -> Self {
        Self::start("demo.py", &[], "The stack is running.").await
    }

    /// A script with arguments, when it has printed `ready`.
    pub async fn start(script: &str, arguments: &[&str], ready: &str) -> Self {
        Self::start_with(script, arguments, &[], ready).await
    }

    /// The same with ports in variables; those that are not given are free ones.
    pub async fn start_with(script: &str, arguments: &[&str], ports: &[(&str, &str)], ready: &str) -> Self {
        let mut command = Command::new("python3");
        command.arg(root().join("dev").join(script)).args(arguments).current_dir(root());
        for variable in ["PORT", "RECEIVER_PORT", "WATCH_PORT"] {
            command.env(variable, free_port());
        }
        command.envs(ports.iter().copied()).env_remove("ONCE");
        for variable in OF_CARGO {
            command.env_remove(variable);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{script} does not run: {error}"));
        let lines = Arc::default();
        let readers =
            vec![read(child.stdout.take().unwrap(), &lines), read(child.stderr.take().unwrap(), &lines)];
        let run = Self { child, lines, readers, awaited: Mutex::new(0) };
        run.within(START, ready, 0).await;
        run
    }

    /// Everything that it has printed.
    pub fn output(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// The lines after the first one that begins with this.
    pub fn lines_after(&self, start: &str) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        lines.iter().skip_while(|line| !line.starts_with(start)).skip(1).cloned().collect()
    }

    async fn within(&self, limit: Duration, text: &str, from: usize) -> String {
        let found = testkit::within(limit, || async {
            let lines = self.lines.lock().unwrap();
            let index = from + lines[from..].iter().position(|line| line.contains(text))?;
            *self.awaited.lock().unwrap() = index + 1;
            Some(lines[index].clone())
        });
        found.await.unwrap_or_else(|| panic!("{text:?} was not printed:\n{}", self.output()))
    }

    /// The first line with this text, once it is printed.
    pub async fn says(&self, text: &str) -> String {
        self.within(SOON, text, 0).await
    }

    /// The same for a line after all those that were awaited before.
    pub async fn says_again(&self, text: &str) -> String {
        let from = *self.awaited.lock().unwrap();
        self.within(SOON, text, from).await
    }

    /// What the report shows under a label.
    pub fn value(&self, label: &str) -> String {
        let lines = self.lines.lock().unwrap();
        let value = lines.iter().find_map(|line| line.trim().strip_prefix(label)?.strip_prefix("  "));
        let value = value.unwrap_or_else(|| panic!("no {label}")).trim();
        value.split_whitespace().next().unwrap().to_owned()
    }

    /// The API's address, without `/v1`.
    pub fn api(&self) -> String {
        self.value("API").trim_end_matches("/v1").to_owned()
    }

    /// A client with the operator's key.
    pub fn operator(&self) -> Client {
        Client::at(&self.api(), &self.value("operator key"))
    }

    fn directory(&self) -> PathBuf {
        let lines = self.lines.lock().unwrap();
        // `dev/stack.py` prints no report; its command prints where the state is.
        if let Some(state) = lines.iter().find_map(|line| line.strip_prefix("state ")) {
            return Path::new(state).parent().unwrap().to_owned();
        }
        drop(lines);
        Path::new(&self.value("logs")).parent().unwrap().to_owned()
    }

    /// The log of a part.
    pub fn log(&self, part: &str) -> PathBuf {
        self.directory().join("logs").join(format!("{part}.log"))
    }

    /// The functions' processes below the stand-in: process and deployed name.
    pub fn functions(&self) -> Vec<(u32, String)> {
        process::functions_below(&self.directory())
    }

    /// A part's supervisor, and what it supervises.
    pub fn part(&self, name: &str) -> Vec<u32> {
        let mut pids: Vec<_> = self.processes(name, "");
        pids.truncate(2);
        pids
    }

    /// All processes of a part whose executable's path ends with this, oldest first.
    pub fn processes(&self, part: &str, executable: &str) -> Vec<u32> {
        let variable = format!("CW_PART={}", self.log(part).display());
        let mut pids: Vec<_> = pids_with(&variable)
            .into_iter()
            .filter(|pid| {
                let path = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
                path.to_str().is_some_and(|path| path.ends_with(executable))
            })
            .collect();
        pids.sort_unstable();
        pids
    }

    /// The process of the script.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it has not ended")
    }

    /// Whether it has not ended.
    pub fn is_up(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Closes what it prints to.
    pub async fn close_output(&mut self) {
        for reader in self.readers.drain(..) {
            reader.abort();
            let _ = reader.await;
        }
    }

    /// Ends it as Ctrl-C does; returns whether it ended as it should.
    pub async fn interrupt(&mut self) -> bool {
        signal(self.pid(), "INT");
        self.ends().await;
        self.output().ends_with("\nStopped.") && self.child.wait().await.unwrap().success()
    }

    /// Waits until it has ended, and nothing of it is left.
    pub async fn ends(&mut self) {
        let ended = tokio::time::timeout(SOON, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("it does not end:\n{}", self.output())).unwrap();
        for reader in self.readers.drain(..) {
            reader.await.unwrap();
        }
        let lines = self.lines.lock().unwrap().join("\n");
        if lines.contains("logs  ") || lines.contains("state /") {
            let variable = format!("CW_PART={}", self.directory().display());
            eventually("its processes to end", SOON, || async {
                pids_with(&variable).is_empty().then_some(())
            })
            .await;
        }
    }
}

/// The processes whose environment has a variable that begins like this.
fn pids_with(variable: &str) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let environment = fs::read(process.path().join("environ")).ok()?;
        let mut variables = environment.split(|byte| *byte == 0);
        variables.any(|line| line.starts_with(variable.as_bytes())).then_some(pid)
    });
    pids.collect()
}
