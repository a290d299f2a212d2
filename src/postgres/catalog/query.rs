//! The catalog queries. Each is one round trip whatever the number of objects, and names everything by its schema,
//! so that it means the same under any search path.
//!
//! The catalog's own functions look past the snapshot: of an object that was dropped since, they say NULL. Such a NULL
//! counts as "may be used", so that using it gives the true reason: it is gone.

/// One row: what the server is, and whether two more questions may be asked.
pub const SERVER: &str = "
SELECT pg_catalog.current_setting('server_version'),
       pg_catalog.current_setting('server_version_num')::pg_catalog.int4,
       d.datname::pg_catalog.text,
       pg_catalog.pg_encoding_to_char(d.encoding)::pg_catalog.text,
       current_user::pg_catalog.text,
       COALESCE((SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname = current_user), false),
       (SELECT pg_catalog.count(*) = 2 FROM pg_catalog.pg_roles r
         WHERE r.rolname IN ('supabase_admin', 'authenticator')),
       pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE'),
       NOT pg_catalog.pg_is_in_recovery()
         AND pg_catalog.has_function_privilege('pg_catalog.pg_current_wal_lsn()', 'EXECUTE'),
       pg_catalog.has_database_privilege(d.oid, 'TEMPORARY'),
       EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata),
       pg_catalog.pg_is_in_recovery()
  FROM pg_catalog.pg_database d
 WHERE d.datname = pg_catalog.current_database()";

/// The cluster's identity.
pub const SYSTEM_IDENTIFIER: &str =
    "SELECT s.system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system() s";

/// The WAL position.
pub const LSN: &str = "SELECT pg_catalog.pg_current_wal_lsn()::pg_catalog.text";

/// Tables of non-system schemas, but for those in which a restore stages rows (`STAGING_SCHEMA`). Schema names that begin
/// with `pg_` are reserved (manual, 5.10.5).
pub const RELATIONS: &str = r"
SELECT c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relkind::pg_catalog.text, i.inhparent,
       c.relfilenode, pg_catalog.pg_relation_filenode(c.oid),
       COALESCE(am.amname = 'heap', false),
       pg_catalog.row_security_active(c.oid), c.relforcerowsecurity,
       o.rolname::pg_catalog.text, pg_catalog.pg_has_role(c.relowner, 'USAGE'),
       pg_catalog.has_schema_privilege(n.oid, 'USAGE'),
       pg_catalog.has_table_privilege(c.oid, 'SELECT'),
       pg_catalog.has_table_privilege(c.oid, 'INSERT'),
       pg_catalog.has_table_privilege(c.oid, 'UPDATE'),
       pg_catalog.has_table_privilege(c.oid, 'DELETE'),
       pg_catalog.has_table_privilege(c.oid, 'REFERENCES'),
       x.extname::pg_catalog.text,
       x.extcondition[pg_catalog.array_position(x.extconfig, c.oid)],
       c.relpersistence = 'u'
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_roles o ON o.oid = c.relowner
  LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
  LEFT JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid AND c.relispartition
  LEFT JOIN pg_catalog.pg_depend m ON m.classid = 1259 AND m.objid = c.oid AND m.objsubid = 0
        AND m.refclassid = 3079 AND m.deptype = 'e'
  LEFT JOIN pg_catalog.pg_extension x ON x.oid = m.refobjid
 WHERE c.relkind IN ('r', 'p', 'f')
   AND c.relpersistence <> 't'
   AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
   AND (n.nspname <> 'pgkeep_staging'
        OR pg_catalog.obj_description(n.oid, 'pg_namespace')
             IS DISTINCT FROM 'pgkeep: rows of a restore, removed when it ends')
 ORDER BY 2, 3";

/// Sizes of the tables in place of `{}`. Waits for whoever holds a table ACCESS EXCLUSIVE: to be asked of tables that
/// are locked already.
pub const SIZES: &str = "
SELECT c.oid,
       COALESCE(pg_catalog.pg_relation_size(c.oid), 0)
         / pg_catalog.current_setting('block_size')::pg_catalog.int8,
       COALESCE(pg_catalog.pg_relation_size(c.oid), 0)
         + COALESCE(pg_catalog.pg_relation_size(NULLIF(c.reltoastrelid, 0)), 0)
  FROM pg_catalog.pg_class c
 WHERE c.oid IN ({})";

/// Domains and what they are over.
pub const DOMAINS: &str = "SELECT t.oid, t.typbasetype, pg_catalog.format_type(t.typbasetype, t.typtypmod)
  FROM pg_catalog.pg_type t WHERE t.typtype = 'd'";

