"""Reward a poem whose last two lines end in different words with the same last two letters."""


def reward(response):
    words = [
        line.split()[-1].strip(".,!?").lower() for line in response.splitlines() if line.split()
    ]
    if len(words) < 2:
        return 0.0
    first, second = words[-2:]
    return float(first != second and first[-2:] == second[-2:])
