//! Random databases, what people do to them, what breaks them, and what a repair must make of them: in memory, too small to
//! be wrong.

use std::collections::BTreeMap;

use crate::support::Numbers;

pub const TABLES: &str = "
    CREATE TABLE sites (id int PRIMARY KEY, name text NOT NULL, total int);
    CREATE TABLE people (a int, b text, site int CONSTRAINT of_site REFERENCES sites, boss_a int, boss_b text, email text NOT NULL, name text, v int,
      PRIMARY KEY (a, b), CONSTRAINT of_boss FOREIGN KEY (boss_a, boss_b) REFERENCES people);
    CREATE TABLE notes (a int, b text, note text, CONSTRAINT of_person FOREIGN KEY (a, b) REFERENCES people);";

pub const CONFIG: &str = r#"
    [repair.people]
    required = ["name"]
    [[check]]
    name = "totals"
    sql = "SELECT total, id FROM sites WHERE total < 0"
    table = "sites"
"#;

/// By columns that may be NULL in a database that is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    pub name: Option<&'static str>,
    pub total: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub site: Option<u64>,
    pub boss: Option<u64>,
    pub email: Option<&'static str>,
    pub name: Option<&'static str>,
    pub v: u64,
}

/// Sites and people by their numbers, and notes of people, which have no key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub sites: BTreeMap<u64, Site>,
    pub people: BTreeMap<u64, Person>,
    pub notes: Vec<(Option<u64>, &'static str)>,
}

const SITES: u64 = 10;
const PEOPLE: u64 = 30;
/// Refers to nothing that ever was.
const NOWHERE: u64 = 900;
const NAMES: [&str; 3] = ["Ada", "Ben", "It's \"Cy\""];
const EMAILS: [&str; 2] = ["one@example", "two@example"];
const NOTES: [&str; 2] = ["late", "early"];

impl State {
    /// With a few rows that are broken already, of which nobody has a better version.
    pub fn random(numbers: &mut Numbers) -> State {
        let mut state = State::default();
        (0..150).for_each(|_| state.edit(numbers));
        for site in state.sites.values_mut().filter(|_| numbers.below(8) == 0) {
            site.total = -1;
        }
        for person in state.people.values_mut().filter(|_| numbers.below(8) == 0) {
            person.name = Some("");
        }
        state
    }

    /// What people do: nothing of it is broken by that.
    pub fn edit(&mut self, numbers: &mut Numbers) {
        let (site, person) = (numbers.below(SITES), numbers.below(PEOPLE));
        let known =
            |numbers: &mut Numbers, end| Some(numbers.below(end)).filter(|_| !numbers.0.is_multiple_of(4));
        let of_site = known(numbers, SITES).filter(|site| self.sites.contains_key(site));
        let of_person = known(numbers, PEOPLE).filter(|person| self.people.contains_key(person));
        match numbers.below(7) {
            0 => {
                let new = Site { name: Some(numbers.one(&NAMES)), total: numbers.below(3) as i64 };
                self.sites.entry(site).or_insert(new);
            }
            1 | 2 => {
                let (email, name) = (Some(numbers.one(&EMAILS)), Some(numbers.one(&NAMES)));
                let new = Person { site: of_site, boss: of_person, email, name, v: 0 };
                self.people.entry(person).or_insert(new);
            }
            3 | 4 => {
                if let Some(known) = self.people.get_mut(&person) {
                    (known.site, known.boss, known.v) = (of_site, of_person, numbers.below(4));
                }
            }
            5 => {
                if let Some(known) = self.sites.get_mut(&site) {
                    known.name = Some(numbers.one(&NAMES));
                }
            }
            _ => self.notes.push((of_person, numbers.one(&NOTES))),
        }
    }

    /// What a script does that goes wrong.
    pub fn damage(&mut self, numbers: &mut Numbers) {
        let (site, person) = (numbers.below(SITES), numbers.below(PEOPLE));
        match numbers.below(10) {
            0 | 9 => drop(self.sites.remove(&site)),
            1 | 2 => drop(self.people.remove(&person)),
            3 if !self.notes.is_empty() => {
                let place = numbers.below(self.notes.len() as u64) as usize;
                match numbers.below(3) {
                    0 => self.notes[place].0 = Some(NOWHERE),
                    _ => drop(self.notes.swap_remove(place)),
                }
            }
            4 => {
                self.sites
                    .entry(site)
                    .and_modify(|site| site.name = None)
                    .or_insert(Site { name: None, total: 0 })
                    .total = 1
            }
            5 => drop(self.sites.entry(site).and_modify(|site| site.total = -5)),
            _ => {
                let how = numbers.below(5);
                let Some(person) = self.people.get_mut(&person) else { return };
                match how {
                    0 => person.email = None,
                    1 => person.name = numbers.one(&[None, Some("")]),
                    2 => person.site = Some(NOWHERE),
                    3 => person.boss = Some(NOWHERE),
                    _ => (person.email, person.name) = (None, None),
                }
            }
        }
    }

