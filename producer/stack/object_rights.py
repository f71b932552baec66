"""What a role may do with objects, in the terms of S3 policies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Action = Literal["ListBucket", "GetObject", "PutObject", "DeleteObject"]


@dataclass(frozen=True, slots=True)
class ObjectRight:
    """One statement of a policy.

    ``names``: patterns of ``BUCKET/KEY``, or of buckets where the action is a listing. ``{state}``
    and ``{models}`` stand for the names of those buckets.
    ``all_but``: it is about every object except the named ones.
    ``prefix``: of a listing: ``StringLike`` or ``StringNotLike``, and the pattern of the prefix.
    """

    effect: Literal["Allow", "Deny"]
    action: Action
    names: tuple[str, ...]
    all_but: bool = False
    prefix: tuple[str, str] | None = None

    def statement(self, state: str, models: str) -> dict[str, Any]:
        """As the policy document says it."""
        names = [name.format(state=state, models=models) for name in self.names]
        statement: dict[str, Any] = {
            "Effect": self.effect,
            "Action": [f"s3:{self.action}"],
            "NotResource" if self.all_but else "Resource": [f"arn:aws:s3:::{n}" for n in names],
        }
        if self.prefix is not None:
            operator, pattern = self.prefix
            statement["Condition"] = {operator: {"s3:prefix": [pattern]}}
        return statement


def allow(action: Action, *names: str, prefix: str | None = None) -> ObjectRight:
    """``prefix``: listings of such prefixes only."""
    return ObjectRight("Allow", action, names, prefix=("StringLike", prefix) if prefix else None)


def allow_all_but(action: Action, *names: str) -> ObjectRight:
    """Everything but these: to SeaweedFS not even ``*`` matches a key with a newline."""
    return ObjectRight("Allow", action, names, all_but=True)


def deny(action: Action, *names: str, all_but_prefix: str | None = None) -> ObjectRight:
    """``all_but_prefix``: listings of such prefixes are not refused."""
    prefix = ("StringNotLike", all_but_prefix) if all_but_prefix else None
    return ObjectRight("Deny", action, names, prefix=prefix)
