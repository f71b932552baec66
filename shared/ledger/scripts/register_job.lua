-- A job becomes known, with chunks whose files stand. Those that only wait are done by that; one that
-- is held here ends by its holder's own finish.
-- ARGV: incarnation, uid, job_id, done chunks (comma separated, may be empty)
if not incarnation_matches() then return stale('incarnation') end
local uid = ARGV[2]
redis.call('SADD', 'hr:jobs', uid)
redis.call('HSETNX', job_key(uid), 'job_id', ARGV[3])
redis.call('HSETNX', job_key(uid), 'opened_at_ms', now_ms())
for chunk in string.gmatch(ARGV[4], '%d+') do
  local e = read_live(uid, chunk)
  if not e or e.state ~= 'held' then become_done(uid, chunk, e) end
end
return {'ok'}
