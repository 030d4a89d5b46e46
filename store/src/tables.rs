//! Whole tables, for moving an installation from one database to another and for comparing them.
use crate::{Command, Engine, Error, Inner, Result, Row, Store, Tx, Type, Value};
use std::collections::HashMap;

/// A table as both engines describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableInfo {
    pub name: String,
    pub columns: Vec<(String, Type)>,
    /// The columns which order [`Store::scan`]: the `{no}` or `{seq}` if there is one, else the primary key.
    pub key: Vec<String>,
}

impl TableInfo {
    /// The key of a row which [`Store::scan`] gave: where to go on.
    pub fn key_of(&self, row: &[Value]) -> Vec<Value> {
        let place = |name| self.columns.iter().position(|(column, _)| column == name);
        self.key.iter().filter_map(|name| row.get(place(name)?)).cloned().collect()
    }
}

impl Store {
    /// All tables except our list of migrations; a table comes after those it refers to.
    pub async fn tables(&self) -> Result<Vec<TableInfo>> {
        self.read(|tx| Box::pin(tx.tables())).await
    }

    /// Up to `limit` rows of `table` in the order of its key, beginning behind the row with the key `after`.
    /// Rows are equal on both engines if what was written was. To scan several tables, or one in pages,
    /// within one snapshot, use [`Tx::scan`] in a [`Store::read`].
    pub async fn scan(&self, table: &TableInfo, after: Option<Vec<Value>>, limit: usize) -> Result<Vec<Vec<Value>>> {
        let table = table.clone();
        self.read(move |tx| Box::pin(async move { tx.scan(&table, after.as_deref(), limit).await })).await
    }

    /// Inserts rows as [`Store::scan`] gave them, numbers included, in one transaction.
    pub async fn load(&self, table: &TableInfo, rows: Vec<Vec<Value>>) -> Result<()> {
        struct Load(TableInfo, Vec<Vec<Value>>);
        impl Command for Load {
            type Output = ();
            type Error = Error;
            async fn apply(&self, tx: &mut Tx<'_>) -> Result<()> {
                let Load(table, rows) = self;
                if rows.iter().any(|row| row.len() != table.columns.len()) {
                    return Err(Error::Database(format!("load into {}: rows and columns differ in number", table.name)));
                }
                match &mut tx.0 {
                    Inner::Sqlite(tx) => tx.load(&table.name, &table.columns, rows),
                    Inner::Postgres(tx) => tx.load(&table.name, &table.columns, rows).await,
                }
            }
        }
        self.write(Load(table.clone(), rows)).await
    }

    /// After [`Store::load`]: numbers given from now on continue above the greatest loaded.
    /// Nothing to do on SQLite, which remembers the greatest number it has seen.
    pub async fn reset_identities(&self) -> Result<()> {
        struct Reset;
        impl Command for Reset {
            type Output = ();
            type Error = Error;
            async fn apply(&self, tx: &mut Tx<'_>) -> Result<()> {
                if tx.is_sqlite() {
                    return Ok(());
                }
                for (table, column) in tx.fetch(POSTGRES_IDENTITIES, &[], |row| Ok((row.get::<String>(0)?, row.get::<String>(1)?))).await? {
                    let sql = format!(
                        "SELECT setval(pg_get_serial_sequence('\"{table}\"', '{column}'), \
                            coalesce(max(\"{column}\"), 0) + 1, FALSE) FROM \"{table}\""
                    );
                    tx.fetch(&sql, &[], |_| Ok(())).await?;
                }
                Ok(())
            }
        }
        self.write(Reset).await
    }
}

