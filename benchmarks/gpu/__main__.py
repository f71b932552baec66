"""``python -m benchmarks.gpu``: the whole system on a GPU beside its limits, each alone.

Runs on a bare machine with PyTorch, this folder, and a folder of wheels for what else is needed.
Fetch these where there is a network, for the other machine's Python, and leave out what it has:

    pip download --no-deps --only-binary=:all: --python-version 3.12 \\
        --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \\
        --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \\
        --dest wheels -r requirements/base.txt -r requirements/bench.txt
    rm wheels/numpy-* wheels/pyarrow-* wheels/pillow-*

and there

    python3 -m benchmarks.gpu --wheels wheels

Weights are random, which changes no speed. Without ``--photos`` the images are made up. Without a
GPU everything runs on the CPU, for a test of the benchmark: ``--networks mobilenet_v3_small
--images 640``. Writes ``benchmarks/results/gpu.json``, and ``gpu.md`` and ``gpu.png`` beside it.
"""

from __future__ import annotations

import argparse
import os
import site
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

NETWORKS = ("resnet50", "vit_b_16", "vgg16")


def options() -> argparse.Namespace:
    cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser(
        "python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--wheels", type=Path, help="a folder of wheels to use, without a network")
    parser.add_argument("--networks", nargs="+", default=NETWORKS, metavar="ARCHITECTURE")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--images", type=int, default=60_000, help="objects in the bucket")
    parser.add_argument("--photos", type=Path, help="a folder of images; else they are made up")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each network")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each limit")
    parser.add_argument("--preprocess", type=int, default=max(1, cores * 3 // 4), metavar="N")
    parser.add_argument("--collectors", type=int, default=1 if cores < 8 else 2, metavar="N")
    parser.add_argument("--gpu-decode", action="store_true", help="torchvision's CUDA decoder too")
    return parser.parse_args()


def restarted_with(wheels: Path) -> int:
    """This command again, by a Python that has the wheels, without them among its arguments."""
    arguments = [part for part in sys.argv[1:] if not part.startswith("--wheels=")]
    if "--wheels" in arguments:
        place = arguments.index("--wheels")
        del arguments[place : place + 2]
    with tempfile.TemporaryDirectory(prefix="headrace-wheels-") as folder:
        # Roles take no PYTHONPATH from their shell: what they import belongs to their Python.
        venv.create(folder, symlinks=True)
        packages = Path(sysconfig.get_path("purelib", "venv", {"base": folder}))
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        install += ["--no-compile", f"--target={packages}", *map(str, sorted(wheels.glob("*.whl")))]
        subprocess.run(install, check=True)
        ours = [*site.getsitepackages(), site.getusersitepackages()]
        outside = "".join(f"import site; site.addsitedir({place!r})\n" for place in ours)
        (packages / "outside.pth").write_text(outside)
        again = [f"{folder}/bin/python", "-m", "benchmarks.gpu", *arguments]
        return subprocess.run(again, check=False).returncode


def main() -> int:
    given = options()
    if given.wheels:
        return restarted_with(given.wheels)
    from benchmarks.gpu.measure import measure

    measure(given)
    return 0


if __name__ == "__main__":
    sys.exit(main())
