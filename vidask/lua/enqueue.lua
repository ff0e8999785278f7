-- Accept a job once.
--
-- KEYS[1]  the job's row, a hash
-- KEYS[2]  those who wait in its line, a sorted set
-- KEYS[3]  deadlines, a sorted set
-- ARGV     [1] life of the row and the sets in milliseconds, [2] kind, [3] tenant, [4] payload, [5] job id, [6] line,
--          [7] seconds until its deadline, '' where it has none, [8] how many frames it has, '' where it has no such
--
-- Returns 1 when the row was made, 0 when a job of that id exists already (nothing is changed then).

if redis.call('HSETNX', KEYS[1], 'state', 'queued') == 0 then
    return 0
end

local time = redis.call('TIME')
local now = string.format('%d.%06d', time[1], time[2])
redis.call('HSET', KEYS[1],
    'kind', ARGV[2], 'tenant', ARGV[3], 'payload', ARGV[4], 'created_at_s', now, 'attempt', 0, 'line', ARGV[6])
if ARGV[8] ~= '' then
    redis.call('HSET', KEYS[1], 'done', 0, 'total', ARGV[8])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[2], now, ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[1])
if ARGV[7] ~= '' then
    redis.call('ZADD', KEYS[3], now + ARGV[7], ARGV[5])
    redis.call('PEXPIRE', KEYS[3], ARGV[1])
end
return 1
