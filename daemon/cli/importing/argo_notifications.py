"""The notification ConfigMap of Argo Rollouts: each service becomes a Notifier whose Secret a person has to fill."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from daemon.cli.importing.draft import Draft
from daemon.cli.importing.ledger import Ledger
from daemon.cli.importing.peers import Peers

NAME: Final = "argo-rollouts-notification-configmap"
_WORDS: Final = {
    "template": "Linnet's messages are one sentence with the reason and the figures; there is nothing to write",
    "trigger": "events are chosen in the Canary or its profile: notify[].events",
    "subscriptions": "name the Notifier in a profile's notify: every Canary of the profile has it",
    "context": "has no counterpart: messages name the namespace, the Canary and the revision",
}


def convert(ledger: Ledger, _: Peers) -> Iterator[Draft]:
    """One Notifier for each service."""
    top = ledger.cursor()
    for key in top.at("data").value or {}:
        word, service = (*str(key).split(".", 1), "")[:2]
        here = top.at("data", key)
        if word != "service" or not service:
            here.lost(_WORDS.get(word, _WORDS["context"]))
            continue
        name = service.lower().replace(".", "-")
        here.differs(f"write the address of a webhook, or apprise's, into a Secret {name} with the key url: a token alone is not enough")
        made = Draft("Notifier", name, top.at("metadata", "namespace").value)
        made.put("spec.urlSecretRef", {"name": name, "key": "url"}, here)
        yield made
