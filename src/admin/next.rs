//! What a person may do next about a write in quarantine: commands to be copied, and when each is right. Pure.
use crate::journal::QuarantineReason as Reason;
use crate::model::{SiteName, WriteId};

/// One command.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Step {
    /// At which site it is typed.
    pub at: SiteName,
    pub command: String,
    pub when: String,
}

/// What it depends on.
#[derive(Clone, Debug)]
pub struct Case<'a> {
    pub id: WriteId,
    pub reason: Reason,
    pub here: &'a SiteName,
    pub origin: Option<&'a SiteName>,
    /// Other sites that hold a replica.
    pub others: &'a [SiteName],
    /// The first of its lane, where that is another one.
    pub behind: Option<WriteId>,
    /// It is tried once more by itself when these are decided.
    pub waits_for: &'a [WriteId],
    /// An order to send it again would not be rejected for what is known of it.
    pub may_be_sent: bool,
    /// PUT, PATCH, DELETE: it takes the place of what stood there.
    pub overwrites: bool,
}

pub fn steps(case: &Case<'_>) -> Vec<Step> {
    let mut steps = Steps { case, all: Vec::new() };
    if let Some(first) = case.behind {
        let when = "first: it is the first of its lane, and may be the cause of this one";
        steps.here(format!("holdfast quarantine show {first}"), when);
    }
    for id in case.waits_for.iter().take(3) {
        let when = "nothing has to be done while this is not decided here: then it is tried once more by itself";
        steps.here(format!("holdfast writes show {id}"), when);
    }
    steps.look_elsewhere();
    steps.orders();
    steps.all
}

struct Steps<'a> {
    case: &'a Case<'a>,
    all: Vec<Step>,
}

