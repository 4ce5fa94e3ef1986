//! Which programs the control plane is: one built here with Go, or ready-made ones.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};

use super::config::Configuration;
use crate::go_program::{ASSETS_VARIABLE, GoProgram, VersionVariable};

/// etcd, kube-apiserver and kube-controller-manager. The version is what kube-apiserver reports as its own.
const CONTROL_PLANE: GoProgram = GoProgram {
    name: "control-plane",
    description: "the test control plane (etcd, kube-apiserver, kube-controller-manager; about 5 minutes on 2 cores)",
    module: "tests/control-plane",
    package: ".",
    build_tags: "",
    version: Some(VersionVariable {
        variable: "k8s.io/component-base/version.gitVersion",
        module: "k8s.io/kubernetes",
    }),
    ready_made: "the programs etcd and kube-apiserver",
};

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

/// What starts the parts of a control plane.
#[derive(Clone, Debug)]
pub(super) enum Program {
    /// The Go program of `tests/control-plane`.
    Built(PathBuf),
    /// A directory with the programs `etcd`, `kube-apiserver` and, for those who want it, `kube-controller-manager`.
    Assets(PathBuf),
}

impl Program {
    /// Finds the program, or builds it when this checkout has not done so yet. Blocks.
    ///
    /// # Errors
    ///
    /// When neither Go nor ready-made programs are there, and when the build fails.
    pub(super) fn find() -> Result<Self> {
        match env::var_os(ASSETS_VARIABLE) {
            Some(directory) => find_assets(directory),
            None => CONTROL_PLANE.build().map(Self::Built),
        }
    }

    /// Commands of etcd and kube-apiserver, which run together, each until its standard input ends.
    pub(super) fn apiserver(&self, configuration: &Configuration) -> Vec<Command> {
        let mut commands = match self {
            Self::Built(program) => {
                let mut both = Command::new(program);
                both.arg("kube-apiserver")
                    .arg(configuration.etcd_config_file())
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

    /// The command of kube-controller-manager, which runs until its standard input ends. It waits for no API server.
    ///
    /// # Errors
    ///
    /// When the ready-made programs are without it.
    pub(super) fn controller_manager(&self, configuration: &Configuration) -> Result<Command> {
        let mut command = match self {
            Self::Built(program) => {
                let mut command = Command::new(program);
                command.arg("kube-controller-manager");
                command
            }
            Self::Assets(directory) => {
                until_input_ends(&asset(directory, "kube-controller-manager")?)
            }
        };
        command.args(configuration.controller_manager_flags());
        Ok(command)
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
        asset(&directory, program)?;
    }
    Ok(Program::Assets(directory))
}

fn asset(directory: &Path, program: &str) -> Result<PathBuf> {
    let path = directory.join(program);
    ensure!(
        path.is_file(),
        "{ASSETS_VARIABLE} is {}, but there is no program {program} in it",
        directory.display(),
    );
    Ok(path)
}
