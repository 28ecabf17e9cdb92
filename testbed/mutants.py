#!/usr/bin/env python3
"""Mutation testing of the decision code: small errors, one at a time, which the simulation or a unit test must notice.

    cargo install cargo-mutants --locked
    testbed/mutants.py --seed 1 --count 200 --results mutants.txt

`cargo mutants` lists the errors; of them `--count` are drawn with `--seed`. All are woven into one clone of the last commit (what is
not committed is not seen): each function has a body for each of its errors, and the variable HOLDFAST_MUTANT says which one runs. So
all is compiled once. Each is judged by the simulation, until the first seed that fails; what survives that, by the unit tests of the
same modules. Too slow or too much memory counts as noticed. What does not compile does not count: another is drawn.

Results are a line per mutant, with the diff of those that survived. A run goes on where an earlier one with the same file has
ended. `--survivors FILE` judges only those again that survived in FILE. Exit code 1: fewer than `--at-least` percent were noticed.
Needs Linux, Python 3.9, git and coreutils; the first build takes as long as one of the testbed from nothing.
"""
import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import random
import re
import resource
import shlex
import signal
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
FILES = ["src/service/*.rs", "src/mirror/*.rs", "src/replay/*.rs", "src/idempotency/table*.rs", "src/dedup/*.rs"]
# Not decisions: the task that carries them out, what others hold of it, what people are shown, and tests.
NOT_FILES = [f"src/service/{name}.rs" for name in ("task", "handle", "view", "settings", "testing", "tests")]
# Texts, and the switch of the planted errors, which no product build has.
NOT_NAMES = [r"(Display|Debug) for", r"replace Core::bug "]
UNIT_TESTS = ["service::", "mirror::", "replay::", "idempotency::", "dedup::"]
# Optimised a little, a seed takes a fraction of the time.
PROFILE = [f"profile.dev.package.{name}.{key}" for name in ("holdfast", "testbed") for key in ("opt-level=1", "debug=false")]
CHOICE = """//! Which error runs: woven in by testbed/mutants.py.
pub fn is(number: u32) -> bool {
    static CHOSEN: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    let chosen = || std::env::var("HOLDFAST_MUTANT").ok().and_then(|chosen| chosen.parse().ok()).unwrap_or(0);
    *CHOSEN.get_or_init(chosen) == number
}
"""
MEMORY_BYTES = 8 << 30
TIMED_OUT = 124  # coreutils' timeout

UNBUILDABLE, SURVIVED = "unbuildable", "SURVIVED"
SIMULATION, TESTS, TIME = "simulation", "unit tests", "timeout"


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="which mutants are drawn")
    parser.add_argument("--count", type=int, default=200, help="how many that compile")
    parser.add_argument("--sim-seeds", type=int, default=200, help="seeds of the simulation for each; 0: unit tests alone")
    parser.add_argument("--results", type=pathlib.Path, default=pathlib.Path("mutants.txt"))
    parser.add_argument("--survivors", type=pathlib.Path, metavar="FILE", help="judge only those that survived in it")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin none after so long")
    parser.add_argument("--at-least", type=float, default=85, help="percent that must be noticed")
    parser.add_argument("--target", type=pathlib.Path, default=ROOT / "target/mutants", help="Cargo's folder for all builds")
    parser.add_argument("--scratch", type=pathlib.Path, help="where the clone is; in Cargo's folder unless said")
    parser.add_argument("--jobs", type=int, default=1, help="mutants that are judged at the same time")
    parser.add_argument("--through", default="", help="a command in front of each heavy one, such as a lock")
    return parser.parse_args()


def all_mutants():
    flags = [flag for file in FILES for flag in ("--file", file)] + [flag for file in NOT_FILES for flag in ("--exclude", file)]
    flags += [flag for name in NOT_NAMES for flag in ("--exclude-re", name)]
    command = ["cargo", "mutants", "--list", "--json", "--diff", "--package", "holdfast", *flags]
    mutants = json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)
    # A constant cannot be chosen at run time, nor can one of several types behind an `impl`.
    can_choose = lambda mutant: mutant["function"] and "impl " not in mutant["function"]["return_type"]
    return sorted(filter(can_choose, mutants), key=lambda mutant: mutant["name"])


def limit_memory():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


