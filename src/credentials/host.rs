//! What the process finds around it: variables, a home directory, files, a clock. Passed in, so that the choice of a source and the
//! reading of its configuration are pure.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use zeroize::Zeroizing;

/// Configuration files have a few KiB, and an OIDC token 20,000 characters at most. More is somebody's mistake.
const LONGEST_FILE: usize = 1024 * 1024;

type Variable = dyn Fn(&str) -> Option<String> + Send + Sync;
type ReadFile = dyn Fn(&Path) -> io::Result<Zeroizing<Vec<u8>>> + Send + Sync;

/// The surroundings of the process.
pub struct Host {
    variable: Box<Variable>,
    home: Option<PathBuf>,
    file: Box<ReadFile>,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Host {
    /// `variable` reads a variable of the environment, `file` a whole file, `now` the clock.
    pub fn new(
        variable: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
        home: Option<PathBuf>,
        file: impl Fn(&Path) -> io::Result<Zeroizing<Vec<u8>>> + Send + Sync + 'static,
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Self {
        Self {
            variable: Box::new(variable),
            home,
            file: Box::new(file),
            now: Box::new(now),
        }
    }

    /// Those of this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        Self::new(variable, std::env::home_dir(), read_file, Timestamp::now)
    }

    /// A variable, without white space at its ends: one that is set from a file or a Secret often ends with a newline. An empty
    /// one counts as not set, as in a manifest with an empty default.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        let value = Zeroizing::new((self.variable)(name)?);
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// Whether a variable says `true`, in any case, as the official SDKs read it.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.variable(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The file that the variable names, else the one at this place in the home directory.
    pub(super) fn place(&self, variable: &str, in_home: &str) -> Option<PathBuf> {
        let named = self.variable(variable).map(PathBuf::from);
        named.or_else(|| self.home.as_ref().map(|home| home.join(in_home)))
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.now)()
    }

    pub(super) fn read(&self, path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
        (self.file)(path)
    }

    /// Whether there is a file. One that cannot be read is there.
    pub(super) fn has_file(&self, path: &Path) -> bool {
        match self.read(path) {
            Ok(_) => true,
            Err(error) => !matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ),
        }
    }
}

/// Reads a small file at once. It is on a local disk or a volume of the kubelet's, so that this takes no time worth a thread.
fn read_file(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    // A pipe without a writer would never be opened, and a device never end.
    if !fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let file = File::open(path)?;
    // Reserved in one piece where the size is known: a buffer that grows leaves copies behind.
    let size = file.metadata()?.len();
    let capacity = usize::try_from(size).unwrap_or(LONGEST_FILE);
    let mut content = Zeroizing::new(Vec::with_capacity(capacity.min(LONGEST_FILE) + 1));
    file.take(LONGEST_FILE as u64 + 1)
        .read_to_end(&mut content)?;
    if content.len() > LONGEST_FILE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(content)
}

/// Surroundings of a test.
#[cfg(test)]
pub(super) mod fake {
    use std::collections::BTreeMap;

    use super::*;

    /// With these variables and files, at home in `/home`.
    pub(in crate::credentials) fn host(
        variables: &[(&str, &str)],
        files: &[(&str, impl AsRef<[u8]>)],
    ) -> Host {
        let variables: BTreeMap<String, String> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let files: BTreeMap<PathBuf, Vec<u8>> = files
            .iter()
            .map(|(path, content)| (PathBuf::from(path), content.as_ref().to_vec()))
            .collect();
        Host::new(
            move |name| variables.get(name).cloned(),
            Some("/home".into()),
            move |path| {
                let content = files.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
                Ok(Zeroizing::new(content))
            },
            || Timestamp::UNIX_EPOCH,
        )
    }

    /// No files.
    pub(in crate::credentials) const NONE: &[(&str, &str)] = &[];
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("true", true)]
    #[case("TRUE", true)]
    #[case(" true ", true)]
    #[case("false", false)]
    #[case("1", false)]
    #[case("", false)]
    fn switches(#[case] value: &str, #[case] is_true: bool) {
        assert_eq!(
            fake::host(&[("X", value)], fake::NONE).is_true("X"),
            is_true
        );
    }

    #[test]
    fn only_an_absent_file_is_not_there() {
        let host = |kind: io::ErrorKind| {
            let file = move |_: &Path| Err(kind.into());
            Host::new(|_| None, None, file, Timestamp::now)
        };
        assert!(!host(io::ErrorKind::NotFound).has_file(Path::new("/x")));
        assert!(!host(io::ErrorKind::NotADirectory).has_file(Path::new("/x")));
        assert!(host(io::ErrorKind::PermissionDenied).has_file(Path::new("/x")));
    }

    /// A pipe is told from a file as these are.
    #[rstest]
    #[case::device("/dev/zero")]
    #[case::directory("/")]
    fn what_is_no_file_is_not_opened(#[case] path: &str) {
        let error = read_file(Path::new(path)).map(|_| ());
        assert_eq!(
            error.map_err(|error| error.kind()),
            Err(io::ErrorKind::InvalidInput)
        );
    }

    #[test]
    fn a_long_file_is_not_read_to_its_end() {
        let this_program = std::env::current_exe();
        let error = this_program.and_then(|path| read_file(&path)).map(|_| ());
        assert_eq!(
            error.map_err(|error| error.kind()),
            Err(io::ErrorKind::FileTooLarge)
        );
    }
}
