"""Steps that are interrupted at any place of them."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FrameType

import pytest

at_safe_points = pytest.mark.skipif(
    sys.version_info < (3, 11),
    reason="CPython 3.10 looks for signals between any two opcodes: see docs/semantics.md, Ctrl-C",
)
"""For a test that interrupts a step only where CPython looks for signals."""
ROOMS = ("/actors/", "/registry/", "/throttle/")
NOP = dis.opmap["NOP"]
LONGEST_CALL = 12
"""Bytes from a call to the next instruction, with its caches."""


def traced(trace: Callable[[FrameType, str, object], object], step: Callable[[], object]) -> None:
    """Do a step under a trace function that may ask for every bytecode; what it raises comes out of this."""
    before = sys.gettrace()
    # Python 3.12 looks for this when tracing begins.
    sys._getframe().f_trace_opcodes = True
    sys.settrace(trace)
    try:
        step()
    finally:
        sys.settrace(before)


class Interrupter:
    """Does a step and interrupts it where the runtime's code looks for signals for the nth time.

    Returns False when it does so less often. With ``exact``, not where a function written in Python has just
    returned to one that had called it by its name, where CPython does not look.
    """

    def __init__(self, rooms: tuple[str, ...] = ROOMS) -> None:
        self._rooms = rooms
        self._points: dict[CodeType, set[int]] = {}
        self._was_cut = False

    def everywhere(self, least: int) -> Iterator[int]:
        """The number of each place of a step, for a test that interrupts it there; least is too few."""
        number = 0
        while True:
            number += 1
            yield number
            if not self._was_cut:
                break
        assert number > least

    def __call__(self, number: int, step: Callable[[], object], exact: bool = False) -> bool:
        left = number
        called: dict[FrameType, int] = {}
        """Where a frame has called a function that is written in Python."""

        def trace(frame: FrameType, event: str, arg: object) -> object:
            nonlocal left
            name = frame.f_code.co_filename
            if event == "call" and exact and frame.f_back is not None:
                if frame.f_code.co_name in frame.f_back.f_code.co_names:
                    called[frame.f_back] = frame.f_back.f_lasti
            if "/tests/" in name or not any(room in name for room in self._rooms):
                return None
            frame.f_trace_opcodes = True
            if event == "opcode" and frame.f_lasti in self._points_of(frame.f_code):
                returned = called.pop(frame, frame.f_lasti)
                if exact and frame.f_code.co_code[frame.f_lasti] == NOP:
                    # Where a `try` begins: what comes behind a call comes from within what is around that.
                    return trace
                if returned < frame.f_lasti <= returned + LONGEST_CALL:
                    return trace
                left -= 1
                if left == 0:
                    raise KeyboardInterrupt
            return trace

        try:
            traced(trace, step)
        except KeyboardInterrupt:
            pass
        # Also when it came in a finalizer, where Python ignores it.
        self._was_cut = left <= 0
        return self._was_cut

    def _points_of(self, code: CodeType) -> set[int]:
        """Bytecodes before which CPython looks for signals: behind calls, at backward jumps, at the start."""
        if code not in self._points:
            points = self._points[code] = set()
            looks = True
            for instruction in dis.get_instructions(code):
                name = instruction.opname
                if looks or "JUMP_BACKWARD" in name or name == "JUMP_ABSOLUTE":
                    points.add(instruction.offset)
                looks = name.startswith("CALL") or name == "RESUME"
        return self._points[code]
