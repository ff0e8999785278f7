-- Note how far a job is.
--
-- KEYS[1]  the job's row, a hash
-- ARGV     [1] the attempt that says so, [2] frames done, [3] frames in all
--
-- Nothing is written where the job is not running at that attempt any more.

local state, attempt = unpack(redis.call('HMGET', KEYS[1], 'state', 'attempt'))
if state == 'running' and attempt == ARGV[1] then
    redis.call('HSET', KEYS[1], 'done', ARGV[2], 'total', ARGV[3])
end
