"""Under a GitOps tool nothing that Linnet makes looks like the application's own, so nothing of it is pruned."""

from daemon.sandbox.store import Caller
from daemon.workloads.gitops import CLAIMS
from tests.unit.control.world import DEPLOYMENTS, Object, World, canary, deployment, linnet, route, service

INSTANCE = "app.kubernetes.io/instance"
TRACKING = "argocd.argoproj.io/tracking-id"


def tracked(found: Object) -> Object:
    """As Argo CD applies it, with both of its ways of tracking; the label is on the pods too."""
    name = found["metadata"]["name"]
    found["metadata"]["labels"] = {INSTANCE: "shop-prod"}
    found["metadata"]["annotations"] = {TRACKING: f"shop-prod:{found['kind']}:shop/{name}"}
    if found["kind"] == "Deployment":
        found["spec"]["template"]["metadata"]["labels"][INSTANCE] = "shop-prod"
    return found


async def test_nothing_that_is_made_is_tracked(world: World) -> None:
    """Over a whole release: what has no owner in the cluster has no mark of the tool."""
    pages = linnet("MetricSource", "default", {"type": "Scrape", "scrape": {"port": world.pages.port}})
    theirs = [tracked(o) for o in (service(), route(), deployment(), canary())]
    world.apply(pages, *theirs)
    await world.adopted()
    world.release("app:v2")
    await world.until(lambda: world.status().get("history"), "the release ended")
    made = {
        (resource, obj["metadata"]["name"]): obj
        for _, resource, obj in world.history
        if obj["metadata"].get("namespace") == "shop"
        and not obj["metadata"].get("ownerReferences")
        and resource != "events"
        and (obj["kind"], obj["metadata"]["name"]) not in {(o["kind"], o["metadata"]["name"]) for o in (pages, *theirs)}
    }
    assert {"services", DEPLOYMENTS, "controllerrevisions.apps"} <= {resource for resource, _ in made}
    for at, obj in made.items():
        marks = {**(obj["metadata"].get("labels") or {}), **(obj["metadata"].get("annotations") or {})}
        assert [m for m in marks if m.startswith(CLAIMS)] == [], at


async def test_a_tool_that_tracks_by_the_common_label_is_known_by_its_writes(world: World) -> None:
    """The instance label alone could be Helm's; the manager of the fields is not: a rejected template is then left to Git."""
    world.open()
    await world.adopted()
    assert "bad template is restored" in world.status()["plan"]
    body = {"metadata": {"labels": {INSTANCE: "shop-prod"}}}
    world.store.patch(DEPLOYMENTS, "shop", "web", "merge", body, user=Caller(user="argo", manager="argocd-controller"))
    await world.until(lambda: "left held (Argo CD)" in world.status()["plan"], "the plan names it")
