//! The head of every manual page.

use clap_mangen::roff::Roff;

/// Returns the head of a page. The head has no date, so that the same sources give the same page.
pub fn head(name: &str, section: &str) -> Roff {
    let mut roff = Roff::new();
    let version = concat!("statusd ", env!("CARGO_PKG_VERSION"));
    // The empty date needs quotes: otherwise `man` takes the version for the date.
    roff.control("TH", [name, section, "\"\"", version, "statusd manual"]);
    // No justification and no hyphenation, so that searches find the names of keys and flags.
    roff.control("ad", ["l"]).control("nh", []);
    roff
}
