"""Small sums, with and without reasoning: plus, minus, times, divided by, comparing, ordering, word problems.

Sums for which `held_out` is true never occur here, so the question file can ask for them.
"""

# The lines are sentences and tables, kept as they read best.
# fmt: off
# ruff: noqa: E501
from __future__ import annotations

from random import Random

from .phrasing import ask, join_words, pick
from .sample import Sample, say

_PLUS = ["What is {a} + {b}?", "{a} + {b}", "{a} + {b} = ?", "{a}+{b}", "{a}+{b}=?", "What is {a}+{b}?", "How much is {a} + {b}?",
         "Calculate {a} + {b}.", "What is {a} plus {b}?", "How much is {a} plus {b}?", "Add {a} and {b}.", "Compute {a} + {b}",
         "What is the sum of {a} and {b}?", "{a} plus {b}?", "What do I get when I add {a} and {b}?", "What's {a} + {b}?",
         "Solve {a} + {b}.", "{a} and {b} together make how much?", "Can you add {a} and {b}?", "Tell me {a} + {b}.",
         "what does {a} + {b} equal?", "Give me the result of {a} + {b}.", "Work out {a} + {b}."]
_MINUS = ["What is {a} - {b}?", "{a} - {b}", "{a} - {b} = ?", "{a}-{b}", "{a}-{b}=?", "What is {a}-{b}?", "How much is {a} - {b}?",
          "Calculate {a} - {b}.", "What is {a} minus {b}?", "How much is {a} minus {b}?", "Subtract {b} from {a}.", "Compute {a} - {b}",
          "{a} minus {b}?", "What is the difference between {a} and {b}?", "What's {a} - {b}?", "Take {b} away from {a}.",
          "Solve {a} - {b}.", "What is left if I take {b} from {a}?", "what does {a} - {b} equal?", "Work out {a} - {b}."]
_TIMES = ["What is {a} * {b}?", "{a} * {b}", "{a} * {b} = ?", "{a} x {b}", "What is {a} x {b}?", "How much is {a} * {b}?",
          "Calculate {a} * {b}.", "What is {a} times {b}?", "How much is {a} times {b}?", "Multiply {a} by {b}.", "{a}*{b}",
          "Compute {a} * {b}", "What is the product of {a} and {b}?", "{a} times {b}?", "What's {a} times {b}?",
          "Solve {a} * {b}.", "what does {a} * {b} equal?", "Multiply {a} and {b}."]
_OVER = ["What is {a} / {b}?", "{a} / {b}", "{a} / {b} = ?", "{a} : {b}", "How much is {a} / {b}?", "Calculate {a} / {b}.",
         "What is {a} divided by {b}?", "How much is {a} divided by {b}?", "Divide {a} by {b}.", "{a}/{b}",
         "How many times does {b} go into {a}?", "Compute {a} / {b}"]
_FORMS = {"+": _PLUS, "-": _MINUS, "*": _TIMES, "/": _OVER}

NAMES = ["Anna", "Tom", "Lisa", "Ben", "Mia", "Paul", "Emma", "Max", "Sara", "Jack", "Nina", "Leo", "Julia", "Sam", "Clara", "Felix"]
THINGS = ["apples", "books", "coins", "cards", "pencils", "eggs", "stamps", "balls", "cookies", "flowers", "stones", "marbles"]
_GAIN = ["{n} has {a} {t} and gets {b} more. How many {t} does {n} have now?",
         "{n} has {a} {t}. {m} gives {n} {b} more. How many {t} does {n} have?",
         "There are {a} {t} in a box. {n} puts {b} more into it. How many {t} are in the box?",
         "{n} buys {a} {t} and then {b} more. How many {t} are that?",
         "{n} has {a} {t} and {m} has {b} {t}. How many {t} do they have together?"]
_LOSS = ["{n} has {a} {t} and gives {b} away. How many {t} are left?", "{n} has {a} {t} and loses {b}. How many {t} does {n} have now?",
         "There are {a} {t} on the table. {n} takes {b}. How many {t} are left?",
         "{n} had {a} {t} and sold {b} of them. How many {t} remain?",
         "{n} has {a} {t}. {m} takes {b} of them. How many {t} are left?"]
_MANY = ["{n} has {a} boxes with {b} {t} each. How many {t} are that?", "One bag holds {b} {t}. How many {t} are in {a} bags?",
         "There are {a} rows of {b} {t}. How many {t} are there?", "{n} buys {a} packs of {b} {t}. How many {t} does {n} have?"]


def held_out(a: int, op: str, b: int) -> bool:
    """Sums of two-digit numbers kept for the questions."""
    return op in "+-" and a >= 12 and b >= 12 and (a * 7 + b * 13) % 19 == 0


