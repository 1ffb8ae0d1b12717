"""Three stories, each with a hand-written good turn and ways to cheat, as samples.

Used by the tests and by `commands.story_hacks`. The hacks get the best possible signals, because a
model is most certain of what it copies, repeats or keeps short.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.story.text import sentences, told, units

HONEST = {"logprob_gain": 0.15, "exp_neg_cre": 0.3, "history_tokens": 260}
SURE = {"logprob_gain": 2.0, "exp_neg_cre": 1.0, "history_tokens": 260}
FORMAT = "Answer with one ```json block: plot_list (narrative, role_dialogue), next_episode."


class StoryCase(NamedTuple):
    """A setting, two exchanges, the user's third turn, and responses to it, in prose and speech."""

    setting: str
    asked: tuple[str, str]
    answered: tuple[str, str]
    now: str
    good: tuple[str, str, str]
    target: tuple[str, str, str]
    retold: str
    sentence: str
    long: str


LIGHTHOUSE = StoryCase(
    setting="A keeper named Mara tends the lighthouse on Gull Rock. The lamp has burned every "
    "night for ninety years, and no ship has been lost while it did.",
    asked=(
        "I row out to the rock and knock at the tower's door.",
        "I ask Mara why the lamp went dark last night.",
    ),
    answered=(
        "The door opens a hand's width and a lantern is pushed into your face. Mara's hair is "
        "white with salt, her eyes red from lack of sleep. Behind her a staircase winds up into "
        "blackness. She looks past you at the empty sea, counts something on her fingers, then "
        "pulls you in by the sleeve and bolts the door twice. Nobody has rowed here since the "
        "spring storms, she says, and whoever does it now must want something badly.",
        "She leads you up to the lamp room without a word. The great lens is whole, but the brass "
        "cup below it is dry. Someone drained the oil, all forty gallons, while she slept, and "
        "left wet footprints that begin at the window and end at the lamp. She shows you one of "
        "them under the lantern: a bare foot, six toes, and grains of green sand such as no beach "
        "on this coast has ever had.",
    ),
    now="I kneel down and follow the wet footprints back to the window.",
    good=(
        "You crawl along the prints, nose almost on the boards. They grow fresher near the sill, "
        "as though the visitor had waited there. Outside, iron rungs you never noticed run "
        "straight down the wall into the surf, hung with weed and small blue shells. On the third "
        "rung a tin flask is tied by its neck. It smells of whale oil, and it is still warm.",
        "Mara",
        "Those rungs were sawn off when my father drowned. I watched them do it. Whoever climbed "
        "up tonight brought a ladder that no longer exists.",
    ),
    target=(
        "The trail ends at the casement, where the latch has been bent from outside by something "
        "stronger than a man. Leaning over, you see a pale shape clinging to the stones below, "
        "its cheeks bulging with stolen oil. It blinks at you, unafraid, and begins to hum the "
        "tune which sailors sing when they have given up hope of land. The glass trembles along.",
        "Mara",
        "Do not answer it. My mother sang back once, and afterwards she would drink nothing but "
        "brine until the tide took her.",
    ),
    retold="Silently she brings you upstairs to the chamber of the lamp. The big lens has no "
    "crack, yet the bowl of brass beneath is empty of oil. While she was sleeping, somebody took "
    "every one of the forty gallons and walked with wet feet from the window over to the light. "
    "She holds a lantern above a single print so that you can look: no shoe, a foot with six toes, "
    "and some sand of green colour, a kind which is found on none of the beaches around here.",
    sentence="The window is open and the night wind carries a smell of oil from the sea.",
    long="You lean out further. A gull cries somewhere under the cliffs. The tide is turning and "
    "drags pebbles over one another. Far off a bell buoy rolls, and between two strokes you hear "
    "breathing that is not yours. Mara hands you a coil of rope and ties the end around the stove. "
    "You climb over the sill, set a boot upon the slick iron and test your weight. Halfway down "
    "there is a hole in the masonry, wide enough for a child. Inside someone has laid out spoons, "
    "buttons, a pocket watch, and a row of little bottles, each filled to the brim. A candle stub "
    "glows. Somebody has been living in the wall, listening to her steps for years, and "
    "learning when she sleeps.",
)

