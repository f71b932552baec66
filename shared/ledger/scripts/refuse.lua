-- A signed message of a queued chunk is a dead letter: that counts against the chunk, which is sent
-- again, or given up when it was refused too often.
-- ARGV: incarnation, uid, chunk, attempt, stage, most refusals, pause ms
if not incarnation_matches() then return stale('incarnation') end
local uid, chunk = ARGV[2], ARGV[3]
local e = read_live(uid, chunk)
if not e then return stale('done') end
if e.attempt ~= tonumber(ARGV[4]) then return stale('attempt') end
if e.state ~= 'queued' or e.stage ~= ARGV[5] then return stale('state') end
e.refusals = e.refusals + 1
local is_over = e.refusals >= tonumber(ARGV[6])
set_aside(uid, chunk, e, is_over and 'refused' or 'waiting', ARGV[7])
return {'ok'}
