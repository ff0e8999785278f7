-- Accept a job once.
--
-- KEYS[1]  the job's row, a hash
-- ARGV     [1] life of the row in milliseconds, [2] kind, [3] tenant, [4] payload
--
-- Returns 1 when the row was made, 0 when a job of that id exists already (nothing is changed then).

if redis.call('HSETNX', KEYS[1], 'state', 'queued') == 0 then
    return 0
end

local now = redis.call('TIME')
redis.call('HSET', KEYS[1],
    'kind', ARGV[2], 'tenant', ARGV[3], 'payload', ARGV[4],
    'created_at_s', string.format('%d.%06d', now[1], now[2]), 'attempt', 0)
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
