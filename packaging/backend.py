"""The build backend: setuptools', and an editable install that type checkers can read, too.

The rooms are folders of the top level and packages inside `resprout`. Setuptools installs such a layout
editably as code that finds the rooms when the program runs, which mypy and pyright don't run (its strict mode
is a tree of links to files, so every new file needs a new install). So an editable install is given a folder
`.editable/resprout` besides, of links to the rooms and to the files of the face, and a `.pth` file that names
it. Where there can be no links (Windows without developer mode) the install is setuptools' own.

And a wheel has what is in the clone now: setuptools builds it from a folder `build/lib` that it leaves
behind, with the modules in it that have been renamed or deleted since the last time.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import sys
import zipfile
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import (
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

FACE = "resprout"
BUILT = Path("build")
LINKS = Path(".editable")
PTH = "__editable__.resprout-rooms.pth"


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """Build what `pip install` installs, and leave no `build` in the clone; see PEP 517."""
    forget_what_was_built()
    try:
        return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)
    finally:
        forget_what_was_built()


def forget_what_was_built() -> None:
    """Remove what setuptools has put into `build`; what somebody else has there stays."""
    for left in (BUILT / "lib", *BUILT.glob("bdist.*")):
        shutil.rmtree(left, ignore_errors=True)
    if BUILT.is_dir() and not any(BUILT.iterdir()):
        BUILT.rmdir()


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """Build what `pip install -e` installs; see PEP 660."""
    name = build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
    try:
        link(Path.cwd())
    except OSError as error:
        shutil.rmtree(LINKS, ignore_errors=True)
        sys.stderr.write(f"no links to the rooms, so type checkers will not see them: {error}\n")
    else:
        add(Path(wheel_directory, name), PTH, f"{Path.cwd() / LINKS}\n".encode())
    return name


def link(root: Path) -> None:
    """Make the folder of links anew: what was renamed or deleted must not be left."""
    package = root / LINKS / FACE
    shutil.rmtree(package, ignore_errors=True)
    package.mkdir(parents=True)
    rooms = [init.parent for init in root.glob("*/__init__.py") if init.parent.name != FACE]
    files = [file for file in (root / FACE).iterdir() if file.is_file()]
    for there in (*rooms, *files):
        link = package / there.name
        link.symlink_to(os.path.relpath(there, package), target_is_directory=there.is_dir())


def add(wheel: Path, name: str, content: bytes) -> None:
    """Put a file into a wheel, and into the list of its files."""
    with zipfile.ZipFile(wheel) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    row = f"{name},sha256={digest},{len(content)}\n".encode()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
        for info, data in members:
            archive.writestr(info, row + data if info.filename.endswith(".dist-info/RECORD") else data)
