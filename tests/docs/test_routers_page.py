"""The page of routers says what the suite tries, and nothing else."""

from tests.dataplanes.table import PAGE, page


def test_the_page_of_routers_is_what_the_suite_tries() -> None:
    """Run `python -m tests.dataplanes.table` after a change of either."""
    assert PAGE.read_text(encoding="utf-8") == page()
