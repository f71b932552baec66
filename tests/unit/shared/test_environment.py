"""What the user's shell may say, and to whom."""

from __future__ import annotations

import ast
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from celery.app.defaults import SETTING_KEYS

from producer.stack.containers.compose import environment as dockers_environment
from shared import environment
from shared.broker.celery_app import make_app
from shared.environment import CHOSEN, PASSED, settled, user_variable, with_user_variables
from shared.settings import PROJECT_ROOT
from tests.support import samples
from tests.support.hostile_shell import read_by, variables
from tools.install import command_text

ADDRESS = "127.0.0.1:9"
# What Celery and Flower go by, as a process of ours has it.
CONFIGURATION = """
from shared.environment import settle
settle()
import json, sys
from pathlib import Path
from flower.command import apply_env_options
from tornado.options import options
from shared.broker.celery_app import make_app
from tests.support import samples
apply_env_options()
app = make_app(samples.settings(Path("/nowhere")))
names = ("broker_url", "broker_read_url", "broker_write_url", "result_backend")
flower = {name: value for name, value in options.as_dict().items() if name != "cookie_secret"}
print(json.dumps([
    {name: str(value) for name, value in sorted(app.conf.items())},
    {name: getattr(app.conf, name) for name in names},
    [app.connection_for_read().as_uri(True), app.connection_for_write().as_uri(True)],
    [type(app.loader).__name__, str(app.fixups)],
    {name: str(value) for name, value in sorted(flower.items())},
]))
"""
# A process that may raise no limit, and one that may.
OPEN_FILES = """
import os, resource, sys
from producer.stack.local.open_files import allow_open_files
from shared.errors import HeadraceError
resource.setrlimit(resource.RLIMIT_NOFILE, tuple(map(int, sys.argv[1:])))
if os.getuid() == 0:
    os.setgroups([])
    os.setresuid(65534, 65534, 65534)
try:
    allow_open_files()
except HeadraceError as error:
    sys.exit(str(error))
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def python(
    *arguments: str, shell: dict[str, str], check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run Python from the project with a few plain variables and those of ``shell``."""
    plain = {name: value for name, value in os.environ.items() if name in ("HOME", "PATH")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=PROJECT_ROOT,
        env={**plain, **shell},
        capture_output=True,
        text=True,
        check=check,
        timeout=60,
    )


def test_celery_and_flower_are_configured_by_us_alone(tmp_path: Path) -> None:
    every = variables(ADDRESS, tmp_path)
    # With those, the process starts again.
    without_pythons = {name: every[name] for name in every if not name.startswith("PYTHON")}
    ours = json.loads(python("-c", CONFIGURATION, shell={}).stdout)
    for shell in (every, without_pythons):
        assert json.loads(python("-c", CONFIGURATION, shell=shell).stdout) == ours


