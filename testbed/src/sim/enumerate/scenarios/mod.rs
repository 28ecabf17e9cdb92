//! The table of scenarios: each a few writes of a small fleet, and what happens there whatever else goes wrong.
//!
//! Sites are `HUB` (0), `EDGE` (1) and `EDGE_2` (2). Times count in milliseconds from when clients begin to speak; a
//! write of client 0 at the place `n` of its script, counted from 1, is named `10 n`.
mod alone;
mod cuts;
mod differs;
mod keys;
mod linked;
mod persons;
mod stores;
mod three;
mod unknown;

use super::scenario::Scenario;

pub fn all() -> Vec<Scenario> {
    [
        linked::all(),
        unknown::all(),
        cuts::all(),
        keys::all(),
        persons::all(),
        differs::all(),
        stores::all(),
        three::all(),
        alone::all(),
    ]
    .concat()
}
