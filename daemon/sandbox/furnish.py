"""Why: a bare store becomes an API server's: policies are asked, CRDs are served, every cluster's namespaces are there."""

import datetime as dt
from collections.abc import Callable

from daemon.sandbox.admission import PolicyAdmission
from daemon.sandbox.custom_kinds import CustomKinds
from daemon.sandbox.namespaces import Namespaces
from daemon.sandbox.store import Store


def furnished(*, clock: Callable[[], dt.datetime] | None = None) -> Store:
    """A store with everything that answers its events; `clock` is for tests."""
    store = Store(clock=clock)
    store.admission = PolicyAdmission(store)
    CustomKinds(store)
    Namespaces(store)
    return store
