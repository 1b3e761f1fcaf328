"""One of several OS processes that fight for a key: threads that own it for a moment, again and again.

    key_crowd_program.py URL FILE THREADS SLOTS TTL HOLD GRACE

Each time is two lines of the file, written in one go each: `begin NUMBER TIME` after it was registered, and
`end NUMBER TIME` before it is given up, in seconds of the machine's monotonic clock. SLOTS is not used.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time

from resprout import AlreadyRegistered, Registry, ServerExit, cluster, process


def main(url: str, file: str, threads: str, slots: str, ttl: str, hold: str, grace: str) -> None:
    out = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    process.trap_exit(True)
    cluster.Engine.start_link(url, name="shared", ttl=float(ttl), grace=float(grace))
    Registry.start_link(keys="unique", name="syncs", engine="shared")
    numbers = itertools.count()

    def note(what: str, number: int) -> None:
        os.write(out, f"{what} {number} {time.monotonic():.6f}\n".encode())

    def work() -> None:
        while True:
            number = next(numbers)
            try:
                Registry.register("syncs", ("user", 42))
            except AlreadyRegistered:
                # Somebody else's turn, who may need this processor for it.
                time.sleep(0.002)
                continue
            except ServerExit:
                continue
            note("begin", number)
            # The work itself, which is to take so long; it waits for nothing.
            time.sleep(float(hold))
            note("end", number)
            try:
                Registry.unregister("syncs", ("user", 42))
            except ServerExit:
                continue

    for _ in range(int(threads)):
        threading.Thread(target=work, daemon=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)


main(*sys.argv[1:])