class Source:
    """A file with the errors of its functions woven in."""

    def __init__(self, text):
        self.text = text
        self.starts = [0]
        for line in text.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def range(self, span):
        return tuple(self.starts[span[end]["line"] - 1] + span[end]["column"] - 1 for end in ("start", "end"))

    def woven(self, mutants):
        """`mutants` by number. Functions in functions are bodies of the outer one."""
        functions = {}
        for number, mutant in mutants.items():
            functions.setdefault(self.range(mutant["function"]["span"]), []).append(number)
        text = self.text
        outermost = [f for f in functions if not any(o != f and o[0] <= f[0] and f[1] <= o[1] for o in functions)]
        for function in sorted(outermost, reverse=True):
            inside = [number for f, numbers in functions.items() if function[0] <= f[0] and f[1] <= function[1] for number in numbers]
            begin, end = self.body(function, mutants[functions[function][0]])
            branches = [f"if crate::mutants::is({number}) {{\n{self.mutated(mutants[number], begin, end)}\n}} else " for number in inside]
            text = text[:begin] + "\n" + "".join(branches) + "{\n" + self.text[begin:end] + "\n}\n" + text[end:]
        return text

    def body(self, function, mutant):
        name = mutant["function"]["function_name"].split("::")[-1]
        signature = re.compile(rf"\bfn\s+{re.escape(name)}\b").search(self.text, *function)
        assert signature and self.text[function[1] - 1] == "}", mutant["name"]
        return self.text.index("{", signature.end()) + 1, function[1] - 1

    def mutated(self, mutant, begin, end):
        first, last = self.range(mutant["span"])
        assert begin <= first <= last <= end, mutant["name"]
        return self.text[begin:first] + mutant["replacement"] + self.text[last:end]


