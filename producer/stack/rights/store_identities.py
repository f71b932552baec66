"""Who may do what at the store: one identity a role, each with a policy document.

A role gets policies and never SeaweedFS's own actions, of which ``Write`` also permits DELETE.
SeaweedFS knows no condition on ``If-None-Match``, so that a role that may create a name may also
overwrite it: a policy says which names, and that the first writer wins is the code's affair.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from producer.stack.object_rights import allow
from producer.stack.rights.broker_users import ADMIN
from producer.stack.roles import Role, working_roles
from shared.settings import Settings

_ALL = ["Admin", "Read", "Write", "List", "Tagging"]

KeyPair = tuple[str, str]


def s3_config(
    credentials: Mapping[str, KeyPair],
    state: str = Settings.model_fields["state_bucket"].default,
    models: str = Settings.model_fields["models_bucket"].default,
) -> str:
    """SeaweedFS's configuration. ``credentials``: access and secret key by role, and ``admin``'s.

    Raises KeyError for a name that no role with rights at the store has.
    """
    policies = store_policies(state, models)
    identities: list[dict[str, Any]] = []
    for name, (access_key, secret_key) in credentials.items():
        keys = [{"accessKey": access_key, "secretKey": secret_key}]
        may = {"actions": _ALL} if name == ADMIN else {"policyNames": [name]}
        identities.append({"name": name, "credentials": keys, **may})
    documents = [
        {"name": name, "content": json.dumps(policies[name])}
        for name in credentials
        if name != ADMIN
    ]
    return json.dumps({"identities": identities, "policies": documents}, indent=1)


def store_policies(
    state: str = Settings.model_fields["state_bucket"].default,
    models: str = Settings.model_fields["models_bucket"].default,
) -> dict[str, dict[str, Any]]:
    """A policy document by role, as SeaweedFS and MinIO both understand it."""
    return {role.name: _policy(role, state, models) for role in working_roles()}


def _policy(role: Role, state: str, models: str) -> dict[str, Any]:
    quarantine = allow("PutObject", f"{{state}}/quarantine/{role.name}/*")
    rights = (*role.object_rights, quarantine)
    statements = [right.statement(state, models) for right in rights]
    return {"Version": "2012-10-17", "Statement": statements}
