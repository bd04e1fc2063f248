"""Status: the table, the detail and the JSON say the same."""

import asyncio
import json
import os
import pty
import signal
from pathlib import Path

from tests.sandbox.workbench import service, web
from tests.unit.cli.world import LINNET, World, canary, world


async def test_one_release_in_detail(tmp_path: Path) -> None:
    """Phase, step, what the route was asked and what it shows, what is waited for and until when, the undo log."""
    async with world(tmp_path) as w, w.daemon():
        await w.releasing()
        done = await w.run("status", "web")
        assert done.exit_code == 0, done.output
        for text in ("default/web  Progressing", "HTTPRoute/web", "20 %", "Waiting since", "CONDITION", "/spec/rules/0/backendRefs"):
            assert text in done.output
        assert "The next template change" not in done.output  # that is for later
        await w.run("pause", "web")
        paused = (await w.run("status", "web")).output
        [action] = [line for line in paused.splitlines() if line.startswith("Last action")]
        assert action.split()[2] == "pause" and "until=" not in action
        table = await w.run("status")
        assert table.output.split("\n")[0].split() == ["NAME", "PHASE", "STEP", "WEIGHT", "FLAGS", "VERDICT", "SAYS"]
        assert "Paused" in table.output
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


async def watching(w: World, *words: str, stdout: int = asyncio.subprocess.PIPE) -> asyncio.subprocess.Process:
    """`linnet status --watch` as a process of its own, as it has to be interrupted."""
    command = (LINNET, "status", *words, "--watch", "--kubeconfig", str(w.kubeconfig))
    return await asyncio.create_subprocess_exec(*command, stdout=stdout, stderr=asyncio.subprocess.PIPE)


async def until(stream: asyncio.StreamReader, word: str) -> str:
    """What was printed up to the line with this word."""
    seen: list[str] = []
    async with asyncio.timeout(20):
        while not seen or word not in seen[-1]:
            line = await stream.readline()
            assert line, f"the output ended without {word!r}: {seen}"
            seen.append(line.decode())
    return "".join(seen)


async def document(stream: asyncio.StreamReader) -> str:
    """One JSON object as it is printed: its last line is the brace alone."""
    lines: list[str] = []
    async with asyncio.timeout(20):
        while not lines or lines[-1] != "}\n":
            line = await stream.readline()
            assert line, lines
            lines.append(line.decode())
    return "".join(lines)


async def interrupted(process: asyncio.subprocess.Process) -> None:
    process.send_signal(signal.SIGINT)
    _, errors = await process.communicate()
    assert (process.returncode, errors.decode()) == (130, "linnet: interrupted\n")


async def test_watch_shows_every_change_until_it_is_interrupted(tmp_path: Path) -> None:
    """Into a pipe: first that there is nothing, then a block for each change and none without one; Ctrl-C ends it without a trace."""
    async with world(tmp_path) as w, w.daemon():
        process = await watching(w)
        assert process.stdout is not None
        assert await until(process.stdout, "no Canary") == "no Canary in namespace default\n"
        await w.releasing()
        seen = await until(process.stdout, " 20 % ")
        blocks = seen.split("NAME")[1:]
        assert "web" in blocks[0]
        assert len(blocks) == len(set(blocks))
        await interrupted(process)


async def test_watch_of_one_release_as_json_is_a_document_for_each_change(tmp_path: Path) -> None:
    """What a script reads: one whole object after the other, the phase moving on."""
    async with world(tmp_path) as w, w.daemon():
        w.apply(service(), web(), canary())
        await w.bench.until(lambda: w.status().get("phase"), "a status")
        process = await watching(w, "web", "-o", "json")
        assert process.stdout is not None
        first = json.loads(await document(process.stdout))
        w.bench.delete("services", "web")
        second = json.loads(await document(process.stdout))
        assert (first["kind"], second["kind"]) == ("Canary", "Canary")
        assert int(second["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])
        await interrupted(process)


async def test_watch_in_a_terminal_redraws(tmp_path: Path) -> None:
    """On a terminal the table is drawn over, not repeated; the cursor is there again afterwards."""
    async with world(tmp_path) as w, w.daemon():
        ours, theirs = pty.openpty()
        process = await watching(w, stdout=theirs)
        os.close(theirs)
        shown = bytearray()

        async def show(word: bytes) -> None:
            async with asyncio.timeout(20):
                while word not in shown:
                    shown.extend(await asyncio.to_thread(os.read, ours, 4096))

        await show(b"no Canary")
        w.apply(web(), canary())
        await show(b"web")
        process.send_signal(signal.SIGINT)
        await show(b"\x1b[?25h")
        assert await process.wait() == 130
        assert b"Traceback" not in shown
        os.close(ours)
