"""Linnet's own kinds as the informers keep them: the API's specs in the runtime's objects."""

from typing import Final

from daemon.api import names
from daemon.api.analysis import AnalysisRunSpec, AnalysisRunStatus, AnalysisTemplateSpec
from daemon.api.calendar import FreezeSpec
from daemon.api.canary import CanarySpec
from daemon.api.fields import LocalRef
from daemon.api.groups import ReleaseGroupSpec, ReleaseGroupStatus
from daemon.api.kinds import CanaryProfileSpec
from daemon.api.sources import FlagSourceSpec, MetricSourceSpec, NotifierSpec, NotifierStatus
from daemon.api.status import CanaryStatus
from daemon.kube.objects import KubeObject
from daemon.kube.resources import custom


class Canary(KubeObject, frozen=True, kw_only=True):
    spec: CanarySpec
    status: CanaryStatus = CanaryStatus()


class Profile(KubeObject, frozen=True, kw_only=True):
    spec: CanaryProfileSpec


class MetricSource(KubeObject, frozen=True, kw_only=True):
    spec: MetricSourceSpec


class FlagSource(KubeObject, frozen=True, kw_only=True):
    spec: FlagSourceSpec


class Notifier(KubeObject, frozen=True, kw_only=True):
    spec: NotifierSpec
    status: NotifierStatus = NotifierStatus()


class Freeze(KubeObject, frozen=True, kw_only=True):
    spec: FreezeSpec


class ReleaseGroup(KubeObject, frozen=True, kw_only=True):
    spec: ReleaseGroupSpec
    status: ReleaseGroupStatus = ReleaseGroupStatus()

    @property
    def names(self) -> set[str]:
        """Of the spec's members, and of those of a release that began with another spec."""
        return {m.name for m in self.spec.members} | {m.name for m in self.status.members}


class AnalysisTemplate(KubeObject, frozen=True, kw_only=True):
    spec: AnalysisTemplateSpec


class AnalysisRun(KubeObject, frozen=True, kw_only=True):
    spec: AnalysisRunSpec = AnalysisRunSpec(canary_ref=LocalRef(name="unknown"), revision="unknown", started_at="")
    status: AnalysisRunStatus = AnalysisRunStatus()


CANARIES: Final = custom(names.GROUP, names.VERSION, "canaries", "Canary", Canary)
PROFILES: Final = custom(names.GROUP, names.VERSION, "canaryprofiles", "CanaryProfile", Profile)
METRIC_SOURCES: Final = custom(names.GROUP, names.VERSION, "metricsources", "MetricSource", MetricSource)
FLAG_SOURCES: Final = custom(names.GROUP, names.VERSION, "flagsources", "FlagSource", FlagSource)
NOTIFIERS: Final = custom(names.GROUP, names.VERSION, "notifiers", "Notifier", Notifier)
FREEZES: Final = custom(names.GROUP, names.VERSION, "freezes", "Freeze", Freeze)
RELEASE_GROUPS: Final = custom(names.GROUP, names.VERSION, "releasegroups", "ReleaseGroup", ReleaseGroup)
ANALYSIS_TEMPLATES: Final = custom(names.GROUP, names.VERSION, "analysistemplates", "AnalysisTemplate", AnalysisTemplate)
ANALYSIS_RUNS: Final = custom(names.GROUP, names.VERSION, "analysisruns", "AnalysisRun", AnalysisRun)
