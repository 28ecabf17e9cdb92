"""Two appliances in front of two json-servers, through a cut. Started by testbed/thirdparty.sh, which says what it is for."""
import argparse
import collections
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import compare
from clients import Client, Doc
from line import Line

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs/examples/third-party"
SITES = {
    "store-042": {"file": "edge.toml", "gateway": 8080, "admin": 9797, "service": 3001},
    "cloud": {"file": "cloud.toml", "gateway": 8081, "admin": 9798, "service": 3002},
}
COLLECTIONS = ["orders", "lines", "articles", "counts"]
CLIENTS = [(f"till{n}", "store-042") for n in (1, 2, 3)] + [(f"office{n}", "cloud") for n in (1, 2, 3)]
ROAMING = 3  # records of each client that it writes at both sites during the cut


class Shared:
    """What clients have in common: when phases begin and end, and what went wrong."""

    def __init__(self, plan):
        self.plan = plan
        self.gates = {phase: threading.Event() for phase, _ in plan}
        self.left = {phase: len(CLIENTS) for phase, _ in plan}
        self.changed = threading.Condition()
        self.faults = []
        self.answers, self.retries = collections.Counter(), collections.Counter()

    def finished(self, phase):
        with self.changed:
            self.left[phase] -= 1
            self.changed.notify_all()

    def wait_for(self, phase, seconds=300):
        with self.changed:
            if not self.changed.wait_for(lambda: self.left[phase] <= 0, seconds):
                raise SystemExit(f"clients did not finish {phase!r} in {seconds} s")

    def fault(self, text):
        with self.changed:
            self.faults.append(text)

    def count(self, phase, site, method, status, headers):
        with self.changed:
            self.answers[phase, site, status] += 1

    def count_retry(self, phase, same_site, status, headers):
        replayed = headers.get("Idempotent-Replayed") == "true"
        with self.changed:
            self.retries[phase, "same site" if same_site else "other site", status, replayed] += 1


class Fleet:
    """The processes. Ends those that it started, by their id, and no others."""

    def __init__(self, holdfast, json_server, folder):
        self.holdfast, self.json_server, self.folder = holdfast, json_server, folder
        self.processes = {}

    def spawn(self, name, command, cwd):
        log = open(self.folder / f"{name}.log", "wb")
        self.processes[name] = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def start_service(self, site, state):
        folder = self.folder / f"service-{site}"
        folder.mkdir()
        (folder / "db.json").write_text(json.dumps(state, indent=2))
        port = SITES[site]["service"]
        command = ["node", self.json_server, "--host", "127.0.0.1", "--port", str(port), "db.json"]
        self.spawn(f"service-{site}", command, folder)
        await_true(f"json-server of {site}", 30, lambda: get(port, "/ping"))

    def start_appliance(self, site):
        copy = self.folder / SITES[site]["file"]  # unchanged; a copy because `data_dir` is beside the file
        shutil.copy(EXAMPLES / SITES[site]["file"], copy)
        subprocess.run([self.holdfast, "check", "--config", copy], check=True, stdout=subprocess.DEVNULL)
        self.spawn(f"holdfast-{site}", [self.holdfast, "run", "--config", copy], self.folder)
        await_true(f"holdfast of {site}", 30, lambda: get(SITES[site]["admin"], "/health/ready"))

    def check_alive(self):
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise SystemExit(f"{name} ended with {process.returncode}; see {self.folder}/{name}.log")

    def stop(self):
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return json.loads(answer.read() or b"null") or True


def await_true(what, seconds, condition):
    until = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except (OSError, ValueError):
            pass
        if time.monotonic() > until:
            raise SystemExit(f"{what}: not within {seconds} s")
        time.sleep(0.05)


def statuses():
    return {site: get(ports["admin"], "/api/v1/status") for site, ports in SITES.items()}


def unrest():
    """What is pending anywhere, as the appliances say it; empty when all is at rest and both see each other."""
    found = []
    for site, status in statuses().items():
        for group in status["groups"]:
            for name in ("open_writes", "queued", "unknown"):
                if group[name]:
                    found.append(f"{site} {group['service']}: {name} {group[name]}")
            if group["stopped"]:
                found.append(f"{site} {group['service']}: stopped, {group['stopped']}")
        for peer in status["peers"]:
            if not peer["linked"]:
                found.append(f"{site}: {peer['site']} is not linked")
            for name in ("not_received", "not_decided"):
                if peer[name]:
                    found.append(f"{site}: {peer['site']} {name} {peer[name]}")
    return found


