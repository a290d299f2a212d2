//! Large objects, without their bytes.

use tokio_postgres::Error;

use super::draft::{Draft, Reader, at, class};
use crate::schema::{Kind, Object};

const QUERY: &str = "
SELECT m.oid, pg_catalog.pg_get_userbyid(m.lomowner)::pg_catalog.text
  FROM pg_catalog.pg_largeobject_metadata m
 ORDER BY m.oid";

/// All large objects.
pub async fn read(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let rows = reader.rows(QUERY).await?;
    Ok(rows
        .iter()
        .map(|row| {
            let oid: u32 = row.get(0);
            let mut object =
                Object::new(Kind::LargeObject, format!("LARGE OBJECT {oid}"), None, oid.to_string());
            object.owner = row.get(1);
            object.create = vec![format!("SELECT pg_catalog.lo_create('{oid}')")];
            object.drop = vec![format!("SELECT pg_catalog.lo_unlink('{oid}')")];
            Draft::new(at(class::LARGE_OBJECT, oid), object)
        })
        .collect())
}
