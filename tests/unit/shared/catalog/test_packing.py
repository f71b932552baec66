"""What is packed of a user's code: the modules beside the class that it may import, no others."""

from __future__ import annotations

import io
import os
import sys
import time
import warnings
import zipfile
from pathlib import Path

import pytest

from shared.catalog import packing
from shared.catalog.packing import PackedCode, pack_class
from shared.catalog.reading import Reader
from shared.errors import UsageError

CLASS = "class Own: ...\n"


def write(folder: Path, **sources: str) -> None:
    """Modules by their paths, without the ending."""
    for name, text in sources.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def pack(folder: Path, python_class: str = "own:Own") -> PackedCode:
    reader = Reader()
    code = pack_class(python_class, [folder], reader)
    reader.require_unchanged()
    return code


def modules(folder: Path, python_class: str = "own:Own") -> set[str]:
    return {name.removesuffix(".py") for name in pack(folder, python_class).modules}


def refused(folder: Path, python_class: str = "own:Own") -> str:
    with pytest.raises(UsageError) as caught:
        pack(folder, python_class)
    assert "\n" not in str(caught.value)
    return str(caught.value)


PACKAGE = {"pkg/__init__", "pkg/one", "pkg/two", "pkg/deep/__init__", "pkg/deep/leaf"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Modules of which nothing imports another."""
    folder = tmp_path / "mine"
    write(folder, own=CLASS, alone="", unused="")
    for name in PACKAGE:
        write(folder, **{name: ""})
    write(folder, **{"space/inner": "", "space/sub/far": "", "space/other": ""})
    return folder


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import alone", {"alone"}),
        ("import alone as a, os", {"alone"}),
        ("import pkg", {"pkg/__init__"}),
        ("import pkg.one", {"pkg/__init__", "pkg/one"}),
        ("import pkg.deep.leaf", {"pkg/__init__", "pkg/deep/__init__", "pkg/deep/leaf"}),
        ("from pkg import one", {"pkg/__init__", "pkg/one"}),
        ("from pkg import one as o, two", {"pkg/__init__", "pkg/one", "pkg/two"}),
        ("from pkg import something", {"pkg/__init__"}),
        ("from pkg import deep", {"pkg/__init__", "pkg/deep/__init__"}),
        ("from pkg.deep import leaf", {"pkg/__init__", "pkg/deep/__init__", "pkg/deep/leaf"}),
        ("from alone import something", {"alone"}),
        ("from alone import *", {"alone"}),
        ("from pkg import *", PACKAGE),
        ("import space.inner", {"space/inner"}),
        ("from space import inner", {"space/inner"}),
        ("from space.sub import far", {"space/sub/far"}),
        ("import space", set()),
        ("def f():\n    import alone", {"alone"}),
        ("class A:\n    def f(self):\n        from pkg import one", {"pkg/__init__", "pkg/one"}),
        ("if TYPE_CHECKING:\n    import alone", {"alone"}),
        ("try:\n    import cv3\nexcept ImportError:\n    import alone as cv3", {"alone"}),
        ("async def f():\n    while True:\n        import alone", {"alone"}),
        ("match 1:\n    case 1:\n        import alone", {"alone"}),
        ("import importlib\nimportlib.import_module('alone')", {"alone"}),
        ("import importlib as i\ni.import_module('pkg.one')", {"pkg/__init__", "pkg/one"}),
        ("from importlib import import_module\nimport_module('alone')", {"alone"}),
        ("from importlib import import_module as get\nget('alone')", {"alone"}),
        ("__import__('alone')", {"alone"}),
        ("import importlib\nimportlib.import_module('.one', 'pkg')", {"pkg/__init__", "pkg/one"}),
        ("import importlib\nimportlib.import_module(name='alone')", {"alone"}),
        (
            "import importlib as i\ni.import_module('.one', package='pkg')",
            {"pkg/__init__", "pkg/one"},
        ),
        ("import importlib\nimportlib.import_module(name)", set()),
        ("import importlib\nimportlib.import_module('../alone')", set()),
        ("import importlib\nimportlib.import_module('pkg/one')", set()),
        ("import importlib\nimportlib.import_module('a\\0b')", set()),
        ("import not_here, torch.nn", set()),
        ("from . import alone", set()),
        (f"import {'x' * 300}", set()),
        ("'import alone'  # import alone", set()),
        ("pass", set()),
    ],
)
def test_an_import_takes_its_modules_along(folder: Path, source: str, found: set[str]) -> None:
    write(folder, own=f"{source}\n{CLASS}")
    assert modules(folder) == found | {"own"}


@pytest.mark.parametrize(
    ("where", "source", "found"),
    [
        ("pkg/one", "from . import two", {"pkg/two"}),
        ("pkg/one", "from .two import x", {"pkg/two"}),
        ("pkg/one", "from .deep.leaf import x", {"pkg/deep/__init__", "pkg/deep/leaf"}),
        ("pkg/one", "from .. import alone", set()),  # leads out of the topmost package
        ("pkg/one", "from . import *", PACKAGE),
        ("pkg/one", "import alone", {"alone"}),
        (
            "pkg/one",
            "from importlib import import_module as i\ni('.two', __package__)",
            {"pkg/two"},
        ),
        ("pkg/__init__", "from .two import x", {"pkg/two"}),
        ("pkg/__init__", "from . import deep", {"pkg/deep/__init__"}),
        ("alone", "import unused", set()),
    ],
)
def test_relative_and_further_imports_are_followed(
    folder: Path, where: str, source: str, found: set[str]
) -> None:
    write(folder, own=f"import pkg.one\n{CLASS}", **{where: source})
    assert modules(folder) == found | {"own", "pkg/__init__", "pkg/one"}


def test_packages_around_the_class_come_along(folder: Path) -> None:
    write(folder, **{"pkg/deep/leaf": f"from ..two import x\n{CLASS}"})
    write(folder, **{"pkg/__init__": "import alone"})
    found = modules(folder, "pkg.deep.leaf:Own")
    assert found == {"pkg/__init__", "pkg/deep/__init__", "pkg/deep/leaf", "pkg/two", "alone"}
    write(folder, **{"pkg/__init__": CLASS})
    assert modules(folder, "pkg:Own") == {"pkg/__init__"}
    write(folder, **{"space/inner": CLASS})
    assert modules(folder, "space.inner:Own") == {"space/inner"}


def test_modules_that_import_each_other_are_packed_once(folder: Path) -> None:
    write(folder, own=f"import alone\n{CLASS}", alone="import own, alone")
    assert modules(folder) == {"own", "alone"}


def test_a_package_wins_over_a_module_and_both_over_a_folder(folder: Path) -> None:
    write(folder, own=f"import pkg, space\n{CLASS}", pkg="", space="")
    assert modules(folder) == {"own", "pkg/__init__", "space"}


def test_what_is_packed_is_what_python_imports(folder: Path, tmp_path: Path) -> None:
    """Unpacked elsewhere, the code runs with nothing else of the folder."""
    write(
        folder,
        own=f"import pkg.one, space.sub.far\nfrom pkg import *\n{CLASS}Own.word = pkg.one.WORD",
        **{"pkg/one": "from .deep.leaf import WORD", "pkg/deep/leaf": "WORD = 'deep'"},
    )
    with zipfile.ZipFile(io.BytesIO(pack(folder).archive)) as archive:
        archive.extractall(tmp_path / "there")
    import subprocess

    command = [sys.executable, "-I", "-c", "import sys; sys.path.insert(0, '.'); import own; "]
    command[-1] += "print(own.Own.word)"
    done = subprocess.run(command, cwd=tmp_path / "there", capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("deep\n", "")


@pytest.mark.parametrize("name", ["json", "numpy", "random", "os", "sys"])
def test_names_of_the_standard_library_and_of_numpy_are_not_taken(folder: Path, name: str) -> None:
    write(folder, own=f"import {name}\nfrom {name} import x\n{CLASS}", **{name: CLASS})
    assert modules(folder) == {"own"}
    said = refused(folder, f"{name}:Own")
    assert f"'{name}' is the name of an installed module. Rename it" in said


def test_equal_code_has_an_equal_hash_wherever_and_whenever_it_lies(
    folder: Path, tmp_path: Path
) -> None:
    write(folder, own=f"import pkg.one, alone\n{CLASS}")
    elsewhere = tmp_path / "other"
    for path in sorted(folder.rglob("*.py"), reverse=True):
        copy = elsewhere / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
        copy.chmod(0o700)
        os.utime(copy, (time.time() - 10**8,) * 2)
    (elsewhere / "unused.py").write_text("something else")
    first, second = pack(folder), pack(elsewhere)
    assert first.archive == second.archive
    (elsewhere / "pkg" / "one.py").write_text("# edited")
    assert pack(elsewhere).sha256 != first.sha256


def test_the_archive_holds_the_bytes_of_the_files(folder: Path) -> None:
    (folder / "alone.py").write_bytes("# -*- coding: latin-1 -*-\nx = 'é'\n".encode("latin-1"))
    write(folder, own=f"import alone\n{CLASS}")
    code = pack(folder)
    with zipfile.ZipFile(io.BytesIO(code.archive)) as archive:
        assert archive.namelist() == ["alone.py", "own.py"]
        assert {n: archive.read(n) for n in archive.namelist()} == {
            name: (folder / name).read_bytes() for name in code.modules
        }
    assert code.source_bytes == sum((folder / name).stat().st_size for name in code.modules)


def test_a_link_that_stays_in_the_folder_is_followed(folder: Path) -> None:
    (folder / "linked.py").symlink_to("alone.py")
    (folder / "linked_pkg").symlink_to("pkg")
    (folder / "pkg" / "deep" / "back").symlink_to("..")
    write(folder, own=f"import linked\nfrom linked_pkg import *\n{CLASS}")
    assert modules(folder) >= {"own", "linked", "linked_pkg/one", "linked_pkg/deep/leaf"}


def test_the_folder_itself_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert modules(tmp_path / "link") == {"own"}


@pytest.mark.parametrize("linked", ["alone.py", "pkg"])
def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path, linked: str) -> None:
    (folder / linked).rename(tmp_path / "outside")
    (folder / linked).symlink_to(tmp_path / "outside")
    write(folder, own=f"import alone, pkg\n{CLASS}")
    said = refused(folder)
    assert str(folder / linked) in said
    assert "is a link that leads out of its folder. Copy the module there." in said


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_text("x = (\n"), "alone.py:1: not Python: "),
        (lambda path: path.write_bytes(b"x = '\\xff'\n\xff"), "alone.py:"),
        (lambda path: path.write_bytes(b"\0"), "alone.py:1: not Python: "),
        (lambda path: path.write_text("(" * 10_000), "alone.py:1: not Python: "),
        (lambda path: path.symlink_to("alone.py"), "Cannot read"),
        (lambda path: path.symlink_to("not there"), "Cannot read"),
        (lambda path: os.mkfifo(path), "alone.py is not a file."),
        (lambda path: path.with_suffix(".pyc").write_bytes(b""), "alone.pyc is not Python source"),
        (
            lambda path: path.with_suffix(packing.EXTENSION_SUFFIXES[0]).write_bytes(b""),
            "is not Python source. Put its .py file there, or install it.",
        ),
    ],
)
def test_a_module_that_is_no_python_is_refused(folder: Path, make, said: str) -> None:
    (folder / "alone.py").unlink()
    make(folder / "alone.py")
    write(folder, own=f"import alone\n{CLASS}")
    assert said in refused(folder)
    (folder / "own.py").write_text(CLASS)
    assert modules(folder) == {"own"}


def test_code_over_the_limit_is_refused_with_the_file_that_is_too_much(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, own=f"import alone\n{CLASS}", alone="#" * 1000)
    monkeypatch.setattr(packing, "MAX_CODE_BYTES", 2**20)
    assert modules(folder) == {"own", "alone"}
    write(folder, alone="#" * 2**20)
    said = refused(folder)
    assert f"{folder / 'alone.py'} makes the code larger than 1 MiB" in said
    assert "'files:'" in said


def test_the_limit_is_16_mib(folder: Path) -> None:
    write(folder, own=f"import alone\n{CLASS}", alone="#" * (16 * 2**20 + 1))
    assert "larger than 16 MiB" in refused(folder)


class Slow(Reader):
    """Somebody edits a module right after it was read."""

    def read(self, path: Path, max_bytes: int) -> bytes:
        data = super().read(path, max_bytes)
        if path.name == "alone.py":
            path.write_bytes(b"edited" + data)
        return data


def test_a_module_that_changes_while_it_is_packed_is_refused(folder: Path) -> None:
    write(folder, own=f"import alone\n{CLASS}")
    reader = Slow()
    code = pack_class("own:Own", [folder], reader)
    assert b"edited" not in code.archive
    with pytest.raises(
        UsageError, match=r"alone\.py changed while it was packed\. Run the command"
    ):
        reader.require_unchanged()
    reader = Reader()
    pack_class("own:Own", [folder], reader)
    (folder / "alone.py").unlink()
    with pytest.raises(UsageError, match="changed while"):
        reader.require_unchanged()


def test_the_first_folder_that_has_the_module_is_taken(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "second", own=f"import alone\n{CLASS}", other=CLASS)
    folders = [tmp_path / "empty", folder, tmp_path / "second"]
    assert pack_class("own:Own", folders, Reader()).folder == folder
    assert pack_class("other:Own", folders, Reader()).modules == ("other.py",)
    with pytest.raises(UsageError) as caught:
        pack_class("nowhere:Own", folders, Reader())
    assert all(str(folder) in caught.value.message for folder in folders)


def test_a_folder_whose_module_lacks_the_class_is_passed_over(folder: Path, tmp_path: Path) -> None:
    write(folder, own="class Other: ...", alone="")
    write(tmp_path / "second", own=f"import alone\n{CLASS}", alone="")
    folders = [folder, tmp_path / "second"]
    code = pack_class("own:Own", folders, Reader())
    assert (code.folder, code.modules) == (tmp_path / "second", ("alone.py", "own.py"))
    with pytest.raises(UsageError) as caught:
        pack_class("own:Othr", folders, Reader())
    assert all(str(folder / "own.py") in caught.value.message for folder in folders)
    assert "did you mean Other?" in caught.value.message


@pytest.mark.parametrize(
    "source",
    [
        "def own(images): ...",
        "if True:\n    def own(images): ...",
        "try:\n    import fast\nexcept ImportError:\n    def own(images): ...",
        "def make():\n    global own\n    def own(images): ...\nmake()",
        "from alone import own",
        "own = lambda images: [1]",
    ],
)
def test_a_function_is_found_as_a_class_is(folder: Path, source: str) -> None:
    write(folder, own=f"{source}\nraise SystemExit('imported')", alone="def own(images): ...")
    assert "own" in modules(folder, "own:own")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("async def own(images): ...", "own.py is an async function. Make it a plain 'def'."),
        ("class Other:\n    def own(self): ...", "There is no class or function 'own' in"),
        ("def owns(images): ...", "did you mean owns?"),
    ],
)
def test_what_is_no_function_is_refused(folder: Path, source: str, said: str) -> None:
    write(folder, own=source)
    assert said in refused(folder, "own:own")


BUILT = f"fast{packing.EXTENSION_SUFFIXES[0]}"
UNUSABLE = {BUILT: b"", "fast.py": b"print 'old'", "fast.pyc": b""}


@pytest.mark.parametrize("name", UNUSABLE)
@pytest.mark.parametrize(
    ("source", "is_optional"),
    [
        ("try:\n    import fast\nexcept ImportError:\n    import alone", True),
        ("try:\n    from fast import x\nexcept ImportError:\n    import alone", True),
        ("def f():\n    try:\n        if x:\n            import fast\n    except: pass", True),
        ("import fast", False),
        ("try: ...\nexcept ImportError:\n    import fast", False),
        ("try:\n    import fast\nfinally: ...", False),
        ("try:\n    import fast\nexcept ImportError: ...\nimport fast", False),
    ],
)
def test_a_module_that_cannot_be_packed_is_left_out_only_where_it_is_optional(
    folder: Path, name: str, source: str, is_optional: bool
) -> None:
    (folder / name).write_bytes(UNUSABLE[name])
    write(folder, own=f"{source}\n{CLASS}")
    if is_optional:
        assert modules(folder) <= {"own", "alone"}
    else:
        assert "fast" in refused(folder)


def test_warnings_about_the_code_are_not_ours(folder: Path) -> None:
    write(folder, own=f"x = '\\d'\n{CLASS}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert modules(folder) == {"own"}


def test_nothing_is_run(folder: Path) -> None:
    write(folder, own=f"import alone\n{CLASS}raise SystemExit", alone="raise SystemExit")
    assert modules(folder) == {"own", "alone"}
