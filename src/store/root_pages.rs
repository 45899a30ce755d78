//! A copy of the root pages of all tables and indexes, apart from SQLite's schema table.
//!
//! One flipped bit can make the schema table unreadable, and without it no row can be found. Everything else
//! in the schema is known. `meta` is the first table of each database and begins on page 2. The copy in
//! `meta` is current while the database is open (`tests/it/damage.rs`).

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, Error, OptionalExtension, Result, Row, params, params_from_iter};

use super::condition::repair_header;
use super::disk::side_file;
use super::migration::{identity, known_version, reference};
use super::{kv, rows};

/// Name in `meta`: the schema version and the root pages in its order, all of it twice.
const ROOTS: &str = "roots";
const META_ROOT: u32 = 2;
/// An empty tree of the schema on page 1.
const EMPTY_LEAF: [u8; 8] = [0x0d, 0, 0, 0, 0, 0x10, 0, 0];
const SCHEMA_AT: u64 = 100;
/// The list of free pages. Without it, new pages are added at the end of the file.
const FREE_PAGES_AT: u64 = 32;

/// Name and root page of each table and index, in the order of the schema.
type Roots = Vec<(String, u32)>;

/// Updates the note.
pub fn note(connection: &Connection) -> Result<()> {
    let (_, version) = identity(connection)?;
    let mut statement = connection.prepare("SELECT name, rootpage FROM sqlite_schema ORDER BY rowid")?;
    let roots: Roots =
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_>>()?;
    let note = text(version, &roots);
    if kv::get::<String>(connection, ROOTS)?.as_deref() != Some(note.as_str()) {
        kv::set(connection, ROOTS, note)?;
    }
    Ok(())
}

fn text(version: i32, roots: &Roots) -> String {
    let roots: String = roots.iter().map(|(name, root)| format!(" {name}={root}")).collect();
    format!("{version}{roots};{version}{roots}")
}

/// Returns version and root pages; `None` if a bit is flipped.
fn parse(text: &str) -> Option<(i32, Roots)> {
    let (first, second) = text.split_once(';')?;
    let mut parts = first.split(' ');
    let version = parts.next()?.parse().ok()?;
    let root = |part: &str| {
        let (name, root) = part.split_once('=')?;
        Some((name.to_owned(), root.parse().ok()?))
    };
    let roots = parts.map(root).collect::<Option<_>>()?;
    (first == second && (1..=known_version()).contains(&version)).then_some((version, roots))
}

/// Rebuilds the schema of a damaged copy from the note. Returns whether a note exists.
pub fn rebuild_schema(scratch: &Path) -> Result<bool> {
    // Closing checkpoints the WAL, which may contain page 1.
    identity(&open_damaged(scratch)?)?;
    if side_file(scratch, "-wal").exists() {
        return Ok(false);
    }
    empty_schema(scratch).map_err(|error| Error::ToSqlConversionFailure(Box::new(error)))?;
    insert(scratch, known_version(), &vec![("meta".to_owned(), META_ROOT)])?;
    let sql = "SELECT value FROM meta WHERE name = ?1";
    let note = open_damaged(scratch)?.query_row(sql, [ROOTS], |row| rows::text(row, "value"))?;
    let Some((version, mut roots)) = parse(&note) else { return Ok(false) };
    roots.retain(|(name, _)| name != "meta");
    insert(scratch, version, &roots)?;
    Ok(true)
}

fn empty_schema(scratch: &Path) -> io::Result<()> {
    repair_header(scratch, false)?;
    let file = OpenOptions::new().write(true).open(scratch)?;
    file.write_all_at(&[0; 8], FREE_PAGES_AT)?;
    file.write_all_at(&EMPTY_LEAF, SCHEMA_AT)
}

/// Adds entries to the schema. Skips those that are not part of this schema version.
fn insert(scratch: &Path, version: i32, roots: &Roots) -> Result<()> {
    let (into, from) = (open_damaged(scratch)?, reference(version)?);
    let mut entry =
        from.prepare("SELECT type, name, tbl_name, ?2, sql FROM sqlite_schema WHERE name = ?1")?;
    for (name, root) in roots {
        let values = |row: &Row| (0..5).map(|column| row.get(column)).collect::<Result<Vec<Value>>>();
        if let Some(values) = entry.query_row(params![name, root], values).optional()? {
            into.execute("INSERT INTO sqlite_schema VALUES (?1, ?2, ?3, ?4, ?5)", params_from_iter(values))?;
        }
    }
    Ok(())
}

/// Opens a database with a damaged schema. SQLite skips malformed entries.
pub fn open_damaged(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.execute_batch("PRAGMA writable_schema = ON; PRAGMA cell_size_check = ON;")?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_with_a_flipped_bit_is_rejected() {
        let roots = vec![("meta".to_owned(), 2), ("change".to_owned(), 17)];
        let text = text(4, &roots);
        assert_eq!(parse(&text), Some((4, roots)));
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(&String::from_utf8_lossy(&bytes)), None, "bit {bit}");
        }
    }
}
