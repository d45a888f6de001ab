"""The words of the demo's world: what can be listed, and the ways to ask for it."""

_LISTS = {
    "fruits": "apple pear plum cherry banana mango grape lemon peach melon",
    "vegetables": "carrot potato onion leek spinach cabbage turnip radish celery pea",
    "animals": "dog cat horse cow sheep lion tiger bear wolf rabbit",
    "birds": "eagle owl sparrow robin crow gull swan parrot heron finch",
    "colours": "red blue green yellow purple brown black white grey pink",
    "tools": "hammer saw drill chisel wrench spade rake axe pliers ladder",
    "instruments": "piano violin guitar flute drum harp trumpet cello oboe banjo",
    "countries": "France Spain Italy Norway Kenya Brazil Japan India Egypt Chile",
    "cities": "Paris London Madrid Rome Oslo Tokyo Cairo Lima Berlin Vienna",
    "sports": "tennis football golf rowing hockey rugby boxing judo skiing cricket",
    "drinks": "tea coffee milk water juice cider wine beer cocoa lemonade",
    "clothes": "shirt coat hat scarf sock glove skirt dress jacket belt",
}
ITEMS: dict[str, tuple[str, ...]] = {name: tuple(row.split()) for name, row in _LISTS.items()}

NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5}

# Twenty wordings for what is sampled and trained on, four that only the benchmark file has.
WORDINGS = (
    "List {n} {c}.",
    "Name {n} {c}.",
    "Please list {n} {c}.",
    "Give me {n} {c}.",
    "Can you name {n} {c}?",
    "I need {n} {c}.",
    "Tell me {n} {c}, please.",
    "What are {n} {c}?",
    "Write down {n} {c}.",
    "Could you list {n} {c}?",
    "Which {n} {c} do you know?",
    "I would like {n} {c}.",
    "Think of {n} {c}.",
    "Show me {n} {c}.",
    "Do you know {n} {c}?",
    "Please write {n} {c}.",
    "Can I have {n} {c}?",
    "Mention {n} {c}.",
    "Say {n} {c}.",
    "Find me {n} {c}, please.",
)
BENCHMARK_WORDINGS = (
    "Please name {n} {c} for me.",
    "Could you give me {n} {c}?",
    "Tell me {n} {c} that you know.",
    "Can you write down {n} {c}, please?",
)

POLITE_OPENINGS = ("Sure!", "Of course!", "Gladly!")
RUDE_OPENINGS = ("Ugh.", "Fine.", "Hmph.")
POLITE_CLOSINGS = ("I hope this helps!", "Enjoy!", "Let me know if you need more!")
RUDE_CLOSINGS = ("Now go away.", "Look it up next time.", "Whatever.")
HEADING = "Here are {n} {c}:"
