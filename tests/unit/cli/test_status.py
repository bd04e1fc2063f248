"""Status: the table, the detail and the JSON say the same."""

import json
from pathlib import Path

from tests.sandbox.workbench import web
from tests.unit.cli.world import canary, world


async def test_one_release_in_detail(tmp_path: Path) -> None:
    """Phase, step, what the route was asked and what it shows, what is waited for and until when, the undo log."""
    async with world(tmp_path) as w, w.daemon():
        await w.releasing()
        done = await w.run("status", "web")
        assert done.exit_code == 0, done.output
        for text in ("default/web  Progressing", "HTTPRoute/web", "20 %", "Waiting since", "CONDITION", "/spec/rules/0/backendRefs"):
            assert text in done.output
        table = await w.run("status")
        assert table.output.split("\n")[0].split() == ["NAME", "PHASE", "STEP", "WEIGHT", "FLAGS", "VERDICT", "SAYS"]
        assert "Progressing" in table.output
        body = json.loads((await w.run("status", "deploy/web", "-o", "json")).stdout)
        assert (body["kind"], body["status"]["weight"]) == ("Canary", 20)
        assert "managedFields" not in body["metadata"]
        (listed,) = json.loads((await w.run("status", "-A", "-o", "json")).stdout)
        assert listed["metadata"]["uid"] == body["metadata"]["uid"]


async def test_nothing_to_show(tmp_path: Path) -> None:
    """An empty namespace is a sentence, not an empty table."""
    async with world(tmp_path) as w:
        assert (await w.run("status")).output == "no Canary in namespace default\n"
        w.apply(web(), canary())
        elsewhere = await w.run("status", "-n", "linnet-system")
        assert elsewhere.output == "no Canary in namespace linnet-system\n"
        assert "default" in (await w.run("status", "-A")).output
