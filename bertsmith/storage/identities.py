"""What tells one run or one data folder from another, as its manifest keeps it; and what differs between two."""

import json
from typing import Any

from bertsmith.errors import quoted

SAYS_MOST = ("kind", "model", "protocol", "from_mnli")
"""Last parts of keys that others follow from."""


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return lines "key: before → after" for two identities (or two results of `json.loads` of one)."""
    before, after = (json.loads(json.dumps(side)) for side in (before, after))
    keys = sorted(before.keys() | after.keys(), key=lambda key: (key.rpartition(".")[2] not in SAYS_MOST, key))
    return [
        f"{key}: {quoted(before.get(key))} → {quoted(after.get(key))}"
        for key in keys
        if before.get(key) != after.get(key)
    ]


def as_written_now(before: dict[str, Any], after: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return the identity `before` with those keys of `after` that had no setting when it was written: such a run did
    what their defaults do. Without settings of other kinds, which earlier versions wrote too."""
    settings = {key: defaults[key] for key in after if key in defaults}
    return settings | {key: value for key, value in before.items() if key in after or key not in defaults}
