"""Clients of both sites. Each remembers what it was told, and what therefore must stand in both services.

A client writes one request after the other, to records that no other client touches. So the last word about each record
is known without asking Holdfast. Service-made ids are learnt from the answers.
"""
import http.client
import json
import random
import threading
import time

PENDING = (202, 504)  # kept for later; the status address or the same key will tell
AGAIN_FOR_S = 20
# When both replicas have the same state, any record may be written at either site. Otherwise a client that changes
# sites writes concurrently with itself, unless one site decides (orders, lines) or it is the record's first write in
# the cut (`roam`).
AVOIDED = 12
TOGETHER = ("together", "again")


class Doc:
    """One record as its client knows it. `id` is None until the service has said it."""

    def __init__(self, collection, id=None, body=None):
        self.collection, self.id, self.body = collection, id, body
        self.alive = body is not None
        self.doubt = False    # something about it is pending: no further writes but those that may queue behind
        self.leaving = False  # a DELETE is pending
        self.children = []


class Write:
    def __init__(self, client, doc, method, path, body, phase, expect_missing=False):
        self.client, self.doc, self.method, self.path, self.body = client, doc, method, path, body
        self.phase, self.expect_missing, self.began = phase, expect_missing, time.monotonic()
        self.key = f"{client.name}-{client.next_number()}-{client.seed}"
        self.first = None     # what was told at first
        self.status = self.answer = self.token = None

    def __str__(self):
        return f"{self.client.name}@{self.client.site} {self.phase} {self.method} {self.path} key={self.key}"


def again_later(status, answer):
    """An error of Holdfast's own that says: nothing was done, ask again with the same key."""
    code = answer.get("code") if isinstance(answer, dict) else None
    return status in (409, 429, 503) and code in ("key-in-flight", "overloaded", "no-replica")


def is_busy(status, answer):
    """The lane is held by a write that was under way when the line was cut. Nothing was done with this one."""
    return status == 503 and isinstance(answer, dict) and answer.get("code") == "lane-busy"


