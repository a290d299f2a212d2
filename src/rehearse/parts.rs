//! Which of the archived objects a scratch database gets.
//!
//! A copy of a database must do nothing that the original does: a second subscription would take changes from the
//! original's slot, an event trigger would act upon the rehearsal's own statements and an event trigger on logins upon
//! its sessions. Those are made in a transaction that is rolled back, which proves that they can be made. pg_cron is in
//! one database of a server alone, so that neither it nor its jobs can be made.

use std::collections::HashSet;

use crate::archive::model::Header;
use crate::schema::scope::keep;
use crate::schema::{Kind, Object};

/// Extensions that only one database of a server can have.
const ONE_A_SERVER: [&str; 1] = ["pg_cron"];

/// The objects of an archive, by what becomes of them.
#[derive(Debug, Default)]
pub struct Parts {
    /// Those that are made, in order.
    pub made: Vec<Object>,
    /// Those that are made and taken back.
    pub tried: Vec<Object>,
    /// Identities of those that are not made.
    pub left_out: Vec<String>,
    /// The extensions among them, by name.
    extensions: Vec<String>,
}

impl Parts {
    /// Sorts objects, each of which stands behind all that it needs.
    pub fn new(objects: Vec<Object>) -> Parts {
        let mut left: HashSet<usize> = HashSet::new();
        for (at, object) in objects.iter().enumerate() {
            let is_one = object.kind == Kind::Extension && ONE_A_SERVER.contains(&object.name.as_str());
            let needs_one = object.needs.iter().any(|need| left.contains(&(*need as usize)));
            if is_one || needs_one || object.kind == Kind::Job {
                left.insert(at);
            }
        }
        let acts = |object: &Object| matches!(object.kind, Kind::EventTrigger | Kind::Subscription);
        let tried: HashSet<usize> =
            (0..objects.len()).filter(|at| !left.contains(at) && acts(&objects[*at])).collect();
        let made = (0..objects.len()).filter(|at| !left.contains(at) && !tried.contains(at)).collect();
        let extensions = left.iter().map(|at| &objects[*at]).filter(|o| o.kind == Kind::Extension);
        Parts {
            extensions: extensions.map(|o| o.name.clone()).collect(),
            left_out: (0..objects.len())
                .filter(|at| left.contains(at))
                .map(|at| objects[at].identity.clone())
                .collect(),
            tried: keep(objects.clone(), &tried),
            made: keep(objects, &made),
        }
    }

    /// Names of the tables and sequences that cannot be there, because their extension is not made.
    pub fn not_there(&self, header: &Header) -> HashSet<String> {
        let is_left =
            |extension: &Option<String>| extension.as_ref().is_some_and(|e| self.extensions.contains(e));
        let tables = header.tables.iter().filter(|t| is_left(&t.extension)).map(|t| t.shown());
        let sequences = header.sequences.iter().filter(|s| is_left(&s.extension)).map(|s| s.shown());
        tables.chain(sequences).collect()
    }

    /// The identities of those that are tried, and of those that are left out.
    pub fn names(self) -> (Vec<String>, Vec<String>) {
        (self.tried.into_iter().map(|object| object.identity).collect(), self.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_tried_and_what_needs_an_extension_of_the_whole_server_is_left_out() {
        let object = |kind: Kind, name: &str, needs: &[u32]| {
            let mut object = Object::new(kind, format!("{} {name}", kind.one()), None, name);
            object.needs = needs.to_vec();
            object
        };
        let parts = Parts::new(vec![
            object(Kind::Extension, "pg_cron", &[]),
            object(Kind::View, "jobs", &[0]),
            object(Kind::Function, "watch", &[]),
            object(Kind::EventTrigger, "watching", &[2]),
            object(Kind::View, "jobs_of_today", &[1]),
            object(Kind::Job, "nightly", &[0]),
            object(Kind::Trigger, "own", &[2]),
            object(Kind::Subscription, "theirs", &[]),
        ]);
        let names = |objects: &[Object]| objects.iter().map(|o| o.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&parts.made), ["watch", "own"]);
        assert_eq!(parts.made[1].needs, [0]);
        assert_eq!(names(&parts.tried), ["watching", "theirs"]);
        assert_eq!(parts.left_out, ["extension pg_cron", "view jobs", "view jobs_of_today", "job nightly"]);
    }
}
