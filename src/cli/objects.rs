//! The flags that say which objects of an archive are restored, and how.

use clap::{Args, ValueEnum};

use crate::failure::Failure;
use crate::restore::objects::{IfExists, ObjectOptions};
use crate::schema::Kind;
use crate::schema::script::Style;

/// Flags of `restore` about objects.
#[derive(Args, Debug)]
#[command(next_help_heading = "Objects")]
pub struct ObjectArgs {
    /// Make the database that -d names, with the archive's encoding, locale and settings
    #[arg(long, env = "PGKEEP_CREATE")]
    pub create: bool,
    /// Remove the archive's objects from the target before making them
    #[arg(long, env = "PGKEEP_CLEAN", conflicts_with_all = ["create", "data_only"])]
    pub clean: bool,
    /// What becomes of objects that the target has and that differ: they stay and are reported, the restore is refused, or they are replaced
    #[arg(long, value_name = "WHAT", env = "PGKEEP_IF_EXISTS")]
    pub if_exists: Option<IfExistsArg>,
    /// Definitions alone, no rows
    #[arg(long, env = "PGKEEP_SCHEMA_ONLY", conflicts_with_all = ["data_only", "section"])]
    pub schema_only: bool,
    /// Rows, sequences and large objects alone: the target must have the tables
    #[arg(long, env = "PGKEEP_DATA_ONLY", conflicts_with = "section")]
    pub data_only: bool,
    /// Parts to restore: what stands before the rows, the rows, what stands behind them; a list, or given several times
    #[arg(long, value_name = "SECTION", env = "PGKEEP_SECTION", value_delimiter = ',')]
    pub section: Vec<SectionArg>,
    /// Definitions of these kinds alone, such as functions,triggers,policies,views: those that differ are replaced, in one transaction and with a safety backup; privileges: those of whatever is there
    #[arg(long, value_name = "KINDS", env = "PGKEEP_ONLY", value_delimiter = ',', conflicts_with_all = ["data_only", "section", "create"])]
    pub only: Vec<String>,
    /// Do not set owners: what is made belongs to the role that restores
    #[arg(short = 'O', long, env = "PGKEEP_NO_OWNER")]
    pub no_owner: bool,
    /// Do not grant or revoke privileges
    #[arg(short = 'x', long, env = "PGKEEP_NO_PRIVILEGES")]
    pub no_privileges: bool,
    /// Put everything into the database's own tablespace
    #[arg(long, env = "PGKEEP_NO_TABLESPACES")]
    pub no_tablespaces: bool,
    /// Make objects as this role (SET ROLE)
    #[arg(long, value_name = "ROLE", env = "PGKEEP_ROLE")]
    pub role: Option<String>,
    /// Make roles that are missing, where the archive has them (backup --with-roles)
    #[arg(long, env = "PGKEEP_WITH_ROLES")]
    pub with_roles: bool,
}

/// What becomes of objects that the target has and that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IfExistsArg {
    /// They stay as they are, and are reported
    Skip,
    /// The restore is refused
    Fail,
    /// They are replaced
    Replace,
}

/// A part of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SectionArg {
    /// Definitions that rows need
    PreData,
    /// Rows, sequences and large objects
    Data,
    /// Indexes, constraints, triggers and what needs them
    PostData,
}

impl ObjectArgs {
    /// The flags as the engine takes them.
    pub fn options(&self) -> Result<ObjectOptions, Failure> {
        let only = kinds(&self.only)?;
        let sections = |section| self.section.is_empty() || self.section.contains(&section);
        let rows = sections(SectionArg::Data) && !self.schema_only && only.is_empty();
        let if_exists = match self.if_exists {
            Some(IfExistsArg::Skip) => IfExists::Skip,
            Some(IfExistsArg::Fail) => IfExists::Fail,
            Some(IfExistsArg::Replace) => IfExists::Replace,
            // Who names kinds wants them as they were.
            None if !only.is_empty() => IfExists::Replace,
            None => IfExists::Skip,
        };
        Ok(ObjectOptions {
            pre_data: sections(SectionArg::PreData) && !self.data_only,
            data: rows || self.data_only,
            post_data: sections(SectionArg::PostData) && !self.data_only,
            only,
            if_exists,
            clean: self.clean,
            create: self.create,
            with_roles: self.with_roles,
            style: Style {
                no_owner: self.no_owner,
                no_privileges: self.no_privileges,
                no_tablespaces: self.no_tablespaces,
                role: self.role.clone(),
                left: None,
            },
        })
    }
}

/// The kinds that a list of words means. Some words mean what belongs together.
fn kinds(words: &[String]) -> Result<Vec<Kind>, Failure> {
    let mut kinds = Vec::new();
    for word in words {
        let kind = Kind::parse(word).filter(|kind| CHOICE.contains(kind)).ok_or_else(|| {
            let known: Vec<String> = CHOICE.iter().map(|k| k.many().replace(' ', "-")).collect();
            Failure::usage(format!("{word:?} is no kind of definition that can be restored by itself"))
                .state("the target is untouched")
                .next(format!("choose of {}", known.join(", ")))
        })?;
        kinds.push(kind);
        match kind {
            Kind::Function => kinds.extend([Kind::Procedure, Kind::Aggregate]),
            Kind::Policy => kinds.push(Kind::RowSecurity),
            Kind::Constraint => kinds.push(Kind::ForeignKey),
            Kind::Index => kinds.push(Kind::IndexMark),
            Kind::Publication => kinds.push(Kind::PublicationMember),
            _ => {}
        }
    }
    Ok(kinds)
}

/// Kinds that hold no rows, so that they can be replaced by themselves.
const CHOICE: &[Kind] = &[
    Kind::Function,
    Kind::Procedure,
    Kind::Aggregate,
    Kind::Trigger,
    Kind::EventTrigger,
    Kind::Policy,
    Kind::View,
    Kind::Rule,
    Kind::Index,
    Kind::Constraint,
    Kind::ForeignKey,
    Kind::Default,
    Kind::Statistics,
    Kind::Operator,
    Kind::Cast,
    Kind::TextSearchDictionary,
    Kind::TextSearchConfiguration,
    Kind::Publication,
    Kind::DefaultPrivileges,
    Kind::Privileges,
];
