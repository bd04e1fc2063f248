"""Verbs: what is written, what comes of it, and what is said when nobody hears it."""

from datetime import datetime
from pathlib import Path

import pytest

from daemon.api import names
from daemon.cli.cluster import CliError
from daemon.cli.undo import referenced
from daemon.cli.verbs import More, annotation
from daemon.control.observe import command_of
from daemon.kube.objects import ObjectMeta
from daemon.rollout.commands import REMEMBERED, parse
from tests.sandbox.workbench import service, web
from tests.unit.cli.world import canary, world


async def test_a_release_is_paused_and_resumed_and_aborted(tmp_path: Path) -> None:
    """Each verb ends with 0 once the daemon has carried it out, and names the revision that it was bound to."""
    async with world(tmp_path) as w, w.daemon():
        await w.releasing()
        revision = w.status()["rollout"]["revision"]
        done = await w.run("pause", "web")
        assert (done.exit_code, w.status()["phase"]) == (0, "Paused")
        assert f"pause of web {revision}" in done.output
        assert w.canary()["metadata"]["annotations"][names.ACTION].startswith(f"pause@{revision}#by=admin;until=")
        done = await w.run("resume", "deploy/web")
        assert (done.exit_code, w.status()["phase"]) == (0, "Progressing")
        done = await w.run("abort", "web", "--revision", revision)
        assert done.exit_code == 0
        await w.phase("Held")
        again = await w.run("retry", "web")
        assert again.exit_code == 0, again.output
        await w.phase("Progressing")


async def test_a_refusal_is_told_with_its_reason(tmp_path: Path) -> None:
    """A verb that the phase does not know ends with 1 and the daemon's own words."""
    async with world(tmp_path) as w, w.daemon():
        await w.releasing()
        done = await w.run("retry", "web")
        assert done.exit_code == 1
        assert "retry of" in done.output
        assert "the Canary is Progressing; only a revision that failed and is Held can be tried again" in done.output


async def test_an_override_says_so(tmp_path: Path) -> None:
    """promote --override writes the verb `override`, which releases an unjudged revision to its end."""
    async with world(tmp_path) as w, w.daemon():
        await w.releasing()
        revision = w.status()["rollout"]["revision"]
        unsaid = await w.run("promote", "web", "--override")
        assert (unsaid.exit_code, "--reason is missing" in unsaid.output) == (2, True)
        done = await w.run("promote", "web", "--override", "--reason", "the till is down; badly")
        assert done.exit_code == 0, done.output
        assert w.canary()["metadata"]["annotations"][names.ACTION].startswith(f"override@{revision}#")
        waited = await w.run("wait", "web", "--timeout", "40s")
        assert waited.exit_code == 0, waited.output
        assert "released by override by admin (the till is down; badly), not judged" in waited.output


async def test_a_verb_that_nobody_hears_is_not_a_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a daemon the command says that no leader lives, that the verb stays written, and ends with 2."""
    monkeypatch.setattr("daemon.cli.verbs.PATIENCE", 0.5)
    async with world(tmp_path) as w:
        w.apply(service(), web(), canary())
        done = await w.run("abort", "web")
        assert done.exit_code == 2
        assert "no live leader: there is no Lease linnet-system/linnet" in done.output
        assert "expires in 10 min" in done.output


async def test_a_misspelt_name_gets_the_nearest(tmp_path: Path) -> None:
    """One line, with the way out, and exit code 1."""
    async with world(tmp_path) as w:
        w.apply(web(), canary())
        done = await w.run("pause", "wep")
        assert (done.exit_code, done.output) == (1, "linnet: no Canary wep in namespace default; did you mean web?\n")
        done = await w.run("pause", "deploy/other")
        assert "no Canary releases Deployment other in namespace default; there are: deploy/web" in done.output
        done = await w.run("pause", "pod/web")
        assert "write NAME, canary/NAME or deploy/NAME" in done.output


def test_an_action_is_read_back_as_it_was_said() -> None:
    """Verb, revision, person and expiry survive, whatever characters the person's name has, and fit status.lastAction."""
    text = annotation("abort", "7f9c2", "oidc:Jürgen;until=never#" + "x" * 200, 1_800_000_000.0)
    assert len(text) <= REMEMBERED
    command = command_of(ObjectMeta(name="web", annotations={names.ACTION: text}))
    assert command is not None
    assert (command.verb, command.revision, command.raw) == ("abort", "7f9c2", text)
    assert command.by.startswith("oidc:J_rgen_until_never_x")
    assert command.expires == datetime.fromisoformat("2027-01-15T08:10:00Z").timestamp()


def test_all_that_a_verb_says_is_read_back() -> None:
    """Step, weight, revision and reason; what is compared has the nonce in it however long the rest is."""
    more = More(why="because;\n it = broken #1 " + "x" * 400, step="50% of pods", weight=7, to="7f9c2")
    text = annotation("step", "7f9c2", "system:serviceaccount:" + "a" * 100, 1_800_000_000.0, more)
    command = parse(text)
    assert command is not None
    assert (command.step, command.weight, command.to, command.by[:7]) == ("50% of pods", 7, "7f9c2", "system:")
    assert command.why.startswith("because; it = broken #1 xxx")
    assert text[:REMEMBERED] != annotation("step", "7f9c2", "system:serviceaccount:" + "a" * 100, 1_800_000_000.0, more)[:REMEMBERED]


