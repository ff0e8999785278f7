-- Have a job in quarantine wait for a worker again, as if it had never ended one. Its attempt stays: a worker that fell silent with
-- an earlier one cannot end it.
--
-- KEYS[1]  the job's row, a hash
-- KEYS[2]  its result as Celery reads it, a string
-- KEYS[3]  the stream of its answer
-- KEYS[4]  quarantine, a sorted set
-- KEYS[5]  those who wait in the line that it will be sent to, a sorted set
-- KEYS[6]  deadlines, a sorted set
-- ARGV     [1] life of the row and the sets in milliseconds, [2] job id, [3] line, [4] seconds until its deadline, '' where it has none
--
-- Returns the state that it was found in, nil where the row is gone; only a job in quarantine is changed.

local state, kind = unpack(redis.call('HMGET', KEYS[1], 'state', 'kind'))
if state ~= 'quarantined' then
    return state
end

local time = redis.call('TIME')
local now = string.format('%d.%06d', time[1], time[2])
redis.call('HSET', KEYS[1], 'state', 'queued', 'line', ARGV[3], 'crashes', 0)
redis.call('HDEL', KEYS[1], 'error', 'error_type', 'finished_at_s', 'sent')
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2], KEYS[3])
redis.call('ZREM', KEYS[4], ARGV[2])
redis.call('ZADD', KEYS[5], now, ARGV[2])
redis.call('PEXPIRE', KEYS[5], ARGV[1])
if kind == 'ask' then -- its deadline counts from here; the others keep their place among the changes to their video
    redis.call('HSET', KEYS[1], 'created_at_s', now)
end
if ARGV[4] ~= '' then
    redis.call('ZADD', KEYS[6], string.format('%.6f', now + ARGV[4]), ARGV[2])
    redis.call('PEXPIRE', KEYS[6], ARGV[1])
end
return state
