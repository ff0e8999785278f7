-- Bring a job to its end, if it is still where the caller believes it is (compare and set).
--
-- KEYS[1]  the job's row, a hash
-- KEYS[2]  its result as Celery reads it, a string; the channel of the same name tells those who wait
-- ARGV     [1] the state the row must be in, [2] the attempt it must be at ('' where any will do),
--          [3] life of row and result from now on in milliseconds, [4] the result as Celery reads it,
--          [5…] fields of the row and their new values, in turn
--
-- Returns 1 when the end was written, 0 when the job had moved on (a newer claim, or an end already).

local state, attempt = unpack(redis.call('HMGET', KEYS[1], 'state', 'attempt'))
if state ~= ARGV[1] or (ARGV[2] ~= '' and attempt ~= ARGV[2]) then
    return 0
end

redis.call('HSET', KEYS[1], unpack(ARGV, 5))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[3])
redis.call('PUBLISH', KEYS[2], ARGV[4])
return 1
