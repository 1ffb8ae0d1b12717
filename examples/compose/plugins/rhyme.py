"""Reward two last lines that end in the same two letters, in different words."""


def reward(response):
    words = [
        line.split()[-1].strip(".,!?").lower() for line in response.splitlines() if line.split()
    ]
    if len(words) < 2:
        return 0.0
    first, second = words[-2:]
    return float(first != second and first[-2:] == second[-2:])
