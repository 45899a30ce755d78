//! The table `meta`: single values by name. Callers define the names.

use rusqlite::{Connection, OptionalExtension, Result, params};

use super::rows;

/// Returns the value of a name; `None` if it is missing or malformed.
pub fn get<T: std::str::FromStr>(connection: &Connection, name: &str) -> Result<Option<T>> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE name = ?1")?;
    let text = statement.query_row([name], |row| rows::text(row, "value")).optional()?;
    Ok(text.and_then(|text| text.parse().ok()))
}

/// Sets or replaces the value of a name.
pub fn set(connection: &Connection, name: &str, value: impl ToString) -> Result<()> {
    let sql = "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2";
    connection.execute(sql, params![name, value.to_string()]).map(drop)
}