class Client(threading.Thread):
    """`plan` is a list of (phase, number of writes); `gates[phase]` opens when that phase begins."""

    def __init__(self, name, site, gateways, seed, shared):
        super().__init__(name=name, daemon=True)
        self.site, self.gateways, self.seed, self.shared = site, gateways, seed, shared
        self.other = next(s for s in gateways if s != site)
        self.random = random.Random(f"{seed}:{name}")
        self.connections = {}
        self.number = 0
        self.docs, self.roaming, self.writes, self.pending, self.later, self.early = [], [], [], [], [], []
        self.avoid = 0
        self.error = None

    def next_number(self):
        self.number += 1
        return self.number

    # --- talking ---

    def send(self, site, method, path, body, key):
        """One request, one answer: (status, headers, JSON). A connection that fails is an error of the appliance."""
        if site not in self.connections:
            self.connections[site] = http.client.HTTPConnection("127.0.0.1", self.gateways[site], timeout=30)
        connection = self.connections[site]
        headers = {"Idempotency-Key": key}
        if body is not None:
            headers["Content-Type"] = "application/json"
        # Both sites are asked under one name: json-server puts it into `Location`, and a retry must be the same
        # request.
        headers["Host"] = "shop.example"
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        try:
            value = json.loads(text) if text else None
        except ValueError:
            value = text.decode("latin-1")
        return answer.status, answer.headers, value

    def settle(self, write):
        """Sends until there is an answer that is not `ask again`; the same key each time."""
        until = time.monotonic() + AGAIN_FOR_S
        while True:
            status, headers, answer = self.send(self.site, write.method, write.path, write.body, write.key)
            self.shared.count(write.phase, self.site, write.method, status, headers)
            if write.first is None:
                write.first = status
            # Healed is the line; the link over it takes some seconds more.
            again = again_later(status, answer) or (is_busy(status, answer) and write.phase == "healing")
            if not again or time.monotonic() > until:
                break
            time.sleep(min(float(headers.get("Retry-After", 1)), 0.5))
        write.status, write.answer = status, answer
        write.token = headers.get("Location") if status == 202 else None
        return status

    # --- what an answer means for the record ---

    def perform(self, write):
        self.writes.append(write)
        status = self.settle(write)
        if is_busy(status, write.answer) and write.phase == "cut":
            self.avoid = AVOIDED  # nothing was done; the records that wait for that lane are left alone for a while
        elif status in PENDING:
            self.pending.append(write)
            if write.doc is not None:
                write.doc.doubt = True
                write.doc.leaving |= write.method == "DELETE" or status == 504
                if write.doc.leaving:
                    for child in write.doc.children:
                        child.leaving = True
            if write.method == "POST" and write.path == "/orders" and self.random.random() < 0.3:
                self.repeat_early(write)
        else:
            self.believe(write)
            self.ask_again(write)

    def believe(self, write):
        doc, status = write.doc, write.status
        if write.expect_missing:
            if status != 404:
                self.shared.fault(f"{write}: nothing is there, yet it was answered {status} {write.answer}")
            return
        if status not in (200, 201):
            self.shared.fault(f"{write}: answered {status} {write.answer}")
            doc.alive = doc.alive and write.method != "DELETE"
            return
        if write.method == "DELETE":
            for gone in [doc, *doc.children]:
                gone.alive = False
            return
        if write.method == "POST":
            doc.id, doc.alive = write.answer["id"], True
            doc.body = {**write.body, "id": doc.id}
        elif write.method == "PUT":
            doc.body = {**write.body, "id": doc.id}
        else:
            doc.body = {**doc.body, **write.body}
        if write.answer != doc.body:
            self.shared.fault(f"{write}: answered {write.answer}, and the record should be {doc.body}")

    # --- the same question again ---

    def ask_again(self, write):
        dice = self.random.random()
        if dice < 0.15:
            self.repeat(write, self.site)
        elif dice < 0.25 and (write.phase in TOGETHER or write.path.split("/")[1] in ("orders", "lines")):
            self.repeat(write, self.other)

    def repeat(self, write, site):
        until = time.monotonic() + AGAIN_FOR_S
        while True:
            status, headers, answer = self.send(site, write.method, write.path, write.body, write.key)
            self.shared.count_retry(write.phase, site == self.site, status, headers)
            again = again_later(status, answer) or (is_busy(status, answer) and write.phase == "healing")
            if not again or time.monotonic() > until:
                break
            time.sleep(min(float(headers.get("Retry-After", 1)), 0.5))
        if status in PENDING or (is_busy(status, answer) and write.phase == "cut"):
            self.later.append((write, site))
        elif (status, answer) != (write.status, write.answer):
            self.shared.fault(f"{write}: first told {write.status} {write.answer}, asked again at {site} {status} {answer}")
        elif site == self.site and headers.get("Idempotent-Replayed") != "true":
            self.shared.fault(f"{write}: asked again at {site}, and the answer is not marked as replayed")

    def repeat_early(self, write):
        """Our site has it pending; the other one may do it at once. What it says then must be what ours says later."""
        status, headers, answer = self.send(self.other, write.method, write.path, write.body, write.key)
        self.shared.count_retry(write.phase, False, status, headers)
        if status == 201:
            self.early.append((write, answer))

    # --- after healing ---

    def learn(self):
        """What became of everything pending. Called when both appliances say that nothing is."""
        pending, later, early = self.pending, self.later, self.early
        self.pending, self.later, self.early = [], [], []
        for write in pending:
            if self.settle(write) in PENDING:
                self.shared.fault(f"{write}: still {write.status} {write.answer} when nothing is pending any more")
            else:
                self.believe(write)
        for write, answer in early:
            if write.answer != answer:
                self.shared.fault(f"{write}: told {answer} at {self.other}, and {write.answer} at {self.site}")
        for write, site in later:
            self.repeat(write, site)
        for doc in self.docs:
            doc.doubt = doc.leaving = False

    # --- what to write ---

    def run(self):
        try:
            for phase, writes in self.shared.plan:
                self.shared.gates[phase].wait()
                for number in range(writes):
                    self.step(phase, number)
                    time.sleep(self.random.uniform(0, 0.02))
                self.shared.finished(phase)
        except Exception as error:  # shown by the run, which must not wait for a client that is gone
            self.error = error
            self.shared.fault(f"{self.name}@{self.site}: {type(error).__name__}: {error}")
            for phase, _ in self.shared.plan:
                self.shared.finished(phase)

    def step(self, phase, number):
        if phase == "cut" and number in (5, 15, 25) and self.roaming:
            return self.roam(self.roaming.pop(), phase)
        dice = self.random.random()
        usable = [doc for doc in self.docs if doc.alive and not doc.leaving and not (doc.doubt and phase != "cut")]
        self.avoid = max(0, self.avoid - 1)
        if self.avoid and phase == "cut":
            usable = [doc for doc in usable if doc.collection in ("articles", "counts")]
        if dice < 0.08 and not self.avoid:
            return self.miss(phase)
        if dice < 0.42 or not usable:
            return self.create(phase, usable)
        doc = self.random.choice(usable)
        path = f"/{doc.collection}/{doc.id}"
        if dice < 0.65:
            self.perform(Write(self, doc, "PUT", path, self.body(doc), phase))
        elif dice < 0.85:
            self.perform(Write(self, doc, "PATCH", path, {"stock": self.random.randrange(1000), "by": self.name}, phase))
        else:
            self.perform(Write(self, doc, "DELETE", path, None, phase))

    def body(self, doc):
        body = {"text": f"{self.name} {self.next_number()}", "stock": self.random.randrange(1000), "at": time.time()}
        if doc.collection == "lines":
            body["orderId"] = doc.body["orderId"]
        return body

    def create(self, phase, usable):
        orders = [doc for doc in usable if doc.collection == "orders" and not doc.doubt]
        kind = self.random.choice(["orders", "orders", "own", "lines" if orders else "own"])
        if kind == "own" or self.avoid:
            collection = "counts" if self.site != "cloud" else "articles"
            doc = Doc(collection)
            body = {"id": f"{self.name}-{self.next_number()}", **self.body(doc)}
        elif kind == "lines":
            order = self.random.choice(orders)
            doc = Doc("lines", body=None)
            doc.body = {"orderId": order.id}
            body = self.body(doc)
            order.children.append(doc)
        else:
            doc = Doc("orders")
            body = self.body(doc)
        self.docs.append(doc)
        self.perform(Write(self, doc, "POST", f"/{doc.collection}", body, phase))

    def miss(self, phase):
        path = self.random.choice(["/orders/9999999", "/lines/9999999", f"/articles/none-{self.name}", f"/counts/none-{self.name}"])
        method = self.random.choice(["PUT", "PATCH", "DELETE"])
        body = None if method == "DELETE" else {"text": "nobody", "stock": 0}
        self.perform(Write(self, None, method, path, body, phase, expect_missing=True))

    def roam(self, doc, phase):
        """The same key at both sites while neither can see the other: two copies that must become one."""
        method = self.random.choice(["PUT", "PATCH", "DELETE"])
        body = None if method == "DELETE" else self.body(doc)
        write = Write(self, doc, method, f"/{doc.collection}/{doc.id}", body, phase)
        self.writes.append(write)
        self.settle(write)
        self.believe(write)
        self.repeat(write, self.other)
        self.docs.append(doc)
