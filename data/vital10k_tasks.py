"""What vital10k is made of: the articles, WordNet's facts about them, and the tasks' rows.

The rules are here, the files are make_vital10k.py's business. Everything is a function of the two source
files, in their order; nothing depends on set order, locale or the clock.
"""

import collections
import dataclasses
import hashlib
import random
import re

TASKS = ("wiki_cloze", "wiki_desc", "wiki_slot", "wiki_zeroshot", "wiki_claim", "wiki_hop")
# Asked in training alone: more of what wiki_desc asks, in other words than its own.
FOR_TRAINING = ("wiki_gloss",)

# WordNet's pointer symbols (its manual page wndb(5)) under the words that questions use.
RELATIONS = {
    "@": "subclass of",
    "@i": "instance of",
    "#p": "part of",
    "#m": "member of",
    "%p": "has part",
    "%m": "has member",
    "#s": "substance of",
}
# Asked by wiki_zeroshot-dev and trained on by nobody. "member of" and "has member" go together: a
# relation is not unseen when training shows its inverse. No wiki_claim template uses any of the three.
HELD_OUT = ("member of", "has member", "substance of")

CLAIM = {
    "subclass of": "{} is a kind of {}.",
    "instance of": "{} is an instance of {}.",
    "part of": "{} is part of {}.",
}
TEMPLATE_QUESTION = {
    "subclass of": "What is {} a kind of?",
    "instance of": "What is {} an instance of?",
    "part of": "What is {} part of?",
    "member of": "What is {} a member of?",
    "has part": "What is a part of {}?",
    "has member": "What is a member of {}?",
    "substance of": "What contains {} as a substance?",
}
FIRST_HOP = {
    "subclass of": "{} is a kind of something",
    "instance of": "{} is an instance of something",
    "part of": "{} is part of something",
    "has part": "{} has a part",
}
SECOND_HOP = {
    "subclass of": "that is itself a kind of what?",
    "instance of": "that is itself an instance of what?",
    "part of": "that is itself part of what?",
    "has part": "that itself has what as a part?",
}
# A relation followed by its inverse leads back to where it began; the question must rule that out.
THERE_AND_BACK = {
    ("part of", "has part"): "{} is part of something that has what other part?",
    ("has part", "part of"): "{} has a part that is also part of what else?",
}

MAX_SENSES = 6  # WordNet's later senses of a word are seldom the one that the article is about.
CLAIM_SEED = 7


# ---- What the sources say --------------------------------------------------------------------------


def name_of(title):
    """The title without the parenthesis that tells it from its namesakes."""
    return re.sub(r"\s*\(.*?\)$", "", title)


def split_of(title):
    """The split of everything asked about an article: a tenth of them, by hash, is dev.

    One rule for all tasks, so that an article's cloze never trains a reader that is tested on its facts.
    """
    return "dev" if int(hashlib.sha1(title.encode()).hexdigest(), 16) % 1000 < 100 else "train"


def find_word(word, text, start=0):
    """Where `word` stands in `text` as a whole word in any case."""
    return re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE).search(text, start)


class Wiki:
    """The articles: title to lead, and what a title is called by."""

    def __init__(self, summaries):
        self.articles = summaries
        self.ids = {title: f"w{number}" for number, title in enumerate(summaries)}
        self.namesakes = collections.defaultdict(list)
        for title in summaries:
            self.namesakes[name_of(title).lower()].append(title)

    def lead(self, title):
        return self.articles[title]["extract"]

    def is_ambiguous(self, title):
        """Whether a question that names this article could mean another one."""
        return len(self.namesakes[name_of(title).lower()]) > 1

    def page_called(self, name):
        """The title that `name` stands for, if there is exactly one."""
        titles = self.namesakes.get(name.lower(), [])
        return titles[0] if len(titles) == 1 else None

    def provenance(self, title, span=None):
        """KILT's pointer to a lead, which is paragraph 1: paragraph 0 is the title."""
        pointer = {"wikipedia_id": self.ids[title], "title": title, "start_paragraph_id": 1, "end_paragraph_id": 1}
        if span:
            pointer.update(start_character=span[0], end_character=span[1])
        return pointer

    def knowledge(self):
        """The knowledge source: one row a page."""
        for title, article in self.articles.items():
            yield {
                "_id": self.ids[title],
                "wikipedia_id": self.ids[title],
                "wikipedia_title": title,
                "text": [title + "\n", article["extract"] + "\n"],
                "categories": article["topic"],
            }


