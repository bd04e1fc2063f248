"""`linnet kill`: flags by name, whichever releases move them; and what is left alone."""

import copy
import json
from pathlib import Path
from typing import Any

from daemon.api import names
from tests.unit.cli.test_flags import FILE, FLAGGED, objects
from tests.unit.cli.world import CANARIES, world

OTHER = {"other": copy.deepcopy(FILE["flags"]["new"])}


def both() -> list[dict[str, Any]]:
    """The objects of `test_flags`, with a second flag in the file."""
    file, source = objects()
    return [file | {"data": {"flags.json": json.dumps({"flags": FILE["flags"] | OTHER})}}, source]


async def test_a_flag_is_killed_by_its_name_with_all_that_moves_with_it(tmp_path: Path) -> None:
    """Both flags of the release are at 0 when the command returns; person and reason are in the sentence; nothing at rest is touched."""
    async with world(tmp_path) as w, w.daemon():
        flags = [*FLAGGED["flags"], {"name": "second", "key": "other"}]
        moves = [{"weight": 20, "flags": [{"name": "new", "percent": 40}, {"name": "second", "percent": 10}]}]
        await w.releasing(*both(), **(FLAGGED | {"flags": flags, "steps": moves, "traffic": {"drain": "100ms"}}))
        await w.bench.until(lambda: [f.get("written") for f in w.status().get("flags") or []] == [40, 10], "written")
        unsaid = await w.run("kill", "other")
        assert (unsaid.exit_code, "Missing option '--reason'" in unsaid.output) == (2, True), unsaid.output
        nobody = await w.run("kill", "nwe", "--reason", "x")
        assert nobody.exit_code == 1
        assert "no release under way in namespace default moves nwe: a flag at rest is its people's" in nobody.output
        assert w.status()["phase"] in ("Progressing", "Paused")
        done = await w.run("kill", "other", "nwe", "--reason", "carts are empty")
        assert (done.exit_code, "new, other of default/web: at 0 after" in done.output) == (1, True), done.output
        assert "moves nwe" in done.output
        assert [f.get("written") for f in w.status().get("flags") or []] in ([], [0, 0])
        await w.phase("Held")
        assert "flags new, other killed by admin (carts are empty)" in w.status()["sentence"]


async def test_a_release_without_flags_is_not_ended_by_a_kill(tmp_path: Path) -> None:
    """The verb itself is refused there, with the one that is meant; by name it is not even found."""
    async with world(tmp_path) as w, w.daemon():
        await w.releasing()
        revision = w.status()["rollout"]["revision"]
        said = f"kill@{revision}#by=eve;n=1;why=x"
        w.bench.change(CANARIES, "web", lambda c: c["metadata"].setdefault("annotations", {}).update({names.ACTION: said}))
        told = await w.bench.until(lambda: [e for e in w.bench.store.list("events", None) if e.get("reason") == "CommandRefused"], "told")
        assert "no flag moves with this release; linnet abort web" in str(told)
        assert w.status()["phase"] == "Progressing"
