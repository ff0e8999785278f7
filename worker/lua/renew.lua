-- Renew the leases of all jobs that a worker holds.
--
-- KEYS     [1] leases, a sorted set, [2] when the newest job that was claimed of each line had been sent, a hash,
--          [3…] the rows of the jobs
-- ARGV     [1] lease in seconds, [2] life of the hash in milliseconds, [3] how many lines the caller has claimed from, then for
--          each a line and when the newest job claimed of it had been sent, then for each job its id and the attempt it is held at
--
-- Returns for each job 1, or 0 when it waits for another worker or is another's. One that has ended is nobody's.

local lines = tonumber(ARGV[3])
for line = 1, lines do
    local name, sent_at = ARGV[2 * line + 2], ARGV[2 * line + 3]
    if tonumber(sent_at) > tonumber(redis.call('HGET', KEYS[2], name) or 0) then
        redis.call('HSET', KEYS[2], name, sent_at)
        redis.call('PEXPIRE', KEYS[2], ARGV[2])
    end
end

local time = redis.call('TIME')
local until_s = string.format('%d.%06d', time[1], time[2]) + ARGV[1]
local held = {}
for job = 1, #KEYS - 2 do
    local id, attempt = ARGV[2 * (lines + job) + 2], ARGV[2 * (lines + job) + 3]
    local state, now_at = unpack(redis.call('HMGET', KEYS[job + 2], 'state', 'attempt'))
    held[job] = 1
    if state == 'running' and now_at == attempt then
        redis.call('ZADD', KEYS[1], until_s, id)
    elseif state == 'running' or state == 'queued' then
        held[job] = 0
    end
end
return held
