"""What an engine does in Redis with the keys of a registry: one script, so all of it or nothing.

Redis may lose who has a key, and that an owner was found to have ended. So while it takes the word of those
who own, of two who say so the newer claim stays: the other one begins anew, and finds its key gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from typing_extensions import assert_never

from .driver import utf8
from .key_operations import (
    ChangeKey,
    ClaimKey,
    FindKey,
    KeepKey,
    KeyClaimed,
    KeyDone,
    KeyFact,
    KeyFree,
    KeyGone,
    KeyOperation,
    KeyOwned,
    KeyRow,
    KeyUndecided,
    ReleaseKey,
)
from .redis_scripts import ENTER, Script

Word: TypeAlias = str | int

# ARGV: prefix, channel, member, session, registry, then the operations, each a letter, its ticket, its key,
# and what else belongs to it.
_STEP = """
local registry = ARGV[5]
local base = prefix .. ':{' .. registry .. '}:keys'
local quiet = math.max(0, quiet_until() - now)
local facts = {}
local last = 0

local function tell(...)
    for _, each in ipairs({...}) do
        facts[#facts + 1] = each
    end
end

local function row_of(key)
    local record = redis.call('HGET', base, key)
    if not record then
        return nil
    end
    local other, ref, token, shown, length, rest = string.match(record, '^(%d+) (%d+) (%d+) (%d) (%d+) (.*)$')
    length = tonumber(length)
    return {member = other, ref = ref, token = tonumber(token), shown = shown == '1',
        who = string.sub(rest, 1, length), value = string.sub(rest, length + 1),
        mine = function(its_ref) return other == member and ref == its_ref end}
end

local function write(key, ref, token, shown, who, value)
    redis.call('HSET', base, key,
        table.concat({member, ref, text(token), shown, #who, who}, ' ') .. value)
end

local function take_out(key, row)
    local index = base .. ':' .. row.member
    redis.call('HDEL', base, key)
    redis.call('HDEL', index, row.ref)
    if redis.call('EXISTS', index) == 0 then
        redis.call('SREM', prefix .. ':registries:' .. row.member, registry)
    end
end

local function enter(key, ref, token, shown, who, value)
    local index = base .. ':' .. member
    write(key, ref, token, shown, who, value)
    redis.call('HSET', index, ref, key)
    if redis.call('HLEN', index) == 1 then
        redis.call('SADD', prefix .. ':registries:' .. member, registry)
    end
end

local function next_token(least)
    last = math.max(last + 1, now, least)
    return last
end

-- How the owner of a row is doing, and in how many microseconds that is known for sure.
local function owner_of(row)
    if row.member == member then
        return 'alive'
    end
    local how, left = look_at(row.member)
    -- It gives a sign of life any time, or never.
    return how, how == 'silent' and math.min(left, 100000) or left
end

local function owned(row)
    local node = redis.call('HGET', prefix .. ':member:' .. row.member, 'node') or ''
    tell('owned', row.member, row.ref, node, row.who, row.value)
end

local function claim(ref, key, value, who)
    local row = row_of(key)
    if row and row.mine(ref) then
        return tell('claimed', text(row.token))
    end
    local how, left = 'ended', 0
    if row then
        how, left = owner_of(row)
    end
    if how == 'alive' then
        return owned(row)
    end
    if how ~= 'ended' or quiet > 0 then
        return tell('undecided', seconds(math.max(left, quiet)))
    end
    local token = next_token(row and row.token + 1 or 0)
    if row then
        take_out(key, row)
        -- If it lives after all, it hears of that at its next step.
        local its = prefix .. ':member:' .. row.member
        if redis.call('EXISTS', its) == 1 then
            redis.call('HSET', its, 'session', '')
        end
    end
    enter(key, ref, token, '1', who, value)
    tell('claimed', text(token))
end

local function find(key)
    local row = row_of(key)
    local how, left = 'ended', 0
    if row then
        how, left = owner_of(row)
    end
    if how == 'alive' then
        if row.shown then
            return owned(row)
        end
        return tell('free')
    end
    if how ~= 'ended' or quiet > 0 then
        return tell('undecided', seconds(math.max(left, quiet)))
    end
    tell('free')
end

local function release(ref, key)
    local row = row_of(key)
    if row and row.mine(ref) then
        take_out(key, row)
    end
    tell('done')
end

local function change(ref, key, value, shown)
    local row = row_of(key)
    if not row or not row.mine(ref) then
        return tell('gone')
    end
    write(key, ref, row.token, shown, row.who, value)
    tell('done')
end

local function keep(ref, key, token, value, shown, who)
    local row = row_of(key)
    if row and row.mine(ref) and row.token == token then
        return tell('done')
    end
    if quiet == 0 or row and row.token >= token then
        return tell('gone')
    end
    if row then
        take_out(key, row)
        local its = prefix .. ':member:' .. row.member
        if row.member ~= member and redis.call('EXISTS', its) == 1 then
            -- It hears of that when it begins anew, at its next step.
            redis.call('HSET', its, 'anew', 1)
        end
    end
    enter(key, ref, token, shown, who, value)
    tell('done')
end

local at = 6
while at <= #ARGV do
    local kind, ref, key = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    if kind == 'c' then
        claim(ref, key, ARGV[at + 3], ARGV[at + 4])
        at = at + 5
    elseif kind == 'f' then
        find(key)
        at = at + 3
    elseif kind == 'r' then
        release(ref, key)
        at = at + 3
    elseif kind == 'x' then
        change(ref, key, ARGV[at + 3], ARGV[at + 4])
        at = at + 5
    else
        keep(ref, key, tonumber(ARGV[at + 3]), ARGV[at + 4], ARGV[at + 5], ARGV[at + 6])
        at = at + 7
    end
end
return facts
"""

STEP_KEYS = Script(ENTER + _STEP)


def packed(operation: KeyOperation) -> tuple[Word, ...]:
    """An operation as the script takes it."""
    match operation:
        case ClaimKey(ref, key, value, who):
            return ("c", ref, key, value, utf8(who))
        case ReleaseKey(ref, key):
            return ("r", ref, key)
        case ChangeKey(ref, key, value, shown):
            return ("x", ref, key, value, int(shown))
        case KeepKey(ref, key, token, value, shown, who):
            return ("k", ref, key, token, value, int(shown), utf8(who))
        case FindKey(ref, key):
            return ("f", ref, key)
        case _:
            assert_never(operation)


def facts_of(answer: Sequence[bytes]) -> list[KeyFact]:
    """What the script says of one request."""
    words = iter(answer)
    return [_fact(kind, words) for kind in words]


def _fact(kind: bytes, words: Iterator[bytes]) -> KeyFact:
    match kind:
        case b"claimed":
            return KeyClaimed(int(next(words)))
        case b"owned":
            member, ref, node, who, value = (next(words).decode(errors="replace") for _ in range(5))
            return KeyOwned(int(member), int(ref), node, who, value)
        case b"free":
            return KeyFree()
        case b"undecided":
            return KeyUndecided(float(next(words)))
        case b"done":
            return KeyDone()
        case b"gone":
            return KeyGone()
        case _:
            raise AssertionError(kind)


def rows_of(rows: Sequence[bytes]) -> Mapping[str, Mapping[int, KeyRow]]:
    """What there is of a member, by registry and number."""
    found: dict[str, dict[int, KeyRow]] = {}
    for at in range(0, len(rows), 4):
        registry, ref, key, token = rows[at : at + 4]
        found.setdefault(registry.decode(), {})[int(ref)] = KeyRow(key.decode(), int(token))
    return found
