//! The meaning of a program's exit for the notice that it was given.

use std::io;

use rustix::io::Errno;

use super::outcome::SendOutcome;
use crate::cause::Cause as _;
use crate::process::{Exit, Finished, name};
use crate::setting::SettingError;

/// The meaning of an exit code, with advice where the user can do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    Delivered,
    /// A retry may succeed.
    Transient(&'static str),
    /// No retry succeeds before the user has followed the advice.
    Permanent(&'static str),
}

/// Returns the outcome of a finished program. `output` is what it says about the outcome, or empty.
pub fn classify(
    program: &str,
    finished: &Finished,
    output: &str,
    meaning: impl FnOnce(i32) -> Meaning,
) -> SendOutcome {
    let detail = |ended: String, advice: &str| {
        let advice = if advice.is_empty() { String::new() } else { format!(": {advice}") };
        let output = if output.is_empty() { String::new() } else { format!(". Output: {output}") };
        format!("{} {ended}{advice}{output}", name(program))
    };
    // The program may have sent the notice before it failed.
    let transient = |ended, advice| {
        let detail = detail(ended, advice);
        SendOutcome::Transient { after_s: None, reached: true, detail }
    };
    match &finished.exit {
        Exit::Code(code) => {
            let ended = format!("exited with {code}");
            match meaning(*code) {
                Meaning::Delivered => SendOutcome::Delivered { receipt: None, detail: detail(ended, "") },
                Meaning::Transient(advice) => transient(ended, advice),
                Meaning::Permanent(advice) => SendOutcome::Permanent { detail: detail(ended, advice) },
            }
        }
        Exit::Signal(signal) => transient(format!("was killed by signal {signal}"), ""),
        Exit::TimedOut(timeout) => transient(format!("timed out after {} s", timeout.as_secs()), ""),
        Exit::Unknown(error) => {
            let ended = format!("ended with an unknown exit status: {}", error.reason());
            SendOutcome::Unclear { detail: detail(ended, "") }
        }
    }
}

/// Checks that `program` is an absolute path or a name for `PATH`. A relative path would depend on
/// where the daemon was started.
///
/// # Errors
///
/// One line for users that begins with the setting's `key`.
pub fn check_program(key: &str, program: &str) -> Result<(), SettingError> {
    if program.is_empty() {
        return Err(SettingError::new(key, "empty").hint("write the program"));
    }
    if program.contains('\0') {
        return Err(SettingError::new(key, "contains a NUL byte").hint("remove it"));
    }
    if program.contains('/') && !program.starts_with('/') {
        return Err(SettingError::new(key, format!("{program:?} is not an absolute path"))
            .hint("write one that begins with /, or a name that is in PATH"));
    }
    Ok(())
}

/// Returns the outcome of a program that could not be started. `advice` is for a missing program.
pub fn not_started(program: &str, error: &io::Error, advice: &str) -> SendOutcome {
    let detail = format!("cannot start {}: {}", name(program), error.reason());
    match error.kind() {
        io::ErrorKind::NotFound => SendOutcome::Permanent { detail: format!("{detail}; {advice}") },
        io::ErrorKind::PermissionDenied => SendOutcome::Permanent {
            detail: format!("{detail}; make it executable for the user that statusd runs as"),
        },
        _ if is_no_program(error) => SendOutcome::Permanent { detail: format!("{detail}; check the path") },
        // For example too many processes, too little memory, or a file that is being written.
        _ => SendOutcome::Transient { after_s: None, reached: false, detail },
    }
}

fn is_no_program(error: &io::Error) -> bool {
    let never = [Errno::NOEXEC, Errno::NOTDIR, Errno::ISDIR, Errno::LOOP, Errno::NAMETOOLONG, Errno::INVAL];
    never.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_program_that_can_never_start_is_a_permanent_failure() {
        let outcome = |errno: Errno| not_started("/opt/page", &errno.into(), "check it");
        for errno in [Errno::AGAIN, Errno::NOMEM, Errno::TXTBSY, Errno::MFILE, Errno::IO] {
            assert!(matches!(outcome(errno), SendOutcome::Transient { reached: false, .. }), "{errno}");
        }
        for errno in [Errno::NOENT, Errno::ACCESS, Errno::PERM, Errno::NOEXEC, Errno::NOTDIR, Errno::LOOP] {
            let SendOutcome::Permanent { detail } = outcome(errno) else { panic!("{errno}") };
            assert!(detail.starts_with("cannot start page: ") && detail.contains("; "), "{detail}");
        }
    }
}
