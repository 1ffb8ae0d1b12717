"""One server in several processes: their connections, shared counters, and the first process.

`supervisor` accepts the connections, distributes them evenly, and restarts processes that die. Each
process is a complete server. State that must exist only once is kept by the first process: running
normalization, groups gathered over requests, models, endpoints and their budgets, metrics, the
watch, the dashboard. The others send it the requests for these (`other`, `first`) and their counts.
Limits of keys are in shared memory (`board`).
"""
