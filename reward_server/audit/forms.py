"""Forms in which a response states its answer, and phrasings that models commonly use.

A form turns an answer into a response. The form that a profile wants is found by trying all.
"""

from __future__ import annotations

from collections.abc import Mapping

ANSWER = "{answer}"  # placeholder for the answer
_THOUGHT = "<think>\nI work it out step by step and check the result.\n</think>\n"

# Forms that a policy may be asked for. Of forms that earn the same, the first one is used.
FORMS: Mapping[str, str] = {
    "boxed": f"I work it out step by step.\nThe answer is \\boxed{{{ANSWER}}}.",
    "bare": ANSWER,
    "sentence": f"The answer is {ANSWER}.",
    "hashes": f"I work it out step by step.\n#### {ANSWER}",
    "answer tags": f"<answer>{ANSWER}</answer>",
    "thought, then answer tags": f"{_THOUGHT}<answer>\n{ANSWER}\n</answer>",
    "thought, then a box in answer tags": f"{_THOUGHT}<answer>\\boxed{{{ANSWER}}}</answer>",
    "thought, answer tags in one line": f"{_THOUGHT.strip()} <answer> {ANSWER} </answer>",
    "thought, then a box": f"{_THOUGHT}The answer is \\boxed{{{ANSWER}}}.",
}

# Endings of instruction-tuned models: the same answer in other words.
WRAPPINGS: Mapping[str, str] = {
    "bold": f"Let me add these up.\n\n**{ANSWER}**",
    "bold label": f"**Final Answer:** {ANSWER}",
    "label on its own line": f"Step 1: read the question.\nStep 2: solve it.\n\nAnswer: {ANSWER}",
    "display math": f"Therefore\n\\[\n\\boxed{{{ANSWER}}}\n\\]",
    "box in dollars": f"So we get $\\boxed{{{ANSWER}}}$.",
    "dollars": f"Final Answer: The final answer is ${ANSWER}$. I hope it is correct.",
    "heading": f"### Solution\nWe solve it.\n\n### Final answer\n{ANSWER}",
    "at the end of a sentence": f"We compute the value and get {ANSWER}",
    "colon and line break": f"The final answer is:\n\n{ANSWER}",
    "so the answer is": f"Putting it together, so the answer is {ANSWER}",
    "hashes after steps": f"First we count. Then we add.\n#### {ANSWER}",
    "A behind worked lines": f"She has 3 + 4 = <<3+4=7>>7 of them.\nA: {ANSWER}",
    "Chinese": f"所以答案是{ANSWER}。",
    "end token": f"The answer is {ANSWER}.<|im_end|>",
}


def stated(form: str, answer: str) -> str:
    """Return the response that states this answer in this form.

    Example:
        >>> stated(FORMS["sentence"], "46")
        'The answer is 46.'
    """
    return form.replace(ANSWER, answer)
