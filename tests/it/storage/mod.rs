//! What happens to the disk of a site: under a running appliance, or while it is stopped. Each time what clients were
//! told and what the services applied is judged; the appliance goes on, or stops or refuses with an error that names
//! what is wrong.
mod again;
mod copies;
mod files;
mod flips;
mod injected;
mod mounts;
mod replay;

use std::path::Path;

use crate::harness::process::{Ended, holdfast, run};
use crate::harness::tills::Shown;
use crate::harness::{Appliance, Receipts, Service, Site, Till, Two, judge};

/// `holdfast journal verify` of a site that is not running.
fn verify(folder: &Path) -> Ended {
    let mut command = holdfast();
    command.args(["journal", "verify", "-o", "json", "--config"]).arg(folder.join("holdfast.toml"));
    run(command)
}

/// Soon sends again what may have been lost; nothing is given up while a site is away.
fn patient(service: Service) -> Service {
    service.hasty().set("outcome", "{ probe = \"GET /by-key/{key}\", hold = \"30s\" }")
}

/// A pair under writes at both sites, with the disks in earnest.
struct UnderWrites {
    two: Two,
    till: Till,
    office: Till,
}

impl UnderWrites {
    #[track_caller]
    fn start() -> Self {
        Self::on(|site| site)
    }

    /// With a disk of its own for a site.
    #[track_caller]
    fn on(disk: impl Fn(Site) -> Site) -> Self {
        let durable = "durability = \"power-loss\"\nreserve = \"1MiB\"";
        let two = Two::spawn(|site| disk(site.section("store", durable)), |_, service| patient(service));
        two.wait_together();
        let (till, office) = (Till::open("till", two.store.at()), Till::open("office", two.cloud.at()));
        let all = Self { two, till, office };
        all.wait(10);
        all
    }

    #[track_caller]
    fn wait(&self, more: usize) {
        self.till.wait(more);
        self.office.wait(more);
    }

    /// The store, which has ended, comes back; the tills go on, and everything that anybody was told is judged.
    #[track_caller]
    fn goes_on(mut self) {
        self.two.store.restart();
        self.two.wait_together();
        self.wait(5);
        let (two, store, cloud) = self.rest();
        judge(&two, &store, &cloud);
    }

    /// No more writes; everything is at both sites.
    #[track_caller]
    fn rest(self) -> (Two, Receipts, Receipts) {
        let Self { two, till, office } = self;
        let shown = Shown(&two);
        let (store, cloud) = (till.close(), office.close());
        for receipts in [&store, &cloud] {
            two.services().into_iter().for_each(|service| receipts.wait_applied_in_order(service));
        }
        drop(shown);
        (two, store, cloud)
    }
}

/// Ended by itself with the code for a disk, and said so.
#[track_caller]
fn wait_failed(appliance: &mut Appliance) {
    let status = appliance.process.wait_end();
    assert_eq!(status.code(), Some(74), "the code for a disk that failed");
    let log = appliance.log();
    assert!(log.contains("the journal has failed"), "it says why");
}
