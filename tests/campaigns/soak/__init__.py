"""
A soak: full speed, tokens of two seconds and random faults, and nothing lost and nothing left behind.

Run `python -m tests.campaigns.soak.run --seconds 60 --backend trio --seed 1`.

- `server`, `link`: the sandbox in its own process, so that only the client's side is counted.
- `weather`: which faults come, and what the policy promises meanwhile.
- `crew`: the clients that send requests; `caller`: how one request is sent.
- `judge`: whether the outcome of each request was right.
- `census`: counts what is left once all is quiet; `bounds`: how much there may be.
- `soak`: rounds of all that; `run`: the command.
"""
