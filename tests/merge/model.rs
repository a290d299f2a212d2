//! Random databases, and what each mode must make of them: a model in memory that is too small to be wrong.

use std::collections::BTreeMap;

use crate::support::Numbers;

/// The lowest first; `odd` has no rank.
pub const STATUSES: [(&str, Option<u32>); 5] = [
    ("pending", Some(0)),
    ("confirmed", Some(1)),
    ("cancelled", Some(1)),
    ("completed", Some(2)),
    ("odd", None),
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booking {
    pub status: &'static str,
    /// The day of `updated_at`.
    pub day: Option<u64>,
    pub price: &'static str,
    pub guest: Option<i64>,
}

/// Tables: guests by id, bookings by (site, id), which refer to guests, and visits without a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub guests: BTreeMap<i64, (&'static str, u64)>,
    pub bookings: BTreeMap<(i64, i64), Booking>,
    pub visits: Vec<(i64, &'static str)>,
}

pub const TABLES: &str = "
    CREATE TABLE guests (id int PRIMARY KEY, name text, version bigint);
    CREATE TABLE bookings (site int, id int, status text, updated_at timestamptz, price numeric, guest int REFERENCES guests,
      PRIMARY KEY (site, id));
    CREATE TABLE visits (guest int, place text);";

const NAMES: [&str; 3] = ["Ada", "Ben", "It's \"Cy\""];
/// 1.0 and 1.00 are two values.
const PRICES: [&str; 3] = ["1.0", "1.00", "27.5"];
const PLACES: [&str; 2] = ["bar", "sauna"];

impl State {
    pub fn random(numbers: &mut Numbers) -> State {
        let mut state = State::default();
        (0..120).for_each(|_| state.edit(numbers));
        state
    }

    /// Changes something, so that bookings still have their guests.
    pub fn edit(&mut self, numbers: &mut Numbers) {
        let id = numbers.below(25) as i64;
        let key = (numbers.below(3) as i64, numbers.below(12) as i64);
        match numbers.below(8) {
            0 | 1 => {
                let name = NAMES[numbers.below(3) as usize];
                self.guests.insert(id, (name, numbers.below(4)));
            }
            2..=4 => {
                let some = numbers.below(4) > 0;
                let guest = self.guests.keys().nth(numbers.below(25) as usize).copied().filter(|_| some);
                let status = STATUSES[numbers.below(5) as usize].0;
                // Two, so that many are the same.
                let day = Some(numbers.below(2)).filter(|_| numbers.below(5) > 0);
                let price = PRICES[numbers.below(3) as usize];
                self.bookings.insert(key, Booking { status, day, price, guest });
            }
            5 => {
                self.bookings.remove(&key);
            }
            6 if !self.bookings.values().any(|b| b.guest == Some(id)) => {
                self.guests.remove(&id);
            }
            _ => {
                let visit = (id % 3, PLACES[numbers.below(2) as usize]);
                match self.visits.iter().position(|v| *v == visit) {
                    Some(place) if numbers.below(2) == 0 => {
                        self.visits.remove(place);
                    }
                    _ => self.visits.push(visit),
                }
            }
        }
    }

    /// Statements that make the database so.
    pub fn sql(&self) -> String {
        let mut sql = "TRUNCATE guests, bookings, visits;".to_owned();
        for (id, (name, version)) in &self.guests {
            sql += &format!("INSERT INTO guests VALUES ({id}, '{}', {version});", name.replace('\'', "''"));
        }
        for ((site, id), b) in &self.bookings {
            let day = b.day.map_or("NULL".to_owned(), |day| format!("'2025-11-0{}+00'", day + 1));
            let guest = b.guest.map_or("NULL".to_owned(), |guest| guest.to_string());
            sql += &format!(
                "INSERT INTO bookings VALUES ({site}, {id}, '{}', {day}, {}, {guest});",
                b.status, b.price
            );
        }
        for (guest, place) in &self.visits {
            sql += &format!("INSERT INTO visits VALUES ({guest}, '{place}');");
        }
        sql
    }

    /// As [`SHOWN`] says it of the database.
    pub fn shown(&self) -> String {
        let guests = self.guests.iter().map(|(id, (name, version))| format!("{id}|{name}|{version}"));
        let bookings = self.bookings.iter().map(|((site, id), b)| {
            let day = b.day.map(|day| (day + 1).to_string()).unwrap_or_default();
            let guest = b.guest.map(|guest| guest.to_string()).unwrap_or_default();
            format!("{site}|{id}|{}|{day}|{}|{guest}", b.status, b.price)
        });
        let mut visits: Vec<String> =
            self.visits.iter().map(|(guest, place)| format!("{guest}|{place}")).collect();
        visits.sort();
        let all = |rows: Vec<String>| rows.join("\n");
        [all(guests.collect()), all(bookings.collect()), all(visits)].join("\n--\n")
    }
}

pub const SHOWN: &str = "SELECT concat_ws(E'\\n--\\n',
    (SELECT COALESCE(string_agg(concat(id, '|', name, '|', version), E'\\n' ORDER BY id), '') FROM guests),
    (SELECT COALESCE(string_agg(concat(site, '|', id, '|', status, '|', extract(day FROM updated_at AT TIME ZONE 'UTC'), '|', price, '|', guest),
       E'\\n' ORDER BY site, id), '') FROM bookings),
    (SELECT COALESCE(string_agg(concat(guest, '|', place), E'\\n' ORDER BY concat(guest, '|', place) COLLATE \"C\"), '') FROM visits))";

/// inserted, updated, deleted, unchanged, kept
pub type Counts = [u64; 5];

/// What a rule has decided: its name, and for whom.
pub type Decided = BTreeMap<&'static str, (u64, u64)>;

/// Whether the archived version is to be had, and by which rule.
type Decide<V> = fn(&V, &V) -> (bool, Option<&'static str>);

/// A table of rows with keys.
fn merge<K: Ord + Clone, V: Clone + PartialEq>(
    archived: &BTreeMap<K, V>,
    live: &BTreeMap<K, V>,
    exact: bool,
    decide: Decide<V>,
) -> (BTreeMap<K, V>, Counts, Decided) {
    let (mut result, mut counts, mut decided) = (live.clone(), [0; 5], Decided::new());
    for (key, row) in archived {
        match live.get(key) {
            None => {
                counts[0] += 1;
                result.insert(key.clone(), row.clone());
            }
            Some(there) if there == row => counts[3] += 1,
            Some(there) => {
                let (wins, rule) = decide(row, there);
                counts[if wins { 1 } else { 4 }] += 1;
                if let Some(rule) = rule {
                    let sides = decided.entry(rule).or_default();
                    *(if wins { &mut sides.0 } else { &mut sides.1 }) += 1;
                }
                if wins {
                    result.insert(key.clone(), row.clone());
                }
            }
        }
    }
    if exact {
        result.retain(|key, _| archived.contains_key(key));
        counts[2] = (live.len() - live.keys().filter(|k| archived.contains_key(k)).count()) as u64;
    }
    (result, counts, decided)
}

fn newer_booking(new: &Booking, old: &Booking) -> (bool, Option<&'static str>) {
    // None is below every day.
    if new.day != old.day {
        return (new.day > old.day, Some("newer by updated_at"));
    }
    let rank = |status: &str| STATUSES.iter().find(|(known, _)| *known == status).and_then(|(_, rank)| *rank);
    match (rank(new.status), rank(old.status)) {
        (Some(new), Some(old)) if new != old => (new > old, Some("rank of status")),
        _ => (false, Some("undecided")),
    }
}

fn newer_guest(new: &(&str, u64), old: &(&str, u64)) -> (bool, Option<&'static str>) {
    match new.1.cmp(&old.1) {
        std::cmp::Ordering::Equal => (false, Some("undecided")),
        order => (order.is_gt(), Some("newer by version")),
    }
}

/// What a restore must make of `live`, and say of each table.
pub fn restored(
    archived: &State,
    live: &State,
    mode: &str,
) -> (State, BTreeMap<&'static str, (Counts, Decided)>) {
    let exact = mode == "exact";
    let guests = merge(
        &archived.guests,
        &live.guests,
        exact,
        match mode {
            "newer" => newer_guest,
            "missing" => |_, _| (false, Some("only missing rows")),
            _ => |_, _| (true, None),
        },
    );
    let bookings = merge(
        &archived.bookings,
        &live.bookings,
        exact,
        match mode {
            "newer" => newer_booking,
            "missing" => |_, _| (false, Some("only missing rows")),
            _ => |_, _| (true, None),
        },
    );
    let mut rest = live.visits.clone();
    let mut visits = [0; 5];
    let mut result = live.visits.clone();
    for visit in &archived.visits {
        match rest.iter().position(|v| v == visit) {
            Some(place) => {
                rest.swap_remove(place);
                visits[3] += 1;
            }
            None => {
                result.push(*visit);
                visits[0] += 1;
            }
        }
    }
    if exact {
        visits[2] = rest.len() as u64;
        result = archived.visits.clone();
    }
    let state = State { guests: guests.0, bookings: bookings.0, visits: result };
    let said = [
        ("guests", (guests.1, guests.2)),
        ("bookings", (bookings.1, bookings.2)),
        ("visits", (visits, Decided::new())),
    ];
    (state, said.into_iter().collect())
}