/// Those of the output functions in place of `{}` that the role may call by name and a query does not call for NULL (the
/// server itself never does, and one that is not STRICT may crash it), with the type that they take; 0 for
/// those that take any type of a kind.
pub const OUTPUTS: &str = "SELECT p.oid, n.nspname::pg_catalog.text, p.proname::pg_catalog.text,
       CASE a.typtype WHEN 'p' THEN 0::pg_catalog.oid ELSE a.oid END
  FROM pg_catalog.pg_proc p
  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  JOIN pg_catalog.pg_type a ON a.oid = p.proargtypes[0]
 WHERE p.oid IN ({}) AND p.proisstrict
   AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE') AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')";

/// Columns of those tables.
pub const COLUMNS: &str = r"
SELECT a.attrelid, a.attname::pg_catalog.text, pg_catalog.format_type(a.atttypid, a.atttypmod),
       a.atttypid, a.attnotnull, a.attgenerated <> '', t.typoutput::pg_catalog.oid,
       a.attidentity = 'a'
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't'
   AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
   AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attrelid, a.attnum";

/// Columns of every valid unique index over plain not-null columns, with the index's equality operator
/// (strategy 3 of a btree operator family: manual, 38.16.2), its collation where that is not the column's, and whether
/// a FULL JOIN can use that operator.
///
/// A temporal key (18, WITHOUT OVERLAPS) is a GiST index, whose strategy 3 may mean "overlaps": the type's own
/// equality stands in. From 18 on a column may be marked NOT NULL while its old rows are unchecked (NOT VALID).
///
/// Materialized, because the planner takes the equality operators for one row, of which there are a hundred, and then
/// walks all indexes anew for each.
pub const KEYS: &str = r"
WITH k AS MATERIALIZED (
  SELECT x.indrelid, x.indexrelid, x.indisprimary, x.indnkeyatts, u.attnum, u.opclass, u.collation_oid, u.place
    FROM pg_catalog.pg_index x
    JOIN pg_catalog.pg_class c ON c.oid = x.indrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(x.indkey::pg_catalog.int2[]),
                                 pg_catalog.unnest(x.indclass::pg_catalog.oid[]),
                                 pg_catalog.unnest(x.indcollation::pg_catalog.oid[]))
         WITH ORDINALITY AS u (attnum, opclass, collation_oid, place)
   WHERE x.indisunique AND x.indisvalid AND x.indpred IS NULL AND x.indexprs IS NULL
     AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
     AND u.place <= x.indnkeyatts
     AND NOT EXISTS (
          SELECT 1 FROM pg_catalog.unnest(x.indkey::pg_catalog.int2[]) WITH ORDINALITY AS o (attnum, place)
            JOIN pg_catalog.pg_attribute oa ON oa.attrelid = x.indrelid AND oa.attnum = o.attnum
           WHERE o.place <= x.indnkeyatts
             AND (NOT oa.attnotnull
                  OR EXISTS (SELECT 1 FROM pg_catalog.pg_constraint nn
                              WHERE nn.conrelid = x.indrelid AND nn.contype = 'n' AND NOT nn.convalidated
                                AND o.attnum = ANY (nn.conkey)))))
SELECT k.indrelid, k.indexrelid, k.indisprimary, a.attname::pg_catalog.text,
       opn.nspname::pg_catalog.text, op.oprname::pg_catalog.text,
       con.nspname::pg_catalog.text, co.collname::pg_catalog.text, op.oprcanmerge OR op.oprcanhash,
       k.indnkeyatts::pg_catalog.int4
  FROM k
  JOIN pg_catalog.pg_attribute a ON a.attrelid = k.indrelid AND a.attnum = k.attnum
  JOIN pg_catalog.pg_opclass ic ON ic.oid = k.opclass
  JOIN pg_catalog.pg_am am ON am.amname = 'btree'
  JOIN pg_catalog.pg_opclass oc ON oc.opcmethod = am.oid
       AND (oc.oid = ic.oid OR ic.opcmethod <> am.oid AND oc.opcintype = ic.opcintype AND oc.opcdefault)
  JOIN pg_catalog.pg_amop ao ON ao.amopfamily = oc.opcfamily AND ao.amopstrategy = 3
       AND ao.amoplefttype = oc.opcintype AND ao.amoprighttype = oc.opcintype
  JOIN pg_catalog.pg_operator op ON op.oid = ao.amopopr
  JOIN pg_catalog.pg_namespace opn ON opn.oid = op.oprnamespace
  LEFT JOIN pg_catalog.pg_collation co ON co.oid = k.collation_oid AND co.oid <> a.attcollation
  LEFT JOIN pg_catalog.pg_namespace con ON con.oid = co.collnamespace
 ORDER BY k.indrelid, k.indexrelid, k.place";

