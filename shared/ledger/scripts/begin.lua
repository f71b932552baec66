-- A ledger is born: takes the id in ARGV[1] unless there is one. Returns the one that stands.
redis.call('SET', 'hr:incarnation', ARGV[1], 'NX')
return redis.call('GET', 'hr:incarnation')
