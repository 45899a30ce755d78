//! Receipts: which bubble, of which run of the server, on which run of the bus.
//!
//! Bubbles are counted from 1 by every server and servers from 1 by every bus, so a bare number
//! could one day overwrite or close another program's message. Invariant: equal receipts are the
//! same bubble.

const CLOSED: &str = "closed@";

/// One bubble, as the database keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub id: u32,
    /// The server's unique name on the bus.
    pub owner: String,
    /// The bus's GUID.
    pub bus: String,
}

impl Receipt {
    /// `<bubble>@<server>@<bus>`
    pub fn to_text(&self) -> String {
        format!("{}@{}@{}", self.id, self.owner, self.bus)
    }

    /// The receipt of a bubble that statusd itself took from the screen: `closed@…`. The end of its
    /// incident stays, because nobody dismissed the start. `store::alarms` knows the form as well.
    pub fn closed_text(&self) -> String {
        format!("{CLOSED}{}", self.to_text())
    }

    /// `None` for a text of another form. Such a message is shown as a new one.
    pub fn parse(text: &str) -> Option<Receipt> {
        let mut parts = text.splitn(3, '@');
        let id = parts.next()?.parse().ok()?;
        Some(Receipt { id, owner: parts.next()?.to_owned(), bus: parts.next()?.to_owned() })
    }
}

/// Whether it is the receipt of a bubble that statusd took from the screen.
pub fn is_closed(receipt: &str) -> bool {
    receipt.starts_with(CLOSED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_bubble_is_replaced_by_nothing() {
        let closed = Receipt { id: 7, owner: ":1.42".to_owned(), bus: "0123abcd".to_owned() }.closed_text();
        assert_eq!(closed, "closed@7@:1.42@0123abcd");
        assert!(is_closed(&closed) && !is_closed("7@:1.42@0123abcd"));
        assert_eq!(Receipt::parse(&closed), None);
    }

    #[test]
    fn a_receipt_reads_back() {
        let receipt = Receipt { id: 7, owner: ":1.42".to_owned(), bus: "0123abcd".to_owned() };
        assert_eq!(receipt.to_text(), "7@:1.42@0123abcd");
        assert_eq!(Receipt::parse(&receipt.to_text()), Some(receipt));
        for foreign in ["", "7", "7@:1.42", "x@:1.42@0123", "-1@:1.42@0123", "4294967296@:1.42@0123"] {
            assert_eq!(Receipt::parse(foreign), None, "{foreign}");
        }
    }
}
