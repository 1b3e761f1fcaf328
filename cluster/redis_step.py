"""What one lock asks of an engine in Redis, and what that leads to: one script, so all of it or nothing.

A claim is granted at once where nobody waits, else put into the line. Whatever frees slots grants to those
who are first in the line: to others by a message to their channel, after a look whether they live.
"""

from __future__ import annotations

from .redis_scripts import ENTER, Script

KEPT_DAYS = 30
"""After which a lock that nobody uses is forgotten."""

# KEYS: lock, line, members, claims of this member. ARGV: prefix, channel, member, session, name, poll; slots,
# rate and burst that it has if it is new; then the operations, each a letter and what belongs to it.
_STEP = """
local name, poll = ARGV[5], ARGV[6] == '1'
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
    local weight, rank, place, token, block, since, who =
        string.match(record, '^(%d+) (%-?%d+) (%d+) (%d+) (%d+) (%d+) (.*)$')
    return tonumber(weight), tonumber(rank), place, tonumber(token), tonumber(block), who
end

local function packed(weight, rank, place, token, block, who)
    return table.concat({text(weight), text(rank), place, text(token), text(block), text(now), who}, ' ')
end

local function entry(place, who, ref)
    return string.format('%016.0f:%s:%s', place, who, ref)
end

local l = redis.call('HMGET', lock_key, 'slots', 'declared', 'paused', 'token', 'place', 'used', 'rate',
    'burst', 'due', 'counted')
local slots, declared = tonumber(l[1] or ARGV[7]), tonumber(l[2] or ARGV[7])
local paused, token, last_place = l[3] == '1', tonumber(l[4] or 0), tonumber(l[5] or 0)
local used = tonumber(l[6] or 0)
local rate, burst = l[7] or '', l[8] or ''
local due, counted = tonumber(l[9] or 0), tonumber(l[10] or 0)
local timed = false
if not l[1] then
    -- New, or forgotten by the server while there are claims.
    created, rate, burst = true, ARGV[8], ARGV[9]
    for _, other in ipairs(redis.call('SMEMBERS', members)) do
        for _, record in ipairs(redis.call('HVALS', base .. other)) do
            local weight, _, place, held, block = parse(record)
            if held > 0 then
                used, token = used + weight, math.max(token, held + block - 1)
            end
            last_place = math.max(last_place, tonumber(place))
        end
    end
end

-- The first of so many.
local function next_token(block)
    local first = math.max(token + 1, now)
    token = first + block - 1
    return first
end

-- The generic cell rate algorithm: after how many microseconds so much may be granted, 0 for now. What is
-- known is how much is due, and when that was counted: exact where the time itself has too many digits, and
-- a clock that was set back makes nobody wait for that long.
local function time_to_wait(weight)
    if rate == '' then
        return 0
    end
    if now ~= counted then
        due, counted, timed = math.max(0, due - math.max(0, now - counted)), now, true
    end
    local every = 1000000 / tonumber(rate)
    local left = due + (weight - math.max(weight, tonumber(burst))) * every
    -- A billionth of a second is rounding, not waiting.
    return left > 0.001 and left or 0
end

-- Counts a grant that need not wait.
local function spend(weight)
    if rate ~= '' then
        due, timed = due + weight * 1000000 / tonumber(rate), true
    end
end

local function ask_again(left)
    again = math.min(again or left, left)
end

local function enter(ref, record)
    redis.call('HSET', mine, ref, record)
    if redis.call('HLEN', mine) == 1 then
        redis.call('SADD', members, member)
        redis.call('SADD', prefix .. ':locks:' .. member, name)
    end
end

-- Whether anybody waits whom nobody of a rank may overtake. Who asks for more than there is gives up as soon
-- as it hears that, if that is still so.
local function is_busy(rank)
    local at = 0
    while true do
        local head = redis.call('ZRANGE', line, at, at, 'WITHSCORES')
        if not head[1] or tonumber(head[2]) > rank then
            return false
        end
        local other, ref = string.match(head[1], '^%d+:(%d+):(%d+)$')
        local record = redis.call('HGET', base .. other, ref)
        if record and parse(record) <= slots then
            return true
        end
        at = at + 1
    end
end

local function join(ref, weight, priority, once, most, who, place, block)
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
    local left
    if used + weight <= slots and not (quiet or paused or is_busy(rank)) then
        left = time_to_wait(weight)
        if left == 0 then
            used = used + weight
            spend(weight)
            local first = next_token(block)
            enter(ref, packed(weight, rank, '0', first, block, who))
            return tell('granted', ref, text(first))
        end
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
    if left then
        ask_again(left)
    end
    enter(ref, packed(weight, rank, place, 0, block, who))
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

-- Takes out the oldest grants that are too many: of those who had lost their slots before the server lost
-- anything, and do not know that yet. True if the claim with this ticket is one of them.
local function drop_oldest(ref)
    local held, dropped = {}, false
    for _, other in ipairs(redis.call('SMEMBERS', members)) do
        local rows = redis.call('HGETALL', base .. other)
        for i = 1, #rows, 2 do
            local weight, _, _, its_token = parse(rows[i + 1])
            if its_token > 0 then
                held[#held + 1] = {token = its_token, weight = weight, member = other, ref = rows[i]}
            end
        end
    end
    table.sort(held, function(a, b) return a.token < b.token end)
    for _, each in ipairs(held) do
        if used <= slots then
            break
        end
        used = used - each.weight
        redis.call('HDEL', base .. each.member, each.ref)
        if each.member ~= member then
            -- It hears of that when it begins anew, at its next step.
            redis.call('HSET', prefix .. ':member:' .. each.member, 'anew', 1)
        elseif each.ref == ref then
            dropped = true
        else
            tell('lost', each.ref)
        end
    end
    return dropped
end

local function keep(ref, kept, weight, priority, who, block)
    local there = redis.call('HGET', mine, ref)
    local held, place = 0, nil
    if there then
        local _
        _, _, place, held = parse(there)
    end
    if quiet and held == 0 then
        if place then
            redis.call('ZREM', line, entry(tonumber(place), member, ref))
        end
        enter(ref, packed(weight, 0 - priority, '0', kept, block, who))
        used, token, held = used + weight, math.max(token, kept + block - 1), kept
        if used > slots and drop_oldest(ref) then
            held = 0
        end
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
                ask_again(left)
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
                if redis.call('EXISTS', prefix .. ':locks:' .. other,
                        prefix .. ':registries:' .. other) == 0 then
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
                local weight, rank, place, _, block, who = parse(record)
                local heavy = weight > slots
                if used + weight > slots and not heavy then
                    return
                end
                local to = not heavy and (other == member or listener(other))
                if to then
                    local left = time_to_wait(weight)
                    if left > 0 then
                        return ask_again(left)
                    end
                    local first = next_token(block)
                    redis.call('ZREM', line, waiter)
                    redis.call('HSET', base .. other, ref, packed(weight, rank, place, first, block, who))
                    used = used + weight
                    spend(weight)
                    if other == member then
                        tell('granted', ref, text(first))
                    else
                        redis.call('PUBLISH', channel .. to, ref .. ' ' .. text(first))
                    end
                else
                    at = at + 1
                end
            end
        end
    end
end

local at = 10
local operations = #ARGV >= at
while at <= #ARGV do
    local kind = ARGV[at]
    if kind == 'j' then
        join(ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), ARGV[at + 4], ARGV[at + 5],
            ARGV[at + 6], ARGV[at + 7], tonumber(ARGV[at + 8]))
        at = at + 9
    elseif kind == 'l' then
        leave(ARGV[at + 1])
        at = at + 2
    elseif kind == 'k' then
        keep(ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]),
            ARGV[at + 5], tonumber(ARGV[at + 6]))
        at = at + 7
    elseif kind == 'd' then
        local number = tonumber(ARGV[at + 1])
        if created then
            paused = ARGV[at + 2] == '1'
        elseif tonumber(rate) ~= tonumber(ARGV[at + 3]) or burst ~= ARGV[at + 4] then
            tell('rerated', rate, burst)
            due, timed, resized = 0, true, true
        end
        rate, burst = ARGV[at + 3], ARGV[at + 4]
        if declared ~= number then
            tell('redeclared', text(declared))
            declared, slots, resized = number, number, true
        end
        at = at + 5
    elseif kind == 'r' then
        slots, resized = tonumber(ARGV[at + 1]), true
        at = at + 2
    else
        paused, resized = ARGV[at + 1] == '1', true
        at = at + 2
    end
end

serve = serve or resized
if poll and not quiet then
    reap()
end
if serve and not quiet and not paused then
    grant_to_waiters()
end
if created or resized then
    redis.call('HSET', lock_key, 'rate', rate, 'burst', burst)
end
if timed then
    redis.call('HSET', lock_key, 'due', string.format('%.3f', due), 'counted', text(counted))
end
if operations or created or token ~= tonumber(l[4]) or used ~= tonumber(l[6]) then
    redis.call('HSET', lock_key, 'slots', text(slots), 'declared', text(declared), 'paused',
        paused and 1 or 0, 'token', text(token), 'place', text(last_place), 'used', text(used))
    if redis.call('EXISTS', members) == 1 then
        redis.call('PERSIST', lock_key)
    else
        redis.call('EXPIRE', lock_key, $kept$)
    end
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

STEP = Script(ENTER + _STEP.replace("$kept$", str(KEPT_DAYS * 24 * 3600)))
