"""On what it was measured, in words that fit every machine: no host, no path."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping

from .measuring import PROGRAMS, installed


def cores() -> int:
    """How many processors this program may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe() -> dict[str, str | int]:
    """Processors, system and versions."""
    return {
        "cpus": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "resprout": importlib.metadata.version("resprout"),
        "pykka": importlib.metadata.version("pykka"),
    }


def sentence(machine: Mapping[str, str | int]) -> str:
    """The same for people."""
    return (
        f"{machine['python']}, Pykka {machine['pykka']}, resprout {machine['resprout']}, "
        f"{machine['cpus']} CPUs, {machine['system']}"
    )


def versions(peers: Iterable[str]) -> dict[str, str | None]:
    """Of each peer its version, by what has to be installed; None where it is not."""
    return {PROGRAMS.get(peer, peer): _version(peer) if installed(peer) else None for peer in peers}


def _version(peer: str) -> str:
    if peer not in PROGRAMS:
        return importlib.metadata.version(peer)
    program = shutil.which(PROGRAMS[peer]) or PROGRAMS[peer]
    said = subprocess.run(
        [program, "--version"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    return next(line.split()[1] for line in said.splitlines() if line.startswith("Elixir"))
