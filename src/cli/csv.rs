//! Comma-separated values (RFC 4180) that are safe to open in a spreadsheet: no field is taken for a
//! formula (`fields_are_quoted_and_never_formulas`).

/// Returns one record with its line break.
pub fn record(fields: &[String]) -> String {
    let fields: Vec<String> = fields.iter().map(|field| quoted(&without_formula(field))).collect();
    format!("{}\r\n", fields.join(","))
}

/// Prevents CSV injection (<https://owasp.org/www-community/attacks/CSV_Injection>): the texts come from
/// outside.
fn without_formula(field: &str) -> String {
    if field.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{field}") } else { field.to_owned() }
}

fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_and_never_formulas() {
        let fields =
            ["plain", "a, b", "say \"hi\"", "two\nlines", "=HYPERLINK(\"x\")", "-1", "@a", "", "\tb"];
        let expected =
            "plain,\"a, b\",\"say \"\"hi\"\"\",\"two\nlines\",\"'=HYPERLINK(\"\"x\"\")\",'-1,'@a,,'\tb\r\n";
        assert_eq!(record(&fields.map(str::to_owned)), expected);
    }
}
