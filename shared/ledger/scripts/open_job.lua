-- A job becomes known. A done chunk that is live here ends by its holder's own finish.
-- ARGV: incarnation, uid, job_id, done chunks (comma separated, may be empty)
if not incarnation_matches() then return stale('incarnation') end
local uid = ARGV[2]
redis.call('SADD', 'hr:jobs', uid)
redis.call('HSETNX', job_key(uid), 'job_id', ARGV[3])
redis.call('HSETNX', job_key(uid), 'opened_at_ms', now_ms())
for chunk in string.gmatch(ARGV[4], '%d+') do
  if redis.call('HEXISTS', live_key(uid), chunk) == 0 then
    redis.call('SETBIT', done_key(uid), chunk, 1)
  end
end
return {'ok'}
