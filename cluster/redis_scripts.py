"""What an engine keeps in Redis, and the scripts that begin and keep up a session (see ``redis_step`` for
locks, and ``redis_keys`` for registries).

All keys begin with the schema. The claims of a process are a hash of its own for each lock, so that what is
its own is found at once, and goes at once when it has ended::

    SCHEMA:server                   identity (run_id of the server that was here last), quiet (nothing is
                                    granted, nobody reaped until then; 0 when that is over), seen (when that
                                    was looked at), since (when that began), longest (ttl), version (of all
                                    this)
    SCHEMA:members                  set: the processes that have said hello
    SCHEMA:member:MEMBER            session ("" when it was reaped), node, ttl, grace, beat, free (since
                                    when nobody listens to its channel), doubted (1: the grace was over, and
                                    began anew), silent (since when it does not beat), looked
                                    (when that was looked at), anew (1: it
                                    has to begin anew)
    SCHEMA:locks:MEMBER             set: the locks that it has claims on
    SCHEMA:{LOCK}:lock              slots, declared, paused, token, place (the last ones), used, rate and
                                    burst ("" for none), due (how much of the rate is used up, in
                                    microseconds), counted (when that was so)
    SCHEMA:{LOCK}:line              sorted set of who waits: "PLACE:MEMBER:REF" by the negated priority, so
                                    that places of one priority are in the order of their digits
    SCHEMA:{LOCK}:members           set: the processes that have claims
    SCHEMA:{LOCK}:claims:MEMBER     hash: REF -> "WEIGHT RANK PLACE TOKEN BLOCK SINCE WHO": the
                                    first of so many tokens, 0 while it waits
    SCHEMA:registries:MEMBER        set: the registries that it has keys in
    SCHEMA:{REGISTRY}:keys          hash: KEY -> "MEMBER REF TOKEN SHOWN LENGTH WHO" and the value, LENGTH
                                    being that of WHO, SHOWN 0 when its owner is dead
    SCHEMA:{REGISTRY}:keys:MEMBER   hash: REF -> KEY

Times are microseconds since 1970 by the server's clock, and so are tokens and places as far as that rises.
Lua's numbers are doubles, which are exact below 2^53 but shown with 14 digits: every one is written by
``text``. A member has more bits than that and is never a number here.
"""

from __future__ import annotations

import hashlib

VERSION = 2
"""Of what is kept there. Version 1 had no keys of registries, no rates, and no grants with several tokens."""


class Script:
    """A script, and what Redis calls it once it has it."""

    def __init__(self, body: str) -> None:
        self.text = _COMMON + body
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


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

-- Until when nothing is granted, 0 if that is over. Whoever is here looks every third of a ttl. Where the
-- clock has gone on by more than that between two looks, or back, somebody may have set it: that is no time
-- at all, and the silence ends so much later.
local function quiet_until()
    local found = redis.call('HMGET', server, 'quiet', 'longest', 'seen', 'since')
    local quiet = tonumber(found[1] or 0)
    if quiet == 0 then
        return 0
    end
    local longest, seen = tonumber(found[2] or 0), tonumber(found[3] or now)
    local passed = now - seen
    local is_time = passed >= 0 and passed <= 0.4 * longest
    if not is_time and tonumber(found[4] or 0) ~= 0 then
        redis.call('HSET', server, 'since', text(found[4] + passed))
    end
    local left = math.min(quiet - seen - (is_time and passed or 0), longest)
    if left <= 0 then
        redis.call('HSET', server, 'quiet', 0)
        return 0
    end
    if not is_time or passed > longest / 50 then
        redis.call('HSET', server, 'quiet', text(now + left), 'seen', text(now))
    end
    return now + left
end

