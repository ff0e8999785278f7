-- The jobs of a tenant that are in quarantine, newest first. Entries of jobs that are not, or are gone, are removed.
--
-- KEYS[1]  quarantine, a sorted set
-- ARGV     [1] tenant, [2] what the keys of rows begin with, [3…] the fields wanted of each row
--
-- Returns for each job its id, and a list of the fields.

local found = {}
for _, id in ipairs(redis.call('ZREVRANGE', KEYS[1], 0, -1)) do
    local row = ARGV[2] .. id
    local state, tenant = unpack(redis.call('HMGET', row, 'state', 'tenant'))
    if state == 'quarantined' then
        if tenant == ARGV[1] then
            found[#found + 1] = {id, redis.call('HMGET', row, unpack(ARGV, 3))}
        end
    elseif state ~= 'running' then -- who sets a job aside lists it first, while it is still running
        redis.call('ZREM', KEYS[1], id)
    end
end
return found