def test_an_application_takes_nothing_from_celerys_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody has settled the environment before, too."""
    settings = samples.settings(tmp_path)
    plain = dict(make_app(settings).conf)
    assert {"CELERY_BROKER_URL", "CELERY_CONFIG_MODULE", "CELERY_LOADER"} <= read_by("celery")
    for name in {*read_by("celery"), *(f"CELERY_{name.upper()}" for name in SETTING_KEYS)}:
        if name.startswith("CELERY_"):
            monkeypatch.setenv(name, f"redis://{ADDRESS}/0")
    app = make_app(settings)
    assert dict(app.conf) == plain
    assert {app.conf.broker_url, app.conf.broker_read_url, app.conf.broker_write_url} == {
        settings.broker_url
    }


# Started with ``python -I`` and an environment of its own, and imports nothing of ours.
ISOLATED = PROJECT_ROOT / "workers" / "inference" / "class_host" / "host.py"
PROGRAMS = [
    path
    for side in ("producer", "workers", "shared")
    for path in sorted((PROJECT_ROOT / side).rglob("*.py"))
    if 'if __name__ == "__main__":' in path.read_text() and path != ISOLATED
]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: str(path.relative_to(PROJECT_ROOT)))
def test_every_program_settles_before_it_imports_a_library(path: Path) -> None:
    """Some libraries read their variables as they are imported."""
    imported: list[str] = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            imported += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported.append(str(node.module))
        elif "settle(" in ast.unparse(node):
            break
    else:
        pytest.fail("it does not settle")
    own = [name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names]
    assert own == ["shared.environment"]


def test_what_passes_is_known(tmp_path: Path) -> None:
    shell = {**variables(ADDRESS, tmp_path), **dict.fromkeys(PASSED, "theirs"), "HEADRACE_X": "x"}
    found = settled(shell)
    in_shell = {name for name in found if name.startswith("HEADRACE_SHELL_")}
    assert found.keys() == {*PASSED, *CHOSEN, "HEADRACE_X", *in_shell}
    assert {name: found[name] for name in CHOSEN} == CHOSEN
    # All but names of AWS and of proxies says nothing of where to connect.
    telling = ("_URL", "_URI", "ENDPOINT", "PROXY", "_HOST")
    assert {name for name in PASSED if any(part in name.upper() for part in telling)} == {
        *("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"),
        *("all_proxy", "http_proxy", "https_proxy", "no_proxy"),
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    }


def test_a_process_that_is_started_by_one_of_ours_has_the_same(tmp_path: Path) -> None:
    once = settled({"LANG": "de_DE", "FOO": "bar", "PATH": "/bin", "HEADRACE_X": "x"})
    assert settled(once) == once
    assert once["HEADRACE_SHELL_LANG"] == "de_DE"
    again = settled({**once, "LANG": "fr_FR", "FOO": "new", "HEADRACE_SHELL_PATH": "/stale"})
    assert again == {**once, "HEADRACE_SHELL_LANG": "fr_FR", "HEADRACE_SHELL_FOO": "new"}


def test_a_users_variable_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {**settled({"TOKEN": "t", "EMPTY": "", "HEADRACE_X": "x"})})
    assert user_variable("TOKEN") == "t"
    assert user_variable("EMPTY") == ""
    assert user_variable("NONE") is None
    os.environ["NONE"] = "as in a container"
    assert user_variable("NONE") == "as in a container"
    assert with_user_variables("TOKEN", "NO_SUCH")["TOKEN"] == "t"


@pytest.mark.parametrize("name", CHOSEN)
def test_what_we_choose_is_not_the_users(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", settled({}))
    assert user_variable(name) is None
    monkeypatch.setattr(os, "environ", settled({name: "mine"}))
    assert user_variable(name) == "mine"


@pytest.mark.parametrize(
    "name", ["HEADRACE_X", "HEADRACE_SHELL_TOKEN", "HEADRACE_SHELL_HEADRACE_X"]
)
def test_what_is_ours_cannot_be_asked_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"HEADRACE_X": "secret", name: "secret"})
    assert user_variable(name) is None


def test_large_variables_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    many = {f"MANY_{number}": "x" * (32 << 10) for number in range(60)}
    found = settled({**many, "TOO_LARGE": "x" * ((32 << 10) + 1), "SMALL": "x"})
    assert "HEADRACE_SHELL_TOO_LARGE" not in found
    assert found["HEADRACE_SHELL_SMALL"] == "x"
    assert sum(map(len, found.values())) <= 257 << 10
    assert 1 < sum(name.startswith("HEADRACE_SHELL_MANY_") for name in found) < len(many)


def test_python_starts_again_without_the_users_variables(tmp_path: Path) -> None:
    code = "from shared.environment import settle; settle(); import os, sys; "
    code += "print(os.environ.get('PYTHONWARNINGS'), sys.warnoptions, sys.flags.optimize, sys.path)"
    shell = {"PYTHONWARNINGS": "error", "PYTHONOPTIMIZE": "2", "PYTHONPATH": str(tmp_path)}
    said = python("-c", code, shell=shell).stdout
    assert said.startswith("None [] 0 ")
    assert str(tmp_path) not in said


SAY = "from shared.environment import settle; settle(); import os, sys; "
SAY += "print(sys.getfilesystemencoding(), 'HEADRACE_RESTARTED' in os.environ, len(sys.argv))"


@pytest.mark.parametrize("options", [[], ["-I"]], ids=["plain", "isolated"])
def test_paths_are_utf_8_whatever_the_locale(options: list[str]) -> None:
    # As Python starts where the locale is of another encoding.
    options = [*options, "-X", "utf8=0", "-c"]
    shell = {"LC_ALL": "C"}
    code = "import sys; print(sys.getfilesystemencoding())"
    assert python(*options, code, shell=shell).stdout == "ascii\n"
    code = f"import sys; sys.path.insert(0, {str(PROJECT_ROOT)!r}); {SAY}"
    assert python(*options, code, "x", shell=shell).stdout == "utf-8 False 2\n"


def test_python_starts_again_once(tmp_path: Path) -> None:
    """Even where something sets a variable at every start."""
    starts = tmp_path / "starts"
    before = f"open({str(starts)!r}, 'a').write('x'); import os; os.environ['PYTHONX'] = 'x'; "
    assert python("-c", before + SAY, shell={}).stdout == "utf-8 False 1\n"
    assert starts.read_text() == "xx"


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_a_program_on_standard_input_does_not_start_again(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *arguments],
        input=SAY,
        env={"PYTHONWARNINGS": "error", "PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "utf-8 False 1\n", done.stderr


def test_the_command_never_sees_modules_that_stand_for_ours(tmp_path: Path) -> None:
    command = tmp_path / "headrace"
    command.write_text(command_text(Path(sys.executable)))
    command.chmod(0o755)
    for name in ("producer", "shared", "redis", "typer"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('hostile')")
    shell = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": "/nowhere", "PATH": os.environ["PATH"]}
    assert " -X utf8 " in command.read_text()
    done = subprocess.run(
        [command, "--version"], env=shell, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "0.1.0"


@pytest.mark.parametrize("arguments", [[], ["PYTHON_IMAGE=mine"]], ids=["shell", "make"])
def test_make_passes_on_which_image_to_build_on(arguments: list[str]) -> None:
    told = subprocess.run(
        ["make", "--silent", "--file", "Makefile", "--file", "-", *arguments, "told"],
        input="told:\n\t@env\n",
        cwd=PROJECT_ROOT,
        env={"PATH": os.environ["PATH"], "PYTHON_IMAGE": "mine", "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.splitlines()
    assert "PYTHON_IMAGE=mine" in told
    assert "PYTHONWARNINGS=error" not in told


@pytest.mark.parametrize("name", environment.PIP)
def test_pip_goes_where_its_user_says_and_puts_nothing_elsewhere(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = {name: "mine", "PIP_TARGET": "/elsewhere", "PIP_USER": "1", "PIP_PREFIX": "/elsewhere"}
    monkeypatch.setattr(os, "environ", settled(shell))
    told = with_user_variables(*environment.PIP)
    assert told[name] == "mine"
    assert [variable for variable in told if variable.startswith("PIP_") and variable != name] == []


def test_docker_is_told_where_it_is_and_not_what_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = {
        "DOCKER_HOST": "unix:///mine",
        "AWS_ACCESS_KEY_ID": "mine",
        "DOCKER_DEFAULT_PLATFORM": "mine",
        "HEADRACE_STAGING_MIB": "64",
        **dict.fromkeys(("COMPOSE_FILE", "COMPOSE_PROJECT_NAME", "COMPOSE_ENV_FILES"), "theirs"),
        **dict.fromkeys(("HEADRACE_FILES", "HEADRACE_USER", "BUILDKIT_HOST"), "theirs"),
    }
    monkeypatch.setattr(os, "environ", settled(shell))
    told = dockers_environment()
    assert "theirs" not in {value for name, value in told.items() if "_SHELL_" not in name}
    assert told["DOCKER_HOST"] == "unix:///mine"
    assert told["AWS_ACCESS_KEY_ID"] == told["DOCKER_DEFAULT_PLATFORM"] == "mine"
    assert told["HEADRACE_STAGING_MIB"] == "64"


def test_too_few_open_files_are_said_in_one_line() -> None:
    done = python("-c", OPEN_FILES, "256", "256", shell={}, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "A process may open 256 files here, and the stack needs 1024. "
        "Open another shell, type 'ulimit -n 1024' there, and run the command again."
    )


@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 4096, reason="the hard limit is below 4096 here"
)
def test_the_limit_of_open_files_is_raised_where_it_may_be() -> None:
    assert python("-c", OPEN_FILES, "256", "4096", shell={}).stdout.strip() == "1024"
    assert python("-c", OPEN_FILES, "2048", "4096", shell={}).stdout.strip() == "2048"
