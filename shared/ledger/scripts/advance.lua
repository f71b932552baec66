-- held(stage, worker) -> queued(next stage). Finding its own result there already is success.
-- ARGV: incarnation, uid, chunk, attempt, stage, worker, next stage, next queue
if not incarnation_matches() then return stale('incarnation') end
local uid, chunk, attempt, next_stage = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[7]
local e = read_live(uid, chunk)
if held_by(e, ARGV[5], attempt, ARGV[6]) then
  leave_owner(uid, chunk, e)
  enter_queue(uid, chunk, e, next_stage, ARGV[8])
  return {'ok'}
end
if e and e.attempt == attempt and e.stage == next_stage then return {'ok'} end
return stale(e and 'attempt' or 'done')
