"""One server in several processes: who listens, what they share, what one of them keeps for all.

`supervisor` accepts the connections and gives them out evenly; it starts again what dies. Each
process is a whole server. What there may be once only is kept by the first: running normalization,
groups whose members come in several requests, models, endpoints and their budgets, the metrics, the
watch, the dashboard. The others send it the requests for these (`other`, `first`) and what they
counted. Limits of keys are in memory that all share (`board`).
"""
