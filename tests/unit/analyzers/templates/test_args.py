"""Args and paths: what is filled in, what is refused by name, and what is never shown."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers.templates import args, paths
from analyzers.templates.errors import ArgError, PathError
from analyzers.templates.functions import Absent

METRIC = {"query": 'rate(errors{service="{{args.service}}"}[{{ args.window }}])', "headers": [{"key": "X", "value": "{{args.token}}"}]}


def test_placeholders_are_filled_in_everywhere() -> None:
    """With and without blanks, in lists and mappings."""
    filled = args.fill(METRIC, {"service": "web", "window": "1m", "token": "s3cret"})
    assert filled == {"query": 'rate(errors{service="web"}[1m])', "headers": [{"key": "X", "value": "s3cret"}]}


def test_a_value_is_never_read_as_a_placeholder_again() -> None:
    """A tenant's value cannot pull the platform's token into the tenant's own address."""
    assert args.fill("http://{{args.host}}/", {"host": "{{args.token}}", "token": "s3cret"}) == "http://{{args.token}}/"


def test_an_unknown_arg_is_refused_with_its_name_and_the_way_out() -> None:
    """Misspelt by the release: the nearest right name is said."""
    assert args.mismatched("smoke", {"service": False, "window": True}, ["servise"]) == [
        "template smoke has no arg 'servise': did you mean service? (spec.args of the template declares them)",
        "arg 'service' of template smoke has no value: give it one in `args`, or a default in the template",
    ]


def test_a_template_that_uses_what_it_does_not_declare_is_refused() -> None:
    """And so is a placeholder of another tool that nobody filled in."""
    assert args.undeclared(["service", "window", "token"], METRIC) == []
    found = args.undeclared(["service"], {**METRIC, "other": "{{ .Values.x }}"})
    assert [f for f in found if "{{args.token}}" in f]
    assert [f for f in found if "{{args.window}}" in f]
    assert [f for f in found if "{{.Values.x}}" in f]


def test_a_missing_value_is_an_error() -> None:
    """Nothing is measured with a placeholder in it."""
    with pytest.raises(ArgError, match="arg 'token' has no value: there are: service"):
        args.fill("{{args.token}}", {"service": "web"})


def test_secrets_are_blotted_out() -> None:
    """One within another leaves nothing behind; a very short one is not hidden, since half of every text would go."""
    assert args.blot("token abcdef and abcd", ["abcd", "abcdef", "a"]) == "token *** and ***"


@given(secret=st.text(alphabet="abc123-", min_size=4, max_size=20), before=st.text(max_size=20), after=st.text(max_size=20))
def test_no_secret_is_ever_left(secret: str, before: str, after: str) -> None:
    """Whatever stands around it."""
    assert secret not in args.blot(f"{before}|{secret}|{after}", [secret])


@pytest.mark.parametrize(("value", "least", "expected"), [("3", 0, 3), (5, 1, 5), ("-1", -1, -1)])
def test_a_count_may_come_from_an_arg(value: Any, least: int, expected: int) -> None:
    """`count: "{{args.count}}"` is a number once it is filled in."""
    assert args.whole_number(value, "count", least=least) == expected


@pytest.mark.parametrize("value", ["many", "1.5", "-2", "99999999"])
def test_a_count_that_is_none_is_named(value: str) -> None:
    """With its field and its value."""
    with pytest.raises(ArgError, match="count is"):
        args.whole_number(value, "count", least=1)


ANSWER = {"data": {"ok": True, "a b": 1}, "items": [{"v": 1}, {"v": 2}], "nothing": None, "empty": []}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("{$.data.ok}", True),
        ("{.data.ok}", True),
        ("$.data.ok", True),
        ("data.ok", True),
        ("{$.data['a b']}", 1),
        ('{$["data"].ok}', True),
        ("{.items[0].v}", 1),
        ("{.items[-1].v}", 2),
        ("{.items[*].v}", [1, 2]),
        ("{$}", ANSWER),
        ("", ANSWER),
        ("{.nothing}", None),
    ],
)
def test_a_path_leads_to_its_value(path: str, expected: Any) -> None:
    """The forms that templates use."""
    assert paths.follow(paths.parse(path), ANSWER) == expected


@pytest.mark.parametrize("path", ["{.nothing.deeper}", "{.empty[0]}", "{.nothing[*]}"])
def test_null_and_empty_on_the_way_are_no_data(path: str) -> None:
    """The service has nothing to say yet."""
    with pytest.raises(Absent):
        paths.follow(paths.parse(path), ANSWER)


@pytest.mark.parametrize("path", ["{.data.okay}", "{.items[7]}", "{.data[0]}", "{.data.ok.deeper}", "{.data.ok[*]}"])
def test_another_shape_is_an_error(path: str) -> None:
    """A renamed field is the template's fault or the service's, and no judgement on the release."""
    with pytest.raises(PathError, match="the answer has"):
        paths.follow(paths.parse(path), ANSWER)


@pytest.mark.parametrize(("path", "at"), [("{$..ok}", "3"), ("{.items[?(@.v==1)]}", "8"), ("{.a b}", "4"), ("{$.}", "3")])
def test_a_path_that_cannot_be_read_names_the_place(path: str, at: str) -> None:
    """Filters and recursion are not in it."""
    with pytest.raises(PathError, match=f"at character {at}"):
        paths.parse(path)


def test_an_endless_path_is_refused() -> None:
    """Bounded like every text of a template."""
    with pytest.raises(PathError, match="more than 512"):
        paths.parse(".a" * 400)
