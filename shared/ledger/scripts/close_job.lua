-- Forgets a job that is closed in the bucket. ARGV: incarnation, uid
if not incarnation_matches() then return stale('incarnation') end
local uid = ARGV[2]
for _, chunk in ipairs(redis.call('HKEYS', live_key(uid))) do
  forget_live(uid, chunk)
end
redis.call('SREM', 'hr:jobs', uid)
redis.call('DEL', job_key(uid), done_key(uid))
return {'ok'}
