"""Breaks each protection once, in a copy of the tree, and demands that its test goes red.

    python -m tests.mutants.run [--only X] [--json]

A test that was never seen to fail proves nothing. Every mutant is one committed replacement of text in shipped code and the test that
stands for the protection. The checkout is never touched. What counts as red is a failed test; a mutant whose text is no longer there,
a test that is not found, red without the mutant, or fails to be collected, is an error of this table.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

import msgspec

from tests.mutants.catalogue import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("daemon", "analyzers", "flags", "tests", "charts", "bench", "docs", "examples")
SKIPPED = shutil.ignore_patterns("__pycache__", "*.pyc", ".hypothesis", ".pytest_cache")
PYTEST = ("-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:randomly")
FAILED = 1  # pytest's exit code for "tests were run, and some failed"
PATIENCE = {False: 90, True: 20}  # seconds for one test, by `hangs`


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """`killed`: the test went red. `survived`: it stayed green. `error`: the table is out of date."""

    name: str
    state: str
    seconds: float
    said: str = ""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tests.mutants.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="mutants whose name, file or test contains this")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(arguments)
    chosen = [m for m in MUTANTS if options.only in f"{m.name} {m.path} {m.test}"]
    if not chosen:
        parser.error(f"no mutant contains {options.only!r}; there are: {', '.join(m.name for m in MUTANTS)}")
    began = time.monotonic()
    outcomes = run(chosen, options.processes)
    print(_table(outcomes, chosen))
    counts = {state: sum(o.state == state for o in outcomes) for state in ("killed", "survived", "error")}
    print(
        f"{counts['killed']} of {len(outcomes)} mutants were caught, {counts['survived']} were not, {counts['error']} errors; {time.monotonic() - began:.0f} s"
    )
    if options.json:
        print(json.dumps({**counts, "mutants": [msgspec.to_builtins(o) for o in outcomes]}))
    return 0 if counts["killed"] == len(outcomes) else 1


def run(chosen: list[Mutant], processes: int) -> list[Outcome]:
    """All of them, `processes` at a time, each process with a copy of its own."""
    with tempfile.TemporaryDirectory(prefix="linnet-mutants-") as folder:
        trees: Queue[Path] = Queue()
        for number in range(min(processes, len(chosen))):
            trees.put(copy_tree(Path(folder) / str(number)))
        first = trees.get()
        sound = _green(first, chosen)
        trees.put(first)
        if sound:
            return [Outcome(name=m.name, state="error", seconds=0.0, said=sound) for m in chosen]

        def one(mutant: Mutant) -> Outcome:
            tree = trees.get()
            try:
                return attempt(tree, mutant)
            finally:
                trees.put(tree)

        with ThreadPoolExecutor(processes) as pool:
            return list(pool.map(one, chosen))


def copy_tree(target: Path) -> Path:
    """What tests need of the checkout, compiled by content: a mutant of equal length in the same second must not be overlooked."""
    target.mkdir(parents=True)
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=SKIPPED)
    for file in ROOT.iterdir():
        if file.is_file():
            shutil.copy2(file, target / file.name)
    for name in ("daemon", "analyzers", "flags"):
        compileall.compile_dir(target / name, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
    where = _python(target, "-c", "import daemon; print(daemon.__file__)").stdout.strip()
    if not where.startswith(str(target)):
        raise RuntimeError(f"the copy would test {where}: nothing may be concluded from it")
    return target


def _python(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(tree), "HYPOTHESIS_STORAGE_DIRECTORY": str(tree / ".hypothesis")}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, timeout=600, check=False)


def _green(tree: Path, chosen: list[Mutant]) -> str:
    """Empty when every named test is found and green as the tree is; else what pytest said."""
    done = _python(tree, *PYTEST, "-n", "2", *dict.fromkeys(m.test for m in chosen))
    return "" if done.returncode == 0 else f"without any mutant: {_last_lines(done.stdout + done.stderr, 12)}"


def attempt(tree: Path, mutant: Mutant) -> Outcome:
    """One mutant: put in, tested, and taken out again."""
    began = time.monotonic()
    file = tree / mutant.path
    before = file.read_text() if file.is_file() else ""
    found = before.count(mutant.old)
    if found != 1:
        return Outcome(name=mutant.name, state="error", seconds=0.0, said=f"{mutant.path} has the text {found} times instead of once")
    file.write_text(before.replace(mutant.old, mutant.new))
    try:
        done = _python(tree, *PYTEST, "--timeout", str(PATIENCE[mutant.hangs]), mutant.test)
    finally:
        file.write_text(before)
    state = {0: "survived", FAILED: "killed"}.get(done.returncode, "error")
    if state == "killed" and "Failed: Timeout" in done.stdout and not mutant.hangs:
        state = "error"  # slow is not red
    said = "" if state == "killed" else _last_lines(done.stdout + done.stderr, 3)
    return Outcome(name=mutant.name, state=state, seconds=round(time.monotonic() - began, 1), said=said)


def _last_lines(text: str, count: int) -> str:
    return " | ".join(line for line in text.strip().splitlines()[-count:] if line)


def _table(outcomes: list[Outcome], chosen: list[Mutant]) -> str:
    wide = max(len(m.name) for m in chosen)
    lines = []
    for mutant, outcome in zip(chosen, outcomes, strict=True):
        lines.append(
            f"{outcome.state:<8} {outcome.seconds:5.1f} s  {mutant.name:<{wide}}  {mutant.protects:<24} {mutant.test.rpartition('::')[2]}"
        )
        if outcome.said:
            lines.append(f"         {outcome.said}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
