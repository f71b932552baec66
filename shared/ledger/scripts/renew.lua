-- A worker renews its lease and names the chunks in hand ("uid chunk", ARGV[5] and on).
-- For each chunk that it holds, a renewal that does not name it is counted; two in a row make it lost.
-- ARGV: incarnation, worker, lease ms, worker's description, named...
if not incarnation_matches() then return stale('incarnation') end
local worker, named = ARGV[2], {}
for i = 5, #ARGV do named[ARGV[i]] = true end
redis.call('SET', 'hr:lease:' .. worker, 1, 'PX', ARGV[3])
redis.call('HSET', 'hr:workers', worker, ARGV[4])
for _, m in ipairs(redis.call('HKEYS', 'hr:held:' .. worker)) do
  if named[m] then
    redis.call('HSET', 'hr:held:' .. worker, m, 0)
  else
    redis.call('HINCRBY', 'hr:held:' .. worker, m, 1)
  end
end
return {'ok'}
