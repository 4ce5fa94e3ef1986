//! What a process uses, by the kernel's own accounts.

use anyhow::{Context as _, Result};
use procfs::process::Process;

use crate::Operator;

const KIBIBYTES_OF_A_MEBIBYTE: f64 = 1024.0;

/// What the operator uses.
pub(super) struct Usage {
    /// Memory now, in MiB: resident, with the pages of the program itself that were touched.
    pub(super) resident: f64,
    /// The most memory since the start, in MiB.
    pub(super) peak: f64,
    /// Time on a processor since the start, in seconds.
    pub(super) processor_seconds: f64,
}

impl Usage {
    #[expect(
        clippy::cast_precision_loss,
        reason = "no process has used 2^53 KiB or ticks"
    )]
    pub(super) fn of(operator: &Operator) -> Result<Self> {
        let process = Process::new(operator.id().try_into()?)?;
        let (status, stat) = (process.status()?, process.stat()?);
        let kibibytes = |value: Option<u64>| {
            value
                .context("the kernel does not say")
                .map(|value| value as f64 / KIBIBYTES_OF_A_MEBIBYTE)
        };
        Ok(Self {
            resident: kibibytes(status.vmrss)?,
            peak: kibibytes(status.vmhwm)?,
            processor_seconds: (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64,
        })
    }
}