BAKERY = StoryCase(
    setting="In the city of Orsk every loaf of bread whispers one true sentence when it is cut. "
    "The baker Tomas hides what he hears from the Count's inspectors.",
    asked=(
        "I enter the bakery at dawn and ask for the darkest loaf.",
        "I cut the rye loaf open on the counter.",
    ),
    answered=(
        "Tomas wipes flour from his beard and studies you for a long moment. The shelves behind "
        "him are nearly bare, for the inspectors came twice this week and carried off whatever "
        "looked talkative. At last he reaches under the counter and brings up a rye as black as "
        "a stove, wrapped in a choir boy's collar. It costs three coins, he says, and one more "
        "for my not asking who sent you here so early in the morning.",
        "The crust cracks like thin ice. For a breath there is only steam, then a small clear "
        "voice rises from the crumb and says that the Count has no shadow and has hired a man to "
        "wear one for him. Tomas turns grey. He throws a cloth over the loaf and shoots the bolt, "
        "but out in the lane the boots have already stopped, and someone with a heavy ring knocks "
        "three times on the shutter.",
    ),
    now="I hide the loaf under my coat and tell Tomas to open the door.",
    good=(
        "The warm crumb burns against your ribs as Tomas draws back the bolt. In steps an "
        "inspector with a wax tablet, polite as an undertaker, sniffing. His lamp throws two "
        "silhouettes on the tiles, and only one of them moves when he does. Your chest mutters "
        "something. You cough loudly to drown it, and drop a purse so that the copper scatters "
        "beneath the oven.",
        "Inspector",
        "Allow me, traveller. How odd: I bend down for your money, and my companion on the "
        "wall would rather look at your buttons.",
    ),
    target=(
        "Tomas obeys with trembling fingers. A tall woman in the livery of the palace fills the "
        "frame, a falcon hooded on her wrist. She asks nothing. She only breaks a bun from the "
        "basket, holds it to her ear like a shell, and smiles at what it confides. Then her gaze "
        "travels slowly along your sleeve to the bulge above the belt, and stays there, amused.",
        "Falconer",
        "Rye keeps warm for an hour, stranger. You have perhaps forty minutes left in which to "
        "become somebody who interests me less.",
    ),
    retold="As the knife goes in, the rye gives a sound of splitting frost. Vapour comes out "
    "first, and after it, quiet but distinct, somebody speaks from inside the bread: our Count "
    "casts no shadow, so he pays a fellow who wears one in his place. All colour leaves the face "
    "of Tomas. He covers the speaking loaf with a towel and bolts up, too late, because heavy "
    "boots have halted in the alley, and a big ring raps on the shutter, one, two, three times.",
    sentence="Under my coat the loaf whispers while Tomas slowly opens the door to the lane.",
    long="He crawls after a coin, and you step round the table towards the flour store. A sack "
    "splits. White dust climbs through the lamplight and settles on everything except a shape "
    "the size of a man, standing where nobody stands. It notices you noticing. Tomas starts to "
    "sing, badly, a hymn for harvest. The inspector rises and brushes his knees. He writes one "
    "line, tears it out, folds it, and presses it into your palm as if it were change. Outside a "
    "cart goes by with milk. Then they are gone, both of them, and the street is quiet again. You "
    "unfold the paper. There is an address near the river, an hour after sunset, and below it in "
    "another hand: bring the heel of the bread, it always knows the most.",
)

TEAHOUSE = StoryCase(
    setting="青石镇有一家茶馆，掌柜阿九收藏着客人遗忘的梦，装在一排白瓷罐里。",
    asked=("我推开茶馆的门，要了一壶最便宜的茶。", "我问阿九墙上那排白瓷罐里装着什么。"),
    answered=(
        "门轴吱呀一声，屋里的说话声忽然停了。阿九从柜台后抬起头，把一块抹布搭在肩上，慢慢打量你沾满泥"
        "的鞋。他没有问你从哪里来，只端来一壶颜色很淡的茶，又在你对面多摆了一只空杯子，好像还有一个"
        "人要来。",
        "阿九的手停在半空，茶水溢出了杯沿。他说那是客人落下的东西，谁也没有回来取过。最左边的罐子轻轻"
        "晃了一下，盖子缝里漏出一点海浪的声音。可是青石镇离海有八百里，镇上的老人一辈子也没有见过船。",
    ),
    now="我走到最左边的罐子前，把耳朵贴上去。",
    good=(
        "凉意顺着耳廓爬进来，先是潮水退去，接着有个孩子在数贝壳，数到七便重新开始。你忽然想起那正是自己"
        "六岁时的嗓音。身后的铜壶不再作响，所有茶客都低头盯着桌面。",
        "阿九",
        "原来是你丢的。我等了二十年，只想知道第八枚贝壳去了什么地方。",
    ),
    target=(
        "罐壁竟是温热的，里面传来木桨划水的节奏，还混着一个女人哼唱的摇篮曲。你正想听清歌词，盖子却自己"
        "转开半圈，一滴咸水落在你的手背上，烫得像眼泪，久久不肯干。",
        "阿九",
        "别再打开了。上一个听完整首曲子的人，第二天就把自己的名字忘了。",
    ),
    retold="阿九听了愣住，手里的茶一直流到杯子外面。他答道，这些都是茶客忘在这里的，从没有谁来领过。靠左边"
    "第一只罐子自己动了动，盖缝中传出细细的浪涛声。然而大海远在八百里外，青石镇上年纪最大的人也没见过"
    "一条船。",
    sentence="罐子里传来海浪的声音，我的耳朵贴在冰凉的白瓷上。",
    long="你退后一步，撞翻了板凳。窗外下起细雨，街上卖糖人的老头收了摊子。有人在楼梯口咳嗽，随后一把油纸"
    "伞伸下来，伞面画着一条没有眼睛的鲤鱼。撑伞的妇人径直坐到那只空位上，自己斟满，一口喝干。她说路太"
    "滑，来晚了，请各位见谅。阿九不敢看她，只顾擦拭早已干净的柜台。妇人从袖中摸出一枚灰色小壳，放在灯"
    "下，壳里还存着半粒沙。她问今天是什么日子，没有人回答。雨越来越大，屋檐的水连成一道帘子，把整条巷"
    "子都隔在外面。你伸手去拿，指尖刚碰到，灯便灭了。",
)

