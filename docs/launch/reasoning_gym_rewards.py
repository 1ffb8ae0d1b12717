"""reasoning-gym's verifiers as a scorer.

Copy this file into the folder of `plugins_dir`, install reasoning-gym beside the server, and use
`scorer: "reasoning_gym_rewards:score_answer"` in a profile. A sample is an entry of reasoning-gym:
`answer` is its ground truth, `metadata` its metadata. The text of the response's last <answer> is
judged; without one the score is 0.
"""

from functools import cache
from importlib.metadata import version

from reasoning_gym.factory import DATASETS, get_score_answer_fn

# These verifiers pass the answer or a text of the entry to eval, or to sympy's parser, which uses
# it.
EVALUATE = frozenset(
    {
        "binary_matrix",
        "bitwise_arithmetic",
        "countdown",
        "intermediate_integration",
        "n_queens",
        "number_sorting",
        "polynomial_multiplication",
        "puzzle24",
        "simple_integration",
        "spiral_matrix",
        "string_insertion",
    }
)
# these compare boards of tuples, which become lists in JSON
TUPLES = frozenset({"arc_agi", "rearc"})
verifier = cache(get_score_answer_fn)


def score_answer(response, ground_truth, metadata):
    name = metadata.get("source_dataset")
    if name not in DATASETS:
        raise ValueError(f"metadata.source_dataset is {name!r}, expected a dataset's name")
    if name in EVALUATE:
        raise ValueError(f"{name} is not scored: its verifier evaluates text as code")
    entry = {"answer": ground_truth, "metadata": dict(metadata)}
    if name in TUPLES:
        entry["metadata"]["output"] = tuple(map(tuple, metadata["output"]))
    answer = last_answer(response)
    if answer is None:
        return 0.0, {"dataset": name, "answer": None}
    try:
        score = verifier(name)(answer, entry)
    except Exception:
        if ground_truth is None:
            raise  # unclear whether the answer or the entry is at fault
        score = 0.0
    # Verifiers also score 0 for a broken entry, so check that its own answer is right.
    if score < 1 and ground_truth is not None and verifier(name)(ground_truth, entry) < 1:
        raise ValueError(f"the entry's own answer is not right by the verifier of {name}")
    return score, {"dataset": name, "answer": answer}


score_answer.version = f"1, reasoning-gym {version('reasoning-gym')}"
score_answer.range = (0, 1)


def last_answer(response):
    for part in reversed(response.split("</answer>")[:-1]):
        _, opened, answer = part.partition("<answer>")
        if opened:
            return answer.strip()
    return None
