//! Of which groups of objects a database has any.
//!
//! Most databases have no operators, policies or publications of their own, and to plan the query that would find none
//! takes the server longer than all that it finds elsewhere. One query asks whether there is anything to be found.

use tokio_postgres::{Client, Error};

/// Objects that many databases have none of.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Enums,
    Composites,
    Ranges,
    BaseTypes,
    ShellTypes,
    Domains,
    Functions,
    Aggregates,
    Operators,
    OperatorFamilies,
    OperatorClasses,
    Collations,
    Conversions,
    TextSearchParsers,
    TextSearchTemplates,
    TextSearchDictionaries,
    TextSearchConfigurations,
    Languages,
    AccessMethods,
    Casts,
    Transforms,
    Views,
    MaterializedViews,
    Sequences,
    Children,
    Checks,
    ForeignKeys,
    Statistics,
    RowSecurity,
    Policies,
    Triggers,
    Rules,
    EventTriggers,
    ForeignDataWrappers,
    ForeignServers,
    Publications,
    DefaultPrivileges,
    SecurityLabels,
}

/// What tells that there is something of a group: true whenever the group's queries would give a row, and sometimes when
/// they would not. Catalogs that not every role may read are not among them.
///
/// 11 is `pg_catalog`, by its fixed `oid`. Schema `information_schema` has none.
const QUESTIONS: [(Group, &str); 38] = [
    (Group::Enums, "FROM pg_catalog.pg_type t WHERE t.typtype = 'e'"),
    (Group::Composites, "FROM pg_catalog.pg_class c WHERE c.relkind = 'c'"),
    (Group::Ranges, "FROM pg_catalog.pg_type t WHERE t.typtype = 'r' AND t.typnamespace <> 11"),
    (
        Group::BaseTypes,
        "FROM pg_catalog.pg_type t WHERE t.typtype = 'b' AND t.typnamespace <> 11
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid)",
    ),
    (Group::ShellTypes, "FROM pg_catalog.pg_type t WHERE t.typtype = 'p' AND NOT t.typisdefined"),
    (
        Group::Domains,
        "FROM pg_catalog.pg_type t WHERE t.typtype = 'd' AND t.typnamespace <> 11 AND NOT t.typnamespace IN ({own})",
    ),
    (
        Group::Functions,
        "FROM pg_catalog.pg_proc p WHERE p.pronamespace <> 11 AND NOT p.pronamespace IN ({own})",
    ),
    (Group::Aggregates, "FROM pg_catalog.pg_proc p WHERE p.prokind = 'a' AND p.pronamespace <> 11"),
    (Group::Operators, "FROM pg_catalog.pg_operator o WHERE o.oprnamespace <> 11"),
    (Group::OperatorFamilies, "FROM pg_catalog.pg_opfamily f WHERE f.opfnamespace <> 11"),
    (Group::OperatorClasses, "FROM pg_catalog.pg_opclass c WHERE c.opcnamespace <> 11"),
    (Group::Collations, "FROM pg_catalog.pg_collation c WHERE c.collnamespace <> 11"),
    (Group::Conversions, "FROM pg_catalog.pg_conversion c WHERE c.connamespace <> 11"),
    (Group::TextSearchParsers, "FROM pg_catalog.pg_ts_parser p WHERE p.prsnamespace <> 11"),
    (Group::TextSearchTemplates, "FROM pg_catalog.pg_ts_template t WHERE t.tmplnamespace <> 11"),
    (Group::TextSearchDictionaries, "FROM pg_catalog.pg_ts_dict d WHERE d.dictnamespace <> 11"),
    (Group::TextSearchConfigurations, "FROM pg_catalog.pg_ts_config c WHERE c.cfgnamespace <> 11"),
    (Group::Languages, "FROM pg_catalog.pg_language l WHERE l.oid >= 16384"),
    (Group::AccessMethods, "FROM pg_catalog.pg_am a WHERE a.oid >= 16384"),
    (Group::Casts, "FROM pg_catalog.pg_cast c WHERE c.oid >= 16384"),
    (Group::Transforms, "FROM pg_catalog.pg_transform t WHERE t.oid >= 16384"),
    (
        Group::Views,
        "FROM pg_catalog.pg_class c WHERE c.relkind = 'v' AND c.relnamespace <> 11 AND NOT c.relnamespace IN ({own})",
    ),
    (Group::MaterializedViews, "FROM pg_catalog.pg_class c WHERE c.relkind = 'm'"),
    (Group::Sequences, "FROM pg_catalog.pg_class c WHERE c.relkind = 'S'"),
    (Group::Children, "FROM pg_catalog.pg_inherits"),
    (Group::Checks, "FROM pg_catalog.pg_constraint r WHERE r.conrelid <> 0 AND r.contype IN ('c', 'n')"),
    (Group::ForeignKeys, "FROM pg_catalog.pg_constraint r WHERE r.contype = 'f'"),
    (Group::Statistics, "FROM pg_catalog.pg_statistic_ext"),
    (Group::RowSecurity, "FROM pg_catalog.pg_class c WHERE c.relrowsecurity OR c.relforcerowsecurity"),
    (Group::Policies, "FROM pg_catalog.pg_policy"),
    (Group::Triggers, "FROM pg_catalog.pg_trigger t WHERE NOT t.tgisinternal OR t.tgparentid <> 0"),
    (
        Group::Rules,
        "FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
          WHERE r.rulename <> '_RETURN' AND c.relnamespace <> 11",
    ),
    (Group::EventTriggers, "FROM pg_catalog.pg_event_trigger"),
    (Group::ForeignDataWrappers, "FROM pg_catalog.pg_foreign_data_wrapper"),
    (Group::ForeignServers, "FROM pg_catalog.pg_foreign_server"),
    (Group::Publications, "FROM pg_catalog.pg_publication"),
    (Group::DefaultPrivileges, "FROM pg_catalog.pg_default_acl"),
    (Group::SecurityLabels, "FROM pg_catalog.pg_seclabel"),
];

/// The groups of which there is nothing. None are known to begin with: what nobody asked about may be there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Absent(u64);

impl Absent {
    /// Whether there is nothing of this group.
    pub fn has(self, group: Group) -> bool {
        self.0 & (1 << group as u64) != 0
    }
}

/// Asks, under the caller's transaction, of which groups there is nothing. Without a snapshot that lasts, what is made
/// behind this query is missed, as it would be behind any other.
pub async fn absent(client: &Client) -> Result<Absent, Error> {
    let own = "SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = 'information_schema'";
    let questions: Vec<String> =
        QUESTIONS.iter().map(|(_, of)| format!("EXISTS (SELECT {})", of.replace("{own}", own))).collect();
    let rows = client.query_typed(&format!("SELECT {}", questions.join(",\n")), &[]).await?;
    let mut absent = Absent::default();
    for row in &rows {
        for (column, (group, _)) in QUESTIONS.iter().enumerate() {
            if !row.try_get::<_, bool>(column)? {
                absent.0 |= 1 << *group as u64;
            }
        }
    }
    Ok(absent)
}
