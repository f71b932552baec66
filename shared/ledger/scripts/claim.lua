-- queued(stage) -> held(stage, worker). A claim is a sign of life, so it renews the lease.
-- ARGV: incarnation, uid, chunk, attempt, stage, worker, lease ms, worker's description
-- Returns {'ok', how many of its holders were lost at this stage}
if not incarnation_matches() then return stale('incarnation') end
local uid, chunk, attempt, stage, worker = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6]
local job = redis.call('HMGET', job_key(uid), 'job_id', 'cancelled')
if not job[1] then return stale('job') end
if job[2] then return stale('cancelled') end
local e = read_live(uid, chunk)
if not e then return stale('done') end
if e.attempt ~= attempt then return stale('attempt') end
if e.state ~= 'queued' or e.stage ~= stage then return stale('state') end
leave_owner(uid, chunk, e)
e.state, e.owner, e.since = 'held', worker, now_ms()
write_live(uid, chunk, e)
redis.call('HSET', 'hr:held:' .. worker, member(uid, chunk), 0)
redis.call('HSET', 'hr:workers', worker, ARGV[8])
redis.call('SET', 'hr:lease:' .. worker, 1, 'PX', ARGV[7])
return {'ok', tonumber(redis.call('HGET', trial_key(uid, chunk), 'losses ' .. stage) or 0)}
