-- Remove a job in quarantine, and all that was kept of it.
--
-- KEYS[1]  the job's row, a hash
-- KEYS[2]  its result as Celery reads it, a string
-- KEYS[3]  the stream of its answer
-- KEYS[4]  quarantine, and [5] deadlines, sorted sets
-- ARGV     [1] job id
--
-- Returns the state that it was found in, nil where the row is gone; only a job in quarantine is removed.

local state = redis.call('HGET', KEYS[1], 'state')
if state == 'quarantined' then
    redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
    redis.call('ZREM', KEYS[4], ARGV[1])
    redis.call('ZREM', KEYS[5], ARGV[1])
end
return state
