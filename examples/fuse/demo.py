"""A mail server that is down for a while, and callers behind a fuse:  python examples/fuse/demo.py"""

import time
from collections import Counter

from fuse import Blown, Fuse, guarded
from resprout import Supervisor

options = {"max_melts": 2, "seconds": 10.0, "reset": 0.1}
Supervisor.start_link([Fuse.child_spec(options, name="mail")], strategy="one_for_one")
began = time.monotonic()


def send_mail() -> None:
    """Ask the mail server."""
    tried["asked"] += 1
    if time.monotonic() - began < 0.4:
        raise ConnectionError("the mail server is down")


tried: Counter[str] = Counter()
while not tried["sent"]:
    try:
        with guarded("mail"):
            send_mail()
        tried["sent"] += 1
    except Blown:
        tried["refused by the fuse"] += 1
    except ConnectionError:
        tried["failed"] += 1
    time.sleep(0.01)
print(", ".join(f"{number} {what}" for what, number in tried.items()))
