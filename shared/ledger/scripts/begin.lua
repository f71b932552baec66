-- A ledger is born: takes the id in ARGV[1] unless there is one. A ledger of another layout is deleted
-- in the same step, so that of two producers none deletes what the other has begun.
-- ARGV: incarnation, layout, the keys of the old ledger. Returns the id that stands.
if redis.call('GET', 'hr:layout') ~= ARGV[2] then
  for i = 3, #ARGV do redis.call('DEL', ARGV[i]) end
  redis.call('DEL', 'hr:incarnation')
  redis.call('SET', 'hr:layout', ARGV[2])
end
redis.call('SET', 'hr:incarnation', ARGV[1], 'NX')
return redis.call('GET', 'hr:incarnation')