/// Constraints. The arrays are the columns of a foreign key, the columns that it refers to, the schemas and symbols
/// of the operators that compare referred = referring, and the collations of the columns referred to. The letters are
/// CASCADE, SET NULL and SET DEFAULT.
pub const CONSTRAINTS: &str = r"
SELECT k.conrelid, k.conname::pg_catalog.text, COALESCE(pg_catalog.pg_get_constraintdef(k.oid), ''),
       k.contype::pg_catalog.text, k.confrelid, k.conparentid <> 0,
       k.convalidated AND COALESCE(pg_catalog.pg_get_constraintdef(k.oid), '') !~ 'NOT ENFORCED$',
       k.confmatchtype = 'f',
       ARRAY(SELECT a.attname::pg_catalog.text
               FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY AS u (attnum, place)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum
              ORDER BY u.place),
       ARRAY(SELECT a.attname::pg_catalog.text
               FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY AS u (attnum, place)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.attnum
              ORDER BY u.place),
       ARRAY(SELECT opn.nspname::pg_catalog.text
               FROM pg_catalog.unnest(k.conpfeqop) WITH ORDINALITY AS u (op, place)
               JOIN pg_catalog.pg_operator o ON o.oid = u.op
               JOIN pg_catalog.pg_namespace opn ON opn.oid = o.oprnamespace
              ORDER BY u.place),
       ARRAY(SELECT o.oprname::pg_catalog.text
               FROM pg_catalog.unnest(k.conpfeqop) WITH ORDINALITY AS u (op, place)
               JOIN pg_catalog.pg_operator o ON o.oid = u.op
              ORDER BY u.place),
       pg_catalog.obj_description(k.oid, 'pg_constraint'),
       ARRAY(SELECT CASE WHEN co.oid IS NULL THEN '' ELSE pg_catalog.format('%I.%I', con.nspname, co.collname) END
               FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY AS u (attnum, place)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.attnum
               LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation
               LEFT JOIN pg_catalog.pg_namespace con ON con.oid = co.collnamespace
              ORDER BY u.place),
       k.condeferrable, k.confdeltype IN ('c', 'n', 'd'), k.confupdtype IN ('c', 'n', 'd')
  FROM pg_catalog.pg_constraint k
  JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE k.contype IN ('p', 'u', 'f', 'c', 'x')
   AND c.relpersistence <> 't'
   AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
 ORDER BY n.nspname, c.relname, k.conname";

/// Sequences with the tables that own them or take a default from them.
pub const SEQUENCES: &str = r"
SELECT c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, s.seqincrement,
       ARRAY(SELECT d.refobjid FROM pg_catalog.pg_depend d
              WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.objsubid = 0
                AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjsubid > 0
                AND d.deptype IN ('a', 'i')
             UNION
             SELECT f.adrelid FROM pg_catalog.pg_depend d
               JOIN pg_catalog.pg_attrdef f ON f.oid = d.objid
              WHERE d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
                AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = c.oid),
       COALESCE(pg_catalog.has_schema_privilege(n.oid, 'USAGE')
                AND pg_catalog.has_sequence_privilege(c.oid, 'SELECT'), true),
       COALESCE(pg_catalog.has_schema_privilege(n.oid, 'USAGE')
                AND pg_catalog.has_sequence_privilege(c.oid, 'UPDATE'), true),
       pg_catalog.pg_has_role(c.relowner, 'USAGE'),
       (SELECT x.extname::pg_catalog.text
          FROM pg_catalog.pg_depend m JOIN pg_catalog.pg_extension x ON x.oid = m.refobjid
         WHERE m.classid = 1259 AND m.objsubid = 0 AND m.refclassid = 3079 AND m.deptype = 'e'
           AND (m.objid = c.oid
                OR m.objid IN (SELECT d.refobjid FROM pg_catalog.pg_depend d
                                WHERE d.classid = 1259 AND d.objid = c.oid AND d.objsubid = 0
                                  AND d.refclassid = 1259 AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')))
         LIMIT 1)
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_sequence s ON s.seqrelid = c.oid
 WHERE c.relkind = 'S' AND c.relpersistence <> 't'
   AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
 ORDER BY 2, 3";
