"""Faults in the judge and in what it counts: each would blame the innocent, trust the guilty, or invent evidence."""

from __future__ import annotations

from tests.mutants.model import Mutant

_RATIO = "tests/unit/analyzers/test_ratio.py"
_JUDGE = "tests/unit/analyzers/test_judge.py"
_SERIES = "tests/unit/analyzers/test_series.py"

MUTANTS = (
    Mutant(
        name="no-cap",
        protects="judge: cap per tick",
        path="analyzers/stats/mixture.py",
        old="self._logs = self._logs + np.minimum(bets / phi, cap)",
        new="self._logs = self._logs + bets / phi",
        test=f"{_RATIO}::test_no_tick_adds_more_than_the_cap",
    ),
    Mutant(
        name="no-dispersion",
        protects="judge: clumped errors",
        path="analyzers/stats/mixture.py",
        old="self._logs = self._logs + np.minimum(bets / phi, cap)",
        new="self._logs = self._logs + np.minimum(bets, cap)",
        test=f"{_RATIO}::test_dispersion_makes_every_bet_more_careful",
    ),
    Mutant(
        name="nan-is-a-count",
        protects="judge: sound counts",
        path="analyzers/stats/ratio.py",
        old="    return all(math.isfinite(v) and v >= 0 for v in values) and n_c > 0 and n_b > 0 and phi >= 1.0\n",
        new="    return True\n",
        test=f"{_RATIO}::test_unusable_counts_change_no_evidence",
    ),
    Mutant(
        name="no-calm",
        protects="judge: calm baseline",
        path="analyzers/stats/calm.py",
        old="        return errors <= allowed + 3.0 * math.sqrt(phi * (allowed + 1.0))\n",
        new="        return True\n",
        test="tests/unit/analyzers/test_judge_acceptance.py::test_no_good_news_is_gathered_while_the_baseline_is_sick",
    ),
    Mutant(
        name="no-settle",
        protects="judge: settle",
        path="analyzers/judge.py",
        old="settled = tick.settled and not self._within(self._s.changed_index, self._config.settle_scrapes)",
        new="settled = tick.settled",
        test=f"{_JUDGE}::test_ticks_around_a_change_of_weight_belong_to_nobody",
    ),
    Mutant(
        name="no-warm-up",
        protects="judge: warm-up",
        path="analyzers/judge.py",
        old="warm = tick.warm and self._past_warm_up(tick)",
        new="warm = True",
        test=f"{_JUDGE}::test_the_warm_up_listens_to_an_outage_only",
    ),
    Mutant(
        name="a-failed-verdict-is-taken-back",
        protects="judge: a crossing is final",
        path="analyzers/judge.py",
        old="            self._set(failed=True)\n",
        new="            pass\n",
        test=f"{_JUDGE}::test_a_bad_canary_is_rolled_back_for_good",
    ),
    Mutant(
        name="a-late-regression-is-promoted",
        protects="judge: still gains",
        path="analyzers/stats/combine.py",
        old="p.log_e < need or p.recent_gain < 0.0 or p.recent_ticks < least_recent_ticks",
        new="p.log_e < need",
        test="tests/unit/analyzers/test_judge_acceptance.py::test_a_regression_at_the_end_of_the_bake_is_not_promoted",
    ),
    Mutant(
        name="data-problems-do-not-hold",
        protects="P4 no data is not fine",
        path="analyzers/judge.py",
        old="reasons: list[Reason] = [say.problem(p) for p in tick.problems]",
        new="reasons: list[Reason] = []",
        test=f"{_JUDGE}::test_a_problem_with_the_data_holds_and_is_named",
    ),
    Mutant(
        name="newborn-series-are-dropped",
        protects="series: newborn",
        path="analyzers/series.py",
        old="return new.value if watched or young else 0.0",
        new="return 0.0",
        test=f"{_SERIES}::test_a_newborn_error_series_counts_from_its_first_event",
    ),
    Mutant(
        name="an-unknown-pod-s-past-counts",
        protects="series: base",
        path="analyzers/series.py",
        old="return new.value if watched or young else 0.0",
        new="return new.value",
        test=f"{_SERIES}::test_the_first_sample_of_an_unknown_pod_is_only_a_base",
    ),
    Mutant(
        name="one-arm-goes-ahead",
        protects="series: same time",
        path="analyzers/series.py",
        old="        waiting = [a for a in late if self._absent[a] <= LATE_TICKS]\n",
        new="        waiting: list[str] = []\n",
        test=f"{_SERIES}::test_both_arms_of_a_tick_cover_the_same_time",
    ),
    Mutant(
        name="sums-over-pods-are-counted",
        protects="series: aggregated",
        path="analyzers/series.py",
        old='    if not labels.get("pod") and not labels.get("instance"):\n',
        new='    if labels.get("pod") == "none":\n',
        test=f"{_SERIES}::test_a_sum_over_pods_is_refused_with_the_reason",
    ),
    Mutant(
        name="an-edited-log-is-believed",
        protects="P7 replay",
        path="analyzers/evidence.py",
        old="    if log.digest != _digest(log.config, log.base, log.entries):\n",
        new='    if log.digest == "none":\n',
        test="tests/unit/analyzers/test_evidence.py::test_an_edited_log_is_refused",
    ),
    Mutant(
        name="a-partial-answer-is-whole",
        protects="sources: warnings",
        path="analyzers/sources/prometheus.py",
        old="    if answer.warnings:\n",
        new="    if answer.warnings is None:\n",
        test="tests/unit/analyzers/test_sources.py::test_warnings_make_an_answer_partial",
    ),
    Mutant(
        name="credentials-in-the-repr",
        protects="secrets",
        path="analyzers/sources/prometheus.py",
        old='return f"PrometheusOptions(url={self.url!r})"',
        new='return f"PrometheusOptions(url={self.url!r}, bearer_token={self.bearer_token!r}, password={self.password!r})"',
        test="tests/unit/analyzers/test_sources.py::test_credentials_go_in_headers_and_nowhere_else",
    ),
)
