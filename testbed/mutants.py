#!/usr/bin/env python3
"""Mutation testing of the decision code: small errors, one at a time, which the simulation or a unit test must notice.

    cargo install cargo-mutants --locked
    testbed/mutants.py --seed 1 --count 200 --results mutants.txt

`cargo mutants` lists the errors; of them `--count` are drawn with `--seed`. Each is put into a clone of the last commit (what is
not committed is not seen) and judged by the simulation, until the first seed that fails; what survives that, by the unit tests of
the same modules. Too slow or too much memory counts as noticed. What does not compile does not count: another is drawn.

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
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
FILES = ["src/service/*.rs", "src/mirror/*.rs", "src/replay/*.rs", "src/idempotency/table*.rs", "src/dedup/*.rs"]
# Not decisions: the task that carries them out, what others hold of it, what people are shown, and tests.
NOT_FILES = [f"src/service/{name}.rs" for name in ("task", "handle", "view", "settings", "testing", "tests")]
# Texts, and the switch of the planted errors, which no product build has.
NOT_NAMES = [r"(Display|Debug) for", r"replace Core::bug "]
UNIT_TESTS = ["service::", "mirror::", "replay::", "idempotency::", "dedup::"]
# Optimised a little, a seed takes a fraction of the time and a build hardly longer: only what changed is compiled.
PROFILE = [f"profile.dev.package.{name}.{key}" for name in ("holdfast", "testbed") for key in ("opt-level=1", "debug=false")]
MEMORY_BYTES = 8 << 30
TIMED_OUT = 124  # coreutils' timeout

UNBUILDABLE, SURVIVED = "unbuildable", "SURVIVED"
SIMULATION, TESTS, TIME = "simulation", "unit tests", "timeout"


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="which mutants are drawn")
    parser.add_argument("--count", type=int, default=200, help="how many that compile")
    parser.add_argument("--sim-seeds", type=int, default=100, help="seeds of the simulation for each")
    parser.add_argument("--results", type=pathlib.Path, default=pathlib.Path("mutants.txt"))
    parser.add_argument("--survivors", type=pathlib.Path, metavar="FILE", help="judge only those that survived in it")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin none after so long")
    parser.add_argument("--at-least", type=float, default=85, help="percent that must be noticed")
    parser.add_argument("--target", type=pathlib.Path, default=ROOT / "target/mutants", help="Cargo's folder for all builds")
    parser.add_argument("--scratch", type=pathlib.Path, help="where the clone is; in Cargo's folder unless said")
    parser.add_argument("--overlap", action="store_true", help="simulate one while the next is built: for two idle cores")
    parser.add_argument("--through", default="", help="a command in front of each heavy one, such as a lock")
    return parser.parse_args()


def all_mutants():
    flags = [flag for file in FILES for flag in ("--file", file)] + [flag for file in NOT_FILES for flag in ("--exclude", file)]
    flags += [flag for name in NOT_NAMES for flag in ("--exclude-re", name)]
    command = ["cargo", "mutants", "--list", "--json", "--diff", "--package", "holdfast", *flags]
    mutants = json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)
    return sorted(mutants, key=lambda mutant: mutant["name"])


def limit_memory():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


class Bench:
    """A clone of the last commit, and what is built and run in it. It is kept: another place would be built from nothing."""

    def __init__(self, commit, arguments):
        self.target = arguments.target.resolve()
        self.scratch = (arguments.scratch or self.target / "scratch").resolve()
        self.tree = self.scratch / "tree"
        self.through, self.seeds = shlex.split(arguments.through), str(arguments.sim_seeds)
        self.simulation_s = self.tests_s = 3_600
        if not self.tree.exists():
            subprocess.run(["git", "clone", "--quiet", "--shared", "--no-checkout", ROOT, self.tree], check=True)
        subprocess.run(["git", "checkout", "--quiet", "--force", "--detach", commit], cwd=self.tree, check=True)

    def check_baseline(self):
        """Without an error all must pass; the time that takes is the measure for those with one."""
        binary = self.build()
        began = time.monotonic()
        verdict, by = self.simulate(binary) if binary else (UNBUILDABLE, "")
        self.simulation_s = time.monotonic() - began
        if verdict == SURVIVED:
            self.judge_by_tests()
            began = time.monotonic()
            verdict, by = self.judge_by_tests()
            self.tests_s = time.monotonic() - began
        if verdict != SURVIVED:
            raise SystemExit(f"the commit itself fails: {verdict}: {by}")
        print(f"without an error: {self.seeds} seeds take {self.simulation_s:.0f} s, unit tests {self.tests_s:.0f} s", flush=True)

    def put(self, mutant, *flags):
        """The mutator's own labels are not paths."""
        lines = mutant["diff"].splitlines(keepends=True)
        lines[:2] = [f"--- a/{mutant['file']}\n", f"+++ b/{mutant['file']}\n"]
        subprocess.run(["git", "apply", *flags, "-"], cwd=self.tree, input="".join(lines).encode(), check=True)

    def with_mutant(self, mutant, what):
        self.put(mutant)
        try:
            return what()
        finally:
            self.put(mutant, "--reverse")

    def cargo(self, verb, *arguments, limit_s=3_600, preexec_fn=None):
        profile = [flag for setting in PROFILE for flag in ("--config", setting)]
        command = [*self.through, "timeout", str(int(limit_s)), "cargo", verb, *profile, "--locked", "--target-dir", self.target]
        return subprocess.run([*command, *arguments], cwd=self.tree, preexec_fn=preexec_fn, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")

    def build(self):
        """The simulator, where the next build does not touch it; nothing if it does not compile."""
        if self.cargo("build", "--package", "testbed", "--bin", "testbed").returncode:
            return None
        with tempfile.NamedTemporaryFile(dir=self.scratch, prefix="testbed-", delete=False) as binary:
            binary.write((self.target / "debug/testbed").read_bytes())
        os.chmod(binary.name, 0o755)
        return pathlib.Path(binary.name)

    def simulate(self, binary):
        """Ends at the first line about a seed: what follows only makes the failure small."""
        limit_s = int(3 * self.simulation_s + 20)
        # In the foreground: all of it is one process group.
        command = [*self.through, "timeout", "--foreground", str(limit_s), binary, "sim", "--keep-going", "--seeds", self.seeds]
        last = ""
        with subprocess.Popen(command, preexec_fn=limit_memory, start_new_session=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as process:
            for line in process.stdout:
                last = line.strip() or last
                if re.match(r"seed \d+: ", line):
                    os.killpg(process.pid, signal.SIGTERM)
                    break
        binary.unlink()
        if process.returncode == TIMED_OUT:
            return TIME, f"the simulation did not end in {limit_s} s"
        return (SIMULATION, last) if process.returncode else (SURVIVED, "")

    def judge_by_tests(self):
        tests = ["--package", "holdfast", "--lib"]
        if self.cargo("test", *tests, "--no-run").returncode:
            return UNBUILDABLE, "only with the testbed's features does it compile"
        limit_s = int(10 * self.tests_s + 20)
        run = self.cargo("test", *tests, "--", *UNIT_TESTS, limit_s=limit_s, preexec_fn=limit_memory)
        if run.returncode == TIMED_OUT:
            return TIME, f"the unit tests did not end in {limit_s} s"
        failed = re.findall(r"^test (\S+) \.\.\. FAILED$", run.stdout, re.MULTILINE)
        return (TESTS, " ".join(failed) or run.stdout.strip()[-160:]) if run.returncode else (SURVIVED, "")


class Results:
    """A file of lines: verdict, seconds, name, by what; under those that survived the diff."""

    def __init__(self, path, title):
        self.path, self.verdicts = path, {}
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
        self.verdicts[mutant["name"]] = verdict
        by = by.replace("\t", " ").replace("\n", " ")[:200]
        text = f"{verdict}\t{seconds:.0f} s\t{mutant['name']}\t{by}\n"
        if verdict == SURVIVED:
            text += "".join(f"    {line}\n" for line in mutant["diff"].splitlines())
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


def run(bench, drawn, results, arguments):
    began = time.monotonic()
    pool = concurrent.futures.ThreadPoolExecutor(1)
    before = None  # is simulated while the next is built

    def finish(mutant, simulation, since):
        verdict, by = simulation.result()
        if verdict == SURVIVED:
            verdict, by = bench.with_mutant(mutant, bench.judge_by_tests)
        results.add(mutant, verdict, by, time.monotonic() - since)

    for mutant in drawn:
        if mutant["name"] in results.verdicts:
            continue
        if results.judged() + bool(before) >= arguments.count or time.monotonic() - began > 60 * arguments.minutes:
            break
        since = time.monotonic()
        binary = bench.with_mutant(mutant, bench.build)
        if before:
            finish(*before)
            before = None
        if binary is None:
            results.add(mutant, UNBUILDABLE, "", time.monotonic() - since)
            continue
        before = (mutant, pool.submit(bench.simulate, binary), since)
        if not arguments.overlap:
            finish(*before)
            before = None
    if before:
        finish(*before)


def main():
    arguments = options()
    os.nice(10)
    mutants = all_mutants()
    if arguments.survivors:
        survived = {line.split("\t")[2] for line in arguments.survivors.read_text().splitlines() if line.startswith(SURVIVED)}
        mutants = [mutant for mutant in mutants if mutant["name"] in survived]
    random.Random(arguments.seed).shuffle(mutants)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    title = f"commit {commit}, {len(mutants)} mutants, seed {arguments.seed}, {arguments.sim_seeds} seeds of the simulation"
    results = Results(arguments.results, title)
    print(title, flush=True)
    bench = Bench(commit, arguments)
    bench.check_baseline()
    run(bench, mutants, results, arguments)
    return results.percent() < arguments.at_least


if __name__ == "__main__":
    sys.exit(main())
