-- held(stage, worker) -> done. The counters are hints, added once.
-- ARGV: incarnation, uid, chunk, attempt, stage, worker, then counter names and amounts
if not incarnation_matches() then return stale('incarnation') end
local uid, chunk, attempt = ARGV[2], ARGV[3], tonumber(ARGV[4])
local e = read_live(uid, chunk)
if not held_by(e, ARGV[5], attempt, ARGV[6]) then
  if redis.call('GETBIT', done_key(uid), chunk) == 1 then return {'ok'} end
  return stale(e and 'attempt' or 'job')
end
become_done(uid, chunk)
redis.call('HSETNX', job_key(uid), 'first_done_at_ms', now_ms())
redis.call('HSET', job_key(uid), 'last_done_at_ms', now_ms())
for i = 7, #ARGV, 2 do redis.call('HINCRBYFLOAT', job_key(uid), ARGV[i], ARGV[i + 1]) end
return {'ok'}
