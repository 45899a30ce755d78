//! The addresses of the session bus, from `DBUS_SESSION_BUS_ADDRESS` or the runtime directory.
//!
//! The variable may contain several addresses, separated by semicolons, to be tried in order (D-Bus
//! specification, "Server Addresses"). An empty variable counts as unset.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The bytes that an address must escape.
const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'/').remove(b'.').remove(b'\\').remove(b'*');

/// Returns the addresses to try, in order. `variable` and `runtime_directory` come from the environment.
pub fn session(variable: Option<&str>, runtime_directory: Option<&str>, uid: u32) -> Vec<String> {
    let listed = split(variable.unwrap_or_default());
    if !listed.is_empty() {
        return listed;
    }
    let directory = match runtime_directory.filter(|directory| !directory.is_empty()) {
        Some(directory) => directory.to_owned(),
        None => format!("/run/user/{uid}"),
    };
    vec![format!("unix:path={}/bus", utf8_percent_encode(&directory, ESCAPED))]
}

/// Splits a list of addresses and skips empty ones.
pub fn split(text: &str) -> Vec<String> {
    let addresses = text.split(';').map(str::trim);
    addresses.filter(|address| !address.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_may_be_a_list_and_an_empty_one_is_unset() {
        #[track_caller]
        fn check(variable: Option<&str>, runtime: Option<&str>, expected: &[&str]) {
            assert_eq!(session(variable, runtime, 7), expected);
        }
        check(Some("unix:path=/a"), Some("/r"), &["unix:path=/a"]);
        check(Some("unix:path=/a;unix:path=/b,guid=1"), None, &["unix:path=/a", "unix:path=/b,guid=1"]);
        check(Some(";unix:path=/a; ;"), None, &["unix:path=/a"]);
        for empty in [None, Some(""), Some(" "), Some(";")] {
            check(empty, Some("/run/user/9"), &["unix:path=/run/user/9/bus"]);
            check(empty, Some(""), &["unix:path=/run/user/7/bus"]);
            check(empty, None, &["unix:path=/run/user/7/bus"]);
        }
        check(None, Some("/a b;c,d"), &["unix:path=/a%20b%3Bc%2Cd/bus"]);
    }
}
