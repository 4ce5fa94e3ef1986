//! The Go programs of the tests, each built once for its sources.

use std::{
    env,
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use sha2::{Digest, Sha256};

use crate::process;

/// Where ready-made programs are; the name that kubebuilder's envtest gave it.
pub(crate) const ASSETS_VARIABLE: &str = "KUBEBUILDER_ASSETS";

/// The longest takes five minutes on two idle cores, plus the download of its modules: five times that.
const BUILD_TIMEOUT: Duration = Duration::from_secs(25 * 60);
const LOCK_POLL: Duration = Duration::from_millis(200);
const REPORT_INTERVAL: Duration = Duration::from_secs(30);

/// No C compiler is needed, and no debugger is meant to read what is built.
const LINKER_FLAGS: &str = "-s -w";

/// A program, and how it is built.
#[derive(Debug)]
pub(crate) struct GoProgram {
    /// The file's name.
    pub(crate) name: &'static str,
    /// What a person is told that is built.
    pub(crate) description: &'static str,
    /// The directory of its module, in the repository.
    pub(crate) module: &'static str,
    /// The package of its `main`: `.`, or a path that the module names as a tool.
    pub(crate) package: &'static str,
    /// What its source files are chosen by.
    pub(crate) build_tags: &'static str,
    /// A variable that is set to the version of a required module, as a build by the project's own makefile does.
    pub(crate) version: Option<VersionVariable>,
    /// What to do where there is no Go.
    pub(crate) ready_made: &'static str,
}

/// See [`GoProgram::version`].
#[derive(Debug)]
pub(crate) struct VersionVariable {
    /// The variable, with its package.
    pub(crate) variable: &'static str,
    /// The module whose version it takes.
    pub(crate) module: &'static str,
}

impl GoProgram {
    /// Finds the program among the ready-made ones, or builds it. Blocks.
    ///
    /// # Errors
    ///
    /// When there is neither Go nor the program, and when the build fails.
    pub(crate) fn find(&self) -> Result<PathBuf> {
        let ready_made =
            env::var_os(ASSETS_VARIABLE).map(|assets| Path::new(&assets).join(self.name));
        match ready_made {
            Some(program) if program.is_file() => Ok(program),
            _ => self.build(),
        }
    }

    /// Builds the program, unless the same sources have been built before. Blocks.
    ///
    /// # Errors
    ///
    /// When there is no Go, and when the build fails.
    pub(crate) fn build(&self) -> Result<PathBuf> {
        // Tests of one process ask at the same time, and the answer is the same for all.
        static BUILT: Mutex<Vec<(&str, Result<PathBuf, String>)>> = Mutex::new(Vec::new());
        let mut built = BUILT
            .lock()
            .map_err(|_| anyhow!("a build of a Go program has panicked"))?;
        let known = built.iter().find(|(name, _)| *name == self.name);
        let result = if let Some((_, result)) = known {
            result.clone()
        } else {
            let result = self.build_once().map_err(|error| format!("{error:#}"));
            built.push((self.name, result.clone()));
            result
        };
        result.map_err(|message| anyhow!(message))
    }

    fn build_once(&self) -> Result<PathBuf> {
        let directory = target_directory().join("go");
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let name = format!("{}-{}", self.name, self.source_hash()?);
        let program = directory.join(&name);
        if program.exists() {
            return Ok(program);
        }

        // Cargo runs test programs one after another, but other runners and people do not. One lock for all programs:
        // they share packages, which two builds at once would compile twice.
        let lock = lock(&directory.join("lock"))?;
        if !program.exists() {
            self.compile(&directory, &program)?;
            self.remove_other_builds(&directory, &name);
        }
        drop(lock);
        Ok(program)
    }

    fn module_directory(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .join(self.module)
    }

    /// A name for what the sources build. Go's own version is not in it: a newer Go is no reason to
    /// wait for the same Kubernetes again.
    fn source_hash(&self) -> Result<String> {
        // A tool's own sources are what go.sum says they are.
        let extensions: &[&str] = match self.package {
            "." => &["go", "mod", "sum"],
            _ => &["mod", "sum"],
        };
        let module = self.module_directory();
        let mut files: Vec<PathBuf> = fs::read_dir(&module)
            .with_context(|| format!("cannot read {}", module.display()))?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        files.retain(|file| {
            file.extension()
                .is_some_and(|extension| extensions.iter().any(|known| extension == *known))
        });
        files.sort();

        let mut hash = Sha256::new();
        let linker_flags = self.linker_flags()?;
        for part in [
            env::consts::OS,
            env::consts::ARCH,
            &linker_flags,
            self.package,
            self.build_tags,
        ] {
            hash.update(part);
            hash.update([0]);
        }
        for file in files {
            let text =
                fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            hash.update(text.len().to_le_bytes());
            hash.update(text);
        }
        let hash: [u8; 32] = hash.finalize().into();
        let [.., a, b, c, d] = hash;
        Ok(format!("{:08x}", u32::from_be_bytes([a, b, c, d])))
    }

    fn linker_flags(&self) -> Result<String> {
        let Some(VersionVariable { variable, module }) = &self.version else {
            return Ok(LINKER_FLAGS.to_owned());
        };
        let text = fs::read_to_string(self.module_directory().join("go.mod"))?;
        let version = text
            .lines()
            .find_map(|line| line.trim().strip_prefix(module)?.strip_prefix(' '))
            .and_then(|line| line.split_whitespace().next())
            .with_context(|| format!("{}/go.mod does not require {module}", self.module))?;
        Ok(format!("{LINKER_FLAGS} -X {variable}={version}"))
    }

    fn compile(&self, directory: &Path, program: &Path) -> Result<()> {
        let description = self.description;
        // With a name of its own: a build whose test was killed may still be writing.
        let unfinished = program.with_extension(std::process::id().to_string());
        let log = directory.join(format!("{}.log", self.name));
        let output =
            File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut go = Command::new("go");
        go.args(["build", "-buildvcs=false", "-tags", self.build_tags])
            .arg(format!("-ldflags={}", self.linker_flags()?))
            .arg("-o")
            .arg(&unfinished)
            .arg(self.package)
            .current_dir(self.module_directory())
            .env("CGO_ENABLED", "0")
            .env("GOWORK", "off")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output);
        let mut child = go.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => anyhow!(
                "{description} is a Go program, and there is no `go` in PATH: install Go 1.26 or newer \
                 (https://go.dev/dl), or set {ASSETS_VARIABLE} to a directory with {}",
                self.ready_made,
            ),
            _ => anyhow!(error).context("cannot start go"),
        })?;

        tell(&format!(
            "building {description} with Go; this happens once, and can take minutes"
        ));
        let started = Instant::now();
        loop {
            match process::wait(&mut child, REPORT_INTERVAL)? {
                Some(status) if status.success() => break,
                Some(status) => bail!(
                    "building {description} failed ({status}); {}",
                    process::tail(&log)
                ),
                None if started.elapsed() < BUILD_TIMEOUT => tell(&format!(
                    "still building {description}: {} s",
                    started.elapsed().as_secs()
                )),
                None => {
                    child.kill()?;
                    child.wait()?;
                    bail!(
                        "building {description} took more than {} minutes; {}",
                        BUILD_TIMEOUT.as_secs() / 60,
                        process::tail(&log),
                    );
                }
            }
        }
        fs::rename(&unfinished, program)?;
        tell(&format!(
            "built {description} in {} s",
            started.elapsed().as_secs()
        ));
        Ok(())
    }

    /// A build is around 100 MB, and nobody asks for an older one again but who goes back in time.
    fn remove_other_builds(&self, directory: &Path, name: &str) {
        let prefix = format!("{}-", self.name);
        let others = fs::read_dir(directory)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| {
                let other = entry.file_name();
                other != name && other.to_string_lossy().starts_with(&prefix)
            });
        for other in others {
            // It may be gone already, and what stays is only a file too many.
            let _ = fs::remove_file(other.path());
        }
    }
}

/// The directory that cargo builds into, so that `cargo clean` removes what is built here too.
fn target_directory() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
        PathBuf::from,
    )
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
                    tell("waiting for another process that builds a Go program of the tests");
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

/// Says what a person is waiting for. The test harness holds back what the print macros write;
/// this is for now.
fn tell(message: &str) {
    let _ = writeln!(io::stderr(), "testbed: {message}");
}
