//! What a client of the reservation set does: restaurants are set up anew, guests reserve and cancel, some cards are
//! declined.
//!
//! Clients of one owner share its restaurants, and a restaurant is a lane: its tables go to whoever comes first.
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::client::Draft;
use super::scenario::Mix;

/// Restaurants of each owner.
const HOUSES: u64 = 5;
/// How many each table of a house seats.
const TABLES: [u32; 6] = [2, 2, 4, 4, 6, 8];
const DAYS: u32 = 20;

#[derive(Debug)]
pub struct Guest {
    name: String,
    owner: String,
    /// Changes the houses' deposits too.
    leads: bool,
    /// Goes also where one pays before one hears whether a table is left.
    pays_first: bool,
    made: u64,
    /// Reservations that stand, with their restaurants.
    standing: Vec<(String, String)>,
}

impl Guest {
    pub fn new(name: &str, owner: &str, leads: bool, mix: Mix) -> Self {
        let pays_first = mix == Mix::PayFirst;
        Self { name: name.into(), owner: owner.into(), leads, pays_first, made: 0, standing: Vec::new() }
    }

    pub fn next(&mut self, random: &mut fastrand::Rng) -> Draft {
        self.made += 1;
        // Everybody begins with a house, so that all are there before most guests come.
        if self.made == 1 {
            return self.set_up(random.u64(0..HOUSES), 500);
        }
        if self.leads && self.made == 2 {
            return self.set_up_tavern();
        }
        match random.u32(0..100) {
            0..6 if self.leads => self.set_up(random.u64(0..HOUSES), random.u32(4..9) * 100),
            6..20 if !self.standing.is_empty() => self.cancel(random),
            20..30 if self.pays_first => self.reserve(format!("{}.tavern", self.owner), random.u32(0..4), random),
            _ => self.reserve(format!("{}.house{}", self.owner, random.u64(0..HOUSES)), random.u32(0..DAYS), random),
        }
    }

    /// What the answer to a success says is what stands.
    pub fn told(&mut self, restaurant: Option<String>, answer: &Value) {
        if let (Some(id), "confirmed", Some(restaurant)) =
            (answer["id"].as_str(), answer["state"].as_str().unwrap_or_default(), restaurant)
        {
            self.standing.push((id.to_owned(), restaurant));
        }
    }

    fn set_up(&self, house: u64, deposit_cents: u32) -> Draft {
        let restaurant = format!("{}.house{house}", self.owner);
        let setup = json!({ "restaurant": restaurant, "deposit_cents": deposit_cents, "tables": TABLES });
        draft(Method::PUT, format!("/restaurants/{restaurant}"), &setup, restaurant)
    }

    fn set_up_tavern(&self) -> Draft {
        let restaurant = format!("{}.tavern", self.owner);
        let setup = json!({ "restaurant": restaurant, "deposit_cents": 300, "tables": [4, 6], "lists_tables": false });
        draft(Method::PUT, format!("/restaurants/{restaurant}"), &setup, restaurant)
    }

    fn reserve(&self, restaurant: String, day: u32, random: &mut fastrand::Rng) -> Draft {
        let card = if random.u32(0..100) < 6 { "0000111122223333" } else { "4111222233334444" };
        let body = json!({
            "id": format!("{}-{:05}", self.name, self.made), "restaurant": restaurant, "slot": format!("day{day}"),
            "party": random.u32(1..7), "guest": self.name, "card": card,
        });
        draft(Method::POST, "/reservations".to_owned(), &body, restaurant)
    }

    fn cancel(&mut self, random: &mut fastrand::Rng) -> Draft {
        let (id, restaurant) = self.standing.swap_remove(random.usize(0..self.standing.len()));
        let body = json!({ "restaurant": restaurant });
        draft(Method::POST, format!("/reservations/{id}/cancellation"), &body, restaurant)
    }
}

fn draft(method: Method, path: String, body: &Value, restaurant: String) -> Draft {
    Draft { method, path, body: Bytes::from(body.to_string()), lane: Some(restaurant), anywhere: false }
}
