-- Note that somebody wants to read a job's answer as it is written; its worker, if it has one, is told the first time.
--
-- KEYS[1]  the job's row, a hash
-- ARGV     [1] a channel and [2] what its listeners are told if the job is running

local state, streamed = unpack(redis.call('HMGET', KEYS[1], 'state', 'streamed'))
if streamed or (state ~= 'queued' and state ~= 'running') then
    return
end
redis.call('HSET', KEYS[1], 'streamed', 1)
if state == 'running' then
    redis.call('PUBLISH', ARGV[1], ARGV[2])
end
