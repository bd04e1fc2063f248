"""Faults in the webhook that holds before Kubernetes 1.36: what it is asked, what it answers, what it is trusted by."""

from __future__ import annotations

from tests.mutants.model import Mutant

_KEYRING = "tests/unit/web/test_keyring.py"
_ANSWERS = "tests/unit/web/test_webhook.py"
_TURNED = "Ring(ring.next, following, _bundle([ring.next.certificate, following.certificate, *before]))"

MUTANTS = (
    Mutant(
        name="the-webhook-forgets-conditions",
        protects="the owner's own pause",
        path="charts/linnet/templates/_policies.tpl",
        old="    {{- toYaml $object.spec.matchConditions | nindent 4 }}\n",
        new="    {{- toYaml (slice $object.spec.matchConditions 0 3) | nindent 4 }}\n",
        test="tests/unit/chart/test_templates.py::test_the_webhook_has_the_conditions_of_the_policies",
    ),
    Mutant(
        name="a-manifest-without-the-mark-ends-the-adoption",
        protects="the hold does not leak",
        path="daemon/web/webhook.py",
        old="    canary = old.annotation(names.CANARY_MARK) if canary is None else canary\n",
        new="",
        test=f"{_ANSWERS}::test_a_manifest_without_the_mark_stays_adopted",
    ),
    Mutant(
        name="a-large-deployment-is-not-read",
        protects="the hold does not leak",
        path="daemon/web/webhook.py",
        old="web.Application(client_max_size=LARGEST)",
        new="web.Application()",
        test=f"{_ANSWERS}::test_the_largest_objects_are_read",
    ),
    Mutant(
        name="the-next-certificate-is-not-told-before-it-serves",
        protects="rotation without a gap",
        path="daemon/web/keyring.py",
        old=_TURNED,
        new=_TURNED.replace("following.certificate, ", ""),
        test=f"{_KEYRING}::test_over_ten_years_no_handshake_fails",
    ),
    Mutant(
        name="the-certificate-before-is-trusted-no-more",
        protects="rotation without a gap",
        path="daemon/web/keyring.py",
        old=_TURNED,
        new=_TURNED.replace(", *before", ""),
        test=f"{_KEYRING}::test_over_ten_years_no_handshake_fails",
    ),
)
