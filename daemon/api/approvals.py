"""What an approval may ask for: one that nobody could ever give is refused when it is written, not discovered when it is waited for."""

from daemon.api.canary import Approval
from daemon.api.errors import Errors, fault
from daemon.api.quantities import parse_duration


def approval_faults(asked: Approval, path: str) -> Errors:
    """Bounds of its time, and enough people."""
    if parse_duration(asked.timeout) <= 0:
        yield fault(f"{path}.timeout", asked.timeout, "must be longer than 0s: somebody has to read it first")
    if asked.among and len(set(asked.among)) < len(asked.among):
        yield fault(f"{path}.among", None, "names somebody twice")
    if asked.among and len(asked.among) < (asked.approvers or 1):
        text = f"asks for {asked.approvers} people and names {len(asked.among)}: nobody could ever give it; name more, or lower approvers"
        yield fault(f"{path}.approvers", asked.approvers, text)
