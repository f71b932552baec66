"""Who may do what at the store: one identity a role, each with a policy document.

A role gets policies and never SeaweedFS's own actions, of which ``Write`` also permits DELETE.
SeaweedFS knows no condition on ``If-None-Match``, so that a role that may create a name may also
overwrite it: a policy says which names, and that the first writer wins is the code's affair.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from producer.stack.rights.broker_users import ADMIN
from shared.settings import Settings

_ALL = ["Admin", "Read", "Write", "List", "Tagging"]
# What a collector writes in an output folder, wherever that is.
_OUTPUTS = ("*/rows/part-*.parquet", "*/manifest.json", "*/_SUCCESS")

Keys = tuple[str, str]


def s3_config(
    credentials: Mapping[str, Keys],
    state: str = Settings.model_fields["state_bucket"].default,
    models: str = Settings.model_fields["models_bucket"].default,
) -> str:
    """SeaweedFS's configuration. ``credentials``: access and secret key by role, and ``admin``'s.

    Raises KeyError for a role that is none.
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
    statements = _statements(state, models)
    return {role: {"Version": "2012-10-17", "Statement": own} for role, own in statements.items()}


def _statements(state: str, models: str) -> dict[str, list[dict[str, Any]]]:
    job = f"{state}/jobs/*"
    list_jobs = _may("ListBucket", [state], {"StringLike": {"s3:prefix": ["jobs/*"]}})
    return {
        "producer": [
            _may("ListBucket", ["*"]),
            _deny("ListBucket", [models]),
            _deny("ListBucket", [state], {"StringNotLike": {"s3:prefix": ["jobs/*"]}}),
            _may("GetObject", [job, "*/rows/part-*.parquet"]),
            _may(
                "PutObject",
                [
                    *(f"{job}/manifest/*", f"{job}/stop-*.json", f"{job}/closed.json"),
                    _own(state, "producer"),
                ],
            ),
        ],
        "preprocess": [
            _may_all_but("GetObject", [f"{state}/*", f"{models}/*"]),
            _may("PutObject", [_own(state, "preprocess")]),
        ],
        "inference": [
            _may("GetObject", [f"{models}/*", f"{job}/engine-*.json"]),
            _may(
                "PutObject",
                [f"{job}/engine-*.json", f"{job}/stop-*.json", _own(state, "inference")],
            ),
        ],
        "collector": [
            list_jobs,
            _may("GetObject", [job, *(f"*/{name}" for name in _OUTPUTS)]),
            _may("PutObject", [f"{job}/chunks/*", f"{job}/closed.json"]),
            _may("DeleteObject", [f"{job}/chunks/*"]),
            _may("PutObject", [*(f"*/{name}" for name in _OUTPUTS), _own(state, "collector")]),
            _deny("PutObject", [f"{models}/*"]),
        ],
    }


def _own(state: str, role: str) -> str:
    return f"{state}/quarantine/{role}/*"


def _may(
    action: str, resources: Sequence[str], condition: dict[str, Any] | None = None
) -> dict[str, Any]:
    return _statement("Allow", action, resources, condition)


def _may_all_but(action: str, resources: Sequence[str]) -> dict[str, Any]:
    """Whatever is not named: no pattern of SeaweedFS's matches a key with a newline."""
    statement = _statement("Allow", action, resources, None)
    statement["NotResource"] = statement.pop("Resource")
    return statement


def _deny(
    action: str, resources: Sequence[str], condition: dict[str, Any] | None = None
) -> dict[str, Any]:
    return _statement("Deny", action, resources, condition)


def _statement(
    effect: str, action: str, resources: Sequence[str], condition: dict[str, Any] | None
) -> dict[str, Any]:
    statement: dict[str, Any] = {
        "Effect": effect,
        "Action": [f"s3:{action}"],
        "Resource": [f"arn:aws:s3:::{resource}" for resource in resources],
    }
    return {**statement, "Condition": condition} if condition else statement