impl Steps<'_> {
    fn here(&mut self, command: String, when: &str) {
        self.all.push(Step { at: self.case.here.clone(), command, when: when.to_owned() });
    }

    fn order(&mut self, order: &str, when: &str) {
        self.here(format!("holdfast quarantine {order} {}", self.case.id), when);
    }

    fn look_elsewhere(&mut self) {
        let (here, id) = (self.case.here, self.case.id);
        let origin = self.case.origin.filter(|origin| *origin != here);
        let sites = origin.into_iter().chain(self.case.others.iter().filter(|site| Some(*site) != origin)).take(2);
        for site in sites.cloned().collect::<Vec<_>>() {
            let when = match Some(&site) == origin {
                true => "to see what became of it where it was accepted, and what its client was told",
                false => "to see what became of it there",
            };
            self.all.push(Step { at: site, command: format!("holdfast writes show {id} --body"), when: when.into() });
        }
    }

    fn resend(&mut self, when: &str) {
        if !self.case.may_be_sent {
            return;
        }
        self.order("resend", when);
        if self.case.overwrites {
            self.order("resend --over-later", "the same, where it shall also win over what came later in its lane");
        }
    }

    fn orders(&mut self) {
        match self.case.reason {
            Reason::UnknownOutcome => {
                self.order("applied", "its effect is in the service here: it was carried out");
                self.resend("its effect is not there, and it is still wanted");
                self.order("discard", "its effect is not there, and it is not wanted any more");
            }
            Reason::MayHaveApplied => {
                self.order("applied", "its effect is in the service here, in spite of the error that it answered");
                self.order("discard", "its effect is not there: its client was told of the error, and may ask anew");
                self.resend("its effect is not there, and it is wanted in spite of the error its client was told of");
            }
            Reason::Divergence => {
                self.resend("the cause is mended, so that the service here will take it as the decider's did");
                self.order("applied", "its effect is in the service here, or was entered there by hand");
                self.order("discard", "the service here shall stay without it, other than the decider's");
            }
            Reason::Contrary => {
                self.order("discard", "its effect has been undone in the service here: no other site has it");
                self.order("applied", "its effect shall stay here, although no other site has it");
            }
            Reason::ConcurrentWrites => {
                self.resend("it shall win over the other one, which is applied here");
                self.order("discard", "the other one shall stand: see DETAIL");
                self.order("applied", "its effect is in the service here, or was merged into it by hand");
            }
            Reason::LateDecision => {
                self.resend("it shall win over what was applied here after it");
                self.order("discard", "what was applied here after it shall stand");
                self.order("applied", "its effect is in the service here already");
            }
            Reason::KeyOfAnother => {
                self.resend("the two are two things that two clients want, and this one is to be done too");
                self.order("discard", "the two are one thing, which is done already: see DETAIL");
                self.order("applied", "its effect is in the service here too");
            }
            Reason::SetAside => {
                self.resend("its effect is not in the service here, and it is wanted");
                self.order("applied", "its effect is in the service here");
                self.order("discard", "its effect is not there, and shall not be");
            }
            Reason::Damaged | Reason::Hole => {
                let verify = "holdfast journal verify --config /etc/holdfast/holdfast.toml";
                self.here(verify.to_owned(), "first, with the appliance stopped: it names what is broken");
                self.order("applied", "its effect is in the service here, or was entered there by hand");
                self.resend("its effect is not there, and its record was fetched from another site");
                self.order("discard", "its effect is not there, and shall not be");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LogId;

    fn id(n: u64) -> WriteId {
        WriteId { log: LogId { store: [1; 16], incarnation: 1 }, n }
    }

    fn case<'a>(reason: Reason, here: &'a SiteName, others: &'a [SiteName]) -> Case<'a> {
        let (origin, behind, waits_for) = (None, None, &[][..]);
        Case { id: id(7), reason, here, origin, others, behind, waits_for, may_be_sent: true, overwrites: false }
    }

    #[test]
    fn every_reason_has_orders_and_each_says_when_it_is_right() {
        let here = SiteName::new("edge");
        for reason in Reason::ALL {
            let steps = steps(&case(reason, &here, &[]));
            for order in ["applied", "discard"] {
                let command = format!("holdfast quarantine {order} {}", id(7));
                assert_eq!(steps.iter().filter(|step| step.command == command).count(), 1, "{reason:?} {order}");
            }
            assert!(steps.iter().all(|step| !step.when.is_empty() && step.at == here), "{reason:?}");
            let sends = steps.iter().any(|step| step.command.contains("resend"));
            assert_eq!(sends, reason != Reason::Contrary, "{reason:?}");
        }
    }

    #[test]
    fn what_it_stands_behind_and_waits_for_comes_first_and_what_would_be_rejected_is_not_named() {
        let (here, cloud, third) = (SiteName::new("edge"), SiteName::new("cloud"), SiteName::new("x"));
        let others = [cloud.clone(), third.clone()];
        let waits_for = [id(5)];
        let put = Case {
            origin: Some(&cloud),
            behind: Some(id(3)),
            waits_for: &waits_for,
            overwrites: true,
            ..case(Reason::Divergence, &here, &others)
        };
        let said = |case: &Case<'_>| -> Vec<String> {
            steps(case).into_iter().map(|step| format!("{}: {}", step.at, step.command)).collect()
        };
        let id = |n| id(n).to_string();
        assert_eq!(
            said(&put),
            [
                format!("edge: holdfast quarantine show {}", id(3)),
                format!("edge: holdfast writes show {}", id(5)),
                format!("cloud: holdfast writes show {} --body", id(7)),
                format!("x: holdfast writes show {} --body", id(7)),
                format!("edge: holdfast quarantine resend {}", id(7)),
                format!("edge: holdfast quarantine resend --over-later {}", id(7)),
                format!("edge: holdfast quarantine applied {}", id(7)),
                format!("edge: holdfast quarantine discard {}", id(7)),
            ]
        );
        let gone = Case { may_be_sent: false, ..put };
        assert!(said(&gone).iter().all(|step| !step.contains("resend")));
    }
}
