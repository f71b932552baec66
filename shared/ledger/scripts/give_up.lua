-- Queues the chunks that were refused too often for a later stage, to be recorded as failed.
-- ARGV: incarnation, that stage, its queue. Returns {'ok', uid, chunk, attempt, ...}
if not incarnation_matches() then return stale('incarnation') end
return queue_due('refused', ARGV[2], ARGV[3])
