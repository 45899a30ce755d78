//! Receipts identify a bubble by its id, the server instance and the bus instance.
//!
//! Every server numbers bubbles from 1, and every bus numbers servers from 1. An id alone could later
//! replace or close another program's bubble.

const CLOSED: &str = "closed@";

/// A bubble, as stored in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub id: u32,
    /// The server's unique name on the bus.
    pub owner: String,
    /// The bus's GUID.
    pub bus: String,
}

impl Receipt {
    /// Returns `<id>@<owner>@<bus>`.
    pub fn to_text(&self) -> String {
        format!("{}@{}@{}", self.id, self.owner, self.bus)
    }

    /// Returns the receipt of a bubble that statusd itself closed: `closed@…`. The end of the incident then
    /// stays on the screen, because the user did not dismiss the start. `store::alarms` also uses this form.
    pub fn closed_text(&self) -> String {
        format!("{CLOSED}{}", self.to_text())
    }

    /// Parses a receipt. `None` for any other text; that message is then shown as a new bubble.
    pub fn parse(text: &str) -> Option<Receipt> {
        let mut parts = text.splitn(3, '@');
        let id = parts.next()?.parse().ok()?;
        Some(Receipt { id, owner: parts.next()?.to_owned(), bus: parts.next()?.to_owned() })
    }
}

/// Returns true for the receipt of a bubble that statusd itself closed.
pub fn is_closed(receipt: &str) -> bool {
    receipt.starts_with(CLOSED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_bubble_is_not_replaced() {
        let closed = Receipt { id: 7, owner: ":1.42".to_owned(), bus: "0123abcd".to_owned() }.closed_text();
        assert_eq!(closed, "closed@7@:1.42@0123abcd");
        assert!(is_closed(&closed) && !is_closed("7@:1.42@0123abcd"));
        assert_eq!(Receipt::parse(&closed), None);
    }

    #[test]
    fn parses_its_own_text() {
        let receipt = Receipt { id: 7, owner: ":1.42".to_owned(), bus: "0123abcd".to_owned() };
        assert_eq!(receipt.to_text(), "7@:1.42@0123abcd");
        assert_eq!(Receipt::parse(&receipt.to_text()), Some(receipt));
        for foreign in ["", "7", "7@:1.42", "x@:1.42@0123", "-1@:1.42@0123", "4294967296@:1.42@0123"] {
            assert_eq!(Receipt::parse(foreign), None, "{foreign}");
        }
    }
}
