"""Full exports of both services, compared with each other and with what clients were told."""
import datetime
import hashlib
import json
import re
import urllib.request

TIME_NAMES = re.compile(r"(^|_)(at|time|date|created|updated|modified)(_|$)|(At|Time|Date)$", re.ASCII)
ISO = re.compile(r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d")
MISSING = object()


def export(port, collections):
    """Everything that the service shows: the database as one, and each collection by itself."""
    def get(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return json.loads(answer.read())
    return {"db": get("/db"), **{name: get(f"/{name}") for name in collections}}


def differences(a, b, path=""):
    """Every path at which two values differ, order of lists and of keys included."""
    if isinstance(a, dict) and isinstance(b, dict):
        for name in list(a) + [name for name in b if name not in a]:
            yield from differences(a.get(name, MISSING), b.get(name, MISSING), f"{path}.{name}")
        if a.keys() == b.keys() and list(a) != list(b):
            yield path, f"keys in order {list(a)}", f"keys in order {list(b)}"
    elif isinstance(a, list) and isinstance(b, list):
        for index in range(max(len(a), len(b))):
            left = a[index] if index < len(a) else MISSING
            right = b[index] if index < len(b) else MISSING
            yield from differences(left, right, f"{path}[{index}]")
    elif type(a) is not type(b) or a != b:
        yield path, a, b


def is_time(path, *values):
    """By the last name of the path, or because both values read as a date."""
    if TIME_NAMES.search(path.rsplit(".", 1)[-1]):
        return True
    return all(isinstance(value, str) and ISO.match(value) for value in values)


def show(value):
    return "absent" if value is MISSING else json.dumps(value)


def sha256(file):
    with open(file, "rb") as opened:
        return hashlib.sha256(opened.read()).hexdigest()


def against_clients(exported, docs):
    """What clients were told, against one service: each live record as last told, no record that nobody knows."""
    faults = []
    told = {}
    for doc in docs:
        if not doc.alive:
            continue
        name = (doc.collection, str(doc.id))
        if name in told:
            faults.append(f"{name}: two clients were told that they own this id")
        told[name] = doc.body
    held = {}
    for collection in sorted({doc.collection for doc in docs}):
        for record in exported["db"][collection]:
            name = (collection, str(record["id"]))
            if name in held:
                faults.append(f"{name}: twice in the export")
            held[name] = record
    for name, body in told.items():
        if name not in held:
            faults.append(f"{name}: told {json.dumps(body)}, and it is not there")
        elif held[name] != body:
            faults.append(f"{name}: told {json.dumps(body)}, found {json.dumps(held[name])}")
    gone = {(doc.collection, str(doc.id)) for doc in docs if not doc.alive}
    for name in held.keys() - told.keys():
        what = "was answered as deleted, and is there" if name in gone else "nobody was told of it"
        faults.append(f"{name}: {what}: {json.dumps(held[name])}")
    return faults


LINE = re.compile(r"(POST|PUT|PATCH|DELETE) (\S+) (\d{3})")


def served(log):
    """What the service says it answered, by method and status."""
    counts = {}
    with open(log, encoding="utf-8", errors="replace") as opened:
        for text in opened:
            found = LINE.search(re.sub(r"\x1b\[[0-9;]*m", "", text))
            if found:
                name = (found[1], "numbered" if re.match(r"/(orders|lines)", found[2]) else "own ids", found[3])
                counts[name] = counts.get(name, 0) + 1
    return counts


def utc_now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