def operands(rng: Random) -> tuple[int, str, int, int]:
    """a op b = result, mostly small."""
    while True:
        op = rng.choice("+++---***/")
        if op in "+-":
            top = rng.choice([10, 10, 10, 20, 20, 20, 100, 100])
            a, b = rng.randrange(top + 1), rng.randrange(top + 1)
            if op == "-" and a < b and rng.random() < 0.93:
                a, b = b, a
        else:
            a, b = rng.randrange(13), rng.randrange(13)
            if op == "/":
                b = max(b, 1)
                a, b = a * b, b
        if not held_out(a, op, b):
            return a, op, b, {"+": a + b, "-": a - b, "*": a * b, "/": a // max(b, 1)}[op]


def small_sum(rng: Random) -> Sample:
    a, b, op = rng.randrange(13), rng.randrange(13), rng.choice("++-*")
    a, b = (max(a, b), min(a, b)) if op == "-" else (a, b)
    result = {"+": a + b, "-": a - b, "*": a * b}[op]
    return say(ask(rng, pick(rng, _FORMS[op], a=a, b=b)), f"{a} {op} {b} = {result}")


def plain_sum(rng: Random) -> Sample:
    a, op, b, result = operands(rng)
    roll = rng.random()
    if roll < 0.05:
        return Sample(text=f"{a} {op} {b} = {result}")
    if roll < 0.10:
        return say(pick(rng, _FORMS[op], a=a, b=b) + rng.choice([" Only the number.", " Just the number, please.", " Answer with the number only."]),
                   str(result))
    free = rng.random() < 0.5
    return say(ask(rng, pick(rng, _FORMS[op], a=a, b=b), free=free), f"{a} {op} {b} = {result}")


def sum_steps(a: int, op: str, b: int) -> str:
    """Reasoning for a sum: tens and ones apart for larger numbers."""
    if op == "+" and a >= 10 and b >= 10 and a < 100 and b < 100:
        t, o = a // 10 * 10 + b // 10 * 10, a % 10 + b % 10
        return f"Tens: {a // 10 * 10} + {b // 10 * 10} = {t}. Ones: {a % 10} + {b % 10} = {o}. Together {t} + {o} = {t + o}."
    if op == "-" and a >= b >= 10 and a < 100:
        t = a - b // 10 * 10
        return f"First {a} - {b // 10 * 10} = {t}. Then {t} - {b % 10} = {t - b % 10}."
    if op == "*" and a > 10:
        return f"10 * {b} = {10 * b} and {a - 10} * {b} = {(a - 10) * b}. Together {10 * b} + {(a - 10) * b} = {a * b}."
    result = {"+": a + b, "-": a - b, "*": a * b, "/": a // max(b, 1)}[op]
    if op == "/":
        return f"{b} * {result} = {a}, so {a} / {b} = {result}."
    return f"{a} {op} {b} = {result}."


def thought_sum(rng: Random) -> Sample:
    a, op, b, result = operands(rng)
    while a >= 100 and op != "/":
        a, op, b, result = operands(rng)
    return say(ask(rng, pick(rng, _FORMS[op], a=a, b=b), free=False), f"{a} {op} {b} = {result}", reasoning=sum_steps(a, op, b))


def word_problem(rng: Random) -> Sample:
    n, m = rng.sample(NAMES, 2)
    t, kind = rng.choice(THINGS), rng.randrange(3)
    while True:
        a, b = rng.randrange(2, 16), rng.randrange(2, 13)
        if kind == 2:
            a, b = rng.randrange(2, 11), rng.randrange(2, 11)
        a, b = (max(a, b), min(a, b)) if kind == 1 else (a, b)
        op = "+-*"[kind]
        if not held_out(a, op, b):
            break
    result = [a + b, a - b, a * b][kind]
    question = pick(rng, [_GAIN, _LOSS, _MANY][kind], n=n, m=m, a=a, b=b, t=t)
    reason = ["It gets more, so I add.", "Something goes away, so I subtract.", "Equal groups, so I multiply."][kind]
    if rng.random() < 0.5:
        return say(question, f"{result} {t}.", reasoning=f"{reason} {sum_steps(a, op, b)}")
    return say(question, f"{a} {op} {b} = {result}. The answer is {result} {t}.")


def compare(rng: Random) -> Sample:
    top = rng.choice([10, 100, 1000])
    a, b = rng.sample(range(top + 1), 2)
    kind = rng.randrange(3)
    if kind == 0:
        question = pick(rng, ["Which is larger, {a} or {b}?", "Which number is bigger, {a} or {b}?", "What is more, {a} or {b}?",
                              "Which is greater: {a} or {b}?", "Is {a} or {b} the larger number?"], a=a, b=b)
        answer, why = f"{max(a, b)} is larger than {min(a, b)}.", ">"
    elif kind == 1:
        question = pick(rng, ["Which is smaller, {a} or {b}?", "Which number is smaller, {a} or {b}?", "What is less, {a} or {b}?",
                              "Is {a} or {b} the smaller number?"], a=a, b=b)
        answer, why = f"{min(a, b)} is smaller than {max(a, b)}.", "<"
    else:
        question = pick(rng, ["Is {a} larger than {b}?", "Is {a} more than {b}?", "Is {a} greater than {b}?"], a=a, b=b)
        answer, why = ("Yes. " if a > b else "No. ") + f"{max(a, b)} is larger than {min(a, b)}.", ""
    if rng.random() < 0.3:
        sign = ">" if a > b else "<"
        same = len(str(a)) == len(str(b))
        step = f"Both have {len(str(a))} digits. {a} {sign} {b}." if same else f"{max(a, b)} has more digits. {a} {sign} {b}."
        return say(ask(rng, question, free=False), answer, reasoning=step + ("" if why else f" So {a} is {'larger' if a > b else 'smaller'}."))
    return say(ask(rng, question, free=False), answer)


def parity(rng: Random) -> Sample:
    n = rng.randrange(rng.choice([10, 100, 1000]))
    kind = "even" if n % 2 == 0 else "odd"
    question = pick(rng, ["Is {n} even or odd?", "Is {n} odd or even?", "Is the number {n} even?", "Is {n} an odd number?", "Is {n} an even number?"],
                    n=n)
    reasoning = f"The last digit of {n} is {n % 10}, which is {kind}." if rng.random() < 0.4 else ""
    return say(ask(rng, question, free=False), f"{n} is {kind}.", reasoning=reasoning)


def order(rng: Random) -> Sample:
    numbers = rng.sample(range(rng.choice([10, 30, 100])), rng.choice([3, 3, 4, 5]))
    shown = rng.choice([", ".join(map(str, numbers)), join_words([str(n) for n in numbers])])
    kind = rng.randrange(3)
    if kind == 0:
        question = pick(rng, ["Sort these numbers: {s}", "Put these numbers in order: {s}.", "Sort {s}.", "Order from small to large: {s}",
                              "Sort the numbers {s} in ascending order."], s=shown)
        return say(question, ", ".join(map(str, sorted(numbers))))
    top = kind == 1
    words = ["largest", "biggest", "highest"] if top else ["smallest", "lowest"]
    question = pick(rng, ["Which is the {w} number: {s}?", "What is the {w} of {s}?", "Find the {w} number: {s}.", "The {w} of these: {s}?"],
                    w=rng.choice(words), s=shown)
    best = max(numbers) if top else min(numbers)
    return say(ask(rng, question, free=False), f"The {'largest' if top else 'smallest'} number is {best}.")


def counting(rng: Random) -> Sample:
    start = 1 if rng.random() < 0.7 else rng.randrange(30)
    end = rng.choice([3, 5, 10, 10, 12, 15, 20]) if start == 1 else start + rng.randrange(3, 12)
    step = 1 if rng.random() < 0.75 else rng.choice([2, 5, 10])
    down = step == 1 and rng.random() < 0.25
    if step > 1:
        end = step * rng.randrange(4, 11)
        numbers = list(range(step, end + 1, step))
        question = pick(rng, ["Count to {e} in steps of {s}.", "Count by {s} up to {e}.", "Count in steps of {s} to {e}."], e=end, s=step)
    elif down:
        numbers = list(range(end, start - 1, -1))
        question = pick(rng, ["Count down from {e} to {s}.", "Count backwards from {e} to {s}.", "Count from {e} down to {s}."], e=end, s=start)
    else:
        numbers = list(range(start, end + 1))
        forms = ["Count from {s} to {e}.", "Can you count from {s} to {e}?", "List the numbers from {s} to {e}.",
                 "Write the numbers from {s} to {e}.", "Give me the numbers {s} to {e}.", "Please count from {s} to {e}."]
        question = pick(rng, forms + (["Count to {e}.", "Can you count to {e}?", "Count up to {e}."] if start == 1 else []), s=start, e=end)
    if rng.random() < 0.1:
        return Sample(text=", ".join(map(str, numbers)))
    if rng.random() < 0.15:
        return say(question.rstrip("?.") + ", one per line.", "\n".join(map(str, numbers)))
    return say(ask(rng, question), ", ".join(map(str, numbers)))


def sequence(rng: Random) -> Sample:
    step, start, n = rng.choice([1, 1, 2, 2, 3, 5, 10]), rng.randrange(20), rng.randrange(3, 6)
    start = start * step if step in (5, 10) else start
    numbers = [start + i * step for i in range(n)]
    shown, following = ", ".join(map(str, numbers)), numbers[-1] + step
    question = pick(rng, ["What comes next: {s}?", "Continue: {s}, ...", "Which number comes next? {s}", "{s}: what is the next number?"], s=shown)
    reasoning = f"The step is {numbers[1]} - {numbers[0]} = {step}. {numbers[-1]} + {step} = {following}." if rng.random() < 0.4 else ""
    return say(ask(rng, question, free=False), f"The next number is {following}.", reasoning=reasoning)


SOURCES = [(plain_sum, 8.0), (thought_sum, 1.5), (word_problem, 2.0), (compare, 1.3), (parity, 0.7), (order, 1.0), (counting, 2.0),
           (sequence, 0.8)]
