-- Marks a job cancelled and forgets its live chunks: whoever holds one finds it stale.
-- ARGV: incarnation, uid
if not incarnation_matches() then return stale('incarnation') end
local uid = ARGV[2]
if redis.call('EXISTS', job_key(uid)) == 0 then return stale('job') end
redis.call('HSET', job_key(uid), 'cancelled', 1)
for _, chunk in ipairs(redis.call('HKEYS', live_key(uid))) do
  forget_live(uid, chunk)
end
return {'ok'}
