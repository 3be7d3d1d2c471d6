//! Deployments of the template beside the shared one, by `dev/stack.py`.

use std::{env, fs, path::Path};

use tokio::process::Command;

use super::{Clock, Stack, root, state, state_file};

fn template() -> String {
    fs::read_to_string(root().join("template.yaml")).expect("the template")
}

impl Stack {
    /// Deploys the template once more beside the shared deployment, so that what a test does to
    /// its functions meets no other test.
    pub async fn deploy(name: &str) -> Self {
        Self::deploy_text(name, &template(), &[]).await
    }

    /// The same with parameters of the template.
    pub async fn deploy_with(name: &str, parameters: &[(&str, &str)]) -> Self {
        Self::deploy_text(name, &template(), parameters).await
    }

    /// The same with a clock that the test sets. Everything that waits longer than a few seconds
    /// then waits in the due index, where the clock counts, and not in a queue.
    pub async fn deploy_with_clock(name: &str) -> (Self, Clock) {
        Self::deploy_with_clock_and(name, &[]).await
    }

    /// The same with parameters of the template.
    pub async fn deploy_with_clock_and(name: &str, parameters: &[(&str, &str)]) -> (Self, Clock) {
        let clock = Clock::new(name);
        let file = clock.file.to_str().expect("a path of text").to_owned();
        let clocked = [("ClockFile", file.as_str()), ("LongestLaneWaitSeconds", "2")];
        (Self::deploy_with(name, &[&clocked, parameters].concat()).await, clock)
    }

    /// The same, after `edit` has changed the template's text.
    pub async fn deploy_edited(name: &str, edit: impl FnOnce(&str) -> String) -> Self {
        let original = template();
        let edited = edit(&original);
        assert_ne!(original, edited, "the edit changed nothing");
        Self::deploy_text(name, &edited, &[]).await
    }

    async fn deploy_text(name: &str, text: &str, parameters: &[(&str, &str)]) -> Self {
        let file = env::temp_dir().join(format!("{name}-{}.yaml", std::process::id()));
        fs::write(&file, text).expect("a copy of the template");
        let status = Command::new("python3")
            .arg(root().join("dev/stack.py"))
            .args(["deploy", "--ephemeral", "--state"])
            .arg(state_file())
            .args(["--stack-name", name, "--template"])
            .arg(&file)
            .args(
                parameters.iter().flat_map(|(name, value)| ["--param".to_owned(), format!("{name}={value}")]),
            )
            .status()
            .await
            .expect("python3 runs");
        assert!(status.success(), "deploying {name} failed");
        fs::remove_file(file).expect("the copy of the template");
        Self::named(state(), name)
    }

    /// Looks for secrets in the tables and logs of this deployment, as `dev/sweep.py` does for a whole run: whether it
    /// found none, and what it printed. `secrets` is a folder with files of lines `{"kind": …, "value": …}`.
    pub async fn sweep(&self, secrets: &Path) -> (bool, String) {
        let mut command = Command::new("python3");
        command.arg(root().join("dev/sweep.py")).arg("--state").arg(state_file());
        command.arg("--stack").arg(self.name()).arg("--secrets").arg(secrets);
        let output = command.output().await.expect("python3 runs");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), printed + &String::from_utf8_lossy(&output.stderr))
    }
}
