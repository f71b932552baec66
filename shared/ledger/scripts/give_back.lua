-- A holder gives its chunk back unharmed: nothing is counted against it, and it need not wait.
-- ARGV: incarnation, uid, chunk, attempt, stage, worker
-- Returns {'ok', new attempt, first stage, first queue}
if not incarnation_matches() then return stale('incarnation') end
local e = read_live(ARGV[2], ARGV[3])
if not held_by(e, ARGV[5], tonumber(ARGV[4]), ARGV[6]) then
  return stale(e and 'attempt' or 'done')
end
local stage, queue = first_of(ARGV[2])
if not stage then return stale('job') end
leave_owner(ARGV[2], ARGV[3], e)
e.attempt = e.attempt + 1
enter_queue(ARGV[2], ARGV[3], e, stage, queue)
return {'ok', e.attempt, stage, queue}
