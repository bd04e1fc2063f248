"""Faults at the edges: what users may write, whose sources they may use, their flags, the messages, the chart's policies."""

from __future__ import annotations

from tests.mutants.model import Mutant

_FLAGD = "tests/unit/flags/test_flagd.py"
_DARKLY = "tests/unit/flags/test_launchdarkly.py"

MUTANTS = (
    Mutant(
        name="any-namespace-uses-the-catalogue",
        protects="allowedNamespaces",
        path="daemon/api/sources.py",
        old="    return any(entry in (ALL, namespace) for entry in allowed or ())\n",
        new="    return True\n",
        test="tests/unit/api/test_kinds.py::test_the_catalogue_admits_only_named_namespaces",
    ),
    Mutant(
        name="what-is-not-built-is-accepted",
        protects="planned fields",
        path="daemon/api/validation.py",
        old="*structural_errors(kind, raw), *refuse_planned(kind, raw), *_name_errors(kind, raw)",
        new="*structural_errors(kind, raw), *_name_errors(kind, raw)",
        test="tests/unit/api/test_wrong_objects.py::test_a_wrong_object_is_refused_by_the_name_of_its_field",
    ),
    Mutant(
        name="an-address-in-the-repr",
        protects="secrets",
        path="daemon/notify/targets.py",
        old="    address: str = field(repr=False)\n",
        new="    address: str\n",
        test="tests/unit/notify/test_targets.py::test_an_address_is_recognised_and_its_label_shows_no_secret",
    ),
    Mutant(
        name="zero-leaves-one-percent",
        protects="P3 flags to 0",
        path="flags/flagd.py",
        old="rule_for(Desired(percent=0, gate=gate), seen.variants)",
        new="rule_for(Desired(percent=1, gate=gate), seen.variants)",
        test=f"{_FLAGD}::TestContract::test_zero_takes_the_flag_from_everybody_in_at_most_two_calls",
    ),
    Mutant(
        name="zero-takes-the-rule-away",
        protects="0 by percent, no delete",
        path="flags/flagd.py",
        old="return put_rule(seen.text, flag.key, rule_for(Desired(percent=0, gate=gate), seen.variants)), seen.mark",
        new="return restored(seen, original_from(flag, original_of(seen))), None",
        test=f"{_FLAGD}::TestContract::test_zero_works_whatever_people_did_and_again",
    ),
    Mutant(
        name="a-person-s-percent-is-written-over",
        protects="P8 no fight",
        path="flags/flagd.py",
        old="                    refuse_drift(seen, expected)\n            text",
        new="                    pass\n            text",
        test=f"{_FLAGD}::TestContract::test_a_percent_changed_by_a_person_is_drift_and_stays",
    ),
    Mutant(
        name="two-canaries-one-flag",
        protects="one owner a flag",
        path="flags/flagd.py",
        old="        if seen.mark is None or seen.mark == self._mark:\n",
        new="        if True:\n",
        test=f"{_FLAGD}::TestContract::test_a_second_canary_is_refused_and_changes_nothing",
    ),
    Mutant(
        name="anyone-lets-go-of-what-is-held",
        protects="un-pausing is Linnet's",
        path="charts/linnet/files/hold-policies.yaml",
        old="""      ? oldObject.metadata.annotations['linnet.dev/author'] : '')
  - name: not-linnet
""",
        new="""      ? oldObject.metadata.annotations['linnet.dev/author'] : '')
  - name: never
    expression: "false"
  - name: not-linnet
""",
        test="tests/sandbox/test_cluster.py::test_the_charts_policies_hold_a_new_template_and_only_linnet_lets_it_go",
    ),
    Mutant(
        name="nothing-is-held",
        protects="hold",
        path="charts/linnet/files/hold-policies.yaml",
        old="          spec: Object.spec{paused: true}\n",
        new="          spec: Object.spec{paused: false}\n",
        test="tests/sandbox/test_cluster.py::test_the_charts_policies_hold_a_new_template_and_only_linnet_lets_it_go",
    ),
    Mutant(
        name="the-chart-lists-secrets",
        protects="least rights",
        path="charts/linnet/templates/_rbac.tpl",
        old='- apiGroups: [""]\n  resources: [secrets]\n  verbs: [get]\n# Whether two versions',
        new='- apiGroups: [""]\n  resources: [secrets]\n  verbs: [get, list]\n# Whether two versions',
        test="tests/unit/chart/test_templates.py::test_rights_have_no_wildcard_and_never_list_secrets",
    ),
    Mutant(
        name="a-rule-behind-what-hides-it",
        protects="LaunchDarkly: beforeRuleId",
        path="flags/launchdarkly_rules.py",
        old='before = {} if hiding is None else {"beforeRuleId": hiding.id}',
        new="before: dict[str, str] = {}",
        test=f"{_DARKLY}::test_ours_stands_before_the_rule_that_would_hide_it",
    ),
    Mutant(
        name="percent-for-thousandths",
        protects="LaunchDarkly: weights are thousandths of a percent",
        path="flags/launchdarkly_rules.py",
        old="    weight = percent * (WHOLE // 100)\n",
        new="    weight = percent\n",
        test=f"{_DARKLY}::test_the_vendor_s_sdk_gives_20000_contexts_the_share",
    ),
    Mutant(
        name="a-service-that-ignores-writes-is-believed",
        protects="flags behind HTTP are read back",
        path="flags/generic.py",
        old="        if after.owner == self._mark and after.now == desired:\n",
        new="        if True:\n",
        test="tests/unit/flags/test_generic.py::test_a_service_that_takes_a_write_and_ignores_it_is_found_out",
    ),
    Mutant(
        name="a-few-evaluations-are-enough",
        protects="NoExposure is not said by chance",
        path="flags/usage.py",
        old="""    return Finding(found="Counting" if chance else "NoExposure", no""",
        new="""    return Finding(found="NoExposure" if chance is not None else "Counting", no""",
        test="tests/unit/flags/test_usage.py::test_what_counts_amount_to",
    ),
    Mutant(
        name="evaluations-from-before-count",
        protects="exposure is that of the change alone",
        path="daemon/control/flagusage.py",
        old="""        window.rows = rows
        return None
""",
        new="""        window.rows = ()
""",
        test="tests/unit/control/test_flagusage.py::test_a_flag_that_is_met_is_asked_for_until_that_is_clear",
    ),
    Mutant(
        name="usage-is-asked-at-rest",
        protects="no request without a release",
        path="daemon/control/flagusage.py",
        old="status.rollout is None or status.phase not in EXPOSED or",
        new="status.rollout is None or",
        test="tests/unit/control/test_flagusage.py::test_nothing_is_asked_where_nobody_should_meet_the_flag",
    ),
    Mutant(
        name="a-share-that-nobody-met-is-forgotten-at-the-next-step",
        protects="a promotion says what it does not prove",
        path="daemon/control/flagusage.py",
        old="""        return None  # too little to take back what was found at another share
""",
        new="""        pass
""",
        test="tests/unit/control/test_flagusage.py::test_what_was_found_stands_until_more_is_known",
    ),
    Mutant(
        name="a-late-event-is-missed",
        protects="drift of flags",
        path="flags/unleash_feed.py",
        old='event["id"] > min(known, default=0)]',
        new='event["id"] > max(known, default=0)]',
        test="tests/unit/flags/test_unleash_feed.py::test_an_event_that_was_numbered_early_and_committed_late_is_not_missed",
    ),
    Mutant(
        name="a-segment-changes-no-flag",
        protects="drift of flags",
        path="flags/unleash_feed.py",
        old="return Changes(cursor=cursor, flags=named, everything=everything)",
        new="return Changes(cursor=cursor, flags=named)",
        test="tests/unit/flags/test_unleash_feed.py::test_an_event_without_a_flag_may_concern_all",
    ),
    Mutant(
        name="an-empty-secret-lets-everybody-in",
        protects="news of flags",
        path="daemon/web/flagnews.py",
        old="return bool(secret) and hmac",
        new="return hmac",
        test="tests/unit/web/test_flag_news.py::test_nobody_is_let_in_without_the_secret",
    ),
    Mutant(
        name="a-mark-under-way-speaks-for-what-came-later",
        protects="news of flags",
        path="daemon/control/flagnews.py",
        old="if marking.began >= arrived:",
        new="if marking.began >= 0:",
        test="tests/unit/control/test_flag_news.py::test_all_that_arrive_while_a_mark_is_written_share_the_next",
    ),
    Mutant(
        name="news-are-not-read",
        protects="news of flags",
        path="daemon/control/flagging.py",
        old="_status(resolved, u.name), news)",
        new="_status(resolved, u.name))",
        test="tests/unit/control/test_flag_news.py::test_a_mark_has_the_flags_of_a_release_read_again",
    ),
    Mutant(
        name="a-segment-of-launchdarkly-changes-no-flag",
        protects="drift of flags",
        path="flags/launchdarkly_feed.py",
        old='frozenset({"proj", "env", "segment"})',
        new='frozenset({"proj", "env"})',
        test="tests/unit/control/test_launchdarkly_watch.py::test_a_segment_or_a_flood_has_every_flag_read",
    ),
)