class WordNet:
    """The noun synsets: their words, what they mean, and pointers to others."""

    def __init__(self, noun_file):
        self.words, self.glosses, self.pointers = {}, {}, {}
        self.synsets = collections.defaultdict(list)  # lower-case word to its synsets
        for line in noun_file.decode("utf-8").splitlines():
            if line.startswith("  "):  # the licence
                continue
            pointers, _, gloss = line.partition("|")
            fields = pointers.split()
            synset, words = fields[0], int(fields[3], 16)
            self.glosses[synset] = gloss.partition('; "')[0].strip()  # without its examples
            first = 4 + 2 * words
            self.words[synset] = [fields[4 + 2 * i].replace("_", " ") for i in range(words)]
            self.pointers[synset] = [
                (fields[at], fields[at + 1])
                for at in range(first + 1, first + 1 + 4 * int(fields[first]), 4)
                if fields[at + 2] == "n"
            ]
            for word in self.words[synset]:
                self.synsets[word.lower()].append(synset)

    def senses(self, name):
        """The synsets of a name; a plural title ("Cats") is looked up as its singular when need be."""
        name = name.lower()
        return self.synsets.get(name) or (self.synsets.get(name[:-1]) if name.endswith("s") else None) or []

    def ancestors(self, synset):
        """All synsets above this one in the taxonomy."""
        seen, stack = set(), [synset]
        while stack:
            for symbol, target in self.pointers[stack.pop()]:
                if symbol in ("@", "@i") and target not in seen:
                    seen.add(target)
                    stack.append(target)
        return seen

    def true_objects(self, name):
        """Every word that a fact about `name` may end in under any of its senses: never a false claim."""
        true = set()
        for synset in self.senses(name):
            related = self.ancestors(synset) | {target for _, target in self.pointers[synset]}
            true.update(word.lower() for target in related for word in self.words[target])
        return true


@dataclasses.dataclass(frozen=True)
class Fact:
    """A WordNet pointer whose target is named in the article's lead."""

    answer: str  # as the lead spells it
    span: tuple  # its characters in the lead
    source: str  # the synset taken for the article
    target: str  # the synset taken for the answer


def find_facts(wiki, wordnet):
    """(title, relation) to facts, by distant supervision: a word of the target stands in the lead."""
    facts = {}
    for title in wiki.articles:
        name = name_of(title)
        for source in wordnet.senses(name)[:MAX_SENSES]:
            for symbol, target in wordnet.pointers[source]:
                if symbol not in RELATIONS:
                    continue
                for word in wordnet.words[target]:
                    match = find_word(word, wiki.lead(title))
                    if match and word.lower() != name.lower() and len(word) > 2:
                        fact = Fact(match.group(), match.span(), source, target)
                        facts.setdefault((title, RELATIONS[symbol]), []).append(fact)
                        break
    return facts


# ---- Tasks: each yields (split, row) ---------------------------------------------------------------


def row(identifier, question, answers, provenance, meta=None):
    """One KILT record. The first answer carries the provenance, its aliases are answers alone."""
    output = [{"answer": answers[0], "provenance": provenance}] + [{"answer": alias} for alias in answers[1:]]
    record = {"id": identifier, "input": question, "output": output}
    if meta:
        record["meta"] = meta
    return record


def title_answers(title):
    """The name, and the full title where it differs."""
    return list(dict.fromkeys([name_of(title), title]))