    /// Statements that make the database so, whatever is broken by it.
    pub fn sql(&self) -> String {
        let text = |text: &Option<&str>| {
            text.map_or("NULL".to_owned(), |text| format!("'{}'", text.replace('\'', "''")))
        };
        let number = |number: &Option<u64>| number.map_or("NULL".to_owned(), |number| number.to_string());
        let key = |person: &Option<u64>| {
            person.map_or("NULL, NULL".to_owned(), |person| format!("{}, 'p/{person}'", person / 3))
        };
        let mut sql = "SET session_replication_role = replica; TRUNCATE sites, people, notes;".to_owned();
        for (id, s) in &self.sites {
            sql += &format!("INSERT INTO sites VALUES ({id}, {}, {});", text(&s.name), s.total);
        }
        for (id, p) in &self.people {
            let (own, site, boss) = (key(&Some(*id)), number(&p.site), key(&p.boss));
            let (email, name) = (text(&p.email), text(&p.name));
            sql += &format!("INSERT INTO people VALUES ({own}, {site}, {boss}, {email}, {name}, {});", p.v);
        }
        for (person, note) in &self.notes {
            sql += &format!("INSERT INTO notes VALUES ({}, '{note}');", key(person));
        }
        sql
    }

    fn refers_to_no_site(&self, person: &Person) -> bool {
        person.site.is_some_and(|site| !self.sites.contains_key(&site))
    }

    fn has_no_boss(&self, boss: Option<u64>) -> bool {
        boss.is_some_and(|boss| !self.people.contains_key(&boss))
    }
}

fn is_empty(text: Option<&str>) -> bool {
    text.unwrap_or_default().is_empty()
}

/// Rows by table and reason.
pub type Reasons = BTreeMap<(&'static str, &'static str), u64>;

pub struct Repaired {
    pub state: State,
    /// Why rows are repaired.
    pub found: Reasons,
    /// Why rows are broken that stay so.
    pub left: Reasons,
}

const NAME: &str = "name is empty";
const EMAIL: &str = "email is empty";
const TOTALS: &str = "check totals";
const OF_SITE: &str = "of_site refers to no row of sites";
const OF_BOSS: &str = "of_boss refers to no row of people";
const OF_PERSON: &str = "of_person refers to no row of people";
const MISSING: &str = "missing";

/// What a repair must make of `live`: rows that are gone come back, broken ones become as archived where that is better.
pub fn repaired(archived: &State, live: &State) -> Repaired {
    let mut result = live.clone();
    let mut found = Reasons::new();
    let mut left = Reasons::new();
    let count = |reasons: &mut Reasons, table, of: Vec<(&'static str, bool)>| -> bool {
        let named: Vec<_> = of.into_iter().filter(|(_, is_so)| *is_so).collect();
        named.iter().for_each(|(reason, _)| *reasons.entry((table, reason)).or_default() += 1);
        !named.is_empty()
    };
    for (id, new) in &archived.sites {
        let Some(old) = live.sites.get(id) else {
            count(&mut found, "sites", vec![(MISSING, true)]);
            result.sites.insert(*id, new.clone());
            continue;
        };
        let broken = vec![(NAME, old.name.is_none() && new.name.is_some()), (TOTALS, old.total < 0)];
        if new != old && count(&mut found, "sites", broken) {
            result.sites.insert(*id, new.clone());
        }
    }
    for (id, new) in &archived.people {
        let Some(old) = live.people.get(id) else {
            count(&mut found, "people", vec![(MISSING, true)]);
            result.people.insert(*id, new.clone());
            continue;
        };
        let broken = vec![
            (EMAIL, old.email.is_none() && new.email.is_some()),
            (NAME, is_empty(old.name) && !is_empty(new.name)),
            // What they refer to comes back where it is archived.
            (OF_SITE, live.refers_to_no_site(old) && archived.refers_to_no_site(old)),
            (OF_BOSS, live.has_no_boss(old.boss) && archived.has_no_boss(old.boss)),
        ];
        if count(&mut found, "people", broken) {
            result.people.insert(*id, new.clone());
        }
    }
    let mut rest = live.notes.clone();
    for note in &archived.notes {
        match rest.iter().position(|n| n == note) {
            Some(place) => drop(rest.swap_remove(place)),
            None => {
                count(&mut found, "notes", vec![(MISSING, true)]);
                result.notes.push(*note);
            }
        }
    }
    for (id, site) in &result.sites {
        // Of those that are written the check itself says whether they are broken.
        let written = live.sites.get(id) != Some(site);
        count(&mut left, "sites", vec![(NAME, site.name.is_none()), (TOTALS, site.total < 0 && !written)]);
    }
    for person in result.people.values() {
        let broken = vec![
            (EMAIL, person.email.is_none()),
            (NAME, is_empty(person.name)),
            (OF_SITE, result.refers_to_no_site(person)),
            (OF_BOSS, result.has_no_boss(person.boss)),
        ];
        count(&mut left, "people", broken);
    }
    for (person, _) in &result.notes {
        count(&mut left, "notes", vec![(OF_PERSON, result.has_no_boss(*person))]);
    }
    Repaired { state: result, found, left }
}
