-- Notes the item that a chunk's holder runs alone, or that it runs none.
-- ARGV: incarnation, uid, chunk, attempt, stage, worker, the item's place or -
-- Returns {'ok', how many runs of this item were lost at this stage}
if not incarnation_matches() then return stale('incarnation') end
local uid, chunk, stage, item = ARGV[2], ARGV[3], ARGV[5], ARGV[7]
local e = read_live(uid, chunk)
if not held_by(e, stage, tonumber(ARGV[4]), ARGV[6]) then
  return stale(e and 'attempt' or 'done')
end
e.trial, e.since = item, now_ms()
write_live(uid, chunk, e)
return {'ok', tonumber(redis.call('HGET', trial_key(uid, chunk), stage .. ' ' .. item) or 0)}
