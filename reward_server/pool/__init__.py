"""Worker processes that score with a deadline and are killed when they exceed it.

Outcomes of a sample:
- It runs past its deadline: `deadline_exceeded`, and its worker is killed.
- Its worker dies while it runs: `worker_lost`. It may be the cause, so it is not tried again.
- Its worker dies before it began, or all workers die with the process that forks them: another
  worker gets it. If it was next in line, or running, in two workers that died so: `worker_lost`.
- It has not begun by the call's `give_up_at_s`: `deadline_exceeded`, retryable. A sample running
  by then has `GIVE_UP_GRACE_S` more. It is retryable if it began late.
- Its scorer raises, returns no proper score or needs too much memory: `scorer_failed`.
- It runs in a batch with others: deadline and memory limit apply to the batch. If the batch is
  lost or fails, each of its samples is tried once more, alone, under the rules above.
- Its scorer is slow: it holds a worker, and a spare one serves other callers and other scorers.
"""
