//! A real Alertmanager on loopback that notifies a webhook without delay.
//!
//! Starting waits for its log line instead of a fixed time.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;

use serde_json::Value;

/// The name in Debian, then the name upstream.
const PROGRAMS: [&str; 2] = ["prometheus-alertmanager", "alertmanager"];

/// A running Alertmanager. Killed when dropped.
pub struct Alertmanager {
    program: Child,
    dir: tempfile::TempDir,
    /// `127.0.0.1:PORT`
    pub address: String,
}

impl Alertmanager {
    /// Starts an Alertmanager that sends each alert to `webhook` separately.
    ///
    /// # Panics
    ///
    /// If Alertmanager is not installed (Debian's package `prometheus-alertmanager`).
    pub fn start(webhook: &str) -> Alertmanager {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("config.yml"), CONFIG.replace("WEBHOOK", webhook)).expect("a config");
        let (program, address) = launch(&dir, "127.0.0.1:0");
        Alertmanager { program, dir, address }
    }

    /// Kills and restarts Alertmanager at the same address, without its alerts.
    pub fn restart(&mut self) {
        self.kill();
        (self.program, _) = launch(&self.dir, &self.address);
    }

    /// Kills the process.
    pub fn kill(&mut self) {
        // An error means that the process has exited already.
        let _dead = self.program.kill();
        self.program.wait().expect("a child");
    }

    /// The base URL for a channel's settings.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the active alerts, sorted by labels.
    pub async fn alerts(&self) -> Vec<Value> {
        statusd::tls::install_provider();
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let request = client.get(format!("{}/api/v2/alerts", self.url()));
        let body = request.send().await.expect("an answer").bytes().await.expect("a body");
        let mut alerts: Vec<Value> = serde_json::from_slice(&body).expect("a list of alerts");
        alerts.sort_by_key(|alert| alert["labels"].to_string());
        alerts
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts Alertmanager and waits until it logs its address.
fn launch(dir: &tempfile::TempDir, address: &str) -> (Child, String) {
    let start = |program: &str| {
        Command::new(program)
            .arg(format!("--config.file={}", dir.path().join("config.yml").display()))
            .arg(format!("--storage.path={}", dir.path().join("storage").display()))
            .arg(format!("--web.listen-address={address}"))
            // No cluster: the replicas in these tests are independent.
            .arg("--cluster.listen-address=")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .ok()
    };
    let mut program =
        PROGRAMS.into_iter().find_map(start).expect("prometheus-alertmanager starts (is it installed?)");
    let mut lines = BufReader::new(program.stderr.take().expect("stderr is piped")).lines();
    let mut said = Vec::new();
    let address = loop {
        let Some(Ok(line)) = lines.next() else { panic!("Alertmanager does not start: {said:#?}") };
        if line.contains("Listening on")
            && let Some((_, address)) = line.split_once("address=")
        {
            break address.trim().to_owned();
        }
        said.push(line);
    };
    // A full pipe would block Alertmanager.
    thread::spawn(move || lines.for_each(drop));
    (program, address)
}

const CONFIG: &str = r#"
route:
  receiver: webhook
  group_by: ["..."]
  group_wait: 0s
  group_interval: 1s
receivers:
  - name: webhook
    webhook_configs:
      - url: WEBHOOK
        send_resolved: true
"#;
