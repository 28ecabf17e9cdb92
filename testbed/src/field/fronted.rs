//! The sample services as an appliance is told of them: paths, lanes, and what each needs of its own.
use super::scenario::Services;

/// A service as the appliance is told of it.
pub struct Fronted {
    pub name: &'static str,
    pub paths: &'static [&'static str],
    pub lane: &'static str,
    /// Lines of its own.
    pub more: &'static str,
}

const RETAIL_TIMES: &str = "longest_request = \"2s\"\n";

/// Lanes: a till's sales in order, a site's ledger in order over all its tills.
const RETAIL: [Fronted; 4] = [
    Fronted { name: "transactions", paths: &["/transactions"], lane: "header:x-session-id", more: RETAIL_TIMES },
    Fronted { name: "ledger", paths: &["/ledger"], lane: "path:2", more: RETAIL_TIMES },
    Fronted { name: "promotions", paths: &["/promotions"], lane: "path", more: RETAIL_TIMES },
    Fronted { name: "inventory", paths: &["/inventory"], lane: "path", more: RETAIL_TIMES },
];

/// One service, for what a restaurant asks for decides what a reservation costs. A problem may leave a charge behind,
/// so every outcome is followed. Booking looks after what it began for a while after its own caller has gone.
const RESERVATION: [Fronted; 1] = [Fronted {
    name: "reservations",
    paths: &["/reservations", "/restaurants"],
    lane: "json:/restaurant",
    more: "replicate = \"all\"\nlongest_request = \"4s\"\n",
}];

pub fn of(services: Services) -> &'static [Fronted] {
    match services {
        Services::Retail => &RETAIL,
        Services::Reservation => &RESERVATION,
    }
}
