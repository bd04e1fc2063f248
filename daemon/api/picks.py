"""What is wrong with the steps that pick requests for the canary (`match`, `mirror`): nobody in them, no time, or the wrong place.

They stand before the first weight above 0, because their requests are no sample of everybody's: arms are compared only afterwards, and a
release that never gets so far would be judged by nothing.
"""

import re
from typing import Final

from daemon.api.canary import ReleaseSpec, Step, StepMatch
from daemon.api.errors import Errors, fault

HEADER_NAME: Final = r"^[A-Za-z0-9!#$%&*+.^_|~-]{1,128}$"
PLAIN: Final = r"^[A-Za-z0-9_.~-]{1,128}$"
TEXT: Final = r"^[ -~]{1,256}$"
NAMES: Final = {"headers": (HEADER_NAME, TEXT), "cookies": (PLAIN, PLAIN), "query": (PLAIN, TEXT)}
MEANING: Final = {
    HEADER_NAME: "the name of a header",
    PLAIN: "letters, digits and _ . ~ -",
    TEXT: "printable ASCII",
}


def picks(step: Step) -> bool:
    return step.match is not None or step.mirror is not None


def pick_faults(spec: ReleaseSpec, path: str) -> Errors:
    """Of all steps together."""
    steps = spec.steps or []
    first = next((i for i, s in enumerate(steps) if s.weight), None)
    found = [(i, s) for i, s in enumerate(steps) if picks(s)]
    for index, step in found:
        here = f"{path}[{index}].{'match' if step.match is not None else 'mirror'}"
        if first is None:
            text = "its requests are no sample of everybody's, so nothing would be compared: add a step with a weight after it"
            yield fault(here, None, text)
        elif index > first:
            text = f"stands after the weight of {path}[{first}], from which on everybody may meet the canary: put it before"
            yield fault(here, None, text)
    mode = spec.traffic.mode if spec.traffic is not None else None
    if found and mode in ("PodRatio", "None"):
        text = f"{mode}: a match or mirror step needs a route, which tells requests apart; remove the step, or set mode to Routes"
        yield fault(path, mode, text)


def step_faults(step: Step, path: str) -> Errors:
    """Of one step."""
    if not picks(step):
        return
    dwell = step.dwell
    if dwell is None or dwell.min_duration is None:
        yield fault(f"{path}.dwell.minDuration", None, "is missing: say how long these requests reach the canary", "Required")
    if dwell is not None and dwell.min_requests is not None:
        text = "requests of a match or mirror step are no evidence, so they are not counted; use minDuration"
        yield fault(f"{path}.dwell.minRequests", dwell.min_requests, text)
    if step.match is not None:
        yield from _match(step.match, f"{path}.match")


def _match(match: StepMatch, path: str) -> Errors:
    if not (match.headers or match.cookies or match.query):
        yield fault(path, None, "nothing says whose requests: give it headers, cookies or query", "Required")
    for field, (name_form, value_form) in NAMES.items():
        for name, value in (getattr(match, field) or {}).items():
            for said, form in ((name, name_form), (value, value_form)):
                if not re.search(form, said):
                    yield fault(f"{path}.{field}[{name}]", said, f"{said!r} must be {MEANING[form]}")
