-- A done chunk whose file is missing becomes undone, to be fed again with higher attempts.
-- ARGV: incarnation, uid, chunk
if not incarnation_matches() then return stale('incarnation') end
local uid = ARGV[2]
if redis.call('EXISTS', job_key(uid)) == 0 then return stale('job') end
if redis.call('SETBIT', done_key(uid), ARGV[3], 0) == 1 then
  redis.call('HINCRBY', job_key(uid), 'reopened', 1)
end
return {'ok'}
