//! Builds the Go program of `tests/control-plane`, once for its sources.

use std::{
    env,
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use sha2::{Digest, Sha256};

use super::program::ASSETS_VARIABLE;
use crate::process;

/// Four minutes on two idle cores, plus the download of the modules: five times that.
const BUILD_TIMEOUT: Duration = Duration::from_secs(25 * 60);
const LOCK_POLL: Duration = Duration::from_millis(200);
const REPORT_INTERVAL: Duration = Duration::from_secs(30);

/// No C compiler is needed and no debugger is meant to read it. The version is what
/// kube-apiserver reports as its own; a build by its makefile sets it in the same way.
const LINKER_FLAGS: &str = "-s -w -X k8s.io/component-base/version.gitVersion=";

/// Builds the Go program, unless the same sources have been built before.
pub(super) fn build() -> Result<PathBuf> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../control-plane");
    let directory = target_directory().join("control-plane");
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let name = format!("control-plane-{}", source_hash(&sources)?);
    let program = directory.join(&name);
    if program.exists() {
        return Ok(program);
    }

    // Cargo runs test programs one after another, but other runners and people do not.
    let lock = lock(&directory.join("lock"))?;
    if !program.exists() {
        compile(&sources, &directory, &program)?;
        remove_other_builds(&directory, &name);
    }
    drop(lock);
    Ok(program)
}

/// The directory that cargo builds into, so that `cargo clean` removes what is built here too.
fn target_directory() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
        PathBuf::from,
    )
}

/// A name for what the sources build. Go's own version is not in it: a newer Go is no reason to
/// wait for the same Kubernetes again.
fn source_hash(sources: &Path) -> Result<String> {
    let mut files: Vec<PathBuf> = fs::read_dir(sources)
        .with_context(|| format!("cannot read {}", sources.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| ["go", "mod", "sum"].iter().any(|known| extension == *known))
    });
    files.sort();

    let mut hash = Sha256::new();
    for part in [env::consts::OS, env::consts::ARCH, LINKER_FLAGS] {
        hash.update(part);
        hash.update([0]);
    }
    for file in files {
        let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        hash.update(text.len().to_le_bytes());
        hash.update(text);
    }
    let hash: [u8; 32] = hash.finalize().into();
    let [.., a, b, c, d] = hash;
    Ok(format!("{:08x}", u32::from_be_bytes([a, b, c, d])))
}

fn lock(path: &Path) -> Result<File> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    let deadline = Instant::now() + BUILD_TIMEOUT;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
            Err(TryLockError::WouldBlock) => {
                if !told {
                    tell("waiting for another process that builds the test control plane");
                    told = true;
                }
                ensure!(
                    Instant::now() < deadline,
                    "another process has held {} for {} minutes",
                    path.display(),
                    BUILD_TIMEOUT.as_secs() / 60,
                );
                thread::sleep(LOCK_POLL);
            }
        }
    }
}

fn compile(sources: &Path, directory: &Path, program: &Path) -> Result<()> {
    // With a name of its own: a build whose test was killed may still be writing.
    let unfinished = program.with_extension(std::process::id().to_string());
    let log = directory.join("build.log");
    let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let version = kubernetes_version(sources)?;
    let mut go = Command::new("go");
    go.args(["build", "-buildvcs=false"])
        .arg(format!("-ldflags={LINKER_FLAGS}{version}"))
        .arg("-o")
        .arg(&unfinished)
        .arg(".")
        .current_dir(sources)
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output);
    let mut child = go.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => anyhow!(
            "the test control plane is a Go program, and there is no `go` in PATH: install Go 1.26 \
             or newer (https://go.dev/dl), or set {ASSETS_VARIABLE} to a directory with the \
             programs etcd and kube-apiserver"
        ),
        _ => anyhow!(error).context("cannot start go"),
    })?;

    tell(
        "building the test control plane (kube-apiserver and etcd) with Go; \
         this happens once and takes about 4 minutes on 2 cores",
    );
    let started = Instant::now();
    loop {
        match process::wait(&mut child, REPORT_INTERVAL)? {
            Some(status) if status.success() => break,
            Some(status) => bail!(
                "building the test control plane failed ({status}); {}",
                process::tail(&log)
            ),
            None if started.elapsed() < BUILD_TIMEOUT => tell(&format!(
                "still building the test control plane: {} s",
                started.elapsed().as_secs()
            )),
            None => {
                child.kill()?;
                child.wait()?;
                bail!(
                    "building the test control plane took more than {} minutes; {}",
                    BUILD_TIMEOUT.as_secs() / 60,
                    process::tail(&log),
                );
            }
        }
    }
    fs::rename(&unfinished, program)?;
    tell(&format!(
        "built the test control plane in {} s",
        started.elapsed().as_secs()
    ));
    Ok(())
}

/// The version of `k8s.io/kubernetes` that `go.mod` requires.
fn kubernetes_version(sources: &Path) -> Result<String> {
    let text = fs::read_to_string(sources.join("go.mod"))?;
    text.lines()
        .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "))
        .map(|version| version.trim().to_owned())
        .context("go.mod does not require k8s.io/kubernetes")
}

/// A build is over 100 MB, and nobody asks for an older one again but who goes back in time.
fn remove_other_builds(directory: &Path, name: &str) {
    let others = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            let other = entry.file_name();
            other != name && other.to_string_lossy().starts_with("control-plane-")
        });
    for other in others {
        // It may be gone already, and what stays is only a file too many.
        let _ = fs::remove_file(other.path());
    }
}

/// Says what a person is waiting for. The test harness holds back what the print macros write;
/// this is for now.
fn tell(message: &str) {
    let _ = writeln!(io::stderr(), "testbed: {message}");
}
