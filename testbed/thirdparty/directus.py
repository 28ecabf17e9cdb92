"""Two Directus behind the README's five-minute files: logins and token refreshes at both sites, then sales at both.

Directus makes its tokens by chance, so a refresh that one site decided is refused at the other. Neither site may stop for
it: what was refused stands in quarantine with both answers, everything else is equal. Exit code 0 when that is so.

    mkdir /tmp/directus && cd /tmp/directus && npm install directus@10.13.4 sqlite3
    python3 testbed/thirdparty/directus.py --directus /tmp/directus --holdfast target/release/holdfast
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
SITES = {"store": (8080, 9797, 9001), "cloud": (8081, 9798, 9002)}  # gateway, admin, service: the README's ports
LOGIN = {"email": "admin@example.com", "password": "pw1"}
REFRESHES, SALES = 6, 20


def call(port, method, path, body=None, token=None, **headers):
    data = None if body is None else json.dumps(body).encode()
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if data is not None:
        headers["Content-Type"] = "application/json"
    if token:
        headers["Authorization"] = "Bearer " + token
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    try:
        return status, json.loads(text or b"null")
    except ValueError:
        return status, text.decode(errors="replace")


def wait(what, condition, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if condition():
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"{what}: not within {seconds} s")


class Run:
    def __init__(self, options):
        self.options, self.processes = options, []
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="holdfast-directus-"))

    def start(self, name, command, env=None):
        with open(self.dir / f"{name}.log", "ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.dir, env=env)
        self.processes.append(process)
        return process

    def directus(self, site, *command):
        env = dict(
            os.environ, DB_CLIENT="sqlite3", DB_FILENAME=str(self.dir / f"{site}.sqlite"), KEY="holdfast",
            SECRET="0123456789abcdef0123456789abcdef", ADMIN_EMAIL=LOGIN["email"], ADMIN_PASSWORD=LOGIN["password"],
            HOST="127.0.0.1", PORT=str(SITES[site][2]), TELEMETRY="false", LOG_LEVEL="warn", STORAGE_LOCATIONS="local",
            STORAGE_LOCAL_ROOT=str(self.dir / f"{site}-files"), EXTENSIONS_PATH=str(self.dir / f"{site}-extensions"))
        return self.start(f"directus-{site}", [str(self.options.directus / "node_modules/.bin/directus"), *command], env)

    def services(self):
        """Both begin with the same state: one is made, with a collection, and copied."""
        if self.directus("store", "bootstrap").wait() != 0:
            raise SystemExit(f"directus bootstrap failed: {self.dir}/directus-store.log")
        first = self.directus("store", "start")
        port = SITES["store"][2]
        wait("the first Directus", lambda: call(port, "GET", "/server/ping")[0] == 200)
        token = call(port, "POST", "/auth/login", LOGIN)[1]["data"]["access_token"]
        fields = [{"field": "id", "type": "string", "schema": {"is_primary_key": True, "length": 64}},
                  {"field": "item", "type": "string", "schema": {}}]
        made, _ = call(port, "POST", "/collections", {"collection": "sales", "schema": {}, "meta": {}, "fields": fields}, token)
        assert made == 200, made
        first.terminate()
        first.wait()
        with sqlite3.connect(self.dir / "store.sqlite") as database:
            database.execute("DELETE FROM directus_sessions")
        shutil.copy(self.dir / "store.sqlite", self.dir / "cloud.sqlite")
        for site in SITES:
            self.directus(site, "start")
        for site, (_, _, port) in SITES.items():
            wait(f"Directus of {site}", lambda: call(port, "GET", "/server/ping")[0] == 200)

    def appliances(self):
        for name, text in re.findall(r"`(\w+)\.toml`:\n\n```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.S):
            (self.dir / f"{name}.toml").write_text(text)
            self.start(f"holdfast-{name}", [str(self.options.holdfast), "run", "--config", f"{name}.toml"])
        for _, admin, _ in SITES.values():
            wait("linked", lambda: call(admin, "GET", "/api/v1/peers")[1][0]["linked"])

    def status(self, site):
        return call(SITES[site][1], "GET", "/api/v1/status")[1]

    def quarantine(self, site):
        return call(SITES[site][1], "GET", "/api/v1/quarantine")[1]

    def rest(self):
        def quiet():
            for site in SITES:
                if self.status(site)["groups"][0]["decider"] != site:
                    return False
                for peer in call(SITES[site][1], "GET", "/api/v1/peers")[1]:
                    if peer["not_received"] or peer["not_decided"]:
                        return False
            return True
        try:
            wait("rest", quiet)
        except SystemExit as error:
            return [str(error)]
        return []

    def play(self):
        tokens, wrong = {}, []
        for site, (port, _, _) in SITES.items():
            # Where a replica is more than `answer.lag` behind, its clients' writes are decided elsewhere, by whom their tokens are not.
            wrong += self.rest()
            status, answer = call(port, "POST", "/auth/login", LOGIN)
            print(f"{site}: login {status}")
            refresh = answer["data"]["refresh_token"]
            for n in range(REFRESHES):
                status, answer = call(port, "POST", "/auth/refresh", {"refresh_token": refresh, "mode": "json"})
                print(f"{site}: refresh {n + 1} {status}")
                if status == 200:
                    refresh, tokens[site] = answer["data"]["refresh_token"], answer["data"]["access_token"]
        wrong += self.rest()
        for n in range(SALES):
            for site, (port, _, _) in SITES.items():
                sale = {"id": f"{site}-{n}", "item": "rope"}
                status, answer = call(port, "POST", "/items/sales", sale, tokens.get(site), Idempotency_Key=f"{site}-{n}")
                if status != 200:
                    wrong.append(f"sale {sale['id']}: {status} {str(answer)[:200]}")
        return wrong + self.rest()

    def judge(self, wrong):
        ids = {}
        for site in SITES:
            with sqlite3.connect(self.dir / f"{site}.sqlite") as database:
                ids[site] = [row[0] for row in database.execute("SELECT id FROM sales ORDER BY id")]
        listed = {site: self.quarantine(site) for site in SITES}
        for site in SITES:
            print(f"{site}: {len(ids[site])} sales; quarantine {json.dumps(listed[site])[:700]}")
            group = self.status(site)["groups"][0]
            if group.get("stopped"):
                wrong.append(f"{site} has stopped: {group['stopped']}")
        here = {site: set(sales) for site, sales in ids.items()}
        if sum(map(len, ids.values())) != sum(map(len, here.values())):
            wrong.append("a sale was applied twice")
        missing = here["store"] ^ here["cloud"]
        told = {f"{site}-{n}" for site in SITES for n in range(SALES)}
        text = json.dumps(listed)
        unlisted = [sale for sale in missing if "/items/sales" not in text]
        if unlisted:
            wrong.append(f"differ and are not listed: {sorted(unlisted)}")
        if told - here["store"] - here["cloud"]:
            wrong.append(f"lost: {sorted(told - here['store'] - here['cloud'])}")
        print(f"differ: {len(missing)} of {len(told)} sales")
        return wrong

    def end(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--directus", type=pathlib.Path, required=True, help="folder in which npm installed directus and sqlite3")
    parser.add_argument("--holdfast", type=pathlib.Path, default=ROOT / "target/release/holdfast")
    options = parser.parse_args()
    options.directus, options.holdfast = options.directus.resolve(), options.holdfast.resolve()
    run = Run(options)
    try:
        run.services()
        run.appliances()
        wrong = run.judge(run.play())
    finally:
        run.end()
    for line in wrong:
        print("WRONG:", line)
    print(f"{'FAILS' if wrong else 'HOLDS'}; logs in {run.dir}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
