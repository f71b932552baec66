-- Queues the chunks that were refused too often for the last stage, to be recorded as failed.
-- ARGV: incarnation, results queue. Returns {'ok', uid, chunk, attempt, ...}
if not incarnation_matches() then return stale('incarnation') end
return queue_due('refused', 'results', ARGV[2])
