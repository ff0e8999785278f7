-- Find what is lost: jobs whose worker is gone, jobs whose message is, and jobs whose deadline passed while they waited.
--
-- KEYS     [1] leases, [2] deadlines, sorted sets, [3] when the newest job that was claimed of each line had been sent, a hash,
--          [4] when a worker last did this, a string
-- ARGV     [1] lease in seconds, [2] life of what is written in milliseconds, [3] most jobs of each sort, [4] crashes at which a job
--          is set aside, [5] what the keys of rows begin with, [6] and those of lines, [7] seconds after which a message can be lost,
--          [8] the line for those of each kind that are sent again, JSON, then for each line: its name, and its list of messages
--
-- Returns {ids to send a message for, ids to set aside with the attempt of each in turn, ids that have expired, how many of the first
-- had a worker that is gone}. To be harmless when the caller dies with the reply, each is found again by a later call, if it was not
-- done.

local again_lines = cjson.decode(ARGV[8])
local leases, deadlines, claimed, swept = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local lease, life, most, patience = tonumber(ARGV[1]), ARGV[2], ARGV[3], tonumber(ARGV[7])
local time = redis.call('TIME')
local now = tonumber(string.format('%d.%06d', time[1], time[2]))
local send, set_aside, expired, is_again = {}, {}, {}, {}
for _, line in pairs(again_lines) do
    is_again[line] = true
end

local function row_of(id)
    return ARGV[5] .. id
end

-- Into the line for those that are sent again, from now on.
local function wait_again(id, kind)
    local line = again_lines[kind]
    redis.call('HSET', row_of(id), 'state', 'queued', 'line', line)
    redis.call('ZADD', ARGV[6] .. line, string.format('%.6f', now), id)
    redis.call('PEXPIRE', ARGV[6] .. line, life)
    send[#send + 1] = id
end

-- Nobody has swept for half a lease: Redis was away, or every worker. Those that live, and renewed shortly before, have time to say so.
local last = tonumber(redis.call('GET', swept) or 0)
if now - last > lease / 2 then
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now + lease / 2)) do
        redis.call('ZADD', leases, string.format('%.6f', now + lease / 2), id)
    end
end
redis.call('SET', swept, string.format('%.6f', now), 'PX', life)

for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, most)) do
    local state, attempt, kind = unpack(redis.call('HMGET', row_of(id), 'state', 'attempt', 'kind'))
    if state ~= 'running' then
        redis.call('ZREM', leases, id)
    elseif redis.call('HINCRBY', row_of(id), 'crashes', 1) >= tonumber(ARGV[4]) then
        set_aside[#set_aside + 1] = id
        set_aside[#set_aside + 1] = attempt
        redis.call('ZADD', leases, string.format('%.6f', now + lease), id)
    else
        redis.call('ZREM', leases, id)
        wait_again(id, kind)
    end
end
local recovered = #send

-- A line is taken in its order: whoever was sent before the newest one that was claimed, and still waits, waits for nothing. So does
-- whoever waits in an empty line. Those that are sent again may have been sent before others, and go by the time alone.
for at = 9, #ARGV, 2 do
    local line, list = ARGV[at], ARGV[at + 1]
    local again = is_again[line]
    local sent_before = now
    if redis.call('LLEN', list) > 0 then
        sent_before = again and now - lease or tonumber(redis.call('HGET', claimed, line) or 0)
    end
    local lost = redis.call('ZRANGEBYSCORE', ARGV[6] .. line, '-inf', sent_before - patience, 'WITHSCORES', 'LIMIT', 0, most)
    for each = 1, #lost, 2 do
        local id, sent_at = lost[each], tonumber(lost[each + 1])
        local state, times, kind = unpack(redis.call('HMGET', row_of(id), 'state', 'sent', 'kind'))
        if state ~= 'queued' then
            redis.call('ZREM', ARGV[6] .. line, id)
        elseif now - sent_at > patience * 2 ^ math.min(tonumber(times or 0), 6) then
            redis.call('HINCRBY', row_of(id), 'sent', 1)
            redis.call('ZREM', ARGV[6] .. line, id)
            wait_again(id, kind)
        end
    end
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', deadlines, '-inf', now, 'LIMIT', 0, most)) do
    local state = redis.call('HGET', row_of(id), 'state')
    if state == 'queued' then
        expired[#expired + 1] = id
    elseif state ~= 'running' then -- who runs it ends it, or gives it back, and then it is looked at again
        redis.call('ZREM', deadlines, id)
    end
end

return {send, set_aside, expired, recovered}
