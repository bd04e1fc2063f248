"""Templates that ask for Jobs: what is made, how often, what its end decides, and what is left of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from daemon.sandbox import schema
from daemon.sandbox.resources import Resource
from tests.unit.control.cluster import SHOP, Object
from tests.unit.control.test_templates import judged, run_of
from tests.unit.control.world import World, deployment, linnet, route, service

JOBS = "jobs.batch"
POD: Object = {"containers": [{"name": "check", "image": "smoke:1"}]}


def prepared(root: Path) -> World:
    """A cluster that knows Jobs; what becomes of one, a test says."""
    world = World(root)
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    open_ = schema.of_custom({"type": "object", "properties": {"spec": free, "status": free}})
    world.store.registry.add(Resource(group="batch", version="v1", plural="jobs", kind="Job", subresources=("status",), schema=open_))
    return world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    found = prepared(tmp_path)
    async with found.running(), found.linnet(jobs=True):
        yield found


def template(name: str = "smoke", *, pod: Object | None = None, args: list[Object] | None = None, **metric: Any) -> Object:
    job = {"spec": {"template": {"spec": pod or POD}}, **metric.pop("job", {})}
    spec: Object = {"metrics": [{"name": "run", "provider": {"job": job}, **metric}]}
    return linnet("AnalysisTemplate", name, spec | ({"args": args} if args else {}))


async def open_shop(world: World, *objects: Object) -> None:
    world.apply(service(), route(), deployment(), *objects)
    await world.adopted()


def jobs(world: World) -> list[Object]:
    return world.store.list(JOBS, SHOP)


async def job(world: World, number: int = 0) -> Object:
    return (await world.until(lambda: jobs(world)[number:], f"Job {number}"))[0]


def ends(world: World, made: Object, kind: str = "Complete", *, reason: str = "", code: int | None = None, said: str = "") -> None:
    """What the Job controller and a kubelet write."""
    name, meta = made["metadata"]["name"], made["metadata"]
    if code is not None:
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": meta["uid"], "controller": True}
        pod = {"metadata": {"name": f"{name}-x", "namespace": SHOP, "ownerReferences": [owner]}, "spec": POD}
        world.store.create("pods", {"apiVersion": "v1", "kind": "Pod", **pod}, user="jobs")
        ended = {"terminated": {"exitCode": code, "reason": "Error", "message": said, "finishedAt": "2026-01-01T00:00:00Z"}}
        status = {"phase": "Failed", "containerStatuses": [_status(ended)]}
        world.store.patch("pods", SHOP, f"{name}-x", "merge", {"status": status}, user="kubelet", subresource="status")
    condition = {"type": kind, "status": "True", "reason": reason}
    world.store.patch(JOBS, SHOP, name, "merge", {"status": {"conditions": [condition]}}, user="jobs", subresource="status")


def _status(state: Object) -> Object:
    return {"name": "check", "image": "smoke:1", "imageID": "", "ready": False, "restartCount": 0, "state": state}


async def test_a_job_that_succeeds_promotes_without_any_metric_source(world: World) -> None:
    """Bounded and owned by its Canary, with the kubelet asked for its last words; its name says nothing by chance."""
    marks = {"labels": {"team": "shop"}, "annotations": {"why": "smoke"}}
    await open_shop(world, template(job={"metadata": marks}), judged())
    world.release("app:v2")
    made = await job(world)
    assert marks["labels"].items() <= made["metadata"]["labels"].items()
    assert marks["annotations"].items() <= made["metadata"]["annotations"].items()
    spec, pod = made["spec"], made["spec"]["template"]["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"], spec["ttlSecondsAfterFinished"]) == (0, 600, 3600)
    assert pod["restartPolicy"] == "Never"
    assert pod["automountServiceAccountToken"] is False
    assert pod["containers"][0]["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert [o["kind"] for o in made["metadata"]["ownerReferences"]] == ["Canary"]
    await world.until(lambda: f"Job {made['metadata']['name']} runs" in run_of(world).get("message", ""), "it says what it waits for")
    ends(world, made)
    told = await world.told("Promoted")
    assert f"template smoke: run: Job {made['metadata']['name']} succeeded" in told
    assert len(jobs(world)) == 1


async def test_a_job_that_fails_rolls_back_with_its_last_line(world: World) -> None:
    """The exit code and the log's end are in the sentence and in the AnalysisRun."""
    await open_shop(world, template(), judged())
    world.release("app:v2")
    ends(world, await job(world), "Failed", reason="BackoffLimitExceeded", code=1, said="checking\ncart is empty\n")
    told = await world.told("RolledBack")
    assert "ended with exit code 1: checking / cart is empty" in told
    await world.until(lambda: "cart is empty" in str(run_of(world).get("results")), "it is kept")


