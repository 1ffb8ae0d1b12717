"""Worker processes that score with a deadline and are killed when they exceed it.

What happens to a sample:
- It runs past its deadline: `deadline_exceeded`, its worker is killed.
- It runs while its worker dies: `worker_lost`. It is not tried again, for it may be the cause.
- It has not begun when its worker goes: another worker gets it. It was next twice: `worker_lost`.
- It has not begun by the call's `give_up_at_s`: `deadline_exceeded`, retryable. What runs by then
  may take `GIVE_UP_GRACE_S` more. It is retryable if its turn had come late.
- Its scorer raises, returns no proper score or needs too much memory: `scorer_failed`.
- It runs in a batch, with others: the deadline and the memory limit are the batch's. If that is
  lost or fails, each of its samples is tried once more, alone, and what is said above holds.
- Its scorer is slow: it holds a worker, and a spare one serves other callers and other scorers.
"""
