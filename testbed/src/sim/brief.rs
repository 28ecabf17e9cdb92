//! Events and effects in the few words that a person needs to follow a write.
use holdfast::journal::{Op, Row};
use holdfast::model::{After, Item, Outcome};
use holdfast::service::{Effect, Event, Message, Page, Reply, WishWord};

pub fn event(event: &Event) -> String {
    match event {
        Event::Submit { req, id, write } => {
            format!("submit {id} as {req:?} lane {} {:?}", write.facts.lane.0, write.facts.key)
        }
        Event::Attempted { id, attempt, result } => {
            format!("attempted {id} try {attempt}: {}", short(&format!("{result:?}")))
        }
        Event::Probed { id, result, .. } => format!("probed {id}: {}", short(&format!("{result:?}"))),
        Event::Message { from, message } => format!("from {from}: {}", of_message(message)),
        Event::Found { token, rows } => {
            let rows: Vec<String> = rows.iter().map(|found| row(&found.row)).collect();
            format!("found #{token} {}", rows.join(" + "))
        }
        Event::SeriesRead { log, from, items, for_peer } => {
            let to = for_peer.as_ref().map(|peer| format!(" for {peer}")).unwrap_or_default();
            format!("read {log} from {from}{to}: {}", list(items.iter().map(|item| self::item(item))))
        }
        other => short(&format!("{other:?}")),
    }
}

pub fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Persist(Op::Row(changed)) => format!("persist {}", row(changed)),
        Effect::Persist(op) => format!("persist {}", short(&format!("{op:?}"))),
        Effect::Attempt(attempt) => {
            let shadow = if attempt.shadow.is_some() { " as shadow" } else { "" };
            format!("attempt {} try {}{shadow}", attempt.id, attempt.attempt)
        }
        Effect::Probe { id, .. } => format!("probe {id}"),
        Effect::Reply { req, reply: Reply::Answer { id, answer, replayed, seen, .. } } => {
            format!("reply {req:?} {id} {} replayed {replayed} seen {}", answer.status, after(seen))
        }
        Effect::Send { to, message } => format!("to {to}: {}", of_message(message)),
        other => short(&format!("{other:?}")),
    }
}

fn of_message(message: &Message) -> String {
    match message {
        Message::Status(status) => {
            let cursors = status.cursors.iter().map(|c| {
                let want = if c.want { " wants" } else { "" };
                format!("{} received {} decided {}{want}", c.log, c.received, c.decided)
            });
            format!("status healthy {} lag {}: {}", status.healthy, status.lag_ms, list(cursors))
        }
        Message::Page(page) => of_page(page),
        Message::Wish(wish) => {
            let pages = list(wish.pages.iter().map(of_page));
            format!("wish {} try {} must {} {pages}", wish.id, wish.attempt, after(&wish.must))
        }
        Message::Word { id, attempt, word: WishWord::Done { outcome, pages } } => {
            let pages = list(pages.iter().map(of_page));
            format!("word {id} try {attempt}: done {} {pages}", of_outcome(outcome))
        }
        other => short(&format!("{other:?}")),
    }
}

fn of_page(page: &Page) -> String {
    format!("page {} from {}: {}", page.log, page.from, list(page.items.iter().map(|item| self::item(item))))
}

fn item(item: &Item) -> String {
    let decides = item.decides.map(|(id, at)| format!(" decides {id} at {at}")).unwrap_or_default();
    format!("{}={} {}{decides}", item.position, item.id, of_outcome(&item.outcome))
}

fn row(row: &Row) -> String {
    let place = row.position.map(|(at, _)| format!(" at {at}")).unwrap_or_default();
    let outcome = row.outcome.as_ref().map(|o| format!(" {}", of_outcome(o))).unwrap_or_default();
    let wish = row.wish.as_ref().map(|w| format!(" wish of {} void {}", w.from, w.void)).unwrap_or_default();
    let decides = row.decides.map(|(id, at)| format!(" decides {id} at {at}")).unwrap_or_default();
    format!("row {} {:?}{wish} here {:?}{place}{outcome}{decides}", row.id, row.origin, row.here)
}

fn of_outcome(outcome: &Outcome) -> String {
    let repeats = outcome.repeats.map(|id| format!(" repeats {id}")).unwrap_or_default();
    format!("{:?} {} after {}{repeats}", outcome.verdict, outcome.status, after(&outcome.after))
}

fn after(after: &After) -> String {
    let places = after.positions().iter().map(|(log, at)| format!("{log}≤{at}"));
    let beyond = after.beyond().iter().map(|s| format!("{}={}..{}", s.log, s.first, s.last));
    list(places.chain(beyond).chain(after.ids().iter().map(|id| format!("#{id}"))))
}

fn list(parts: impl Iterator<Item = String>) -> String {
    format!("[{}]", parts.collect::<Vec<_>>().join(", "))
}

fn short(text: &str) -> String {
    text.chars().take(160).collect()
}