@pytest.mark.parametrize("away", [True, False], ids=["ended while no daemon was there", "ends later"])
async def test_a_daemon_started_anew_meets_the_job_of_the_one_before(tmp_path: Path, away: bool) -> None:
    """One Job, and its answer."""
    world = prepared(tmp_path)
    async with world.running():
        async with world.linnet(jobs=True):
            await open_shop(world, template(), judged())
            world.release("app:v2")
            made = await job(world)
        if away:
            ends(world, made)
        async with world.linnet(jobs=True):
            if not away:
                ends(world, made)
            await world.told("Promoted")
    created = [o for event, resource, o in world.history if (event, resource) == ("ADDED", JOBS)]
    assert len(created) == 1


async def test_an_abort_takes_a_running_job_away(world: World) -> None:
    """And a Job of another release is another Job."""
    await open_shop(world, template(), judged(steps=[{"weight": 20, "dwell": {"minDuration": "1h"}}]))
    world.release("app:v2")
    first = await job(world)
    await world.weighs(20)
    world.say("abort")
    await world.until(lambda: not jobs(world), "the Job is gone")
    await world.phases("Idle", "Held")
    world.release("app:v3")
    assert (await job(world))["metadata"]["name"] != first["metadata"]["name"]


@pytest.mark.parametrize(
    ("given", "end", "says"),
    [
        ({"inconclusiveExitCodes": [75]}, {"kind": "Failed", "reason": "BackoffLimitExceeded", "code": 75, "said": "no orders yet"},
         ("Inconclusive", "ended with exit code 75: no orders yet")),
        ({}, {"kind": "Failed", "reason": "DeadlineExceeded", "code": 143, "said": "still trying"},
         ("RolledBack", "did not end within 600 s: still trying")),
    ],
)  # fmt: skip
async def test_what_an_end_means(world: World, given: Object, end: Object, says: tuple[str, str]) -> None:
    """Neither good nor bad leaves it to the owner; a Job that hangs has failed."""
    await open_shop(world, template(job=given), judged())
    world.release("app:v2")
    ends(world, await job(world), **end)
    assert says[1] in await world.told(says[0])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda w, j: ends(w, j, "Failed", reason="DeadlineExceeded"), "did not end within 600 s"),
        (lambda w, j: w.delete(JOBS, j["metadata"]["name"]), "was deleted before its end"),
    ],
)
async def test_a_job_that_never_ran_is_no_verdict(
    world: World, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[World, Object], None], says: str
) -> None:
    """What the cluster did is an error of the measurement, and the owner's rule for those decides."""
    monkeypatch.setattr("daemon.control.jobs.LAG", 0.5)
    spec = judged()
    spec["spec"]["analysis"]["outcomes"] = {"providerError": {"action": "Wait", "thenAfter": "100ms", "then": "Rollback"}}
    await open_shop(world, template(consecutiveErrorLimit=0), spec)
    world.release("app:v2")
    spoil(world, await job(world))
    told = await world.told("RolledBack")
    assert says in told
    assert world.status()["verdict"]["result"] == "NoData"


async def test_no_secret_that_a_job_prints_is_shown(world: World) -> None:
    """Neither one in its environment nor one in a volume, cut or whole; args from Secrets never reach a Job."""
    world.secret("token", value="s3cret-word", pem="first-half\nsecond-half")
    env = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "token", "key": "value"}}}
    await open_shop(world, template(pod={"containers": [{"name": "check", "image": "smoke:1", "env": [env]}]}), judged())
    world.release("app:v2")
    said = "login with s3cret-word refused\nkey second-half"
    ends(world, await job(world), "Failed", reason="BackoffLimitExceeded", code=2, said=said)
    assert "exit code 2: login with *** refused / key ***" in await world.told("RolledBack")
    assert "s3cret" not in str(world.store.list("analysisruns.linnet.dev", SHOP)) + str(world.events())


async def test_a_secret_arg_in_a_job_is_refused_before_the_release(world: World) -> None:
    """With the way that works; the Deployment is not held by it."""
    where = {"containers": [{"name": "check", "image": "smoke:1", "args": ["{{args.token}}"]}]}
    args: list[Object] = [{"name": "token"}]
    use = {"name": "smoke", "args": [{"name": "token", "valueFrom": {"secretKeyRef": {"name": "token", "key": "value"}}}]}
    world.apply(service(), route(), deployment(), template(pod=where, args=args), judged(use))
    await world.until(lambda: "env.valueFrom.secretKeyRef" in str(world.status().get("conditions")), "the way out is said")


async def test_without_leave_to_make_jobs_it_is_said_before_the_release(tmp_path: Path) -> None:
    """The chart grants them or not."""
    world = prepared(tmp_path)
    async with world.running(), world.linnet():
        world.apply(service(), route(), deployment(), template(), judged())
        await world.until(lambda: "set jobs.enabled in the chart" in str(world.status().get("conditions")), "the way out is said")
