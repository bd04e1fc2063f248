"""The order of writes within one pass: what a slow flag source may never delay."""

from __future__ import annotations

from daemon.control.reconcile import _urgent_first
from daemon.rollout import model as m


def test_the_weight_is_written_before_any_flag_and_the_template_before_both() -> None:
    """A flag source may take its five seconds; a gated exposure ends with the weight alone (P3)."""
    actions = (m.ZeroFlags(), m.DeleteCanary(), m.SetWeight(weight=0), m.StoreTemplate(revision="a", role="stable"))
    order = [type(a) for a in _urgent_first(actions)]
    assert order.index(m.SetWeight) < order.index(m.ZeroFlags) < order.index(m.DeleteCanary)
    assert order[0] is m.StoreTemplate
