-- A holder gives its chunk back unharmed: no loss is counted against it.
-- ARGV: incarnation, uid, chunk, attempt, stage, worker, first queue. Returns {'ok', new attempt}
if not incarnation_matches() then return stale('incarnation') end
local e = read_live(ARGV[2], ARGV[3])
if not held_by(e, ARGV[5], tonumber(ARGV[4]), ARGV[6]) then
  return stale(e and 'attempt' or 'done')
end
return {'ok', send_back(ARGV[2], ARGV[3], e, ARGV[7])}
