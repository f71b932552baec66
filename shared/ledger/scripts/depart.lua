-- A worker that ends in good order takes its lease away at once. ARGV: incarnation, worker
if not incarnation_matches() then return stale('incarnation') end
redis.call('DEL', 'hr:lease:' .. ARGV[2])
if redis.call('HLEN', 'hr:held:' .. ARGV[2]) == 0 then
  redis.call('HDEL', 'hr:workers', ARGV[2])
end
return {'ok'}
