"""What an engine keeps in Redis, and the scripts that change it: one step of one lock is one script.

All keys begin with the schema. The claims of a process are a hash of its own for each lock, so that what is
its own is found at once, and goes at once when it has ended::

    SCHEMA:server                   identity (run_id of the server that was here last), quiet (nothing is
                                    granted, nobody reaped until then), since (when that began), longest (ttl)
    SCHEMA:members                  set: the processes that have said hello
    SCHEMA:member:MEMBER            session ("" when it was reaped), node, ttl, grace, beat, free (since
                                    when nobody listens to its channel), silent (since when it does not beat)
    SCHEMA:locks:MEMBER             set: the locks that it has claims on
    SCHEMA:{LOCK}:lock              slots, declared, paused, token, place (the last ones), used
    SCHEMA:{LOCK}:line              sorted set of who waits: "PLACE:MEMBER:REF" by the negated priority, so
                                    that places of one priority are in the order of their digits
    SCHEMA:{LOCK}:members           set: the processes that have claims
    SCHEMA:{LOCK}:claims:MEMBER     hash: REF -> "WEIGHT RANK PLACE TOKEN SINCE WHO", token 0 while it waits

Times are microseconds since 1970 by the server's clock, and so are tokens and places as far as that rises.
Lua's numbers are doubles, which are exact below 2^53 but shown with 14 digits: every one is written by
``text``. A member has more bits than that and is never a number here.
"""

from __future__ import annotations

import hashlib

KEPT_DAYS = 30
"""After which a lock that nobody uses is forgotten."""

# A script with flags may use memory when there is none left (allow-oom): what a lock needs is little, and
# without it nobody could give back what he holds.
_COMMON = """\
#!lua flags=allow-oom
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local prefix, channel, member, session = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local me = prefix .. ':member:' .. member
local server = prefix .. ':server'

local function text(number)
    return string.format('%.0f', number)
end

local function seconds(microseconds)
    return string.format('%.6f', microseconds / 1000000)
end

-- Until when nothing is granted. A clock that was set back does not make it longer.
local function quiet_until()
    local found = redis.call('HMGET', server, 'quiet', 'longest')
    local quiet, longest = tonumber(found[1] or 0), tonumber(found[2] or 0)
    if quiet > now + longest then
        quiet = now + longest
        redis.call('HSET', server, 'quiet', text(quiet))
    end
    return quiet
end

-- How a process is doing that is not one's own: alive, or after how many microseconds it may have ended, or
-- ended. Its connection tells first; a process that is stopped keeps that, and is known by its silence. Both
-- have to last, by two looks at it, so that a jump of the clock alone ends nobody.
local function look_at(other)
    local key = prefix .. ':member:' .. other
    local found = redis.call('HMGET', key, 'session', 'ttl', 'grace', 'beat', 'free', 'silent')
    local number = found[1]
    if not number or number == '' then
        return 'ended', 0
    end
    local ttl, grace, beat = tonumber(found[2]), tonumber(found[3]), tonumber(found[4])
    local free, silent = tonumber(found[5]), tonumber(found[6])
    if redis.call('PUBSUB', 'NUMSUB', channel .. number)[2] == 0 then
        if free == 0 or free > now then
            free = now
            redis.call('HSET', key, 'free', text(free))
        end
        if now - free < grace then
            return 'leaving', grace - (now - free)
        end
        return 'ended', 0
    end
    if free ~= 0 then
        redis.call('HSET', key, 'free', 0)
    end
    if beat > now then
        beat = now
        redis.call('HSET', key, 'beat', text(now))
    end
    if now - beat < ttl / 2 then
        return 'alive', ttl - (now - beat), number
    end
    if silent == 0 or silent > now then
        silent = now
        redis.call('HSET', key, 'silent', text(silent))
    end
    local left = math.max(ttl - (now - beat), 0.45 * ttl - (now - silent))
    if left > 0 then
        return 'silent', left
    end
    return 'ended', 0
end
"""