class Bench:
    """A clone of the last commit, and what is built and run in it. It is kept: at another place all would be built from nothing."""

    def __init__(self, commit, arguments):
        self.target = arguments.target.resolve()
        self.tree = (arguments.scratch or self.target / "scratch").resolve() / "tree"
        self.through, self.seeds = shlex.split(arguments.through), str(arguments.sim_seeds)
        self.simulator = self.tests = None
        self.simulation_s = self.tests_s = 3_600
        if not self.tree.exists():
            subprocess.run(["git", "clone", "--quiet", "--shared", "--no-checkout", ROOT, self.tree], check=True)
        subprocess.run(["git", "checkout", "--quiet", "--force", "--detach", commit], cwd=self.tree, check=True)

    def weave(self, mutants):
        """Builds with all of these, by number; returns the numbers of those that do not compile."""
        (self.tree / "src/mutants.rs").write_text(CHOICE)
        library = self.tree / "src/lib.rs"
        library.write_text(library.read_text() + "pub mod mutants;\n")
        sources = {file: Source((self.tree / file).read_text()) for file in {mutant["file"] for mutant in mutants.values()}}
        left, bad = dict(mutants), set()
        for file in sources:
            self.write(file, sources[file], left)
        builds = [("test", [], ["--package", "holdfast", "--lib", "--no-run"])]
        if self.seeds != "0":
            builds.append(("build", PROFILE, ["--package", "testbed", "--bin", "testbed"]))
        binaries = []
        for build in builds:
            while True:
                errors, binary = self.cargo(*build)
                if not errors:
                    binaries.append(binary)
                    break
                found = {self.number_at(file, line) for file, line in errors}
                print(f"{len(found)} do not compile", flush=True)
                for number in found:
                    del left[number]
                for file in {mutants[number]["file"] for number in found}:
                    self.write(file, sources[file], left)
                bad |= found
        self.tests, *simulator = binaries
        self.simulator = simulator[0] if simulator else None
        return bad

    def write(self, file, source, mutants):
        (self.tree / file).write_text(source.woven({number: m for number, m in mutants.items() if m["file"] == file}))

    def number_at(self, file, line):
        for text in reversed((self.tree / file).read_text().splitlines()[:line]):
            branch = re.search(r"if crate::mutants::is\((\d+)\) \{$", text)
            if branch:
                return int(branch[1])
            if text == "} else {":
                break
        raise SystemExit(f"an error in no mutant: {file}:{line}")

    def cargo(self, verb, profile, arguments):
        """Where there are errors, and the binary that was built."""
        flags = [flag for setting in profile for flag in ("--config", setting)]
        command = [*self.through, "cargo", verb, *flags, "--locked", "--target-dir", self.target, "--message-format", "json", *arguments]
        run = subprocess.run(command, cwd=self.tree, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        errors, binary = set(), None
        for line in filter(lambda line: line.startswith("{"), run.stdout.splitlines()):
            told = json.loads(line)
            if told["reason"] == "compiler-message" and told["message"]["level"] == "error":
                errors |= {(span["file_name"], span["line_start"]) for span in told["message"]["spans"] if span["is_primary"]}
            binary = told.get("executable") or binary
        if run.returncode and not errors:
            raise SystemExit(f"cargo {verb} failed:\n{run.stderr}")
        return errors, binary

    def check_baseline(self):
        """Without an error all must pass; the time that takes is the measure for those with one."""
        for judge, kind in ((self.simulate, "simulation_s"), (self.run_tests, "tests_s")):
            began = time.monotonic()
            verdict, by = judge(0)
            if verdict != SURVIVED:
                raise SystemExit(f"the commit itself fails: {verdict}: {by}")
            setattr(self, kind, time.monotonic() - began)
        print(f"without an error: {self.seeds} seeds take {self.simulation_s:.0f} s, unit tests {self.tests_s:.0f} s", flush=True)

    def judge(self, number):
        began = time.monotonic()
        verdict, by = self.simulate(number)
        if verdict == SURVIVED:
            verdict, by = self.run_tests(number)
        return verdict, by, time.monotonic() - began

    def simulate(self, number):
        """Ends at the first line about a seed: what follows only makes the failure small."""
        if not self.simulator:
            return SURVIVED, ""
        command = [self.simulator, "sim", "--keep-going", "--seeds", self.seeds]
        limit_s = int(3 * self.simulation_s + 20)
        code, lines = self.run(number, limit_s, command, until=re.compile(r"seed \d+: "))
        if code == TIMED_OUT:
            return TIME, f"the simulation did not end in {limit_s} s"
        return (SIMULATION, lines[-1] if lines else f"ended with {code}") if code else (SURVIVED, "")

    def run_tests(self, number):
        limit_s = int(10 * self.tests_s + 20)
        code, lines = self.run(number, limit_s, [self.tests, *UNIT_TESTS])
        if code == TIMED_OUT:
            return TIME, f"the unit tests did not end in {limit_s} s"
        failed = re.findall(r"^test (\S+) \.\.\. FAILED$", "\n".join(lines), re.MULTILINE)
        return (TESTS, " ".join(failed) or f"ended with {code}") if code else (SURVIVED, "")

    def run(self, number, limit_s, command, until=None):
        # In the foreground: all of it is one process group.
        command = [*self.through, "timeout", "--foreground", str(limit_s), *command]
        lines = []
        with subprocess.Popen(command, cwd=self.tree, env={**os.environ, "HOLDFAST_MUTANT": str(number)}, preexec_fn=limit_memory,
                              start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace") as process:
            for line in process.stdout:
                lines += [line.rstrip()] if line.strip() else []
                if until and until.match(line):
                    os.killpg(process.pid, signal.SIGTERM)
                    break
        return process.returncode, lines


class Results:
    """A file of lines: verdict, seconds, name, by what; under those that survived the diff."""

    def __init__(self, path, title):
        self.path, self.verdicts, self.lock = path, {}, threading.Lock()
        if not path.exists():
            path.write_text(f"# {title}\n")
        lines = path.read_text().splitlines()
        if lines[0] != f"# {title}":
            raise SystemExit(f"{path} is of another run: {lines[0]}; this one is: {title}")
        for line in lines:
            if line.count("\t") == 3:
                verdict, _, name, _ = line.split("\t")
                self.verdicts[name] = verdict

    def add(self, mutant, verdict, by, seconds):
        by = by.replace("\t", " ").replace("\n", " ")[:200]
        text = f"{verdict}\t{seconds:.0f} s\t{mutant['name']}\t{by}\n"
        if verdict == SURVIVED:
            text += "".join(f"    {line}\n" for line in mutant["diff"].splitlines())
        with self.lock:
            self.verdicts[mutant["name"]] = verdict
            with self.path.open("a") as file:
                file.write(text)
            print(f"{self.judged():4}  {text.splitlines()[0]}", flush=True)

    def judged(self):
        return sum(verdict != UNBUILDABLE for verdict in self.verdicts.values())

    def percent(self):
        counts = collections.Counter(self.verdicts.values())
        judged = self.judged()
        noticed = judged - counts[SURVIVED]
        kinds = ", ".join(f"{kind} {counts[kind]}" for kind in (SIMULATION, TESTS, TIME, SURVIVED, UNBUILDABLE))
        percent = 100 * noticed / max(1, judged)
        print(f"{judged} judged, {noticed} noticed ({percent:.1f} %): {kinds}", flush=True)
        return percent


def main():
    arguments = options()
    os.nice(10)
    mutants = all_mutants()
    if arguments.survivors:
        survived = {line.split("\t")[2] for line in arguments.survivors.read_text().splitlines() if line.startswith(SURVIVED)}
        mutants = [mutant for mutant in mutants if mutant["name"] in survived]
    total = len(mutants)
    random.Random(arguments.seed).shuffle(mutants)
    # Some more, for those that do not compile.
    mutants = dict(enumerate(mutants[: arguments.count * 9 // 8 + 5], 1))
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    title = f"commit {commit}, {total} mutants, seed {arguments.seed}, {arguments.sim_seeds} seeds of the simulation"
    results = Results(arguments.results, title)
    print(title, flush=True)
    bench = Bench(commit, arguments)
    began = time.monotonic()
    bad = bench.weave(mutants)
    print(f"built in {time.monotonic() - began:.0f} s", flush=True)
    bench.check_baseline()
    began = time.monotonic()
    good = [number for number in mutants if number not in bad][: arguments.count]

    def judge(number):
        if time.monotonic() - began < 60 * arguments.minutes:
            results.add(mutants[number], *bench.judge(number))

    for number in bad & set(range(max(good, default=0))):
        if mutants[number]["name"] not in results.verdicts:
            results.add(mutants[number], UNBUILDABLE, "", 0)
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(judge, [number for number in good if mutants[number]["name"] not in results.verdicts]))
    return results.percent() < arguments.at_least


if __name__ == "__main__":
    sys.exit(main())
