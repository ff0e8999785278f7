-- Free the lock of a video that an earlier attempt at the same job has left locked.
--
-- KEYS[1]  the lock, a string: job id, a slash, attempt
-- ARGV[1]  what the string begins with where it is that job's

local holder = redis.call('GET', KEYS[1])
if holder and string.sub(holder, 1, #ARGV[1]) == ARGV[1] then
    redis.call('DEL', KEYS[1])
end
