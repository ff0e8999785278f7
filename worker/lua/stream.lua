-- Append to the streams of jobs what has been written of their answers since the last call.
--
-- KEYS     for each job: its row, a hash, and its stream
-- ARGV     [1] life of a stream from now on in milliseconds, [2] how many entries it keeps at least, then for each job:
--          the attempt that writes, how many characters of it the stream holds as far as the writer knows (at), how many with
--          these (upto), and these. Where `at` is -1, the attempt starts over: an entry at 0 tells readers so, also a second time
--
-- Returns for each job how many characters of that attempt the stream holds now. That is `upto`, or, where the writer was wrong
-- (this call is a repeated one, or the stream is gone), what there is, and nothing is written. It is -1 where the job is not
-- running at that attempt any more.

local function held(stream, attempt)
    local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
    if not last or last[2][2] ~= attempt then -- fields in the order of XADD below
        return 0
    end
    return tonumber(last[2][6])
end

local function append(row, stream, attempt, at, upto, text)
    local state, now_at = unpack(redis.call('HMGET', row, 'state', 'attempt'))
    if state ~= 'running' or now_at ~= attempt then
        return -1
    end
    local there = held(stream, attempt)
    if at == '-1' then
        at = '0'
    elseif there ~= tonumber(at) then
        return there
    end
    redis.call('XADD', stream, 'MAXLEN', '~', ARGV[2], '*', 'attempt', attempt, 'at', at, 'upto', upto, 'text', text)
    redis.call('PEXPIRE', stream, ARGV[1])
    return tonumber(upto)
end

local counts = {}
for job = 1, #KEYS / 2 do
    local of = 4 * job - 2
    counts[job] = append(KEYS[2 * job - 1], KEYS[2 * job], ARGV[of + 1], ARGV[of + 2], ARGV[of + 3], ARGV[of + 4])
end
return counts
