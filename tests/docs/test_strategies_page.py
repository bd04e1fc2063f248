"""The page of strategies says what the cluster suite walks, and nothing else."""

from pathlib import Path

from tests.cluster.strategies import ELSEWHERE, PAGE, page


def test_the_page_of_strategies_is_what_the_suite_walks() -> None:
    """Run `python -m tests.cluster.strategies` after a change of the rows."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_the_tests_that_it_names_exist() -> None:
    """A test that was renamed would leave a claim that nothing holds."""
    folder = Path(__file__).parents[1]
    sources = [path.read_text(encoding="utf-8") for name in ("cluster", "dataplanes") for path in (folder / name).glob("test_*.py")]
    assert [test for test in ELSEWHERE.values() if not any(f"def {test}(" in text for text in sources)] == []
