-- Claim a job before working on it.
--
-- KEYS[1]  the job's row, a hash
-- ARGV     [1] worker, [2] lease in seconds, [3] '1' when the message is a redelivery (its first reader gave it up or died),
--          [4] kind, [5] payload and [6] tenant that came with the message, [7] life in milliseconds of a row made of these
--          (our own client wrote the row before, with its payload; other producers only send the message)
--
-- Returns {attempt, payload, created_at_s, now_s, '1' or nil: somebody reads the answer as it is written} when the job is the
-- caller's.
-- Returns 'ended', or 'held' when another worker has it.

local row = KEYS[1]
local state, attempt, payload, created, lease, streamed = unpack(
    redis.call('HMGET', row, 'state', 'attempt', 'payload', 'created_at_s', 'lease_until_s', 'streamed'))

local time = redis.call('TIME')
local now = string.format('%d.%06d', time[1], time[2])

if not state then
    attempt, payload, created = 0, ARGV[5], now
    redis.call('HSET', row, 'kind', ARGV[4], 'tenant', ARGV[6], 'payload', payload, 'created_at_s', created)
    redis.call('PEXPIRE', row, ARGV[7])
elseif state == 'running' then
    if ARGV[3] ~= '1' and tonumber(lease) > tonumber(now) then
        return 'held'
    end
elseif state ~= 'queued' then
    return 'ended'
end

attempt = attempt + 1
redis.call('HSET', row,
    'state', 'running', 'attempt', attempt, 'worker', ARGV[1], 'started_at_s', now,
    'lease_until_s', string.format('%d.%06d', time[1] + ARGV[2], time[2]))
return {attempt, payload, created, now, streamed}
