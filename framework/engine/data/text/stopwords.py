"""Words that say nothing of a picture: the function words of Russian and English.

Our own lists, and short on purpose: pronouns, prepositions, conjunctions, particles, auxiliary
verbs. Words that a picture can show (numbers, colours, "man", "day") are not among them, nor are
"без", "not" and their like, which turn a meaning around.
"""

from __future__ import annotations

_RUSSIAN = """
    а бы будем будет будете будешь буду будут будь будто был была были было быть в вам вами вас ваш
    ваша ваше вашего вашей вашем вашему вашею вашим вашими ваших вашу ваши ведь весь во вот все
    всего всей всем всеми всему всех всею всю вся всё вы где да даже для до его ему ей ею если есть
    ещё еще её ее же за здесь и из или им ими их к как какая какие каким каких какого какое какой
    каком какому какую ко когда кого ком кому которая которого которое которой котором которому
    которую которые который которым которыми которых кто куда ли либо лишь между меня мне мной мною
    мое моего моей моем моему моею моё моём мои моим моими моих мой мою моя мы на над надо нам нами
    нас наш наша наше нашего нашей нашем нашему нашею наши нашим нашими наших нашу него ней нему
    нею неё нее ним ними них но ну о об обо однако около он она они оно от ото очень по под пока
    после при про просто пусть раз разве с сам сама сами самим самих само самого самой самом самому
    саму свое своего своей своем своему своею своё своём свои своим своими своих свой свою своя себе
    себя собой собою со так такая также такие таким такими таких такого такое такой таком такому
    такую там твое твоего твоей твоем твоему твоё твоём твои твоим твоими твоих твой твою твоя те
    тебе тебя тем теми тех то тобой тобою того той том тому тот тою ту тут ты у уж уже хоть хотя
    чего чей чем через что чтоб чтобы чьё чьи чья эта эти этим этими этих это этого этой этом этому
    этот этою эту я
"""

_ENGLISH = """
    a about after again all am an and any are as at be because been before being between both but by
    can could did do does doing during each for from further had has have having he her here hers
    herself him himself his how i if in into is it its itself just me more most my myself of off on
    once only or other our ours ourselves out over own same she should so some such than that the
    their theirs them themselves then there these they this those through to too under until up very
    was we were what when where which while who whom why will with would you your yours yourself
    yourselves
"""

LISTS = {"russian": frozenset(_RUSSIAN.split()), "english": frozenset(_ENGLISH.split())}
"""The lists by language."""


def fold(word: str) -> str:
    """How words are compared: lower case, ``ё`` as ``е`` (people write both)."""
    return word.lower().replace("ё", "е")
