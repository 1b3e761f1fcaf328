"""Trees that mean ill, one a seed, and `check` on each.

`python -m tests.supervision.trees.hostile [FIRST] [LAST]`

Of every file it is demanded that check ends within its time and memory, with a status of 0 or 2 and nothing
but located lines that a terminal shows as they are. The same seed makes the same file.
"""

from __future__ import annotations

import io
import random
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from resprout.observer import CheckOptions, check_tree

SECONDS = 3.0
"""Of the processor, for one file."""
MEGABYTES = 250
"""Of memory, for one file."""
LOCATED = re.compile(r"tree\.yaml:(\d+):(\d+): .|tree\.yaml: [\d,]+ mistakes; |ok: ")

MODULES = {
    "exits": "import sys\nsys.exit(3)",
    "bare": "class Bare(BaseException): pass\nraise Bare('x\\n\\x1b[31m')",
    "chatty": "raise ImportError('\\x1b]0;title\\x07\\n' + 'x' * 1_000_000)",
    "surrogate": "raise ValueError('\\ud800')",
    "mute": "class Mute(Exception):\n    def __str__(self): raise SystemExit('mute')\nraise Mute",
    "recursive": "def f(): f()\nf()",
    "broken": "def f(:",
    "generated": "raise GeneratorExit",
    "nasty": """
class Meta(type):
    def __getattr__(cls, name): raise SystemExit(name)
class Evasive(metaclass=Meta): pass
class Spec:
    @classmethod
    def child_spec(cls, arg=None): raise SystemExit(4)
class Odd:
    @classmethod
    def child_spec(cls, arg=None): return {"id": [], "start": 3}
class Unasked:
    def start_link(self): pass
class Signed:
    __signature__ = "none"
    def __call__(self): pass
class Shown:
    def __repr__(self): raise RuntimeError
    def __dir__(self): raise RuntimeError
signed, shown = Signed(), Shown()
def work(a, *, b): pass
def generator(): yield
async def coroutine(n: int = 3): pass
def __getattr__(name):
    if name == "raises": raise KeyError("\\x1b[2J")
    raise AttributeError(name)
""",
}
NAMES = [
    "Evasive",
    "Evasive.x",
    "Spec",
    "Odd",
    "Unasked",
    "signed",
    "shown",
    "shown.x",
    "work",
    "generator",
    "coroutine",
    "raises",
    "nothing",
    "wrk",
    "f",
]
NAMES.append("\x1b[0m")
KEYS = [
    "worker",
    "supervisor",
    "dynamic_supervisor",
    "registry",
    "throttle",
    "asgi",
    "children",
    "start",
    "run",
    "args",
    "id",
    "name",
    "via",
    "replicas",
    "restart",
    "shutdown",
    "significant",
    "backoff",
    "max_restarts",
    "max_seconds",
    "on_exhausted",
    "ready_timeout",
    "strategy",
    "auto_shutdown",
    "job",
    "num_slots",
    "keys",
    "partitions",
    "app",
    "port",
    "host",
    "options",
    "factory",
    "rate",
    "adaptive",
    "<<",
    "wrker",
    "é",
]
KEYS += ["include", "remove", "every", "jitter", "env", "agent", "value", "init"]
KEYS += ["task_supervisor", "partition_supervisor", "", "\x07"]
SCALARS = [
    "~",
    "yes",
    "0",
    "-1",
    "1e400",
    ".nan",
    "-.inf",
    "5s",
    "infinity",
    "brutal_kill",
    "1:30",
    "0x1f",
    "2001-99-99",
    "transient",
    "permanent",
    "one_for_all",
    "any_significant",
    "duplicate",
    "{index}",
    "${here}",
    "${x",
    "$${",
    "${x:-1}",
    "aimd",
    "10/s",
    "1e9",
    "1000000000",
    "99999999999999999999",
    '"\\ud800"',
    '"\\e[31m\\a"',
]
SCALARS += ["tree.yaml", "./nasty.py", "${file:tree.yaml}", "${file:nasty}"]
SCALARS += ["", "!!binary 3", "!!python/name:os.system x", "!!int ''", "'\u202e'", "x\x85y"]


