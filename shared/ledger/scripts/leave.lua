-- A holder that cannot send its chunk's first message leaves it, unharmed, to the producer, which
-- sends it in its next pass: nothing is counted against it, and it need not wait.
-- ARGV: incarnation, uid, chunk, attempt, stage, worker
if not incarnation_matches() then return stale('incarnation') end
local e = read_live(ARGV[2], ARGV[3])
if not held_by(e, ARGV[5], tonumber(ARGV[4]), ARGV[6]) then
  return stale(e and 'attempt' or 'done')
end
leave_owner(ARGV[2], ARGV[3], e)
e.state, e.owner, e.attempt, e.since = 'waiting', '-', e.attempt + 1, now_ms()
redis.call('ZADD', 'hr:waiting', e.since, member(ARGV[2], ARGV[3]))
write_live(ARGV[2], ARGV[3], e)
return {'ok'}