# ARGV: prefix, channel, member, session, node, ttl, grace, again
_HELLO = """
local ttl, grace, again = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8] == '1'
if redis.call('PUBSUB', 'NUMSUB', channel .. session)[2] == 0 then
    return redis.error_reply('ELSEWHERE nobody listens here')
end
local about = redis.call('INFO', 'server')
local identity = string.match(about, 'run_id:(%w+)')
local found = redis.call('HMGET', server, 'identity', 'quiet', 'since', 'longest')
local since = tonumber(found[3] or 0)
local longest = math.max(ttl, tonumber(found[4] or 0))
local quiet = quiet_until()
if found[1] ~= identity then
    -- Another server, or this one without its data: what was granted before may be unknown. Only where nobody
    -- can have been here a ttl ago, and nobody has stayed, there is nothing to wait for.
    local up = tonumber(string.match(about, 'uptime_in_seconds:(%d+)')) * 1000000
    local is_new = not found[1] and not again and up > ttl + 1000000
        and #redis.call('PUBSUB', 'CHANNELS', channel .. '*') == 1
    since = is_new and 0 or now
    quiet = is_new and 0 or now + longest
end
if again and since ~= 0 and since <= now and since + ttl > now then
    -- Of those who were here before, some may be patient for longer than whoever came first.
    quiet = math.max(quiet, since + ttl)
end
redis.call('HSET', server, 'identity', identity, 'quiet', text(quiet), 'since', text(since),
    'longest', text(longest))
if quiet <= now then
    for _, other in ipairs(redis.call('SMEMBERS', prefix .. ':members')) do
        if other ~= member and look_at(other) == 'ended'
                and redis.call('EXISTS', prefix .. ':locks:' .. other) == 0 then
            redis.call('DEL', prefix .. ':member:' .. other)
            redis.call('SREM', prefix .. ':members', other)
        end
    end
end
redis.call('SADD', prefix .. ':members', member)
redis.call('HSET', me, 'session', session, 'node', ARGV[5], 'ttl', text(ttl), 'grace', text(grace),
    'beat', text(now), 'free', 0, 'silent', 0)
local answer = {seconds(math.max(0, quiet - now))}
for _, name in ipairs(redis.call('SMEMBERS', prefix .. ':locks:' .. member)) do
    local rows = redis.call('HGETALL', prefix .. ':{' .. name .. '}:claims:' .. member)
    if #rows == 0 then
        redis.call('SREM', prefix .. ':locks:' .. member, name)
    end
    for i = 1, #rows, 2 do
        local place, token = string.match(rows[i + 1], '^%d+ %-?%d+ (%d+) (%d+)')
        for _, each in ipairs({name, rows[i], token, place}) do
            answer[#answer + 1] = each
        end
    end
end
return answer
"""

# Whoever goes on as if nothing had been has to begin anew: its claims were reaped, or went with the data.
_BEAT = """
if redis.call('HGET', me, 'session') ~= session then
    return redis.error_reply('UNKNOWN the session ' .. session .. ' is over here')
end
redis.call('HSET', me, 'beat', text(now), 'free', 0, 'silent', 0)
"""