-- How a process is doing that is not one's own: alive, or after how many microseconds it may have ended, or
-- ended. Its connection tells first; a process that is stopped keeps that, and is known by its silence. Both
-- have to last, by several looks at it, so that a jump of the clock alone ends nobody: the grace by two, and
-- by three, where the second comes later than looks do, which may be such a jump as well.
local function look_at(other)
    local key = prefix .. ':member:' .. other
    local found = redis.call('HMGET', key, 'session', 'ttl', 'grace', 'beat', 'free', 'silent', 'doubted',
        'looked')
    local number = found[1]
    if not number or number == '' then
        return 'ended', 0
    end
    local ttl, grace, beat = tonumber(found[2]), tonumber(found[3]), tonumber(found[4])
    local free, silent = tonumber(found[5]), tonumber(found[6])
    if redis.call('PUBSUB', 'NUMSUB', channel .. number)[2] == 0 then
        local late = free ~= 0 and now - free > grace + math.min(1000000, grace / 3) and found[7] ~= '1'
        if free == 0 or free > now or late then
            free = now
            redis.call('HSET', key, 'free', text(free), 'doubted', late and 1 or 0)
        end
        if now - free < grace then
            return 'leaving', grace - (now - free)
        end
        return 'ended', 0
    end
    if free ~= 0 then
        redis.call('HSET', key, 'free', 0, 'doubted', 0)
    end
    if beat > now then
        beat = now
        redis.call('HSET', key, 'beat', text(now))
    end
    if now - beat < ttl / 2 then
        return 'alive', ttl / 2 - (now - beat), number
    end
    -- What lies between two looks counts up to an eighth of a ttl, so that a jump ends nobody who still
    -- believes in its grants.
    local eighth = ttl / 8
    if silent == 0 then
        silent = now - beat < 5 * eighth and beat or now - eighth
    else
        local passed = now - tonumber(found[8] or now)
        silent = silent + passed - math.max(0, math.min(passed, eighth))
    end
    redis.call('HSET', key, 'silent', text(silent), 'looked', text(now))
    local left = ttl - (now - silent)
    if left > 0 then
        return 'silent', math.min(left, 0.8 * eighth)
    end
    return 'ended', 0
end
"""

# ARGV: prefix, channel, member, session, node, ttl, grace, again
_HELLO = """
-- What somebody has written over is left out: its lock or registry alone does not work, and says why.
local function is_hash(key)
    return type(redis.pcall('HLEN', key)) == 'number'
end

-- Nil where a claim does not have its key any more, of which Redis may have forgotten one half.
local function token_of(keys, key, other, ref)
    local owner, its_ref, token = string.match(redis.call('HGET', keys, key) or '', '^(%d+) (%d+) (%d+) ')
    return owner == other and its_ref == ref and token
end

local function forget_keys(other)
    for _, name in ipairs(redis.pcall('SMEMBERS', prefix .. ':registries:' .. other)) do
        local keys = prefix .. ':{' .. name .. '}:keys'
        local rows = is_hash(keys) and redis.pcall('HGETALL', keys .. ':' .. other) or {}
        for i = 1, #rows, 2 do
            if token_of(keys, rows[i + 1], other, rows[i]) then
                redis.call('HDEL', keys, rows[i + 1])
            end
        end
        redis.call('DEL', keys .. ':' .. other)
    end
    redis.call('DEL', prefix .. ':registries:' .. other)
end

local ttl, grace, again = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8] == '1'
if redis.call('PUBSUB', 'NUMSUB', channel .. session)[2] == 0 then
    return redis.error_reply('ELSEWHERE nobody listens here')
end
local about = redis.call('INFO', 'server')
local identity = string.match(about, 'run_id:(%w+)')
local found = redis.call('HMGET', server, 'identity', 'longest', 'version')
if found[3] and found[3] ~= '$version$' then
    return redis.error_reply('VERSION ' .. found[3])
end
local quiet = quiet_until()
local since = tonumber(redis.call('HGET', server, 'since') or 0)
local longest = math.max(ttl, tonumber(found[2] or 0))
if found[1] ~= identity then
    -- Another server, or this one without its data: what was granted before may be unknown. There is nothing
    -- to wait for only where there has been nobody: not before a start, which is long ago, nor with a primary
    -- that this one was a replica of; and nobody is here.
    local up = tonumber(string.match(about, 'uptime_in_seconds:(%d+)')) * 1000000
    local is_new = not found[1] and not again and up > ttl + 1000000
        and string.find(redis.call('INFO', 'replication'), 'second_repl_offset:-1', 1, true)
        and #redis.call('PUBSUB', 'CHANNELS', channel .. '*') == 1
    since = is_new and 0 or now
    quiet = is_new and 0 or now + longest
end
if again and since ~= 0 and since <= now and since + ttl > now then
    -- Of those who were here before, some may be patient for longer than whoever came first.
    quiet = math.max(quiet, since + ttl)
end
redis.call('HSET', server, 'identity', identity, 'quiet', text(quiet), 'seen', text(now), 'since',
    text(since), 'longest', text(longest), 'version', $version$)
