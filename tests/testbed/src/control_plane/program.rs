//! Which program the control plane is: one built here with Go, or two ready-made ones.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Result, anyhow, ensure};

use super::{build::build, config::Configuration};

/// Where the two ready-made programs are; the name that kubebuilder's envtest gave it.
pub(super) const ASSETS_VARIABLE: &str = "KUBEBUILDER_ASSETS";

/// Collecting garbage at three times the live heap instead of twice costs memory and saves
/// processor time, which is what many API servers on few cores are short of.
const GARBAGE_COLLECTION_PERCENT: &str = "200";

/// Runs a program until it or standard input ends, and ends as it did.
const RUN_UNTIL_INPUT_ENDS: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- &
program=$!
(cat <&3 >/dev/null; kill -KILL $program) &
guard=$!
wait $program
status=$?
kill $guard
exit $status
"#;

/// What starts etcd and kube-apiserver.
#[derive(Clone, Debug)]
pub(super) enum Program {
    /// The Go program of `tests/control-plane`.
    Built(PathBuf),
    /// A directory with the programs `etcd` and `kube-apiserver`.
    Assets(PathBuf),
}

impl Program {
    /// Finds the program, or builds it when this checkout has not done so yet. Blocks.
    ///
    /// # Errors
    ///
    /// When neither Go nor ready-made programs are there, and when the build fails.
    pub(super) fn find() -> Result<Self> {
        // Tests of one process ask at the same time, and the answer is the same for all.
        static PROGRAM: OnceLock<Result<Program, String>> = OnceLock::new();
        PROGRAM
            .get_or_init(|| {
                let program = match env::var_os(ASSETS_VARIABLE) {
                    Some(directory) => find_assets(directory),
                    None => build().map(Self::Built),
                };
                program.map_err(|error| format!("{error:#}"))
            })
            .clone()
            .map_err(|message| anyhow!(message))
    }

    /// Commands that run together, each until its standard input ends.
    pub(super) fn commands(&self, configuration: &Configuration) -> Vec<Command> {
        let mut commands = match self {
            Self::Built(program) => {
                let mut both = Command::new(program);
                both.arg(configuration.etcd_config_file())
                    .args(configuration.apiserver_flags());
                vec![both]
            }
            Self::Assets(directory) => {
                let mut etcd = until_input_ends(&directory.join("etcd"));
                etcd.arg("--config-file")
                    .arg(configuration.etcd_config_file());
                let mut apiserver = until_input_ends(&directory.join("kube-apiserver"));
                apiserver.args(configuration.apiserver_flags());
                vec![etcd, apiserver]
            }
        };
        for command in &mut commands {
            command.env("GOGC", GARBAGE_COLLECTION_PERCENT);
        }
        commands
    }
}

fn until_input_ends(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", RUN_UNTIL_INPUT_ENDS, "control-plane"])
        .arg(program);
    command
}

fn find_assets(directory: OsString) -> Result<Program> {
    let directory = PathBuf::from(directory);
    for program in ["etcd", "kube-apiserver"] {
        ensure!(
            directory.join(program).is_file(),
            "{ASSETS_VARIABLE} is {}, but there is no program {program} in it",
            directory.display(),
        );
    }
    Ok(Program::Assets(directory))
}
