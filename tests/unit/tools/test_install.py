import json
import re
import subprocess
import sys
from collections import namedtuple
from importlib.metadata import distribution

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from shared.settings import PROJECT_ROOT
from tools import install
from tools.install import GROUPS, STAMP, Refused, missing_groups

Usage = namedtuple("Usage", "total used free")
# What torch needs of CUDA differs by platform, so torch alone pins it.
UNPINNED = re.compile(r"nvidia-|cuda-|triton$|pip$")


def pins(group):
    lines = (PROJECT_ROOT / "requirements" / f"{group}.txt").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


@pytest.mark.parametrize("group", GROUPS)
def test_a_requirements_file_is_exact_versions_and_nothing_else(group):
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", pin) for pin in pins(group))
    names = [pin.split("==")[0] for pin in pins(group)]
    assert names == sorted(names)


def test_no_package_is_pinned_twice():
    names = [pin.split("==")[0] for group in GROUPS for pin in pins(group)]
    assert len(set(names)) == len(names)


def test_whatever_a_pinned_package_needs_is_pinned_with_it_or_before():
    pinned = set()
    for group in [group for group in GROUPS if group not in {"bench", "heic"}]:
        names = {pin.split("==")[0] for pin in pins(group)}
        pinned |= names
        for name in names:
            for line in distribution(name).requires or ():
                need = Requirement(line)
                if need.marker is None or need.marker.evaluate({"extra": ""}):
                    needed = canonicalize_name(need.name)
                    assert needed in pinned or UNPINNED.match(needed), f"{name} needs {needed}"


@pytest.fixture
def root(tmp_path):
    """A project whose environment is whole, as far as the stamp goes."""
    (tmp_path / "requirements").mkdir()
    for group in GROUPS:
        (tmp_path / "requirements" / f"{group}.txt").write_text(f"{group}==1\n")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    stamp = {group: install.group_key(tmp_path, group) for group in ("base", "inference")}
    stamp["environment"] = install.environment_key(tmp_path)
    (tmp_path / ".venv" / STAMP).write_text(json.dumps(stamp))
    return tmp_path


WANTED = ["base", "inference"]


def test_what_is_installed_is_not_missing(root):
    assert missing_groups(root, WANTED) == []
    assert missing_groups(root, [*WANTED, "dev"]) == ["dev"]


def test_changed_pins_are_missing(root):
    (root / "requirements" / "inference.txt").write_text("inference==2\n")
    assert missing_groups(root, WANTED) == ["inference"]
    (root / "pyproject.toml").write_text("[project]\nname='x'\n")
    assert missing_groups(root, WANTED) == WANTED


@pytest.mark.parametrize("damage", ["no stamp", "half a stamp", "moved", "no python", "python"])
def test_an_environment_that_is_not_whole_is_made_again(root, damage, monkeypatch):
    match damage:
        case "no stamp":
            (root / ".venv" / STAMP).unlink()
        case "half a stamp":
            (root / ".venv" / STAMP).write_text('{"base": ')
        case "moved":
            root = root.rename(root.with_name("elsewhere"))
        case "no python":
            (root / ".venv" / "bin" / "python").unlink()
        case "python":
            monkeypatch.setattr(install.platform, "python_version", lambda: "3.99.0")
    assert install.read_stamp(root) == {}
    assert missing_groups(root, WANTED) == WANTED


@pytest.fixture
def steps(monkeypatch):
    """Record the steps instead of taking them."""
    taken = []

    def step(command, **_):
        taken.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(install, "run", step)
    monkeypatch.setattr(install, "fetch", step)
    monkeypatch.setattr(install.subprocess, "run", step)
    return taken


def verbs(steps):
    return [next(word for word in step if word in VERBS) for step in steps]


VERBS = ("venv", "download", "install", "compileall")


def test_a_new_group_is_added_to_what_is_there(root, steps, tmp_path_factory):
    wheels = tmp_path_factory.mktemp("wheels")
    install.install(root, ["dev"], wheels)
    assert verbs(steps) == ["download", "install", "compileall"]
    assert missing_groups(root, [*WANTED, "dev"]) == []


def test_a_second_environment_is_made_without_the_network(
    root, steps, tmp_path_factory, monkeypatch
):
    wheels = tmp_path_factory.mktemp("wheels")
    install.install(root, WANTED, wheels)
    (root / ".venv" / STAMP).unlink()
    monkeypatch.setattr(install.shutil, "rmtree", lambda *_, **__: None)
    steps.clear()
    install.install(root, WANTED, wheels)
    assert verbs(steps) == ["venv", "install", "install", "compileall"]
    assert all("--no-index" in step for step in steps if "install" in step)


def test_an_install_that_fails_leaves_no_stamp(root, steps, monkeypatch, tmp_path):
    def fail(command):
        raise Refused("no network")

    monkeypatch.setattr(install, "fetch", fail)
    with pytest.raises(Refused):
        install.install(root, ["dev"], tmp_path)
    assert install.read_stamp(root) == {}


def test_checks_say_in_one_line_what_is_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr(install.shutil, "disk_usage", lambda _: Usage(0, 0, 10**9))
    with pytest.raises(Refused, match=r"Only 1\.0 GB are free"):
        install.check_machine(tmp_path)
    monkeypatch.setattr(install.platform, "machine", lambda: "sparc")
    with pytest.raises(Refused, match="No packages for Linux sparc"):
        install.check_machine(tmp_path)
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with pytest.raises(Refused, match="apt install python3-venv"):
        install.check_python()
    monkeypatch.setattr(install, "MIN_PYTHON", (99, 0))
    with pytest.raises(Refused, match="is too old"):
        install.check_python()


def test_an_unknown_group_is_an_error(capsys):
    assert install.main(["bse"]) == 1
    assert "No such group: bse" in capsys.readouterr().err