def make_cloze(wiki):
    """The first sentence that names its article, with the name masked; the answer is the name."""
    for title, article in wiki.articles.items():
        sentences = re.split(r'(?<=[.!?]) (?=[A-Z"“])', article["extract"])
        for number, sentence in enumerate(sentences):
            if not 8 <= len(sentence.split()) <= 60 or not find_word(name_of(title), sentence):
                continue
            name = rf"(?<!\w){re.escape(name_of(title))}(?!\w)"
            question = re.sub(name, "____", sentence, flags=re.IGNORECASE)
            identifier = f"wc-{wiki.ids[title]}-{number}"
            meta = {"topic": article["topic"]}
            yield split_of(title), row(identifier, question, title_answers(title), [wiki.provenance(title)], meta)
            break


def make_desc(wiki):
    """Topic and short description, where no other article has the same and it does not give the name away."""
    uses = collections.Counter(article["description"] for article in wiki.articles.values())
    for title, article in wiki.articles.items():
        description = article["description"] or ""
        if len(description.split()) < 4 or uses[description] > 1 or name_of(title).lower() in description.lower():
            continue
        question = f"{article['topic']}: {description}"
        record = row(f"wd-{wiki.ids[title]}", question, title_answers(title), [wiki.provenance(title)])
        yield split_of(title), record


def make_glosses(wiki, wordnet, facts):
    """Topic and WordNet's gloss, of train articles whose sense is known.

    It is where a fact was found under it, or where the name has no other.
    """
    sources = {}
    for (title, _), found in facts.items():
        sources.setdefault(title, found[0].source)
    for title, article in wiki.articles.items():
        name, senses = name_of(title), wordnet.senses(name_of(title))
        sense = sources.get(title) or (senses[0] if len(senses) == 1 and name == title else None)
        if sense is None or wiki.is_ambiguous(title) or split_of(title) != "train":
            continue
        gloss = wordnet.glosses[sense]
        if len(gloss.split()) < 4 or name.lower() in gloss.lower():
            continue
        question = f"{article['topic']}: {gloss}"
        yield "train", row(f"wg-{wiki.ids[title]}", question, title_answers(title), [wiki.provenance(title)])


def slot_row(wiki, prefix, title, relation, facts):
    """`name [SEP] relation` to the objects in the lead."""
    answers = list(dict.fromkeys(fact.answer for fact in facts))
    name = name_of(title)
    meta = {"relation": relation}
    if prefix == "wz":  # KILT's zero-shot rows have the relation in words too, its T-REx rows do not.
        meta["template_questions"] = [TEMPLATE_QUESTION[relation].format(name)]
    identifier = f"{prefix}-{wiki.ids[title]}-{relation.replace(' ', '_')}"
    return row(identifier, f"{name} [SEP] {relation}", answers, [wiki.provenance(title, facts[0].span)], meta)


def make_slots(wiki, facts):
    """The facts as two tasks, wiki_slot and wiki_zeroshot; yields (task, split, row).

    wiki_zeroshot-dev asks every fact of a held-out relation. The other facts go to wiki_slot-dev or, by a
    second hash of the article, to one of the two train files, so that the tasks share no training question.
    """
    askable = {key: found for key, found in facts.items() if not wiki.is_ambiguous(key[0])}
    unseen = {title for title, relation in askable if relation in HELD_OUT}
    for (title, relation), found in askable.items():
        for_zeroshot = int(hashlib.sha1(f"zeroshot {title}".encode()).hexdigest(), 16) % 2 == 0
        if relation in HELD_OUT:
            yield "wiki_zeroshot", "dev", slot_row(wiki, "wz", title, relation, found)
        elif split_of(title) == "train" and for_zeroshot and title not in unseen:
            yield "wiki_zeroshot", "train", slot_row(wiki, "wz", title, relation, found)
        else:
            yield "wiki_slot", split_of(title), slot_row(wiki, "ws", title, relation, found)


