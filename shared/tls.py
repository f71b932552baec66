"""Whom encrypted connections trust: the public authorities, and ``ca_file``.

A certificate is always verified, and so is the name in it.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import certifi

from shared.errors import UsageError


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """For Python's own connections. Raises UsageError ``bad_ca_file``."""
    context = ssl.create_default_context(cafile=_public())
    if ca_file is not None:
        context.load_verify_locations(cadata=certificates(ca_file))
    return context


def certificates(ca_file: Path) -> str:
    """The PEM text of ``ca_file``. Raises UsageError ``bad_ca_file`` where that is none."""
    try:
        text = ca_file.read_text()
        ssl.create_default_context(cadata=text)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        reason = "there is none" if isinstance(error, ssl.SSLError | ValueError) else error.strerror
        raise UsageError(
            "bad_ca_file",
            f"Cannot read the certificates in {ca_file}: {reason}.",
            "Name a PEM file of the authority that signed the server's certificate.",
        ) from error
    return text


def redis_options(url: str, ca_file: Path | None) -> dict[str, Any]:
    """What redis-py and kombu need beside ``rediss://``, for which kombu would verify nothing."""
    if not url.startswith("rediss://"):
        return {}
    options = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
    return {**options, "ssl_ca_certs": _trusted(ca_file)}


def amqp_options(url: str, ca_file: Path | None) -> dict[str, Any]:
    """What py-amqp and kombu need beside ``amqps://``, for which they would verify nothing."""
    if not url.startswith("amqps://"):
        return {}
    return {
        "cert_reqs": ssl.CERT_REQUIRED,
        "ca_certs": _trusted(ca_file),
        "server_hostname": urlsplit(url).hostname,
    }


def _trusted(ca_file: Path | None) -> str:
    if ca_file is None:
        return _public()
    certificates(ca_file)
    return str(ca_file)


def _public() -> str:
    return os.environ.get("SSL_CERT_FILE") or certifi.where()