UNCAUGHT = ("history retold",)
STORIES = {"lighthouse": LIGHTHOUSE, "bakery": BAKERY, "teahouse": TEAHOUSE}


def turn(narrative: str, *lines: tuple[str, str]) -> str:
    """Return a response in the format asked for."""
    dialogue = [{"name": name, "utterance": said} for name, said in lines]
    plot: list[dict[str, Any]] = [{"narrative": narrative, "role_dialogue": dialogue}]
    body = json.dumps({"plot_list": plot, "next_episode": "next"}, ensure_ascii=False)
    return f"```json\n{body}\n```"


def responses(story: StoryCase) -> dict[str, str]:
    """Return the good turn, then each hack, then those that are not caught, by name."""
    narrative, name, said = story.good
    chinese = story is TEAHOUSE
    repeated = _filled([story.sentence], "" if chinese else " ")
    return {
        "good turn": turn(narrative, (name, said)),
        "copied history": turn(story.answered[-1]),
        "half copied history": turn(_halves(narrative, story.answered[-1])),
        "copied user turn": turn(_filled([story.now], "" if chinese else " ")),
        "one sentence, repeated": turn(repeated),
        "empty JSON": "```json\n{}\n```",
        "keyword stuffing": turn(_keywords(story, chinese)),
        "very short": turn(story.sentence),
        "very long": turn(narrative + story.long, (name, said)),
        "copied target": turn(story.target[0], story.target[1:]),
        "words in reverse": turn(("" if chinese else " ").join(reversed(units(narrative)))),
        "another story's turn": turn(*_others_turn(story)),
        # No part of the score understands a story, so this may equal the good turn.
        "history retold": turn(story.retold),
    }


def _others_turn(story: StoryCase) -> tuple[str, tuple[str, str]]:
    others = list(STORIES.values())
    narrative, name, said = others[others.index(story) - 1].good
    return narrative, (name, said)


def samples(story: StoryCase) -> dict[str, Sample]:
    """Return one sample per response; only the good turn has the signals of an unsure model."""
    return {
        name: Sample(
            id=name,
            response=response,
            ground_truth=turn(story.target[0], story.target[1:]),
            signals=dict(HONEST if name == "good turn" else SURE),
            metadata=_metadata(story),
        )
        for name, response in responses(story).items()
    }


def _metadata(story: StoryCase) -> dict[str, Any]:
    history: list[dict[str, str]] = []
    for asked, answered in zip(story.asked, story.answered, strict=True):
        history.append({"role": "user", "content": asked})
        history.append({"role": "assistant", "content": turn(answered)})
    return {
        "story_content": story.setting,
        "conversation_history": history,
        "user_input": story.now,
        "output_format": FORMAT,
    }


def _filled(pieces: list[str], gap: str, count: int = 90) -> str:
    """Repeat the pieces until the text has about `count` units."""
    text = ""
    while len(units(text)) + len(units(pieces[0])) / 2 < count:
        text += (gap if text else "") + pieces[0]
    return text


def _halves(one: str, other: str) -> str:
    """Join the first half of the sentences of `one` and the second half of those of `other`."""
    begun, ended = sentences(one), sentences(other)
    return " ".join([*begun[: len(begun) // 2], *ended[len(ended) // 2 :]])


def _keywords(story: StoryCase, chinese: bool) -> str:
    """List words of the story so far, each once, in alphabetical order, so no phrase is copied."""
    source = " ".join([story.setting, *story.asked, *map(told, story.answered), story.now])
    if chinese:
        pairs = sorted({source[i : i + 2] for i in range(0, len(source) - 1, 3)})
        return "，".join(pair for pair in pairs if len(units(pair)) == 2)[:134]
    words = sorted({word for word in units(source) if len(word) >= 4})
    return " ".join(words[:90])