async def test_a_pipeline_drives_the_steps(tmp_path: Path) -> None:
    """set-weight, step, approve and promote: each carried out, or refused with the daemon's words."""
    drive = {"name": "drive", "weight": 20, "dwell": {"minDuration": "1h"}}
    async with world(tmp_path) as w, w.daemon():
        await w.releasing(
            traffic={"drain": "100ms"}, steps=[drive, {"name": "sign-off", "approval": {"timeout": "1h"}}, {"name": "rest", "weight": 60}]
        )
        done = await w.run("set-weight", "web", "30")
        assert done.exit_code == 0, done.output
        await w.bench.until(lambda: w.status().get("weight") == 30, "weight 30")
        wrong = await w.run("step", "web", "half")
        assert (wrong.exit_code, "there is no step 'half'; the steps are drive, sign-off, rest" in wrong.output) == (1, True)
        done = await w.run("skip", "web", "--step", "drive")
        assert done.exit_code == 0, done.output
        await w.bench.until(lambda: (w.status().get("waiting") or {}).get("reason") == "Approval", "asks for approval")
        done = await w.run("approve", "web", "--reason", "looks fine")
        assert done.exit_code == 0, done.output
        await w.bench.until(lambda: w.status()["rollout"].get("approvals"), "the yes is on record")
        assert [(a["by"], a["why"]) for a in w.status()["rollout"]["approvals"]] == [("admin", "looks fine")]
        done = await w.run("promote", "web", "--full", "--reason", "green")
        assert done.exit_code == 0, done.output
        waited = await w.run("wait", "web", "--timeout", "40s")
        assert "by a person's decision by admin (green)" in waited.output


async def test_an_undo_brings_the_version_before_back(tmp_path: Path) -> None:
    """`history` lists what is kept; `undo` refuses where a ConfigMap is gone, and else goes back to what was adopted, at once."""
    async with world(tmp_path) as w, w.daemon():
        await w.releasing(traffic={"drain": "100ms"})
        first = w.status()["stableRevision"]
        assert (await w.run("promote", "web")).exit_code == 0
        await w.phase("Idle")
        listed = await w.run("history", "web")
        assert "Person *" in listed.output and "Adopted" in listed.output and "app:v1" in listed.output, listed.output
        wrong = await w.run("undo", "web", "--to-revision", "nope0")
        assert (wrong.exit_code, "--to-revision is 'nope0': stored are" in wrong.output) == (1, True)
        done = await w.run("undo", "web", "--reason", "slow")
        assert done.exit_code == 0, done.output
        await w.bench.until(lambda: w.status().get("stableRevision") == first and w.status()["phase"] == "Idle", "v1 is stable again")
        assert w.bench.deployment()["spec"]["template"]["spec"]["containers"][0]["image"] == "app:v1"
        assert "brought back by admin (slow)" in w.status()["sentence"]
        managers = {m["manager"] for m in w.bench.deployment()["metadata"]["managedFields"] if not m.get("subresource")}
        assert "linnet" not in managers


def test_what_pods_cannot_start_without_is_found() -> None:
    """ConfigMaps and Secrets of volumes, projections, envFrom and env; optional ones are none."""
    template = {
        "spec": {
            "volumes": [
                {"configMap": {"name": "files"}},
                {"secret": {"secretName": "tls"}},
                {"projected": {"sources": [{"secret": {"name": "token"}}, {"configMap": {"name": "ca", "optional": True}}]}},
            ],
            "initContainers": [{"envFrom": [{"configMapRef": {"name": "init"}}]}],
            "containers": [{"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}}]}],
        }
    }
    assert list(referenced(template)) == [
        ("ConfigMap", "files"),
        ("Secret", "tls"),
        ("Secret", "token"),
        ("ConfigMap", "init"),
        ("Secret", "key"),
    ]


def test_a_revision_that_is_none_is_refused() -> None:
    """What would break the annotation apart names the option and the value."""
    with pytest.raises(CliError, match=r"--revision is '7f9#by=me'"):
        annotation("abort", "7f9#by=me", "me", 0.0)


def test_the_stamp_of_the_api_server_says_who_spoke_and_a_left_over_one_says_nothing() -> None:
    """The text may claim anybody; a stamp of an earlier action is not believed of this one."""
    text = "abort@7f9c2#by=alice"
    stamped = {names.ACTION: text, names.ACTION_BY: f"system:serviceaccount:shop:portal {text}"}
    command = command_of(ObjectMeta(name="web", annotations=stamped))
    assert command is not None
    assert command.by == "system:serviceaccount:shop:portal"
    command = command_of(ObjectMeta(name="web", annotations=stamped | {names.ACTION: "abort@7f9c2#by=bob"}))
    assert command is not None
    assert command.by == "bob"