def await_rest(seconds):
    """Twice in a row, because the two sites cannot be asked at one moment."""
    began, quiet = time.monotonic(), 0
    while quiet < 2:
        found = unrest()
        quiet = 0 if found else quiet + 1
        if time.monotonic() - began > seconds:
            raise Unrest(found)
        time.sleep(0.1)
    return time.monotonic() - began


class Unrest(Exception):
    pass


def seeded_state():
    """What both services begin with: some records of each client to be written at both sites in the cut."""
    state = {name: [] for name in COLLECTIONS}
    for name, _ in CLIENTS:
        for number in range(ROAMING):
            state["articles"].append({"id": f"roam-{name}-{number}", "text": "as delivered", "stock": number})
    return {**state, "ping": {"ok": True}}


def make_clients(shared, seed):
    gateways = {site: ports["gateway"] for site, ports in SITES.items()}
    clients = [Client(name, site, gateways, seed, shared) for name, site in CLIENTS]
    for client in clients:
        for record in seeded_state()["articles"]:
            if record["id"].startswith(f"roam-{client.name}-"):
                client.roaming.append(Doc("articles", record["id"], record))
        client.docs_at_start = list(client.roaming)
    return clients


def traffic(options, shared, clients, line):
    """The phases. Returns when the cut began and ended, and how long the two rests took."""
    for client in clients:
        client.start()
    say("together")
    shared.gates["together"].set()
    shared.wait_for("together")
    say(f"cut ({options.cut}{', idle' if options.idle else ''})")
    if options.idle:
        await_rest(options.limit)
    else:
        shared.gates["cut"].set()
        time.sleep(0.1)  # so that requests are under way
    line.cut(options.cut)
    began = time.monotonic()
    if options.idle:
        await_true("both appliances see the cut", 30, lambda: all(not s["peers"][0]["linked"] for s in statuses().values()))
        shared.gates["cut"].set()
    shared.wait_for("cut")
    pending = unrest()
    ended = time.monotonic()
    line.heal()
    say(f"healed after {ended - began:.1f} s; until then: " + "; ".join(pending))
    shared.gates["healing"].set()
    shared.wait_for("healing")
    first = await_rest(options.limit)
    for client in clients:
        client.learn()
    say(f"at rest {first:.1f} s after the last write; once more together")
    shared.gates["again"].set()
    shared.wait_for("again")
    await_rest(options.limit)
    for client in clients:
        client.learn()
    await_rest(options.limit)
    return began, ended


def say(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def tamper():
    """Changes one record at one service, behind the appliance."""
    port = SITES["cloud"]["service"]
    record = get(port, "/articles")[0]
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/articles/{record['id']}", json.dumps({"stock": -1}).encode(),
        {"Content-Type": "application/json"}, method="PATCH")
    urllib.request.urlopen(request, timeout=10).close()
    say(f"tampered with /articles/{record['id']} at the cloud's service")


def judge(folder, shared, clients, began, ended):
    """Prints everything that was found. True when only times differ."""
    docs = [doc for client in clients for doc in {id(d): d for d in client.docs + client.docs_at_start}.values()]
    exports = {site: compare.export(ports["service"], COLLECTIONS) for site, ports in SITES.items()}
    for site, exported in exports.items():
        file = folder / f"service-{site}" / "db.json"
        await_true(f"{file} as served", 10, lambda: json.loads(file.read_text()) == exported["db"])
        (folder / f"export-{site}.json").write_text(json.dumps(exported, indent=2))
    found = list(compare.differences(*exports.values()))
    times = [difference for difference in found if compare.is_time(*difference)]
    other = [difference for difference in found if not compare.is_time(*difference)]
    faults = list(shared.faults)
    for site, exported in exports.items():
        faults += [f"{site}: {text}" for text in compare.against_clients(exported, docs)]
    faults += served_twice(folder, clients)
    faults += after_rest()

    print_workload(shared, clients, began, ended)
    for name, list_of in (("differences in times", times), ("other differences", other)):
        print(f"{name}: {len(list_of)}")
        for path, left, right in list_of:
            print(f"  {path}: store-042 {compare.show(left)}, cloud {compare.show(right)}")
    print(f"told and not so: {len(faults)}")
    for fault in faults:
        print(f"  {fault}")
    for site, exported in exports.items():
        records = ", ".join(f"{len(exported['db'][name])} {name}" for name in COLLECTIONS)
        print(f"{site}: {records}; db.json sha256 {compare.sha256(folder / f'service-{site}' / 'db.json')}")
    return not other and not faults


