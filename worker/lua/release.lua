-- Give a job back to the queue, for another worker.
--
-- KEYS[1]  the job's row, a hash
-- KEYS[2]  leases, a sorted set
-- KEYS[3]  those who wait in the line that it will be sent to, a sorted set
-- ARGV     [1] the attempt it is held at, [2] job id, [3] line, [4] life of the set in milliseconds,
--          [5] 1 when the worker ends because of what it was doing, 0 otherwise
--
-- Returns 1, or 0 when the job is not the caller's any more.

local state, attempt = unpack(redis.call('HMGET', KEYS[1], 'state', 'attempt'))
if state ~= 'running' or attempt ~= ARGV[1] then
    return 0
end

local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'state', 'queued', 'line', ARGV[3], 'sent', 0)
if ARGV[5] == '1' then
    redis.call('HINCRBY', KEYS[1], 'crashes', 1)
end
redis.call('ZREM', KEYS[2], ARGV[2])
redis.call('ZADD', KEYS[3], string.format('%d.%06d', time[1], time[2]), ARGV[2])
redis.call('PEXPIRE', KEYS[3], ARGV[4])
return 1
