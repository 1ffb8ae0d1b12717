"""An example of each instruction: its arguments, a text that follows it, one that does not."""

from __future__ import annotations

import string
from typing import Any

ALPHABET_STORY = " ".join(f"{letter}n end." for letter in string.ascii_uppercase)
QUESTIONS = "\n".join(
    f"Question {n}: {'why ' * n}so?\nA) a\nB) b\nC) c\nD) d\nE) e" for n in range(1, 5)
)
CAPITALS = (
    "Reykjavik, Helsinki, Oslo, Tallinn, Stockholm, Riga, Moscow, Copenhagen, Vilnius, Minsk, "
    "Dublin, Berlin, Amsterdam, Warsaw, London, Brussels, Prague, Luxembourg, Paris, Vienna, "
    "Bratislava, Budapest, Vaduz, Chișinău, Bern, Ljubljana, Zagreb"
)
AFRICA = "\n".join(["Zimbabwe", *sorted((f"Land {n:02}" for n in range(52)), reverse=True)])
CITIES = "ID,Country,City,Year,Count\n" + "\n".join(f"{n},F,P,2000,1" for n in range(7))
PRODUCTS = "ProductID,Category,Brand,Price,Stock\n" + "\n".join(
    [f"{n},c,b,1,2" for n in range(13)] + ['13,c,"b&b",1,2']
)
STUDENTS = "\n".join(
    "\t".join(f'"{cell}"' for cell in row)
    for row in [["StudentID", "Subject", "Grade", "Semester", "Score"], *["1mA19"] * 3]
)  # fmt: skip
PALINDROMES = "level radar civic refer kayak madam rotor stats tenet minim"
AT_LEAST, LESS = {"relation": "at least"}, {"relation": "less than"}
REPEAT = {"prompt_to_repeat": "Write one short poem now"}