if quiet <= now then
    -- Some of those who have ended, so that they and their keys do not gather.
    for _, other in ipairs(redis.call('SRANDMEMBER', prefix .. ':members', 20)) do
        if other ~= member and is_hash(prefix .. ':member:' .. other) and look_at(other) == 'ended' then
            if redis.call('EXISTS', prefix .. ':registries:' .. other) == 1 then
                -- If it lives after all, it hears of that at its next step.
                redis.call('HSET', prefix .. ':member:' .. other, 'session', '')
                forget_keys(other)
            end
            if redis.call('EXISTS', prefix .. ':locks:' .. other) == 0 then
                redis.call('DEL', prefix .. ':member:' .. other)
                redis.call('SREM', prefix .. ':members', other)
            end
        end
    end
end
-- Whoever was found to have ended is not believed: others may have got what it had. It is not known of whom
-- there is nothing, where all data were lost just now.
local former = redis.call('HGET', me, 'session')
local ended = again and (former == '' or not former and since + ttl <= now)
if ended and quiet > now then
    forget_keys(member)
end
redis.call('SADD', prefix .. ':members', member)
redis.call('HSET', me, 'session', session, 'node', ARGV[5], 'ttl', text(ttl), 'grace', text(grace),
    'beat', text(now), 'free', 0, 'silent', 0, 'doubted', 0, 'anew', 0)
local locks, keys = {}, {}
for _, name in ipairs(redis.call('SMEMBERS', prefix .. ':locks:' .. member)) do
    local rows = redis.pcall('HGETALL', prefix .. ':{' .. name .. '}:claims:' .. member)
    if #rows == 0 and not rows.err then
        redis.call('SREM', prefix .. ':locks:' .. member, name)
    end
    for i = 1, #rows, 2 do
        local place, token = string.match(rows[i + 1], '^%d+ %-?%d+ (%d+) (%d+)')
        if token and string.find(rows[i], '^%d+$') then
            for _, each in ipairs({name, rows[i], token, place}) do
                locks[#locks + 1] = each
            end
        end
    end
end
for _, name in ipairs(redis.call('SMEMBERS', prefix .. ':registries:' .. member)) do
    local base = prefix .. ':{' .. name .. '}:keys'
    local rows = is_hash(base) and redis.pcall('HGETALL', base .. ':' .. member) or {}
    for i = 1, #rows, 2 do
        local token = token_of(base, rows[i + 1], member, rows[i])
        if token then
            for _, each in ipairs({name, rows[i], rows[i + 1], token}) do
                keys[#keys + 1] = each
            end
        else
            redis.call('HDEL', base .. ':' .. member, rows[i])
        end
    end
end
return {seconds(math.max(0, quiet - now)), ended and 1 or 0, locks, keys}
"""

# Whoever goes on as if nothing had been has to begin anew: its claims were reaped, or went with the data. A
# beat that is still young is not written anew: so a process is given up after 15/16 of a ttl without a sign,
# and has given up its grants itself after 0.8.
ENTER = """
local known = redis.call('HMGET', me, 'session', 'ttl', 'beat', 'free', 'silent', 'anew')
if known[1] ~= session or known[6] == '1' then
    return redis.error_reply('UNKNOWN the session ' .. session .. ' is over here')
end
local age = now - known[3]
if age < 0 or age > known[2] / 16 or known[4] ~= '0' or known[5] ~= '0' then
    redis.call('HSET', me, 'beat', text(now), 'free', 0, 'silent', 0, 'doubted', 0)
end
"""

# ARGV: prefix, channel, and the name of a lock in the place of a member.
_CLAIMANTS = """
local name, found = ARGV[3], {}
for _, other in ipairs(redis.call('SMEMBERS', prefix .. ':{' .. name .. '}:members')) do
    local node = redis.call('HGET', prefix .. ':member:' .. other, 'node') or ''
    local rows = redis.call('HGETALL', prefix .. ':{' .. name .. '}:claims:' .. other)
    for i = 1, #rows, 2 do
        local since = string.match(rows[i + 1], '^%d+ %-?%d+ %d+ %d+ %d+ (%d+)')
        found[#found + 1] = {other, node, rows[i], rows[i + 1], seconds(math.max(0, now - since))}
    end
end
return found
"""


HELLO = Script(_HELLO.replace("$version$", str(VERSION)))
BEAT = Script(ENTER + "quiet_until()\nreturn 'OK'\n")
CLAIMANTS = Script(_CLAIMANTS)