def tree_of(seed: int) -> bytes:
    """The file of a seed."""
    chance = random.Random(seed)
    text = chance.choice([_large, _bomb, _mistaken, _mistaken, _mistaken, _mangled, _mangled, _noise])(chance)
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


def _large(chance: random.Random) -> str:
    """One thing, very often, or very long."""
    many = chance.choice([1_000, 30_000, 300_000])
    digits = chance.choice("19")
    deep = min(many, 30_000)
    return chance.choice(
        [
            lambda: "- x\n" * many,
            lambda: "a: " + "1:" * many + "1",
            lambda: f"a: {digits * many}",
            lambda: f"children: [{{worker: w, run: 'nasty:work', {chance.choice(KEYS)}: {digits * many}}}]",
            lambda: f"children: [{{worker: w, run: 'nasty:work', {chance.choice(KEYS)}: '{'1s ' * many}'}}]",
            lambda: f"children: [{{worker: w, run: 'nasty:work', {chance.choice(KEYS)}: '{' ' * many}'}}]",
            lambda: f"children: [{{worker: w, run: '{'a.' * many}:b'}}]",
            lambda: f"children: [{{worker: '{'$' + '{' * many}', run: 'nasty:{'f' * many}'}}]",
            lambda: "[" * deep + "]" * deep,
            lambda: "{a: " * deep + "}" * deep,
            lambda: "".join(" " * n + "-\n" for n in range(min(many, 2_000))),
            lambda: "children: [" + "{supervisor: s, children: [" * deep + "]}" * deep + "]",
            lambda: (
                "children: [{worker: w, run: 'nasty:coroutine', args: {n: " + "[" * deep + "]" * deep + "}}]"
            ),
            lambda: f"children:\n- {{worker: w, run: 'nasty:coroutine', replicas: {many}000}}\n",
            lambda: "children:\n" + "- {worker: w, run: 'nasty:coroutine', replicas: 900}\n" * (many // 100),
            lambda: "children:\n" + "- {worker: w, strt: 3}\n" * min(many, 20_000),
            lambda: "children:\n" + "".join(f"- {{wrker{n}: 'w'}}\n" for n in range(min(many, 20_000))),
            lambda: (
                "children:\n" + "".join(f"- {{worker: w{n}, run: 'chatty:f{n}'}}\n" for n in range(2_000))
            ),
            lambda: "{" + ", ".join(f"{n * (2**61 - 1)}: x" for n in range(min(many, 30_000))) + "}",
            lambda: "a: x\n" * min(many, 60_000),
            lambda: "'" + "x\n" * many,
            lambda: "%" * many,
            lambda: "# " + "x" * many,
            lambda: "\t" * many,
            lambda: "? " * min(many, 30_000),
            lambda: "&a " * many + "x",
            lambda: "".join(f"- &a{n} x\n- *a{n}\n" for n in range(min(many, 30_000))),
            lambda: "\x00" * many,
        ]
    )()


def _bomb(chance: random.Random) -> str:
    """Aliases or merges that multiply, some of them in a circle."""
    width, levels = chance.randint(2, 12), chance.randint(2, 12)
    lines = [
        "a0: &a0 "
        + chance.choice(["{k: v}", "[x]", "x", "{<<: *a0}", "[*a0]", "{worker: w, run: 'nasty:work'}"])
    ]
    for level in range(1, levels):
        below = ", ".join(f"*a{max(0, level - chance.choice([1, 1, 1, 2]))}" for _ in range(width))
        lines.append(
            f"a{level}: &a{level} "
            + chance.choice([f"{{<<: [{below}]}}", f"[{below}]", f"{{k: [{below}], <<: *a{level - 1}}}"])
        )
    lines.append(
        f"children: {chance.choice([f'*a{levels - 1}', f'[*a{levels - 1}]', f'[{{<<: *a{levels - 1}}}]'])}"
    )
    return "\n".join(lines)


def _mistaken(chance: random.Random) -> str:
    """What is nearly a tree."""
    return "\n".join(
        [f"{_key(chance)}: {_scalar(chance)}", f"children: {_children(chance, 3)}"][chance.randint(0, 1) :]
    )


def _children(chance: random.Random, depth: int) -> str:
    return "[" + ", ".join(_child(chance, depth) for _ in range(chance.randint(0, 4))) + "]"


def _child(chance: random.Random, depth: int) -> str:
    kind = chance.choice(KEYS[:6] if chance.random() < 0.9 else KEYS)
    entries = [
        f'"{_escaped(kind)}": {_scalar(chance) if chance.random() < 0.3 else f"n{chance.randint(0, 9)}"}'
    ]
    if kind == "supervisor" and depth:
        entries.append(f"children: {_children(chance, depth - 1)}")
    if kind == "worker":
        entries.append(f"{chance.choice(['run', 'start'])}: {_reference(chance)}")
    entries += [f"{_key(chance)}: {_value(chance, 2)}" for _ in range(chance.randint(0, 3))]
    return "{" + ", ".join(entries) + "}"


def _value(chance: random.Random, depth: int) -> str:
    if depth and chance.random() < 0.3:
        inner = [_value(chance, depth - 1) for _ in range(chance.randint(0, 3))]
        if chance.random() < 0.5:
            return f"[{', '.join(inner)}]"
        return "{" + ", ".join(f"{_key(chance)}: {item}" for item in inner) + "}"
    return _reference(chance) if chance.random() < 0.2 else _scalar(chance)


def _key(chance: random.Random) -> str:
    return f'"{_escaped(chance.choice(KEYS))}"'


def _scalar(chance: random.Random) -> str:
    scalar = chance.choice(SCALARS)
    return scalar if scalar[:1] in ("!", '"', "'") or "{" not in scalar else f"'{scalar}'"


def _reference(chance: random.Random) -> str:
    return (
        f'"{_escaped(chance.choice([*MODULES, "nastier", "builtins", ""]))}:{_escaped(chance.choice(NAMES))}"'
    )


def _escaped(text: str) -> str:
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def _mangled(chance: random.Random) -> bytes:
    """The same with bytes put in, taken out and doubled."""
    raw = bytearray(_mistaken(chance).encode("utf-8", "surrogatepass"))
    for _ in range(chance.randint(1, 6)):
        at = chance.randint(0, len(raw))
        length = chance.randint(0, 8)
        noise = [
            b"",
            chance.randbytes(2),
            chance.choice([b"{", b"[", b"\n", b"\t", b"*a", b"&a ", b": ", b"'", b"\xff"]),
        ]
        raw[at : at + length] = chance.choice([*noise, bytes(raw[at : at + length]) * 2])
    return bytes(raw)


def _noise(chance: random.Random) -> bytes:
    return chance.randbytes(chance.randint(0, 200))


def faults(folder: Path, raw: bytes) -> Iterator[str]:
    """What is wrong with how check takes a file."""
    (folder / "tree.yaml").write_bytes(raw)
    out = io.StringIO()
    began = time.process_time()
    try:
        status = check_tree(CheckOptions(folder / "tree.yaml"), out)
    except BaseException as error:
        yield f"it ended with {type(error).__name__}"
        return
    seconds = time.process_time() - began
    if seconds > SECONDS:
        yield f"it took {seconds:.1f} s"
    lines = out.getvalue().removesuffix("\n").split("\n")
    if status not in (0, 2) or (status == 0) != lines[0].startswith("ok: "):
        yield f"it ended with status {status} and {lines[0]!r}"
    for line in lines:
        if not (LOCATED.match(line.removeprefix(f"{folder}/")) and line.isprintable() and len(line) < 3_000):
            yield f"the line {line[:200]!r}"


def limit_memory() -> None:
    """Has whoever takes more end with a MemoryError, where the system can do that."""
    try:
        import resource
    except ImportError:
        return
    used = next(
        (int(line.split()[1]) << 10 for line in _lines("/proc/self/status") if line.startswith("VmSize:")), 0
    )
    most = used + (MEGABYTES << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def main(first: int = 0, last: int = 499) -> int:
    """Checks the files of these seeds and prints every fault; the exit status."""
    limit_memory()
    found = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for module, source in MODULES.items():
            (folder / f"{module}.py").write_text(source)
        began = time.process_time()
        for seed in range(first, last + 1):
            for fault in faults(folder, tree_of(seed)):
                found += 1
                sys.stdout.write(f"seed {seed}: {fault}\n")
    seconds = time.process_time() - began
    sys.stdout.write(f"{last - first + 1} files, {found} faults, {seconds:.0f} s\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
