"""A shell in which every variable that a library of ours reads points at a listener."""

from __future__ import annotations

import re
import socket
import sysconfig
import threading
from pathlib import Path
from types import TracebackType

from celery.app.defaults import SETTING_KEYS
from tornado.options import options

from shared.environment import PASSED

# Python packages that the stack's processes import, or that come with those.
LIBRARIES = (
    *("amqp", "billiard", "celery", "certifi", "click", "flower", "kombu", "minio", "numpy"),
    *("onnxruntime", "openvino", "PIL", "prometheus_client", "psutil", "pyarrow", "pydantic"),
    *("pydantic_settings", "redis", "rich", "supervisor", "tornado", "torch", "torchvision"),
    *("typer", "tzlocal", "urllib3", "vine", "yaml"),
)
# What they read otherwise than by Python's ``os.environ``, or by a name that is put together.
MORE = (
    *("ARROW_DEFAULT_MEMORY_POOL", "BROKER_URL", "DJANGO_SETTINGS_MODULE", "REDIS_URL"),
    *("GLIBC_TUNABLES", "GODEBUG", "GOGC", "GOMAXPROCS", "MALLOC_ARENA_MAX", "WEED_MASTER_DEFAULT"),
    *("KMP_AFFINITY", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "OMP_SCHEDULE", "OPENBLAS_CORETYPE"),
    *("OMP_THREAD_LIMIT", "ORT_LOG_LEVEL", "OV_FRONTEND_PATH", "OPENVINO_LOG_LEVEL"),
    *("OTEL_EXPORTER_OTLP_ENDPOINT", "SUPERVISOR_SERVER_URL", "SUPERVISOR_ENABLED"),
    *("PIP_INDEX_URL", "PIP_REQUIRE_VIRTUALENV", "PIP_TARGET", "PIP_USER"),
    *("LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_NUMERIC", "LC_TIME"),
)
AWS = (
    *("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "TOKEN", "PROFILE", "CONFIG_FILE"),
    *("REGION", "DEFAULT_REGION", "ENDPOINT", "ENDPOINT_URL", "ENDPOINT_URL_S3", "CA_BUNDLE"),
    *("SHARED_CREDENTIALS_FILE", "WEB_IDENTITY_TOKEN_FILE", "ROLE_ARN", "ROLE_SESSION_NAME"),
    *("CONTAINER_AUTHORIZATION_TOKEN", "CONTAINER_AUTHORIZATION_TOKEN_FILE"),
    *("CONTAINER_CREDENTIALS_FULL_URI", "CONTAINER_CREDENTIALS_RELATIVE_URI"),
    *("METADATA_ENDPOINT", "ENDPOINT_URL_STS", "BUCKET", "BUCKET_NAME", "PROXY_URL"),
    *("ALLOW_HTTP", "ALLOW_INVALID_CERTIFICATES", "SKIP_SIGNATURE", "S3_EXPRESS"),
    *("VIRTUAL_HOSTED_STYLE_REQUEST", "UNSIGNED_PAYLOAD", "CHECKSUM_ALGORITHM"),
    *("CONDITIONAL_PUT", "COPY_IF_NOT_EXISTS", "REQUEST_PAYER", "SERVER_SIDE_ENCRYPTION"),
)
PROXIES = [name for name in PASSED if name.lower().endswith("_proxy") and "no" not in name.lower()]
# What Python itself reads, that leaves it able to start.
PYTHON = {
    "PYTHONWARNINGS": "error",
    "PYTHONINSPECT": "1",
    "PYTHONOPTIMIZE": "2",
    "PYTHONIOENCODING": "ascii",
    "PYTHONUTF8": "0",
    "PYTHONMALLOC": "debug",
    "PYTHONDEVMODE": "1",
    "PYTHONHASHSEED": "7",
    "PYTHONTRACEMALLOC": "1",
    "PYTHONBREAKPOINT": "nowhere.at_all",
}
# Where an address would not be understood, what does harm instead.
HARMFUL = {"FLOWER_UNAUTHENTICATED_API": "true", "FLOWER_READ_ONLY": "false"}
_READ = re.compile(r"(?:environ(?:\.get|\.pop|\.setdefault)?|getenv)\s*[(\[]\s*['\"](\w+)['\"]")


def read_by(library: str) -> set[str]:
    """The names that the Python sources of a package read from the environment."""
    root = Path(sysconfig.get_path("purelib"), library)
    assert root.is_dir(), library
    found: set[str] = set()
    for path in root.rglob("*.py"):
        found.update(_READ.findall(path.read_text(errors="replace")))
    return found


def variables(address: str, folder: Path) -> dict[str, str]:
    """All of them. ``address``: the listener's ``host:port``; ``folder``: for hostile modules."""
    import flower.options  # noqa: F401  defines the options

    names = {name for library in LIBRARIES for name in read_by(library)}
    names |= {*MORE, *PROXIES, *(f"AWS_{name}" for name in AWS)}
    names |= {f"CELERY_{name.upper()}" for name in SETTING_KEYS}
    names |= {f"FLOWER_{name.upper().replace('-', '_')}" for name in options._options}
    names -= PASSED - {*PROXIES} - {name for name in PASSED if name.startswith("AWS_")}
    names = {name for name in names if not name.startswith(("PYTHON", "HEADRACE_"))}
    url = {"CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL"}
    url |= {"CELERY_RESULT_BACKEND", "BROKER_URL", "REDIS_URL"}
    values = {name: f"{'redis' if name in url else 'http'}://{address}/0" for name in names}
    return {**values, **HARMFUL, **PYTHON, **_hostile_modules(address, folder)}


def _hostile_modules(address: str, folder: Path) -> dict[str, str]:
    """Modules in the place of libraries and of ours, which call the listener when imported."""
    host, _, port = address.partition(":")
    code = f"import socket\nsocket.create_connection(({host!r}, {port}))\nraise SystemExit(7)\n"
    names = ("redis", "celery", "supervisor", "typer", "pydantic", "celeryconfig", "flowerconfig")
    for name in names:
        (folder / f"{name}.py").write_text(code)
    startup = folder / "redis.py"
    return {"PYTHONPATH": str(folder), "PYTHONSTARTUP": str(startup)}


class Listener:
    """A TCP server that notes what is said to it first, and hangs up."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(2)
                try:
                    self.heard.append(connection.recv(200))
                except OSError:
                    self.heard.append(b"")
