//! The table of single values by name.
//!
//! What a name means is the business of whoever owns it.

use rusqlite::{Connection, OptionalExtension, Result, params};

use super::rows;

/// The value of a name; `None` where there is none, or where it is not what it should be.
pub fn get<T: std::str::FromStr>(connection: &Connection, name: &str) -> Result<Option<T>> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE name = ?1")?;
    let text = statement.query_row([name], |row| rows::text(row, "value")).optional()?;
    Ok(text.and_then(|text| text.parse().ok()))
}

/// Gives a name a value, in place of the one that it had.
pub fn set(connection: &Connection, name: &str, value: impl ToString) -> Result<()> {
    let sql = "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2";
    connection.execute(sql, params![name, value.to_string()]).map(drop)
}
