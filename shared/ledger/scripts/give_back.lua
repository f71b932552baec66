-- A holder gives its chunk back unharmed: nothing is counted against it, and it need not wait.
-- ARGV: incarnation, uid, chunk, attempt, stage, worker, first queue. Returns {'ok', new attempt}
if not incarnation_matches() then return stale('incarnation') end
local e = read_live(ARGV[2], ARGV[3])
if not held_by(e, ARGV[5], tonumber(ARGV[4]), ARGV[6]) then
  return stale(e and 'attempt' or 'done')
end
leave_owner(ARGV[2], ARGV[3], e)
e.attempt = e.attempt + 1
enter_queue(ARGV[2], ARGV[3], e, FIRST_STAGE, ARGV[7])
return {'ok', e.attempt}