impl Tx<'_> {
    /// See [`Store::tables`].
    pub async fn tables(&mut self) -> Result<Vec<TableInfo>> {
        let (columns, references) = match self.engine() {
            Engine::Sqlite => (SQLITE_COLUMNS, SQLITE_REFERENCES),
            Engine::Postgres => (POSTGRES_COLUMNS, POSTGRES_REFERENCES),
        };
        let columns = self.fetch(columns, &[], column).await?;
        let references = self.fetch(references, &[], |row| Ok((row.get::<String>(0)?, row.get::<String>(1)?))).await?;
        let mut tables: Vec<TableInfo> = Vec::new();
        for (table, name, ty, _) in &columns {
            if tables.last().is_none_or(|last| last.name != *table) {
                // By number if the table has one: SQLite and PostgreSQL then disagree on what is primary.
                let mut key: Vec<_> =
                    columns.iter().filter(|(t, _, _, place)| t == table && *place > 0).map(|(_, name, _, place)| (*place, name.clone())).collect();
                key.sort();
                tables.push(TableInfo { name: table.clone(), columns: Vec::new(), key: key.into_iter().map(|(_, name)| name).collect() });
            }
            if let Some(last) = tables.last_mut() {
                last.columns.push((name.clone(), *ty));
            }
        }
        Ok(parents_first(tables, &references))
    }

    /// See [`Store::scan`].
    pub async fn scan(&mut self, table: &TableInfo, after: Option<&[Value]>, limit: usize) -> Result<Vec<Vec<Value>>> {
        if table.key.is_empty() {
            return Err(Error::Database(format!("{} has no primary key to scan by", table.name)));
        }
        let sqlite = self.is_sqlite();
        // Texts in the order of their bytes, as SQLite has it, whatever the collation of the database.
        let is_text = |name: &String| table.columns.iter().any(|(column, ty)| column == name && *ty == Type::Text);
        let key: Vec<_> = table.key.iter().map(|name| format!("\"{name}\"{}", if !sqlite && is_text(name) { " COLLATE \"C\"" } else { "" })).collect();
        let names: Vec<_> = table.columns.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let mut args: Vec<_> = after.unwrap_or_default().iter().map(Value::as_arg).collect();
        let behind = if args.is_empty() {
            String::new()
        } else {
            let values: Vec<_> = (1..=args.len()).map(|n| format!("${n}")).collect();
            format!(" WHERE ({}) > ({})", key.join(", "), values.join(", "))
        };
        args.push((i64::try_from(limit).unwrap_or(i64::MAX)).into());
        let sql = format!("SELECT {} FROM \"{}\"{behind} ORDER BY {} LIMIT ${}", names.join(", "), table.name, key.join(", "), args.len());
        let read = |row: &Row<'_>| table.columns.iter().enumerate().map(|(i, (_, ty))| row.arg(i)?.to_value_of(*ty)).collect();
        self.fetch(&sql, &args, read).await
    }
}

/// Table, column, type, place in the key (from 1; 0 if not in it).
fn column(row: &Row<'_>) -> Result<(String, String, Type, i64)> {
    let (table, name) = (row.get::<String>(0)?, row.get::<String>(1)?);
    let ty = match row.text(2)? {
        "boolean" => Type::Bool,
        "bigint" | "integer" => Type::Int,
        "double precision" | "real" => Type::Real,
        "text" => Type::Text,
        "bytea" | "blob" => Type::Bytes,
        "uuid" => Type::Id,
        other => {
            return Err(Error::Database(format!("{table}.{name}: the type {other} is not one both engines have")));
        }
    };
    Ok((table, name, ty, row.get(3)?))
}

/// Sorts tables so that each comes after those it refers to; by name where that leaves a choice.
fn parents_first(tables: Vec<TableInfo>, references: &[(String, String)]) -> Vec<TableInfo> {
    let mut parents: HashMap<&str, Vec<&str>> = HashMap::new();
    for (child, parent) in references.iter().filter(|(child, parent)| child != parent) {
        parents.entry(child).or_default().push(parent);
    }
    let (mut sorted, mut rest): (Vec<TableInfo>, Vec<TableInfo>) = (Vec::new(), tables);
    while !rest.is_empty() {
        let ready = |table: &TableInfo| {
            let parents = parents.get(table.name.as_str()).map_or(&[][..], Vec::as_slice);
            parents.iter().all(|parent| sorted.iter().any(|done| done.name == *parent))
        };
        // In a circle of references no table is ready; any order is as good.
        let next = rest.iter().position(ready).unwrap_or(0);
        sorted.push(rest.remove(next));
    }
    sorted
}

const SQLITE_COLUMNS: &str = "
    SELECT t.name, c.name, lower(c.type), c.pk
    FROM sqlite_master t JOIN pragma_table_info(t.name) c
    WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND t.name <> 'schema_migrations'
    ORDER BY t.name, c.cid";

const SQLITE_REFERENCES: &str = "
    SELECT DISTINCT t.name, r.\"table\"
    FROM sqlite_master t JOIN pragma_foreign_key_list(t.name) r WHERE t.type = 'table'";

const POSTGRES_COLUMNS: &str = "
    SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod),
        CASE WHEN n.attnum IS NOT NULL THEN (a.attnum = n.attnum)::int::bigint
             ELSE coalesce(array_position(k.conkey, a.attnum), 0)::bigint END
    FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
    LEFT JOIN pg_attribute n ON n.attrelid = c.oid AND n.attidentity <> ''
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        AND c.relname <> 'schema_migrations'
    ORDER BY c.relname::text COLLATE \"C\", a.attnum";

const POSTGRES_REFERENCES: &str = "
    SELECT DISTINCT c.relname::text, p.relname::text
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_class p ON p.oid = k.confrelid
    WHERE k.contype = 'f' AND k.connamespace = current_schema()::regnamespace";

const POSTGRES_IDENTITIES: &str = "
    SELECT c.relname::text, a.attname::text
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = current_schema()::regnamespace AND a.attidentity <> '' AND NOT c.relispartition";
