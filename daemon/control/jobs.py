"""Jobs that answer questions of a release: made once, followed through the caches, taken away when their release is over.

The name of a Job follows from its question, so a daemon that was started anew meets the Job of the one before and makes no second.
What its pods print may hold what a Secret gave them: the values of every Secret that the Job names are blotted out before anybody reads it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Final

from analyzers.templates.args import blot
from daemon.api.jobs import JobCheck, limit, secrets_named
from daemon.control.caches import Caches
from daemon.control.secrets import SecretMissing, SecretReader
from daemon.kube import errors
from daemon.kube.client import Client
from daemon.kube.errors import KubeError
from daemon.kube.objects import Job, KubeObject, Pod
from daemon.kube.resources import JOBS
from daemon.workloads.jobs import RELEASE, Ended, Question, doing, end_of, is_answer, manifest, over, release_label
from daemon.workloads.revisions import label_value

log = logging.getLogger("linnet.jobs")

GRACE: Final = 120.0  # seconds beyond a Job's own deadline in which the Job controller must have said so
LAG: Final = 5.0  # seconds by which one cache may be behind another
NOT_ALLOWED: Final = "the API server lets Linnet make no Jobs here: set jobs.enabled in the chart's values"


class JobRunner:
    def __init__(self, client: Client, caches: Caches, secrets: SecretReader) -> None:
        self._client = client
        self._jobs = caches.jobs
        self._pods = caches.pods
        self._secrets = secrets

    @property
    def enabled(self) -> bool:
        return self._jobs is not None

    async def answer(self, check: JobCheck, question: Question, tell: Callable[[str], None]) -> Ended:
        """How the Job of this question ended; it is made where there is none. `tell` hears what it is doing meanwhile."""
        with self._changes(question) as changed:
            try:
                async with asyncio.timeout(limit(check, "activeDeadlineSeconds") + GRACE):
                    ended = await self._followed(check, question, changed, tell)
            except TimeoutError:
                return Ended("Error", f"Job {question.name} has no end, long after its deadline: does the Job controller run?")
        return await self._without_secrets(check, question, ended)

    @contextlib.contextmanager
    def _changes(self, question: Question) -> Iterator[asyncio.Event]:
        """Set whenever the Job or a pod of it changes."""
        changed = asyncio.Event()

        def heard(old: KubeObject | None, new: KubeObject | None) -> None:
            item = new or old
            if item is None or item.namespace != question.namespace:
                return
            owner = item.metadata.controller()
            if question.name in (item.name, owner.name if owner else ""):
                changed.set()

        stops = [self._pods.store.add_handler(heard, replay=False)]
        if self._jobs is not None:
            stops.append(self._jobs.store.add_handler(heard, replay=False))
        try:
            yield changed
        finally:
            for stop in stops:
                stop()

    async def _followed(self, check: JobCheck, question: Question, changed: asyncio.Event, tell: Callable[[str], None]) -> Ended:
        if self._find(question) is None:
            refused = await self._made(check, question, changed)
            if refused is not None:
                return refused
        pods: tuple[Pod, ...] = ()
        looked_twice = False
        while True:
            changed.clear()
            job = self._find(question)
            if job is None:
                return Ended("Error", f"Job {question.name} was deleted before its end")
            if not is_answer(job, question):
                return Ended("Error", f"a Job {question.name} is there that Linnet did not make: delete it")
            pods = self._pods_of(job) or pods  # those of a Job past its deadline are gone at once
            ended = end_of(job, pods, check)
            if ended is not None and (ended.phase != "Error" or looked_twice):
                return ended
            tell(f"Job {job.name} runs; {doing(pods)}".rstrip("; "))
            looked_twice = ended is not None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), LAG if looked_twice else None)

    async def _made(self, check: JobCheck, question: Question, changed: asyncio.Event) -> Ended | None:
        """Once it is in the cache None, else why it is not."""
        if self._jobs is None:
            return Ended("Error", NOT_ALLOWED)
        try:
            self._jobs.store.put(await self._client.create(JOBS, question.namespace, manifest(check, question)))
        except errors.AlreadyExists:
            log.debug("Job %s/%s is there already", question.namespace, question.name)
        except errors.Forbidden as e:
            return Ended("Error", f"{NOT_ALLOWED} ({e.message})")
        try:
            async with asyncio.timeout(LAG * 2):
                while self._find(question) is None:
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            return Ended("Error", f"Job {question.name} is not to be seen: one of that name that is not Linnet's may stand in the way")
        return None

    def _find(self, question: Question) -> Job | None:
        return self._jobs.store.get(question.namespace, question.name) if self._jobs is not None else None

    def _pods_of(self, job: Job) -> tuple[Pod, ...]:
        found = self._pods.store.by("controller", f"{job.namespace}/{job.name}")
        return tuple(p for p in found if (o := p.metadata.controller()) is not None and o.uid == job.metadata.uid)

    async def _without_secrets(self, check: JobCheck, question: Question, ended: Ended) -> Ended:
        """Fails shut: where a Secret that the Job names cannot be read, nothing that its pods said is shown."""
        values: list[str] = []
        for name in sorted(secrets_named(check)):
            try:
                values += await self._secrets.values(question.namespace, name)
            except (SecretMissing, KubeError) as e:
                return ended._replace(what=f"{ended.what} (what it said is not shown: {e})", said="")
        return ended._replace(said=blot(ended.said, values))

    async def end(self, namespace: str, canary: str, *, but: str | None = None) -> None:
        """Deletes what still runs for a Canary, those of release `but` aside. Costs no request where nothing does."""
        if self._jobs is None:
            return
        kept = release_label(but) if but is not None else None
        for job in self._jobs.store.by("ours", f"{namespace}/{label_value(canary)}"):
            if over(job) or job.metadata.deletion_timestamp is not None or (kept is not None and job.metadata.label(RELEASE) == kept):
                continue
            await self._client.delete(JOBS, namespace, job.name, uid=job.metadata.uid)