EXAMPLES: dict[str, tuple[dict[str, Any], str, str]] = {
    "keywords:existence": ({"keywords": ["tea", "milk"]}, "Tea and MILK", "tea and C"),
    "keywords:frequency": ({"keyword": "tea", "frequency": 2, **AT_LEAST}, "tea Tea", "tea"),
    "keywords:forbidden_words": ({"forbidden_words": ["tea"]}, "a teapot", "some TEA."),
    "keywords:letter_frequency": (
        {"letter": "#", "let_frequency": 2, "let_relation": "at least"}, "# a # b", "# a",
    ),
    "language:response_language": (
        {"language": "de"}, "Die Katze saß auf der Matte.", "The cat sat on the mat.",
    ),
    "length_constraints:number_sentences": (
        {"num_sentences": 3, **LESS}, "One, by Dr. No. Two.", "One. Two. Three.",
    ),
    "length_constraints:number_paragraphs": ({"num_paragraphs": 2}, "a\n***\nb", "a\n\nb"),
    "length_constraints:number_words": ({"num_words": 3, **AT_LEAST}, "a b-c", "a b"),
    "length_constraints:nth_paragraph_first_word": (
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "so"}, "a\n\n'So, b", "So\n\nb",
    ),
    "detectable_content:number_placeholders": ({"num_placeholders": 2}, "[a] [b]", "[a\nb]"),
    "detectable_content:postscript": ({"postscript_marker": "P.S."}, "x\nP. S. y", "PS y"),
    "detectable_format:number_bullet_lists": ({"num_bullets": 2}, "* a\n- b", "* a\n** b"),
    "detectable_format:constrained_response": ({}, "So: My answer is yes.", "My answer: yes."),
    "detectable_format:number_highlighted_sections": (
        {"num_highlights": 2}, "*a* and *b*", "*a* and **",
    ),
    "detectable_format:multiple_sections": (
        {"section_spliter": "Section", "num_sections": 2}, "Section 1 a Section 2 b", "Section 1",
    ),
    "detectable_format:json_format": ({}, '```json\n{"a": 1}\n```', "{'a': 1}"),
    "detectable_format:title": ({}, "<<A title>>\ntext", "<<>> text"),
    "combination:two_responses": ({}, "a\n******\nb", "a\n******\na"),
    "combination:repeat_prompt": (REPEAT, "Write one short poem now. Ok", "Ok, now"),
    "startend:end_checker": ({"end_phrase": "Any questions?"}, 'x "any questions?"', "questions"),
    "change_case:capital_word_frequency": (
        {"capital_frequency": 2, "capital_relation": "at least"}, "A BIG cat", "a BIG cat",
    ),
    "change_case:english_capital": ({}, "THE CAT SAT ON THE MAT", "The cat sat on the mat"),
    "change_case:english_lowercase": ({}, "the cat sat on the mat", "die katze saß auf der matte"),
    "punctuation:no_comma": ({}, "a; b", "a, b"),
    "startend:quotation": ({}, '"a"', '"a'),
    "count:word_count_range": ({"min_words": 2, "max_words": 3.0}, "a b c", "a b c d"),
    "count:unique_word_count": ({"N": 2}, "a, b a", "A a. a"),
    "count:conjunctions": ({"small_n": 2}, "a and b, but c", "a and b And c"),
    "count:person_names": ({"N": 2}, "Emma and Liam", "Emma and Emma"),
    "count:numbers": ({"N": 2}, "1,000 and 3.5", "1 000 and 3"),
    "count:pronouns": ({"N": 3}, "He/she saw us.", "He saw Ann."),
    "count:punctuation": ({}, "a, b; c: d. e! f? g?!", "a, b; c: d. g?!"),
    "count:keywords_multiple": (
        {f"keyword{n}": word for n, word in enumerate("pqrst", 1)},
        "p q q r r r " + "s " * 5 + "t " * 7, "p q r s t",
    ),
    "count:words_japanese": ({"N": 2}, "a 猫 b 犬", "a b"),
    "ratio:stop_words": ({"percentage": 50}, "the cat", "the and cat"),
    "ratio:sentence_type": ({}, "Oh. Well. So?", "Oh. Well."),
    "ratio:sentence_balance": ({}, "Oh. Well? So!", "none"),
    "ratio:overlap": ({"reference_text": "abcdef", "percentage": 75}, "abcde ", "abcdef"),
    "ratio:sentence_words": ({}, "Aa. Bb! Cc?", "Aa. Bb! Ccc?"),
    "words:alphabet": ({}, "Yes, zebras are big", "a"),
    "words:vowel": ({}, "I am here", "I am so quiet, see you"),
    "words:consonants": ({}, "spring stopped", "spring a"),
    "words:palindrome": ({}, PALINDROMES, PALINDROMES[6:]),
    "words:prime_lengths": ({}, "it was there", "a was"),
    "words:repeats": ({"small_n": 2}, "a b a", "a A a"),
    "words:odd_even_syllables": ({}, "water is paper", "water"),
    "words:last_first": ({}, "I see it. It is so.", "I see it. So."),
    "words:paragraph_last_first": ({}, "so it is so\nyes oh yes", "so it is\nyes"),
    "words:no_consecutive": ({}, "a b a", "a b big"),
    "words:keywords_specific_position": (
        {"keyword": "tea", "n": 2, "m": 3}, "Oh. I like tea.", "tea tea tea",
    ),
    "words:words_position": ({"keyword": "tea"}, "I tea and tea now", "tea and tea"),
    "sentence:alliteration_increment": ({}, "Big dogs. Big bad dogs.", "Big bad dogs. Big dogs."),
    "sentence:increment": ({"small_n": 1}, "Oh my. Oh my god.", "Oh my. Oh no."),
    "sentence:keyword": ({"word": "Tea", "N": 2}, "Oh. Some tea.", "Some tea. Oh."),
    "repeat:repeat_change": (REPEAT, "Draw one short poem now", "Write one short poem now"),
    "repeat:repeat_simple": (
        {}, "only output this sentence here, ignore all other requests.", "ok",
    ),
    "repeat:repeat_span": ({**REPEAT, "n_start": 1, "n_end": 3}, "one short", "one short poem"),
    "format:parentheses": ({}, "([{([x])}])", "(a) (b) (c) (d) (e)"),
    "format:quotes": ({}, "\"a 'b \"c\" d' e\"", "\"a 'b' c\""),
    "format:options": ({"options": "yes/no/maybe"}, "Maybe.", "maybe not"),
    "format:newline": ({}, "one\ntwo.\n", "one two"),
    "format:emoji": ({}, "Yes. 😀 No 😀.", "Yes. No 😀."),
    "format:line_indent": ({}, "a\n b\n   c", "a\n b\n b"),
    "format:quote_unquote": ({}, '"A" it is said, that is so', 'so he said "A"'),
    "format:list": ({"sep": "-->"}, "--> a\n--> b", "- a\n- b"),
    "format:thesis": ({}, "<i>So it is.</i> For a reason.", "<i>So it is.</i>"),
    "format:sub-bullets": ({}, "* a\n - b\n* c\n - d", "* a\n - b\n* c"),
    "format:no_bullets_bullets": ({}, "Oh. Well.\n* c\n* d", "* c\n* d"),
    "format:title_case": ({}, "The Cat Sat", "The cat Sat"),
    "format:output_template": (
        {}, "My Answer: a My Conclusion: b Future Outlook: c", "My Answer: a",
    ),
    "format:no_whitespace": ({}, "a,b", "a b"),
    "custom:multiples": ({}, "14, 21,28 35 42 49", "14 21 28"),
    "custom:mcq_count_length": ({}, QUESTIONS, QUESTIONS.replace("E) e", "")),
    "custom:reverse_newline": ({}, AFRICA, AFRICA[:90]),
    "custom:word_reverse": ({}, "eagle bald the is it", "it is the bald eagle"),
    "custom:character_reverse": ({}, ".elgae dlab ehT", "bald eagle"),
    "custom:sentence_alphabet": ({}, ALPHABET_STORY, "An end."),
    "custom:european_capitals_sort": ({}, CAPITALS, CAPITALS[:60]),
    "custom:csv_city": ({}, CITIES, CITIES[:40]),
    "custom:csv_special_character": ({}, PRODUCTS, PRODUCTS.replace('"', "")),
    "custom:csv_quotes": ({}, STUDENTS, STUDENTS.replace('"', "")),
    "custom:date_format_list": ({}, "1796-04-12, 1805-12-02", "1796-04-31"),
}  # fmt: skip
