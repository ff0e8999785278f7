-- Bring a job to its end, if it is still where the caller believes it is (compare and set).
--
-- KEYS[1]  the job's row, a hash
-- KEYS[2]  its result as Celery reads it, a string; the channel of the same name tells those who wait
-- KEYS[3]  the stream of its answer
-- KEYS[4]  leases, a sorted set
-- ARGV     [1] the state the row must be in ('' where any will do that is no end), [2] the attempt it must be at ('' where any
--          will do), [3] life of row and result from now on in milliseconds, [4] the result as Celery reads it,
--          [5] life of the stream from now on in milliseconds, [6] a channel and [7] what its listeners are told if the job was
--          running and the caller does not speak for its worker (ARGV[1] is ''),
--          [8] job id, [9] what the keys of lines begin with, [10…] fields of the row and their new values, in turn
--
-- Returns 1 when the end was written, 0 when the job had moved on (a newer claim, or an end already).

local state, attempt, streamed, line = unpack(redis.call('HMGET', KEYS[1], 'state', 'attempt', 'streamed', 'line'))
local open = state == 'queued' or state == 'running'
if not open or (ARGV[1] ~= '' and state ~= ARGV[1]) or (ARGV[2] ~= '' and attempt ~= ARGV[2]) then
    return 0
end

redis.call('HSET', KEYS[1], unpack(ARGV, 10))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[3])
redis.call('PUBLISH', KEYS[2], ARGV[4])
if state == 'running' then
    redis.call('ZREM', KEYS[4], ARGV[8])
elseif line then
    redis.call('ZREM', ARGV[9] .. line, ARGV[8])
end
if streamed then
    redis.call('XADD', KEYS[3], '*', 'end', '')
    redis.call('PEXPIRE', KEYS[3], ARGV[5])
end
if ARGV[1] == '' and state == 'running' then
    redis.call('PUBLISH', ARGV[6], ARGV[7])
end
return 1