def served_twice(folder, clients):
    """A POST is never repeated, so each service must have carried out exactly those that were acknowledged."""
    acknowledged = sum(1 for client in clients for write in client.writes if write.method == "POST" and write.status == 201)
    faults = []
    for site in SITES:
        counts = compare.served(folder / f"service-{site}.log")
        posts = sum(count for (method, _, status), count in counts.items() if (method, status) == ("POST", "201"))
        if posts != acknowledged:
            faults.append(f"{site}: {acknowledged} POSTs were acknowledged, its service carried out {posts}")
        print(f"{site}: its service answered " + ", ".join(f"{m} {g} {s}: {n}" for (m, g, s), n in sorted(counts.items())))
    return faults


def after_rest():
    faults = []
    for site, status in statuses().items():
        for group in status["groups"]:
            print(f"{site} {group['service']}: decides {group['decider']}, quarantine {group['quarantine']}, concurrent {group['concurrent']}")
            if group["quarantine"]:
                held = get(SITES[site]["admin"], "/api/v1/quarantine")
                faults.append(f"{site} {group['service']}: in quarantine: {json.dumps(held)}")
    return faults


def print_workload(shared, clients, began, ended):
    writes = [write for client in clients for write in client.writes]
    cut = [write for write in writes if began <= write.began < ended]
    made = sum(1 for w in writes if w.method == "POST" and w.path in ("/orders", "/lines") and w.status == 201)
    methods = collections.Counter(write.method for write in writes)
    print(f"writes: {len(writes)} ({', '.join(f'{n} {m}' for m, n in sorted(methods.items()))}), {len(cut)} of them begun during the cut, "
          f"{sum(1 for w in writes if w.expect_missing)} refused by the service with 404; ids made by the service: {made}")
    for where in SITES:
        mine = [w for w in cut if w.client.site == where]
        first = collections.Counter(w.first for w in mine)
        print(f"  in the cut at {where}: {len(mine)}, first answers {dict(sorted(first.items()))}")
    print("answers by phase, site, status (asking again after 409, 429, 503 included):")
    for (phase, site, status), count in sorted(shared.answers.items()):
        print(f"  {phase:9} {site:9} {status}: {count}")
    print("retries with the same key, by phase, place, status, Idempotent-Replayed:")
    for (phase, place, status, replayed), count in sorted(shared.retries.items()):
        print(f"  {phase:9} {place:10} {status} {'replayed' if replayed else 'not marked'}: {count}")


def arguments():
    parser = argparse.ArgumentParser(prog="testbed/thirdparty.sh", description="An edge and a cloud carry json-server through a cut.")
    parser.add_argument("--holdfast", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--json-server", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--writes", type=int, default=840, help="in all; half of them during the cut (default 840)")
    parser.add_argument("--cut", choices=["silent", "closed"], default="silent", help="packets vanish, or connections are reset")
    parser.add_argument("--idle", action="store_true", help="cut while nothing is under way; default: in the middle of traffic")
    parser.add_argument("--tamper", action="store_true", help="change one record behind an appliance: must end with 1")
    parser.add_argument("--limit", type=int, default=120, help="seconds until both must be at rest")
    parser.add_argument("--keep", action="store_true", help="keep configurations, journals, logs and exports")
    return parser.parse_args()


def main():
    options = arguments()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="holdfast-thirdparty-"))
    each = -(-options.writes // (4 * len(CLIENTS)))
    shared = Shared([("together", each), ("cut", 2 * each + 6), ("healing", each // 2), ("again", each // 2)])
    clients = make_clients(shared, options.seed)
    fleet, line = Fleet(options.holdfast, options.json_server, folder), Line()
    passed = False
    try:
        for site in SITES:
            fleet.start_service(site, seeded_state())
        line.start()
        for site in SITES:
            fleet.start_appliance(site)
        await_rest(30)
        say(f"started; seed {options.seed}")
        began, ended = traffic(options, shared, clients, line)
        fleet.check_alive()
        if options.tamper:
            tamper()
        passed = judge(folder, shared, clients, began, ended)
    except Unrest as error:
        print("not at rest: " + "; ".join(error.args[0]))
        print("\n".join(shared.faults))
    finally:
        fleet.stop()
        line.stop()
        if options.keep or not passed:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder)
    print("equal: " + ("true" if passed else "FALSE"))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