def make_claims(wiki, wordnet, facts):
    """Each fact as a true claim, and as a false one with an object of another fact of the same relation.

    Taking the false object from the true ones' distribution keeps a reader of the claim alone at one half.
    """
    subjects = collections.defaultdict(list)
    for (title, relation), found in facts.items():
        if relation in CLAIM:
            subjects[relation].append((title, found[0].answer))
    generator = random.Random(CLAIM_SEED)
    true_objects = {title: wordnet.true_objects(name_of(title)) for title, _ in facts}
    for relation, pairs in subjects.items():
        objects = [answer for _, answer in pairs]
        for title, answer in pairs:
            name, lead = name_of(title), wiki.lead(title).lower()
            identifier = f"wv-{wiki.ids[title]}-{relation.replace(' ', '_')}"
            provenance, meta = [wiki.provenance(title)], {"relation": relation}
            claim = CLAIM[relation].format(name, answer)
            yield split_of(title), row(f"{identifier}-s", claim, ["SUPPORTS"], provenance, meta)
            for _ in range(50):
                false = generator.choice(objects)
                if false.lower() in true_objects[title] or false.lower() in lead or false.lower() == name.lower():
                    continue
                claim = CLAIM[relation].format(name, false)
                yield split_of(title), row(f"{identifier}-r", claim, ["REFUTES"], provenance, meta)
                break


def bridges(wiki, found):
    """Page to the facts that lead to it, for the answers that are the name of just one page."""
    pages = collections.defaultdict(list)
    for fact in found:
        page = wiki.page_called(fact.answer)
        if page:
            pages[page].append(fact)
    return pages


def hop_question(name, first, second):
    """Two relations as one question that does not name the page between."""
    if (first, second) in THERE_AND_BACK:
        return THERE_AND_BACK[first, second].format(name)
    return f"{FIRST_HOP[first].format(name)} {SECOND_HOP[second]}"


def make_hops(wiki, facts):
    """X -> Y -> Z, where X's lead names page Y and only Y's lead names Z.

    Y's fact must start at the synset where X's ended: the name alone may mean something else ("force"). A
    question is dropped when two pages could be Y, or when any right answer can be read without going to Y.
    """
    for (title, first), found in facts.items():
        if first in HELD_OUT or wiki.is_ambiguous(title):
            continue
        pages = bridges(wiki, found)
        pages.pop(title, None)
        if len(pages) != 1:
            continue
        ((bridge, leading),) = pages.items()
        # A training question may not show the page of a dev question of any task.
        if split_of(title) == "train" and split_of(bridge) == "dev":
            continue
        name = name_of(title)
        reached = {fact.target for fact in leading}
        for second in SECOND_HOP:
            ending = [
                fact
                for fact in facts.get((bridge, second), [])
                if fact.source in reached and fact.answer.lower() != name.lower()
            ]
            seen = f"{title} {wiki.lead(title)}".lower()
            if not ending or any(fact.answer.lower() in seen for fact in ending):
                continue
            answers = list(dict.fromkeys(fact.answer for fact in ending))
            provenance = [wiki.provenance(title, leading[0].span), wiki.provenance(bridge, ending[0].span)]
            relations = f"{first}-{second}".replace(" ", "_")
            meta = {"relations": [first, second], "bridge": bridge}
            question = hop_question(name, first, second)
            yield split_of(title), row(f"wh-{wiki.ids[title]}-{relations}", question, answers, provenance, meta)


def derive(summaries, noun_file):
    """File name to rows, for all that is written."""
    wiki, wordnet = Wiki(summaries), WordNet(noun_file)
    facts = find_facts(wiki, wordnet)
    files = {"knowledge": list(wiki.knowledge())}
    files.update({f"{task}-{split}": [] for task in TASKS for split in ("train", "dev")})
    files.update({f"{task}-train": [] for task in FOR_TRAINING})
    for task, rows in (
        ("wiki_cloze", make_cloze(wiki)),
        ("wiki_desc", make_desc(wiki)),
        ("wiki_gloss", make_glosses(wiki, wordnet, facts)),
        ("wiki_claim", make_claims(wiki, wordnet, facts)),
        ("wiki_hop", make_hops(wiki, facts)),
    ):
        for split, record in rows:
            files[f"{task}-{split}"].append(record)
    for task, split, record in make_slots(wiki, facts):
        files[f"{task}-{split}"].append(record)
    return files
