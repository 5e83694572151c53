"""Builds the native kernels, where there is a C++ compiler, and the app's page, where npm's registry is in reach.
Everything else is in pyproject.toml.

Without a compiler the package installs all the same and models run in PyTorch; `ponder.engine.native.available()`
says so. Without the page the server's API runs, and its pages say how to build them.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

# the engine's kernels, and those of training
LIBRARIES = {
    "ponder.engine.native.kernels": Path("src/ponder/engine/native/cpp"),
    "ponder.algo.native.training": Path("src/ponder/algo/native/cpp"),
}


class BuildKernels(build_ext):
    """Compiles the files of the extension side by side: the three instruction sets take most of the time."""

    def build_extension(self, ext: Extension) -> None:
        compile_one = self.compiler.compile

        def compile_all(sources: list[str], **options: Any) -> list[str]:
            with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
                return [name for names in pool.map(lambda s: compile_one([s], **options), sources) for name in names]

        self.compiler.compile = compile_all
        try:
            super().build_extension(ext)
        finally:
            self.compiler.compile = compile_one


class BuildPage(build_py):
    """Makes the page before the package's files are collected. web/build.py says so itself where it cannot."""

    def run(self) -> None:
        if Path("web/build.py").is_file():
            subprocess.run([sys.executable, "web/build.py"], check=False)
        super().run()


setup(
    ext_modules=[
        Extension(
            name,
            sources=sorted(str(path) for path in folder.glob("*.cpp")),
            depends=sorted(str(path) for path in folder.rglob("*.h")),
            # no -march: each instruction set has a file of its own, chosen when the library is loaded
            extra_compile_args=["-std=c++17", "-O3", "-g0", "-fvisibility=hidden", "-fno-math-errno", "-pthread"],
            extra_link_args=["-pthread"],
            optional=True,
        )
        for name, folder in LIBRARIES.items()
    ],
    cmdclass={"build_ext": BuildKernels, "build_py": BuildPage},
)
