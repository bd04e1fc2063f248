"""Pictures say what the account says, in both formats, and cannot be made to say anything else."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET

import pytest
from PIL import Image

from analyzers.account import account
from analyzers.plots.axes import Frame, steps
from analyzers.plots.figure import picture
from analyzers.plots.png import png
from analyzers.plots.shapes import Picture, Text, box
from analyzers.plots.svg import svg
from tests.unit.analyzers.recorded import log_of


def test_a_stopped_release_is_drawn_with_all_its_panels() -> None:
    """Share with interval, odds, durations and weight; every shape within the page."""
    found = picture(account(log_of(tail=3.0)), "shop/checkout 7f9c2", "checkout 7f9c2 rolled back: latency")
    texts = [s.text for s in found.shapes if isinstance(s, Text)]
    for wanted in ("Fail", "shop/checkout 7f9c2", "errors: share of requests that failed", "odds", "canary's share of the traffic"):
        assert wanted in texts
    assert any(t.startswith("latency: requests by duration") for t in texts)
    assert any(t.startswith("rolled back from 100 : 1") for t in texts)
    for shape in found.shapes:
        for x, y in [shape.at] if isinstance(shape, Text) else shape.points:
            assert 0 <= x <= found.width and 0 <= y <= found.height


def test_svg_is_well_formed_and_text_cannot_leave_it() -> None:
    """Names come from annotations: none of them becomes an element or an attribute."""
    drawn = svg(Picture(width=9, height=9, title='"><script>x</script>\x00', shapes=(Text(at=(1, 1), text="<b>&\x1b\"'"),)))
    root = ET.fromstring(drawn)
    assert [e.tag.rpartition("}")[2] for e in root.iter()] == ["svg", "text"]
    assert root[0].text == "<b>&\"'"


def test_png_is_an_image_of_the_same_size_with_the_same_colours() -> None:
    """Twice as dense; transparent areas let what is under them through, at the edge of the page as well."""
    shapes = (box(0, 0, 20, 10, "#ffffff"), box(-5, 0, 10, 10, "#0000ff", 0.5), Text(at=(15, 8), text="x", anchor="middle"))
    image = Image.open(io.BytesIO(png(Picture(width=20, height=10, title="t", shapes=shapes))))
    assert image.size == (40, 20)
    assert image.getpixel((5, 5)) == pytest.approx((128, 128, 255), abs=2)
    assert image.getpixel((39, 0)) == (255, 255, 255)
    assert image.convert("L").crop((24, 8, 36, 18)).histogram()[:120] != [0] * 120


@pytest.mark.parametrize("high", [0.002, 0.0137, 1.0, 62.5, 100.0])
def test_ticks_are_round_and_within_the_axis(high: float) -> None:
    """Whatever the numbers are."""
    found = steps(0.0, high)
    assert 3 <= len(found) <= 6
    assert found[0] == 0 and found[-1] <= high * 1.000001


def test_what_lies_outside_is_drawn_at_the_edge() -> None:
    """An interval of 0 to 100 % does not leave its panel."""
    frame = Frame(left=10, top=10, right=20, bottom=30, x=(0, 1), y=(0, 1))
    assert frame.at(5, -3) == (20, 30)
