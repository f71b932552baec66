-- A job becomes known, with chunks whose files stand. Those that only wait are done by that; one that
-- is held here ends by its holder's own finish.
-- ARGV: incarnation, uid, job_id, first stage, its queue, done chunks (comma separated, may be empty)
if not incarnation_matches() then return stale('incarnation') end
local uid = ARGV[2]
redis.call('SADD', 'hr:jobs', uid)
redis.call('HSET', job_key(uid),
  'job_id', ARGV[3], 'first_stage', ARGV[4], 'first_queue', ARGV[5])
redis.call('HSETNX', job_key(uid), 'opened_at_ms', now_ms())
for chunk in string.gmatch(ARGV[6], '%d+') do
  local e = read_live(uid, chunk)
  if not e or e.state ~= 'held' then become_done(uid, chunk) end
end
return {'ok'}