# KEYS: lock, line, members, claims of this member. ARGV: prefix, channel, member, session, name, slots, poll,
# then the operations, each a letter and what belongs to it.
_STEP = """
local name, poll = ARGV[5], ARGV[7] == '1'
local lock_key, line, members, mine = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local base = prefix .. ':{' .. name .. '}:claims:'
local facts, is_there = {}, {}
local quiet = now < quiet_until()
local serve, resized, created = poll, false, false
local watch, again = '', nil

local function tell(...)
    for _, each in ipairs({...}) do
        facts[#facts + 1] = each
    end
end

local function parse(record)
    local weight, rank, place, token, since, who =
        string.match(record, '^(%d+) (%-?%d+) (%d+) (%d+) (%d+) (.*)$')
    return tonumber(weight), tonumber(rank), place, tonumber(token), who
end

local function packed(weight, rank, place, token, who)
    return table.concat({text(weight), text(rank), place, text(token), text(now), who}, ' ')
end

local function entry(place, who, ref)
    return string.format('%016.0f:%s:%s', place, who, ref)
end

local l = redis.call('HMGET', lock_key, 'slots', 'declared', 'paused', 'token', 'place', 'used')
local slots, declared = tonumber(l[1] or ARGV[6]), tonumber(l[2] or ARGV[6])
local paused, token, last_place = l[3] == '1', tonumber(l[4] or 0), tonumber(l[5] or 0)
local used = tonumber(l[6] or 0)
if not l[1] then
    -- New, or forgotten by the server while there are claims.
    created = true
    for _, other in ipairs(redis.call('SMEMBERS', members)) do
        for _, record in ipairs(redis.call('HVALS', base .. other)) do
            local weight, _, place, held = parse(record)
            if held > 0 then
                used, token = used + weight, math.max(token, held)
            end
            last_place = math.max(last_place, tonumber(place))
        end
    end
end

local function next_token()
    token = math.max(token + 1, now)
    return token
end

local function enter(ref, record)
    redis.call('HSET', mine, ref, record)
    if redis.call('HLEN', mine) == 1 then
        redis.call('SADD', members, member)
        redis.call('SADD', prefix .. ':locks:' .. member, name)
    end
end

local function join(ref, weight, priority, once, most, who, place)
    local there = redis.call('HGET', mine, ref)
    if there then
        local _, _, its_place, its_token = parse(there)
        if its_token > 0 then
            return tell('granted', ref, text(its_token))
        end
        return tell('queued', ref, its_place)
    end
    if weight > slots then
        return tell('refused', ref, 'heavy')
    end
    local rank = 0 - priority
    local head = redis.call('ZRANGE', line, 0, 0, 'WITHSCORES')
    local busy = head[1] and tonumber(head[2]) <= rank
    if not (busy or quiet or paused) and used + weight <= slots then
        used = used + weight
        enter(ref, packed(weight, rank, '0', next_token(), who))
        return tell('granted', ref, text(token))
    end
    if once == '1' then
        return tell('refused', ref, 'busy')
    end
    if most ~= '' and redis.call('ZCARD', line) >= tonumber(most) then
        return tell('refused', ref, 'full')
    end
    if place == '' then
        last_place = math.max(last_place + 1, now)
        place = text(last_place)
    end
    enter(ref, packed(weight, rank, place, 0, who))
    redis.call('ZADD', line, text(rank), entry(tonumber(place), member, ref))
    tell('queued', ref, place)
end

local function leave(ref)
    serve = true
    local there = redis.call('HGET', mine, ref)
    if not there then
        return
    end
    local weight, _, place, its_token = parse(there)
    redis.call('HDEL', mine, ref)
    if its_token > 0 then
        used = used - weight
    else
        redis.call('ZREM', line, entry(tonumber(place), member, ref))
    end
    if redis.call('EXISTS', mine) == 0 then
        redis.call('SREM', members, member)
        redis.call('SREM', prefix .. ':locks:' .. member, name)
    end
end

-- The weight of what was granted after a token: of whoever was granted the slots that it had, if it has lost
-- them before the server lost anything.
local function granted_since(kept)
    local found = 0
    for _, other in ipairs(redis.call('SMEMBERS', members)) do
        for _, record in ipairs(redis.call('HVALS', base .. other)) do
            local weight, _, _, held = parse(record)
            if held > kept then
                found = found + weight
            end
        end
    end
    return found
end

local function keep(ref, kept, weight, priority, who)
    local there = redis.call('HGET', mine, ref)
    local held, place = 0, nil
    if there then
        local _
        _, _, place, held = parse(there)
    end
    if quiet and held == 0 and granted_since(kept) + weight <= slots then
        if place then
            redis.call('ZREM', line, entry(tonumber(place), member, ref))
        end
        enter(ref, packed(weight, 0 - priority, '0', kept, who))
        used, token, held = used + weight, math.max(token, kept), kept
    end
    if held ~= kept then
        tell('lost', ref)
    end
end

-- Takes out the claims of those who have ended.
local function reap()
    for _, other in ipairs(redis.call('SMEMBERS', members)) do
        if other ~= member then
            local how, left = look_at(other)
            if how ~= 'ended' then
                again = math.min(again or left, left)
            else
                local key = prefix .. ':member:' .. other
                local rows = redis.call('HGETALL', base .. other)
                for i = 1, #rows, 2 do
                    local weight, _, place, held = parse(rows[i + 1])
                    if held > 0 then
                        used = used - weight
                    else
                        redis.call('ZREM', line, entry(tonumber(place), other, rows[i]))
                    end
                end
                redis.call('DEL', base .. other)
                redis.call('SREM', members, other)
                redis.call('SREM', prefix .. ':locks:' .. other, name)
                tell('reaped', redis.call('HGET', key, 'node') or '', #rows / 2)
                if redis.call('EXISTS', prefix .. ':locks:' .. other) == 0 then
                    redis.call('DEL', key)
                    redis.call('SREM', prefix .. ':members', other)
                else
                    -- If it lives after all, it hears of that at its next step.
                    redis.call('HSET', key, 'session', '')
                end
            end
        end
    end
end

-- The session that a grant can be told to; nil of a process that nobody can be sure of. It keeps its place.
local function listener(other)
    if is_there[other] == nil then
        local how, _, number = look_at(other)
        is_there[other] = how == 'alive' and number
    end
    return is_there[other]
end

local function grant_to_waiters()
    local at = 0
    while true do
        local some = redis.call('ZRANGE', line, at, at + 15)
        if #some == 0 then
            return
        end
        for _, waiter in ipairs(some) do
            local other, ref = string.match(waiter, '^%d+:(%d+):(%d+)$')
            local record = redis.call('HGET', base .. other, ref)
            if not record then
                redis.call('ZREM', line, waiter)
            else
                local weight, rank, place, _, who = parse(record)
                if used + weight > slots then
                    return
                end
                local to = other == member or listener(other)
                if to then
                    redis.call('ZREM', line, waiter)
                    redis.call('HSET', base .. other, ref, packed(weight, rank, place, next_token(), who))
                    used = used + weight
                    if other == member then
                        tell('granted', ref, text(token))
                    else
                        redis.call('PUBLISH', channel .. to, ref .. ' ' .. text(token))
                    end
                else
                    at = at + 1
                end
            end
        end
    end
end

local at = 8
local operations = #ARGV >= at
while at <= #ARGV do
    local kind = ARGV[at]
    if kind == 'j' then
        join(ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), ARGV[at + 4], ARGV[at + 5],
            ARGV[at + 6], ARGV[at + 7])
        at = at + 8
    elseif kind == 'l' then
        leave(ARGV[at + 1])
        at = at + 2
    elseif kind == 'k' then
        keep(ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]),
            ARGV[at + 5])
        at = at + 6
    elseif kind == 'd' then
        local number = tonumber(ARGV[at + 1])
        if created then
            paused = ARGV[at + 2] == '1'
        end
        if declared ~= number then
            tell('redeclared', text(declared))
            declared, slots, resized = number, number, true
        end
        at = at + 3
    elseif kind == 'r' then
        slots, resized = tonumber(ARGV[at + 1]), true
        at = at + 2
    else
        paused, resized = ARGV[at + 1] == '1', true
        at = at + 2
    end
end

if resized then
    -- Who asks for more than there is now hears so at the next look of its own.
    for _, waiter in ipairs(redis.call('ZRANGE', line, 0, -1)) do
        local other, ref = string.match(waiter, '^%d+:(%d+):(%d+)$')
        local record = redis.call('HGET', base .. other, ref)
        if not record or parse(record) > slots then
            redis.call('ZREM', line, waiter)
            redis.call('HDEL', base .. other, ref)
        end
    end
    serve = true
end
if poll and not quiet then
    reap()
end
if serve and not quiet and not paused then
    grant_to_waiters()
end
if operations or created or token ~= tonumber(l[4]) or used ~= tonumber(l[6]) then
    redis.call('HSET', lock_key, 'slots', text(slots), 'declared', text(declared), 'paused',
        paused and 1 or 0, 'token', text(token), 'place', text(last_place), 'used', text(used))
    redis.call('EXPIRE', lock_key, $kept$)
end
if poll then
    local rows = redis.call('HGETALL', mine)
    for i = 1, #rows, 2 do
        local _, _, _, held = parse(rows[i + 1])
        if held > 0 then
            tell('granted', rows[i], text(held))
        end
    end
    -- Whoever is first, and whoever is first of the others, should both end at once.
    local first
    watch = '0'
    for _, waiter in ipairs(redis.call('ZRANGE', line, 0, 99)) do
        local other = string.match(waiter, '^%d+:(%d+):')
        first = first or other
        if other == member then
            watch = '1'
        end
        if other == member or other ~= first then
            break
        end
    end
end
return {text(slots), paused and 1 or 0, watch, again and seconds(again) or '', facts}
"""

# ARGV: prefix, channel, and the name of a lock in the place of a member.
_CLAIMANTS = """
local name, found = ARGV[3], {}
for _, other in ipairs(redis.call('SMEMBERS', prefix .. ':{' .. name .. '}:members')) do
    local node = redis.call('HGET', prefix .. ':member:' .. other, 'node') or ''
    local rows = redis.call('HGETALL', prefix .. ':{' .. name .. '}:claims:' .. other)
    for i = 1, #rows, 2 do
        local since = string.match(rows[i + 1], '^%d+ %-?%d+ %d+ %d+ (%d+)')
        found[#found + 1] = {other, node, rows[i], rows[i + 1], seconds(math.max(0, now - since))}
    end
end
return found
"""


class Script:
    """A script, and what Redis calls it once it has it."""

    def __init__(self, body: str) -> None:
        self.text = _COMMON + body
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


HELLO = Script(_HELLO)
BEAT = Script(_BEAT + "return 'OK'\n")
STEP = Script(_BEAT + _STEP.replace("$kept$", str(KEPT_DAYS * 24 * 3600)))
CLAIMANTS = Script(_CLAIMANTS)
