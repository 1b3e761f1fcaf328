"""Looks at and ends what engines keep in Redis; there is nothing to be made."""

from __future__ import annotations

from contextlib import closing

from .errors import EngineRefused
from .redis import connected, rights
from .redis_wire import RedisError, Wire
from .settings import EngineSettings, shown

SECONDS = 10.0
AT_ONCE = 500
"""So many keys are looked for by one command."""
# At once, or somebody who begins anew in between would find claims that go afterwards.
_REMOVE = """\
local keys = redis.call('KEYS', ARGV[1] .. ':*')
for _, key in ipairs(keys) do
    redis.call('UNLINK', key)
end
return #keys
"""


def statements(settings: EngineSettings, action: str, role: str | None = None) -> str:
    """What somebody would do by hand (see driver.Administrator)."""
    schema = settings.schema
    granted = "" if role is None else f"acl setuser {role} on {rights(schema)}\n"
    return (
        granted
        + {
            "install": "# Redis needs nothing to be made; each engine brings its scripts.\n",
            "status": f"smembers {schema}:members\nscan 0 match {schema}:{{*}}:lock\n"
            f"scan 0 match {schema}:{{*}}:keys\n",
            "remove": f'eval "{" ".join(_REMOVE.split())}" 0 {schema}\n',
        }[action]
    )


def perform(settings: EngineSettings, action: str, role: str | None = None) -> str:
    """Do it (see driver.Administrator)."""
    if role is not None:
        raise EngineRefused(
            settings.name,
            f"a user of Redis is made with its rights and its password, by you: "
            f"acl setuser {role} on >PASSWORD {rights(settings.schema)}",
        )
    wire, about = connected(settings, SECONDS)
    with closing(wire):
        what = f"keys {settings.schema}:*, Redis {about['redis_version']}"
        try:
            if action == "install":
                return f"{what}: it can be an engine, and nothing has to be installed"
            if action == "remove":
                removed = wire.run("EVAL", _REMOVE, 0, settings.schema, timeout=SECONDS)
                return f"{what}: {removed} keys are removed"
            return "\n".join(
                [
                    what,
                    *_members(wire, settings.schema),
                    *_locks(wire, settings.schema),
                    *_registries(wire, settings.schema),
                ]
            )
        except RedisError as error:
            raise EngineRefused(settings.name, f"{shown(settings.url)} says: {error}") from None


def _keys(wire: Wire, pattern: str) -> list[bytes]:
    found: dict[bytes, None] = {}
    cursor = b"0"
    while True:
        cursor, some = wire.run("SCAN", cursor, "MATCH", pattern, "COUNT", AT_ONCE, timeout=SECONDS)
        found.update(dict.fromkeys(some))
        if cursor == b"0":
            break
    return sorted(found)


def _members(wire: Wire, schema: str) -> list[str]:
    said = []
    for member in sorted(wire.run("SMEMBERS", f"{schema}:members", timeout=SECONDS)):
        node, session = wire.run(
            "HMGET", f"{schema}:member:{member.decode()}", "node", "session", timeout=SECONDS
        )
        if session:
            said.append(f"session {session.decode()} of {node.decode(errors='replace')}")
    return said


def _locks(wire: Wire, schema: str) -> list[str]:
    said = []
    for key in _keys(wire, f"{schema}:{{*}}:lock"):
        name = key[len(schema) + 2 : -len("}:lock")]
        slots, used, paused = wire.run("HMGET", key, "slots", "used", "paused", timeout=SECONDS)
        waiting = wire.run("ZCARD", key[: -len("lock")] + b"line", timeout=SECONDS)
        said.append(
            f"lock {name.decode(errors='replace')}: {int(used or 0)} of {int(slots or 0)} slots used, "
            f"{waiting} waiting{', paused' if paused == b'1' else ''}"
        )
    return said


def _registries(wire: Wire, schema: str) -> list[str]:
    said = []
    for key in _keys(wire, f"{schema}:{{*}}:keys"):
        name = key[len(schema) + 2 : -len("}:keys")].decode(errors="replace")
        said.append(f"registry {name}: {wire.run('HLEN', key, timeout=SECONDS)} keys")
    return said
