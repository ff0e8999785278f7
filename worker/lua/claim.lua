-- Claim a job before working on it.
--
-- KEYS[1]  the job's row, a hash
-- KEYS[2]  leases, a sorted set
-- ARGV     [1] worker, [2] lease in seconds, [3] job id, [4] kind, [5] payload and [6] tenant that came with the message, [7] life
--          in milliseconds of the leases, and of a row made of these (our own client wrote the row before, with its payload; other
--          producers only send the message), [8] what the keys of lines begin with, [9] crashes from which on a job is not the
--          caller's to have just now
--
-- Returns {attempt, payload, created_at_s, now_s, '1' or nil: somebody reads the answer as it is written, line or nil, crashes} when
-- the job is the caller's.
-- Returns 'ended', 'held' when another worker has it, or 'later' when it has crashed too often: the next sweep, which takes what was
-- sent at 0 for lost, sends it again.

local row = KEYS[1]
local state, attempt, payload, created, streamed, line, crashes = unpack(
    redis.call('HMGET', row, 'state', 'attempt', 'payload', 'created_at_s', 'streamed', 'line', 'crashes'))

if state == 'running' then
    return 'held' -- if its worker is gone, the sweep makes it 'queued' once the lease is over
elseif state and state ~= 'queued' then
    return 'ended'
end

if crashes and tonumber(crashes) >= tonumber(ARGV[9]) then
    redis.call('HSET', row, 'sent', 0)
    redis.call('ZADD', ARGV[8] .. line, 0, ARGV[3])
    redis.call('PEXPIRE', ARGV[8] .. line, ARGV[7])
    return 'later'
end

local time = redis.call('TIME')
local now = string.format('%d.%06d', time[1], time[2])
if not state then
    attempt, payload, created = 0, ARGV[5], now
    redis.call('HSET', row, 'kind', ARGV[4], 'tenant', ARGV[6], 'payload', payload, 'created_at_s', created)
    redis.call('PEXPIRE', row, ARGV[7])
elseif line then
    redis.call('ZREM', ARGV[8] .. line, ARGV[3])
end

attempt = attempt + 1
redis.call('HSET', row, 'state', 'running', 'attempt', attempt, 'worker', ARGV[1], 'started_at_s', now)
redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[7])
return {attempt, payload, created, now, streamed, line, crashes}
